"""``/invocations`` and ``/ping`` as MLflow's scoring server answers them, so that its clients work; without MLflow.

Taken are JSON with one of ``dataframe_split``, ``dataframe_records``, ``inputs`` and ``instances``, and CSV. The
columns are those of the registered model: ``text``, and where wanted ``article_id`` and ``paragraph``.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from crosshead import __version__
from crosshead.errors import DataError
from crosshead.limits import MAX_PARAGRAPHS
from crosshead.server import answers
from crosshead.server.errors import KIND_HEADER
from crosshead.server.model import Served
from crosshead.server.routes import Shared
from crosshead.server.schemas import responses
from crosshead.tables import articles_of, as_columns, as_row
from crosshead.tagging.tagger import Tag

router = APIRouter(tags=["MLflow"])
FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
Columns = dict[str, list[Any]]
_ONE_OF = f"the body must be a JSON object with exactly one of {', '.join(FORMATS)}"
_SOME = ["Two columns crossed the river before dawn.", "Envoys met in the lake town."]
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "dataframe_split": {"type": "object"},
                    "dataframe_records": {"type": "array", "items": {"type": "object"}},
                    "inputs": {},
                    "instances": {},
                    "params": {"description": "Not used."},
                },
            },
            "examples": {
                "split": {
                    "value": {
                        "dataframe_split": {
                            "columns": ["text", "article_id", "paragraph"],
                            "data": [[text, "a", i] for i, text in enumerate(_SOME)],
                        }
                    }
                },
                "records": {"value": {"dataframe_records": [{"text": text} for text in _SOME]}},
                "inputs": {"value": {"inputs": {"text": _SOME}}},
                "instances": {"value": {"instances": [{"text": text} for text in _SOME]}},
            },
        },
        "text/csv": {"schema": {"type": "string"}, "example": "text\n" + "\n".join(_SOME) + "\n"},
    },
}
_ERROR = {"type": "object", "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}}}
_PREDICTIONS = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": {"type": "object"}}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **responses(408, 413, 503, 504),
    200: {"description": "A row for each row.", "content": {"application/json": {"schema": _PREDICTIONS}}},
    400: {"description": "The rows cannot be used.", "content": {"application/json": {"schema": _ERROR}}},
    415: {"description": "Neither JSON nor CSV.", "content": {"text/plain": {"schema": {"type": "string"}}}},
}


class _WrongError(DataError):
    """Rows that cannot be read."""


@router.post("/invocations", openapi_extra={"requestBody": _BODY}, response_class=Response, responses=_RESPONSES)
async def invocations(request: Request, service: Shared) -> Response:
    """Tag a table of paragraphs, a row each; rows of one article inform each other."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in _READERS:
        message = f"this server takes {' and '.join(_READERS)}"
        return Response(message, 415, {KIND_HEADER: "wrong_type"}, media_type="text/plain")
    body = await request.body()
    try:
        columns = await asyncio.to_thread(_READERS[kind], body)
        if len(columns["text"]) > MAX_PARAGRAPHS:
            raise _WrongError(f"the table has more than {MAX_PARAGRAPHS:,} rows; send fewer at a time")
        articles = articles_of(columns, name=lambda _: "of some of the rows")
        texts = columns["text"]

        def write(_: Served, tags: list[list[Tag]]) -> bytes:
            found: dict[int, Tag] = {}
            for article, answered in zip(articles, tags, strict=True):
                found.update(zip(article, answered, strict=True))
            return answers.dumps({"predictions": [as_row(found[i]) for i in range(len(texts))]})

        answer = await service.tag([[texts[i] for i in article] for article in articles], write)
    except DataError as error:
        told = {"error_code": "INVALID_PARAMETER_VALUE", "message": str(error)}
        return JSONResponse(told, 400, {KIND_HEADER: "invalid"})
    return Response(answer, media_type="application/json")


@router.get("/ping", response_class=Response, responses={200: {"content": {"application/json": {}}}})
async def ping(service: Shared) -> Response:
    """Say that the model is loaded."""
    assert service.keeper.current
    return Response("\n", media_type="application/json")


@router.get("/health", response_class=Response, include_in_schema=False)
async def health(service: Shared) -> Response:
    """Say that the model is loaded."""
    return await ping(service)


@router.get("/version", response_class=Response, responses={200: {"content": {"application/json": {}}}})
async def version() -> Response:
    """Give the version of crosshead; MLflow's server gives that of MLflow."""
    return Response(__version__, media_type="application/json")


def _read_json(body: bytes) -> Columns:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _WrongError("the body is no JSON in UTF-8") from error
    given = [name for name in FORMATS if name in told] if isinstance(told, dict) else []
    if len(given) != 1:
        raise _WrongError(_ONE_OF)
    value = told[given[0]]
    try:
        columns = _split(value) if given[0] == "dataframe_split" else _columns(given[0], value)
    except DataError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise _WrongError(f"{given[0]} is no table of paragraphs") from error
    return _checked(columns)


def _checked(columns: Columns) -> Columns:
    if len({len(values) for values in columns.values()}) > 1:
        raise _WrongError("the columns have different lengths")
    for name, kinds, allowed in (("article_id", str | int | float, "text"), ("paragraph", int | float, "numbers")):
        if not all(value is None or isinstance(value, kinds) for value in columns.get(name, ())):
            raise _WrongError(f"the column {name} must hold {allowed}")
    return columns


def _split(value: Any) -> Columns:
    if not isinstance(value, dict) or "data" not in value or set(value) - {"columns", "data", "index"}:
        raise _WrongError("dataframe_split must be an object with data, and where wanted columns and index")
    rows = [row if isinstance(row, list) else [row] for row in value["data"]]
    names = value.get("columns")
    names = ["text"] if names is None and all(len(row) == 1 for row in rows) else names
    if not isinstance(names, list) or any(len(row) != len(names) for row in rows):
        raise _WrongError("dataframe_split has rows of another length than its columns")
    return _with_text({str(name): [row[i] for row in rows] for i, name in enumerate(names)})


def _columns(name: str, value: Any) -> Columns:
    if name == "dataframe_records" and not (isinstance(value, list) and all(isinstance(row, dict) for row in value)):
        raise _WrongError("dataframe_records must be a list of objects")
    if isinstance(value, dict):
        return _with_text({key: values if isinstance(values, list) else [values] for key, values in value.items()})
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        names = dict.fromkeys(key for row in value for key in row)
        return _with_text({key: [row.get(key) for row in value] for key in names})
    return as_columns(value if isinstance(value, list | str) else [value])


def _read_csv(body: bytes) -> Columns:
    try:
        header, *rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise _WrongError("the body is no CSV in UTF-8 with a line of column names") from error
    rows = [row for row in rows if row]
    if any(len(row) != len(header) for row in rows):
        raise _WrongError("the CSV has rows of another length than its line of column names")
    columns: Columns = {name: [row[i] or None for row in rows] for i, name in enumerate(header)}
    if "paragraph" in columns:
        columns["paragraph"] = [_number(cell) for cell in columns["paragraph"]]
    return _with_text(columns)


def _number(cell: str | None) -> float | None:
    try:
        return None if cell is None else float(cell)
    except ValueError as error:
        raise _WrongError("the column paragraph holds something that is no number") from error


def _with_text(columns: Mapping[str, Sequence[Any]]) -> Columns:
    """Return the columns; a single one is that of the texts, whatever its name."""
    if "text" not in columns and len(columns) == 1:
        return {"text": list(*columns.values())}
    if "text" not in columns:
        raise _WrongError("the table needs a column 'text' with one paragraph a row")
    return {name: list(values) for name, values in columns.items()}


_READERS = {"application/json": _read_json, "text/csv": _read_csv}

"""Errors as JSON that say what is wrong and where, and never repeat what was sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crosshead.errors import CrossheadError, DataError
from crosshead.server.schemas import Error, ErrorResponse, Problem, field_names

MAX_PROBLEMS = 20
_HEADERS = ("header", "idempotency-key")
"""What a problem may name beside the fields of a body: never anything that was sent."""
KIND_HEADER = "x-crosshead-error"
"""Header of every error, with its kind: what metrics count it as."""
_KINDS = {
    400: "no_json",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "wrong_method",
    408: "slow",
    409: "conflict",
    413: "too_large",
    415: "wrong_type",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}
_MESSAGES = {
    400: "the body cannot be read; send JSON in UTF-8",
    404: "there is nothing at this path; /openapi.json lists what there is",
    405: "this path does not take this method; /openapi.json lists what there is",
    415: "the body is not said to be JSON; send content-type: application/json",
}


class RefusedError(Exception):
    """A request that is not answered; the message goes to the client as it is.

    Parameters
    ----------
    kind
        A word of ours, for metrics and programs.
    retry_after
        Seconds after which to ask again.
    """

    def __init__(self, status: int, kind: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def error_response(
    status: int,
    message: str,
    problems: Sequence[Problem] = (),
    *,
    kind: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Write an error."""
    kind = kind or _KINDS.get(status, "refused")
    body = ErrorResponse(error=Error(kind=kind, message=message, problems=list(problems)))
    return JSONResponse(body.model_dump(), status_code=status, headers={KIND_HEADER: kind, **(headers or {})})


def refusal(error: RefusedError) -> JSONResponse:
    """Write a refusal."""
    headers = {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return error_response(error.status, str(error), kind=error.kind, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of the application leave as our JSON."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(CrossheadError, _failed)
    app.add_exception_handler(RefusedError, _refused)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    mistakes = error.errors()
    if any(mistake["type"] == "json_invalid" for mistake in mistakes):
        return error_response(400, _MESSAGES[400])
    if any(mistake["loc"] == ("body",) and isinstance(mistake.get("input"), bytes) for mistake in mistakes):
        return error_response(415, _MESSAGES[415])  # FastAPI leaves a body of another type unread
    known = field_names(request.url.path)
    problems = [_problem(mistake, known) for mistake in mistakes[:MAX_PROBLEMS]]
    more = len(mistakes) - len(problems)
    return error_response(422, f"the request cannot be used{f' ({more} more problems)' if more else ''}", problems)


def _problem(mistake: Mapping[str, Any], known: Sequence[str]) -> Problem:
    parts = mistake["loc"] if mistake["loc"][:1] == ("header",) else mistake["loc"][1:]
    where = ".".join(str(part) for part in parts if isinstance(part, int) or part in (*known, *_HEADERS))
    if mistake["type"] == "extra_forbidden":
        return Problem(where=where, message=f"a field is not known; allowed are {', '.join(known)}")
    return Problem(where=where, message=str(mistake["msg"]).removeprefix("Value error, "))


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = _MESSAGES.get(error.status_code, "the request was refused")
    return error_response(error.status_code, message, headers=error.headers)


def _failed(_: Request, error: Exception) -> JSONResponse:
    return error_response(422 if isinstance(error, DataError) else 500, str(error))


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return refusal(error)

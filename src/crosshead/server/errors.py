"""Errors as JSON that say what is wrong and where, and never repeat what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crosshead.errors import CrossheadError, DataError
from crosshead.server.schemas import Error, ErrorResponse, Problem, TagRequest

MAX_PROBLEMS = 20
_MESSAGES = {
    400: "the body cannot be read; send JSON in UTF-8",
    404: "there is nothing at this path; /openapi.json lists what there is",
    405: "this path does not take this method; /openapi.json lists what there is",
}


def error_response(status: int, message: str, problems: Sequence[Problem] = ()) -> JSONResponse:
    """Write an error."""
    body = ErrorResponse(error=Error(message=message, problems=list(problems)))
    return JSONResponse(body.model_dump(), status_code=status)


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of the application leave as our JSON."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(CrossheadError, _failed)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    mistakes = error.errors()
    if any(mistake["type"] == "json_invalid" for mistake in mistakes):
        return error_response(400, _MESSAGES[400])
    problems = [_problem(mistake) for mistake in mistakes[:MAX_PROBLEMS]]
    more = len(mistakes) - len(problems)
    return error_response(422, f"the request cannot be used{f' ({more} more problems)' if more else ''}", problems)


def _problem(mistake: Mapping[str, Any]) -> Problem:
    known = [*TagRequest.model_fields]
    where = ".".join(str(part) for part in mistake["loc"][1:] if isinstance(part, int) or part in known)
    if mistake["type"] == "extra_forbidden":
        return Problem(where=where, message=f"a field is not known; allowed are {', '.join(known)}")
    return Problem(where=where, message=str(mistake["msg"]).removeprefix("Value error, "))


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, _MESSAGES.get(error.status_code, "the request was refused"))


def _failed(_: Request, error: Exception) -> JSONResponse:
    return error_response(422 if isinstance(error, DataError) else 500, str(error))

"""The label page over HTTP, for this machine alone."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosshead.errors import DataError
from crosshead.labelling.log import MAX_NOTE
from crosshead.labelling.session import Action, Session

MAX_BODY_BYTES = 64 * 1024
MAX_PAGE = 100
PAGE = "label.html"
_CODEBOOK = b"<!-- codebook -->"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class ActionRequest(BaseModel):
    """One key press."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: Annotated[str, Field(min_length=8, max_length=64)]
    event: Literal["label", "skip", "note", "undo"]
    article_id: str
    paragraph: int
    text_sha256: str
    section_type: str = ""
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""
    suggestion_shown: bool = False


def create_app(session: Session) -> FastAPI:
    """Make the application for one sitting."""
    app = FastAPI(title="crosshead label", docs_url=None, redoc_url=None, openapi_url=None)
    files = _page_files()
    files[PAGE] = files[PAGE].replace(_CODEBOOK, session.codebook.encode())

    # Plain functions: they run in worker threads, so one that waits for the disk holds up no other.
    @app.get("/api/session")
    def overview() -> dict[str, Any]:
        return session.overview()

    @app.get("/api/items")
    def items(start: Annotated[int, Query(ge=0)], n: Annotated[int, Query(ge=1, le=MAX_PAGE)]) -> list[dict[str, Any]]:
        return session.page(start, n)

    @app.get("/api/suggestions/{index}")
    def suggestion(index: int) -> dict[str, Any]:
        return {"suggestion": session.suggestion(index)}

    @app.post("/api/events")
    def record(body: ActionRequest) -> dict[str, Any]:
        fields = body.model_dump()
        return session.record(Action(kind=fields.pop("event"), **fields))

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = PAGE) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=_KINDS[name.rpartition(".")[2]])

    app.add_exception_handler(DataError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_middleware(_Guard)
    return app


def _page_files() -> dict[str, bytes]:
    folder = resources.files("crosshead.labelling") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}


def _refused(_: Request, error: Exception) -> JSONResponse:
    """Answer what cannot be done; 507 where the disk would not take it, so that the page tries again."""
    is_disk = isinstance(error.__cause__, OSError | TimeoutError)
    return JSONResponse({"error": str(error)}, status_code=507 if is_disk else 409)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    where = ", ".join(sorted({".".join(map(str, mistake["loc"][1:])) for mistake in error.errors()}))
    return JSONResponse({"error": f"the request cannot be used ({where}); load the page again"}, status_code=422)


def _no_such(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "there is nothing here"}, status_code=error.status_code)


class _Guard:
    """Answers this machine's own page alone, and puts the page's rules on every answer.

    Other sites that are open in the same browser can send requests here, also under a name of theirs that they let
    point to this machine; what they cannot do is to choose ``Host`` and ``Origin``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse strangers and large bodies; add the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = _why_not(scope["method"], headers)
        handle: ASGIApp = JSONResponse(refusal[1], status_code=refusal[0]) if refusal else self._app
        await handle(scope, receive, guarded)


def _why_not(method: str, headers: dict[str, str]) -> tuple[int, dict[str, str]] | None:
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
        return 421, {"error": "this page is for this machine alone; open it at 127.0.0.1"}
    if headers.get("origin", f"http://{host}") != f"http://{host}":
        return 403, {"error": "another site sent this request; nothing was written"}
    if method == "POST":
        length = headers.get("content-length", "")
        if not headers.get("content-type", "").startswith("application/json"):
            return 415, {"error": "send JSON"}
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return 413, {"error": f"the request is larger than {MAX_BODY_BYTES:,} bytes; write a shorter note"}
    return None

"""What stands in front of every request: a limit on its size, a line in the log, an answer when the code fails."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosshead.server.errors import error_response

log = logging.getLogger("crosshead.server")


class BodyLimit:
    """Refuses a body that is too large, announced or not, without holding more of it than the limit."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        too_large = announced.isdigit() and int(announced) > self._max_bytes
        body = None if too_large else await self._read(receive)
        if body is None:
            message = f"the body is larger than {self._max_bytes:,} bytes; send fewer paragraphs at a time"
            await error_response(413, message)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytearray | None:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                return None
            if not message.get("more_body", False):  # also when the client has left
                return body


def _replay(body: bytearray, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replayed


class AccessLog:
    """Logs method, route, status and time; neither query, path nor body, which may hold people's text.

    An exception that nothing else answered becomes a 500; its message is not logged for the same reason.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on and log how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log.error("unexpected %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            if not status:
                await error_response(500, "a mistake in the server; its log says where")(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")
            log.info("%s %s %d %.1f ms", scope["method"], route, status, 1000 * (time.perf_counter() - started))

"""What stands in front of every request: its log line and numbers, the doors, and limits on its body."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosshead.server import memory
from crosshead.server.errors import KIND_HEADER, RefusedError, error_response, refusal
from crosshead.server.keys import RateLimit
from crosshead.server.logs import FIELDS, NAME, log_mistake
from crosshead.server.metrics import Metrics
from crosshead.server.settings import ServerSettings

log = logging.getLogger(NAME)

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/ping", "/health", "/openapi.json"})
"""What needs no key: the page (it holds nothing and asks for the key), what watches over servers, the description."""
STREAM_PATH = "/v1/tag/stream"
"""Reads its body itself, line by line."""
KEY_NAME = "crosshead.key"
"""In a request's scope: the name of its key."""
LEFT = 499
"""Status in logs and metrics of a request whose client left before the answer."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that does not say otherwise."""


class Entry:
    """Names each request, logs and counts it, and answers where the code fails.

    Logs and numbers hold method, route, status and time; neither path nor query nor body, which may hold people's
    text, nor the message of an exception, which may quote it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        status, kind = 0, ""

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status, kind
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message.get("headers", ()))
                kind = headers.get(KIND_HEADER.encode(), b"").decode()
                message["headers"] = [*({**_HEADERS, **headers}).items(), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log_mistake("unexpected", error, request_id=request_id)
            if not status:
                await error_response(500, "a mistake in the server; its log says where")(scope, receive, noted)
        finally:
            self._note(scope, request_id, status or LEFT, kind, time.perf_counter() - started)

    def _note(self, scope: Scope, request_id: str, status: int, kind: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or scope["path"]
        route = route if route in self._routes else "(no route)"
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if kind or status == LEFT:
            self._metrics.errors.labels(kind or "left").inc()
        fields: dict[str, Any] = {"request_id": request_id, "method": method, "route": route, "status": status}
        if kind:
            fields["error"] = kind
        if KEY_NAME in scope:
            fields["key"] = scope[KEY_NAME]
        log.info("request", extra={FIELDS: {**fields, "ms": round(1000 * seconds, 1)}})


def _request_id(scope: Scope) -> str:
    """Return the id that the client gave, if it is one, or a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


class Doors:
    """Lets in whom the server serves: those with a key, or, where there are no keys, programs of this machine."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._keys = settings.keys
        self._hosts = frozenset(settings.hosts)
        self._rate = RateLimit(settings.requests_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except RefusedError as error:
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._keys is None:
            self._check_called_from_here(headers, scope["method"])
        if scope["path"] in OPEN_PATHS or scope["path"].startswith("/page/"):
            return
        if self._keys is not None:
            name = self._keys.name_of(_key(headers))
            if name is None:
                raise RefusedError(
                    401, "no_key", "this server wants a key: Authorization: Bearer KEY, or X-API-Key: KEY"
                )
            scope[KEY_NAME] = name
        wait = self._rate.take(scope.get(KEY_NAME, ""))
        if wait:
            raise RefusedError(429, "rate", "too many requests with this key; ask again later", retry_after=wait)

    def _check_called_from_here(self, headers: dict[bytes, bytes], method: str) -> None:
        """Refuse what a web page of elsewhere can make a browser send (DNS rebinding, forged requests)."""
        if _host(f"//{headers.get(b'host', b'').decode('latin-1')}") not in self._hosts:
            message = f"called by a name that is not among {', '.join(sorted(self._hosts))}; add one with --allow-host"
            raise RefusedError(403, "forbidden", message)
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", b"same-origin")
        foreign = site not in (b"same-origin", b"none") or (
            origin is not None and _host(origin.decode("latin-1")) not in self._hosts
        )
        if foreign and method not in ("GET", "HEAD"):
            raise RefusedError(403, "forbidden", "pages of elsewhere may not use this server without a key")


def _host(url: str) -> str:
    try:
        name = urlsplit(url).hostname or ""
        return str(ipaddress.ip_address(name)) if ":" in name else name
    except ValueError:
        return ""


def _key(headers: dict[bytes, bytes]) -> str:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1")


class Bodies:
    """Reads bodies up to a limit, all together up to another, in time; stops the work when the client leaves."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then hand the request on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or scope["path"] == STREAM_PATH:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            if await self._read(scope, receive, body):
                await self._work(scope, receive, send, bytes(body))
        except RefusedError as error:
            await refusal(error)(scope, receive, send)
        finally:
            n_bytes = len(body)
            self._held -= n_bytes
            body.clear()
            if n_bytes > memory.LARGE_BYTES:
                asyncio.get_running_loop().run_in_executor(None, memory.give_back)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Read into ``body``; False if the client left."""
        most, pause = self._settings.max_body_bytes, self._settings.body_timeout_s
        announced = dict(scope["headers"]).get(b"content-length", b"")
        self._check_size(int(announced) if announced.isdigit() else 0, most)
        try:
            async with asyncio.timeout(10 * pause):
                while True:
                    async with asyncio.timeout(pause):
                        message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    piece = message.get("body", b"")
                    self._check_size(len(body) + len(piece), most)
                    self._check_all(len(piece))
                    body += piece
                    self._held += len(piece)
                    if not message.get("more_body", False):
                        return True
        except TimeoutError as error:
            raise RefusedError(
                408, "slow", f"the body did not arrive within {pause:g} s a piece; send it again"
            ) from error

    def _check_size(self, n_bytes: int, most: int) -> None:
        if n_bytes > most:
            message = f"the body is larger than {most:,} bytes; send fewer paragraphs at a time"
            raise RefusedError(413, "too_large", message)

    def _check_all(self, n_bytes: int) -> None:
        if self._held + n_bytes > self._settings.max_bodies_bytes:
            raise RefusedError(429, "overloaded", "too many large requests at once; ask again later", retry_after=1)

    async def _work(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Hand the request on; cancel the work when its client leaves."""
        work, gone, answered = asyncio.current_task(), asyncio.Event(), False

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not answered:
                gone.set()
                assert work is not None
                work.cancel()

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = answered or (message["type"] == "http.response.body" and not message.get("more_body", False))
            await send(message)

        watcher = asyncio.create_task(watch())
        try:
            await self._app(scope, _replay(body, gone), noted)
        except asyncio.CancelledError:
            if not gone.is_set():
                raise
            assert work is not None
            work.uncancel()
        finally:
            watcher.cancel()


def _replay(body: bytes, gone: asyncio.Event) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            await gone.wait()
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed

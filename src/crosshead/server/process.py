"""The server as a process: connections with time limits, one or several workers, an orderly stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import tempfile
import threading
from math import ceil
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from crosshead.encoders.engines import n_cores
from crosshead.server.app import create_app
from crosshead.server.logs import log_to, logs_are_json
from crosshead.server.metrics import MULTIPROCESS
from crosshead.server.model import Named, Source
from crosshead.server.service import Service
from crosshead.server.settings import ServerSettings

VARIABLE = "CROSSHEAD_SERVE"
"""What the processes of ``--workers`` are told, but for the keys: they read those themselves."""
HEADERS_S = 15.0
"""How long the headers of a request may take."""
HEADERS_BYTES = 64 * 1024
"""How much of headers that are not complete is held; what arrives in one piece is read as one."""
KEEP_ALIVE_S = 75
"""Longer than reverse proxies keep an idle connection, so that they never send into a closed one."""
STALLED_S = 60
"""A client that takes nothing of its answer for so long is cut off."""
MOST_CONNECTIONS = 2048
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 24\r\nconnection: close\r\n\r\nThe headers are too long"
)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1; a client that does not finish its headers, or does not read, keeps no connection for ever."""

    _headers_due: asyncio.TimerHandle | None = None
    _headers_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first headers their time."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * STALLED_S)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Refuse headers that do not end: httptools keeps them all."""
        super().data_received(data)
        if self._headers_due is None:
            return
        self._headers_bytes += len(data)
        if self._headers_bytes > HEADERS_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Give the headers of a later request their time."""
        super().on_message_begin()
        self._expect_headers()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._forget()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._forget()
        self._headers_bytes = 0
        self._headers_due = self.loop.call_later(HEADERS_S, self.transport.close)

    def _forget(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


def run(listener: socket.socket, source: Source, model: str | None, settings: ServerSettings, *, workers: int) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    source
        Models for one worker; several have sources of their own, by ``model``.
    """
    if workers == 1:
        uvicorn.Server(_config(application(source, settings), settings)).run(sockets=[listener])
        return
    told = {
        "settings": settings.dumps(),
        "model": model,
        "n_threads": max(1, n_cores() // workers),
        "as_json": logs_are_json(),
    }
    os.environ[VARIABLE] = json.dumps(told)
    with tempfile.TemporaryDirectory(prefix="crosshead-") as numbers:
        os.environ[MULTIPROCESS] = numbers
        config = _config("crosshead.server.process:worker", settings, factory=True, workers=workers)
        Multiprocess(config, sockets=[listener]).run()


def _config(app: FastAPI | str, settings: ServerSettings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,  # `log_to` takes what uvicorn has to say; its access log holds paths with their queries
        access_log=False,
        proxy_headers=False,  # nothing depends on where a request comes from
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=ceil(settings.timeout_s),
        **more,
    )


def worker() -> FastAPI:
    """Make the application of one process of several."""
    told = json.loads(os.environ[VARIABLE])
    log_to(as_json=told["as_json"])
    return application(Named(told["model"], n_threads=told["n_threads"]), ServerSettings.loads(told["settings"]))


def application(source: Source, settings: ServerSettings) -> FastAPI:
    """Make an application that learns at once when its process is told to stop."""
    app = create_app(source, settings)
    service: Service = app.state.service
    service.at_start.append(lambda: _hear_signals(service.stopping))
    return app


def _hear_signals(stopping: asyncio.Event) -> None:
    """Let streams, which may have no end, know of a signal when uvicorn does."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        uvicorns = signal.getsignal(number)

        def hear(number: int, frame: FrameType | None, then: Any = uvicorns) -> None:
            loop.call_soon_threadsafe(stopping.set)
            if callable(then):
                then(number, frame)

        signal.signal(number, hear)

"""What the tests of the server share: a client for the application in memory, and real processes to talk to."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cli_parts import make_tagger, process_environ
from crosshead.loading import Model
from crosshead.server import process
from crosshead.server.app import create_app
from crosshead.server.model import Source
from crosshead.server.service import Service
from crosshead.server.settings import ServerSettings

TAGGER = make_tagger()
MODEL = Model(TAGGER, "hand", "3", "f" * 64)
TEXTS = ["Shells fell on the river bank.", "The neighbours closed a border.", "The writer keeps bees."]
SECRET = "Xylographic"
"""A word that no error, log or number may repeat."""
JSON = {"content-type": "application/json"}

posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")


def client_of(source: Source | Any = lambda: MODEL, **settings: Any) -> TestClient:
    """Return a client; used as a context it starts and stops the application."""
    app = create_app(source, ServerSettings(**settings))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


BODY = json.dumps({"texts": TEXTS}).encode()


class Live:
    """A server in a thread, and raw connections to it."""

    def __init__(self, app: FastAPI, settings: ServerSettings, listener: socket.socket) -> None:
        self.service: Service = app.state.service
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(process._config(app, settings))
        self._thread = threading.Thread(target=self._server.run, args=([listener],))

    def start(self) -> None:
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def wire(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, body: bytes = BODY) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/v1/tag", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read())
        finally:
            connection.close()

    def number(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(f"crosshead_{name}", labels) or 0.0


@contextmanager
def live(model: Model = MODEL, **told: Any) -> Iterator[Live]:
    settings = ServerSettings(**told)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Live(create_app(lambda: model, settings), settings, listener)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class ServerProcess:
    """`crosshead serve` in a process of its own."""

    def __init__(self, running: subprocess.Popen[str], log: Path, url: str) -> None:
        self.process = running
        self.url = url
        self.port = int(url.rsplit(":", 1)[1])
        self._log = log

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Ask once, on a connection of its own; bytes go as they are, everything else as JSON."""
        connection = self.connect()
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content, {**JSON, **(headers or {})})
            answer = connection.getresponse()
            told = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        is_json = found.get("content-type", "").startswith("application/json") and told.strip()
        return answer.status, json.loads(told) if is_json else told.decode(), found

    def metric(self, name: str) -> float:
        """Add up all series of a number."""
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def serving(home: Path, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> Iterator[ServerProcess]:
    """Start a server on a free port and wait until it answers; end it afterwards, whatever happens."""
    log = home / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "crosshead", "serve", "--port", "0", "--log-format", "json", *map(str, arguments)]
    with log.open("w", encoding="utf-8") as stream:
        running = subprocess.Popen(
            command, stderr=stream, text=True, cwd=cwd or home, env=process_environ(home, **environ)
        )
    try:
        server = ServerProcess(running, log, _wait_for_url(running, log))
        until(lambda: server.ask("GET", "/readyz")[0] == 200)
        yield server
    finally:
        if running.poll() is None:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _wait_for_url(running: subprocess.Popen[str], log: Path) -> str:
    found: list[str] = []

    def told() -> bool:
        text = log.read_text(encoding="utf-8")
        assert running.poll() is None, text
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        found.extend(line["url"] for line in lines if line["event"] == "listening")
        return bool(found)

    until(told)
    return found[0]


def until(condition: Any, seconds: float = 60) -> None:
    """Wait for something that happens soon; the limit only ends a test that would never."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except ConnectionError:
            pass
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def make_project(home: Path) -> Path:
    """Make a folder that crosshead takes for a project."""
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "config.yaml").write_text("", encoding="utf-8")
    return home


def rss_mb(pid: int) -> float:
    """Return the memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

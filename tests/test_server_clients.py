"""Clients that are slow, leave, send rubbish, or are too many: over real connections to a server in this process."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cli_parts import HashingEncoder, make_tagger
from crosshead.loading import Model
from crosshead.server import process
from crosshead.server.service import Service
from crosshead.tagging.tagger import Encoded
from server_parts import BODY, Live, live, until


class NotConnected(Exception):
    """There is no connection any more."""


def shut(wire: socket.socket) -> None:
    """Say that nothing more will be sent."""
    try:
        wire.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno == errno.ENOTCONN:  # which has no class of its own
            raise NotConnected from error
        raise


def request(body: bytes, *, length: int | None = None, path: str = "/v1/tag") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def answer_of(wire: socket.socket) -> tuple[int, bytes]:
    """Read one answer, or (0, b'') where the connection was closed without one."""
    response = http.client.HTTPResponse(wire)
    try:
        response.begin()
        return response.status, response.read()
    except (http.client.HTTPException, ConnectionError):
        return 0, b""
    finally:
        response.close()


# -- slow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"POST /v1/tag HTT", b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nX-A: b"])
def test_headers_that_do_not_end_end_the_connection(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEADERS_S", 0.2)
    with live() as server, server.wire() as wire:
        wire.sendall(begun)
        assert wire.recv(100) == b""
        assert server.ask()[0] == 200


def drip(wire: socket.socket, content: bytes) -> bytes:
    """Send a byte now and then until the server answers or closes; return what it says first."""
    for byte in content:
        time.sleep(0.01)
        try:
            wire.sendall(bytes([byte]))
            wire.setblocking(False)
            return wire.recv(100)
        except BlockingIOError:
            wire.setblocking(True)
        except ConnectionError:
            return b""
    raise AssertionError("it went on for ever")


def test_headers_that_drip_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEADERS_S", 0.3)
    with live() as server, server.wire() as wire:
        assert drip(wire, b"POST /v1/tag HTTP/1.1\r\nX-Long: " + b"a" * 3000) == b""


@pytest.mark.parametrize("piece", [b"a" * 4096, b"X-A: b\r\n" * 500], ids=["one header", "many"])
def test_headers_without_end_are_refused_when_the_limit_is_reached(piece: bytes) -> None:
    with live() as server, server.wire() as wire:
        wire.sendall(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nX-Long: a" + b"\r\n" * piece.startswith(b"X"))
        sent, said = 0, b""
        with contextlib.suppress(ConnectionError):  # a connection that is closed on a client that goes on is reset
            while not said and sent < 100 * process.HEADERS_BYTES:
                wire.sendall(piece)
                sent += len(piece)
                said = _said_meanwhile(wire)
        assert process.HEADERS_BYTES <= sent < 4 * process.HEADERS_BYTES
        assert said.startswith(b"HTTP/1.1 431 ") or not said
        assert server.ask()[0] == 200


def _said_meanwhile(wire: socket.socket) -> bytes:
    wire.settimeout(0.02)
    try:
        return wire.recv(1000)
    except TimeoutError:
        return b""
    finally:
        wire.settimeout(30)


def test_long_headers_within_the_limit_are_read() -> None:
    with live() as server, server.wire() as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 30_000 + b"\r\n\r\n")
        assert answer_of(wire)[0] == 200
        wire.sendall(request(BODY))
        assert answer_of(wire)[0] == 200


def test_a_second_request_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEADERS_S", 0.3)
    with live() as server, server.wire() as wire:
        wire.sendall(request(BODY))
        assert answer_of(wire)[0] == 200
        time.sleep(0.5)  # idle between requests is no offence
        wire.sendall(request(BODY))
        assert answer_of(wire)[0] == 200
        wire.sendall(b"GET /heal")
        assert wire.recv(100) == b""


def test_a_body_that_stops_arriving_is_told_so() -> None:
    with live(body_timeout_s=0.2) as server, server.wire() as wire:
        wire.sendall(request(BODY[:10], length=len(BODY)))
        status, told = answer_of(wire)
        assert (status, json.loads(told)["error"]["kind"]) == (408, "slow")
        assert server.number("errors_total", kind="slow") == 1


def test_a_body_that_drips_has_a_limit_as_well() -> None:
    with live(body_timeout_s=0.05) as server, server.wire() as wire:
        wire.sendall(request(b"", length=3000))
        assert drip(wire, b" " * 3000).startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_in_time_is_answered() -> None:
    with live(body_timeout_s=5) as server, server.wire() as wire:
        content = request(BODY)
        for start in range(0, len(content), 16):
            wire.sendall(content[start : start + 16])
        assert answer_of(wire)[0] == 200


# -- leaving ---------------------------------------------------------------------------------------------------------


class Gate(HashingEncoder):
    """Waits at texts that hold a certain word."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.seen += texts
        if any("gate" in text for text in texts):
            self.reached.set()
            assert self.opened.wait(30)
        return super().encode(texts)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def gated(gate: Gate) -> Model:
    return Model(replace(make_tagger(), encoder=gate), "gated", "1", "")


def test_nobody_is_looked_at_whose_client_has_left(gate: Gate) -> None:
    with live(gated(gate)) as server:
        with ThreadPoolExecutor(1) as pool:
            at_work = pool.submit(server.ask, b'{"texts": ["at the gate"]}')
            assert gate.reached.wait(30)
            with server.wire() as wire:
                wire.sendall(request(b'{"texts": ["left alone"]}'))
                until(lambda: server.number("queue_requests") == 1)
            until(lambda: server.number("errors_total", kind="left") == 1)
            gate.opened.set()
            assert at_work.result()[0] == 200
        assert server.ask()[0] == 200
        assert "left alone" not in gate.seen
        assert server.number("requests_total", method="POST", route="/v1/tag", status="499") == 1


def test_a_client_that_leaves_within_its_body_leaves_nothing_behind() -> None:
    with live() as server:
        for _ in range(20):
            with server.wire() as wire:
                wire.sendall(request(BODY[:20], length=len(BODY)))
        until(lambda: server.number("errors_total", kind="left") == 20)
        assert server.ask()[0] == 200
        bodies = [middleware for middleware in _stack(server.service) if hasattr(middleware, "_held")]
        assert [middleware._held for middleware in bodies] == [0]


def _stack(service: Service) -> list[Any]:
    import gc

    from crosshead.server.middleware import Bodies

    return [found for found in gc.get_objects() if type(found) is Bodies and found._settings is service.settings]


def test_a_connection_is_used_again_after_an_error() -> None:
    with live() as server, server.wire() as wire:
        for body, status in ((b"{", 400), (BODY, 200), (b'{"texts": [3]}', 422), (BODY, 200)):
            wire.sendall(request(body))
            assert answer_of(wire)[0] == status


def test_requests_one_behind_the_other_are_answered_in_order() -> None:
    with live() as server, server.wire() as wire:
        texts = [f"Column {i} crossed the river." for i in range(8)]
        wire.sendall(b"".join(request(json.dumps({"texts": [text]}).encode()) for text in texts))
        for text in texts:
            status, told = answer_of(wire)
            assert (status, json.loads(told)["paragraphs"][0]["text"]) == (200, text)


# -- rubbish and size ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 5000,
        b"POST /v1/tag\r\n\r\n",
        b"A" * 300_000,
    ],
    ids=["TLS", "version", "zeros", "no version", "endless line"],
)
def test_what_is_no_http_harms_nobody(rubbish: bytes) -> None:
    with live() as server:
        with server.wire() as wire:
            told = b""
            # A server that hung up before all was sent shows itself in one of these ways, by who is faster.
            with contextlib.suppress(ConnectionError, NotConnected):
                wire.sendall(rubbish)
                shut(wire)
                told = wire.recv(1000)
            assert told in (b"",) or told.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
        assert server.ask()[0] == 200


def test_a_body_without_end_is_refused_when_the_limit_is_reached() -> None:
    with live(max_body_bytes=100_000) as server, server.wire() as wire:
        wire.sendall(
            b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            wire.sendall(b"%x\r\n%s\r\n" % (50_000, b" " * 50_000))
        assert answer_of(wire)[0] == 413


def test_all_bodies_together_have_a_limit(gate: Gate) -> None:
    large = json.dumps({"texts": ["at the gate", "x" * 60_000]}).encode()
    with live(gated(gate), max_bodies_bytes=100_000) as server, ThreadPoolExecutor(1) as pool:
        at_work = pool.submit(server.ask, large)
        assert gate.reached.wait(30)
        status, headers, told = server.ask(large)
        assert (status, told["error"]["kind"], headers["retry-after"]) == (429, "overloaded", "1")
        gate.opened.set()
        assert at_work.result()[0] == 200
        assert server.ask(large)[0] == 200


# -- too many --------------------------------------------------------------------------------------------------------


class Slow(HashingEncoder):
    def encode(self, texts: Sequence[str]) -> Encoded:
        time.sleep(0.002 * len(texts))
        return super().encode(texts)


def test_too_many_clients_are_told_when_to_come_again_and_the_others_are_answered() -> None:
    model = Model(replace(make_tagger(), encoder=Slow()), "slow", "1", "")

    def ask(server: Live, i: int) -> Iterator[tuple[int, float, str]]:
        for n in range(10):
            began = time.monotonic()
            status, headers, _ = server.ask(json.dumps({"texts": [f"Column {i} {n} {j}" for j in range(8)]}).encode())
            yield status, time.monotonic() - began, headers.get("retry-after", "")

    with live(model, max_queue=6) as server, ThreadPoolExecutor(40) as pool:
        found = [one for many in pool.map(lambda i: list(ask(server, i)), range(40)) for one in many]
        assert server.ask()[0] == 200
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 429}
    assert all(int(retry) >= 1 for status, _, retry in found if status == 429)


def test_connections_that_are_too_many_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_CONNECTIONS", 4)
    with live() as server:
        wires = [server.wire() for _ in range(8)]
        try:
            for wire in wires:
                wire.sendall(request(BODY))
            assert {answer_of(wire)[0] for wire in wires} <= {200, 503}
        finally:
            for wire in wires:
                wire.close()
        until(lambda: server.ask()[0] == 200)

"""JSONL over HTTP: the command line's contract, answered while more comes in."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_parts import HashingEncoder, make_tagger
from crosshead.feeds.items import answer
from crosshead.feeds.jsonl import as_record, dumps, read_items
from crosshead.loading import Model
from crosshead.server import stream
from crosshead.server.app import create_app
from crosshead.server.settings import ServerSettings
from crosshead.tagging.tagger import Encoded
from crosshead.text import MAX_CHARACTERS
from server_parts import MODEL, SECRET, TAGGER, client_of

HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/x-ndjson")]
GOOD = [
    b'{"id": "7", "text": "Shells fell on the river bank."}',
    b'{"article_id": "a", "paragraphs": ["The neighbours closed a border.", "The writer keeps bees."]}',
    b'{"id": 3, "article_id": null, "paragraphs": []}',
]
BAD = [
    b"",
    b"{",
    b"[1]",
    b'{"text": ""}',
    b'{"text": "\\u200b"}',
    b'{"text": "caf\xe9"}',
    b'{"id": 1, "text": "\\ud83d"}',
    b'{"id": NaN, "text": "a"}',
    b'{"text": "a", "paragraphs": []}',
    b'{"id": "x", "paragraphs": ["a", "[](b)"]}',
    json.dumps({"text": "a" * (MAX_CHARACTERS + 1)}).encode(),
]


def as_the_command_line_does(body: bytes) -> bytes:
    chunks = read_items(io.BytesIO(body), "")
    found = (given for items in chunks for given in answer(TAGGER, items))
    return "".join(dumps(as_record(given)) + "\n" for given in found).encode()


@asynccontextmanager
async def started(model: Model = MODEL, **told: Any) -> AsyncIterator[FastAPI]:
    app = create_app(lambda: model, ServerSettings(**told))
    async with app.router.lifespan_context(app):
        yield app


class Feed:
    """A client that sends what it is told, and notes what comes back."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status = 0
        self.got = b""
        self.ended = False
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> Feed:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/tag/stream",
            "raw_path": b"/v1/tag/stream",
            "query_string": b"",
            "root_path": "",
            "headers": HEADERS,
        }
        self._task = asyncio.create_task(self._app(scope, self._events.get, self._send))  # type: ignore[arg-type]
        return self

    async def _send(self, message: Any) -> None:
        await self.may_read.wait()
        self.status = message.get("status", self.status)
        self.got += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)

    def send(self, body: bytes, *, more: bool = True) -> None:
        self._events.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._events.put_nowait({"type": "http.disconnect"})

    async def gets(self, n_lines: int) -> list[dict[str, Any]]:
        await waits(lambda: self.got.count(b"\n") >= n_lines)
        return [json.loads(line) for line in self.got.splitlines()]

    async def end(self) -> None:
        assert self._task is not None
        async with asyncio.timeout(30):
            await self._task


async def waits(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(GOOD + BAD), max_size=25), st.booleans(), st.lists(st.integers(0, 3000), max_size=8))
def test_a_feed_is_answered_as_on_the_command_line(lines: list[bytes], ends: bool, cuts: Sequence[int]) -> None:
    body = b"\n".join(lines) + (b"\n" if ends else b"")
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]

    async def test() -> None:
        async with started() as app:
            feed = Feed(app).begin()
            for piece in pieces:
                feed.send(piece)
            feed.send(b"", more=False)
            await feed.end()
        assert feed.ended
        assert feed.got == as_the_command_line_does(body)

    run(test)


def test_a_feed_that_pauses_gets_its_answers_meanwhile() -> None:
    async def test() -> None:
        async with started() as app:
            feed = Feed(app).begin()
            for i, line in enumerate(GOOD, start=1):
                feed.send(line + b"\n")
                assert len(await feed.gets(i)) == i
            feed.send(b'{"text": "Snow."', more=True)
            await asyncio.sleep(0.02)
            assert feed.got.count(b"\n") == 3, "half a line is no line"
            feed.send(b"}", more=False)
            assert (await feed.gets(4))[3]["section_type"]
            await feed.end()

    run(test)


LINE = json.dumps({"text": "Shells fell on the river bank at dawn. " * 20}).encode() + b"\n"


def test_a_client_that_reads_late_gets_everything() -> None:
    body = LINE * 1000

    async def test() -> None:
        async with started() as app:
            feed = Feed(app).begin()
            await waits(lambda: feed.status == 200)
            feed.may_read.clear()
            for start in range(0, len(body), 65536):
                feed.send(body[start : start + 65536])
            feed.send(b"", more=False)
            await waits(feed._events.empty)
            feed.may_read.set()
            await feed.end()
            assert feed.got.count(b"\n") == 1000

    run(test)


def test_reading_ahead_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "AHEAD_BYTES", 100_000)
    block = LINE * 40  # some 32,000 bytes

    async def test() -> None:
        async with started() as app:
            feed = Feed(app).begin()
            await waits(lambda: feed.status == 200)
            feed.may_read.clear()
            for _ in range(12):
                feed.send(block)
            await waits(lambda: feed._events.qsize() <= 7)
            for _ in range(10):
                await asyncio.sleep(0.02)
                assert feed._events.qsize() >= 7, "three blocks, one that waits for room, and one that it looks for"
            feed.may_read.set()
            feed.send(b"", more=False)
            await feed.end()
            assert feed.got.count(b"\n") == 12 * 40

    run(test)


class Counting(HashingEncoder):
    def __init__(self) -> None:
        self.n_texts = 0

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.n_texts += len(texts)
        return super().encode(texts)


def test_a_client_that_leaves_ends_the_work() -> None:
    encoder = Counting()

    async def test() -> None:
        async with started(Model(replace(make_tagger(), encoder=encoder), "counting", "1", "")) as app:
            feed = Feed(app).begin()
            feed.send(GOOD[0] + b"\n")
            await feed.gets(1)
            feed.send(b"".join(b'{"text": "Snow %d fell on the river bank."}\n' % i for i in range(5000)))
            feed.leave()
            await feed.end()
            assert not feed.ended
            assert app.state.service.n_streams == 0
        assert encoder.n_texts < 5000

    run(test)


def test_a_server_that_stops_ends_a_feed_and_says_where() -> None:
    async def test() -> None:
        async with started() as app:
            feed = Feed(app).begin()
            feed.send(GOOD[0] + b"\n" + GOOD[1] + b"\n" + GOOD[2][:5])
            await feed.gets(2)
            app.state.service.stopping.set()
            await feed.end()
            assert feed.ended
            assert (await feed.gets(3))[2] == {
                "error": "the server is stopping; send this line and those after it again",
                "line": 3,
            }

    run(test)


def test_a_feed_in_which_nothing_comes_any_more_is_ended() -> None:
    async def test() -> None:
        async with started(stream_timeout_s=0.05) as app:
            feed = Feed(app).begin()
            feed.send(GOOD[0] + b"\n")
            await feed.end()
            assert (await feed.gets(2))[1] == {"error": "nothing came for 0.05 s; send the rest again", "line": 2}

    run(test)


def test_a_line_that_breaks_the_tagger_spoils_no_other() -> None:
    class Broken(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> Encoded:
            if any(SECRET in text for text in texts):
                raise IndexError(SECRET)
            return super().encode(texts)

    model = Model(replace(make_tagger(), encoder=Broken()), "broken", "1", "")
    lines = [GOOD[0], b'{"id": 1, "text": "%s"}' % SECRET.encode(), GOOD[1]]
    with client_of(lambda: model) as client:
        response = client.post("/v1/tag/stream", content=b"\n".join(lines))
        numbers = client.get("/metrics").text
    first, broken, last = map(json.loads, response.text.splitlines())
    assert broken == {"id": 1, "error": "it cannot be tagged (IndexError)", "line": 2}
    assert as_the_command_line_does(lines[0]) + as_the_command_line_does(lines[2]) == b"".join(
        (dumps(line) + "\n").encode() for line in (first, last)
    )
    assert 'crosshead_errors_total{kind="line"} 1.0' in numbers
    assert "crosshead_paragraphs_total" in numbers
    assert SECRET.lower() not in (numbers + response.text).lower()


def test_there_are_only_so_many_streams() -> None:
    async def test() -> None:
        async with started(max_streams=1) as app:
            first, second = Feed(app).begin(), Feed(app)
            first.send(GOOD[0] + b"\n")
            await first.gets(1)
            second.begin()
            await second.end()
            assert (second.status, json.loads(second.got)["error"]["kind"]) == (429, "overloaded")
            first.send(b"", more=False)
            await first.end()
            third = Feed(app).begin()
            third.send(GOOD[0], more=False)
            await third.end()
            assert third.status == 200

    run(test)


def test_a_stream_waits_for_its_turn_where_a_request_is_refused() -> None:
    lines = [json.dumps({"id": i, "text": f"Column {i} crossed the river."}).encode() for i in range(40)]

    async def test() -> None:
        async with started(max_queue=1) as app:
            feeds = [Feed(app).begin() for _ in range(5)]
            for line in lines:
                for feed in feeds:
                    feed.send(line + b"\n")
            for feed in feeds:
                feed.send(b"", more=False)
                await feed.end()
            for feed in feeds:
                assert feed.got == as_the_command_line_does(b"\n".join(lines))

    run(test)

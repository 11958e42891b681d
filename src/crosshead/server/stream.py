"""JSONL over HTTP: a line out for each line in, in order, while more come in. The contract is the command line's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from crosshead.errors import CrossheadError, DataError
from crosshead.feeds.items import Answer, Item
from crosshead.feeds.jsonl import LINES_PER_CHUNK, Cutter, as_record, dumps, parse
from crosshead.limits import MAX_INPUT_BYTES
from crosshead.server.errors import RefusedError
from crosshead.server.logs import log_mistake
from crosshead.server.model import Served
from crosshead.tagging.tagger import Looked, clean

if TYPE_CHECKING:
    from crosshead.server.service import Service

AHEAD_BYTES = 4 * 1024**2
"""Read ahead of the answers, so that a client that writes everything before it reads is held up late."""
AT_ONCE = 2
"""Chunks of one stream that the engine has at a time."""


class Stream(Response):
    """Reads the request's body and answers it, both at a time."""

    media_type = "application/x-ndjson"

    def __init__(self, service: Service) -> None:
        super().__init__(media_type=self.media_type)
        self._service = service
        self._left = asyncio.Event()
        self._ahead = 0
        self._room = asyncio.Event()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = [(b"content-type", b"application/x-ndjson; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        pending: asyncio.Queue[tuple[asyncio.Task[bytes], int] | None] = asyncio.Queue()
        self._service.n_streams += 1
        reading = asyncio.create_task(self._read(receive, pending))
        leaving = asyncio.create_task(self._left.wait())
        try:
            while (waiting := await pending.get()) is not None:
                task, size = waiting
                await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
                if self._left.is_set():
                    return
                await send({"type": "http.response.body", "body": task.result(), "more_body": True})
                self._ahead -= size
                self._room.set()
            if not self._left.is_set():
                await reading
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._service.n_streams -= 1
            leaving.cancel()
            reading.cancel()
            while not pending.empty():
                if (rest := pending.get_nowait()) is not None:
                    rest[0].cancel()

    async def _read(self, receive: Receive, pending: asyncio.Queue[tuple[asyncio.Task[bytes], int] | None]) -> None:
        """Put a task for each chunk of lines into ``pending``, and None at the end."""
        n_lines = 0
        try:
            async for lines in self._chunks(receive):
                size = sum(len(line or b"") for line in lines)
                while self._ahead and self._ahead + size > AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
                self._ahead += size
                await self._turns.acquire()
                task = asyncio.create_task(self._answer(lines, n_lines + 1))
                task.add_done_callback(lambda _: self._turns.release())
                pending.put_nowait((task, size))
                n_lines += len(lines)
            if self._service.stopping.is_set():
                message = "the server is stopping; send this line and those after it again"
                pending.put_nowait((asyncio.create_task(self._told(message, n_lines + 1)), 0))
        except TimeoutError:
            message = f"nothing came for {self._service.settings.stream_timeout_s:g} s; send the rest again"
            pending.put_nowait((asyncio.create_task(self._told(message, n_lines + 1)), 0))
        finally:
            pending.put_nowait(None)

    async def _chunks(self, receive: Receive) -> AsyncIterator[list[bytes | None]]:
        """Yield the lines that arrived, until the body ends, the client leaves or the server stops."""
        cutter = Cutter(MAX_INPUT_BYTES)
        stopping = asyncio.ensure_future(self._service.stopping.wait())
        arrival = self._expect(receive)
        try:
            while True:
                limit = self._service.settings.stream_timeout_s
                await asyncio.wait((arrival, stopping), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                if not arrival.done():
                    if stopping.done():
                        return
                    raise TimeoutError
                message = arrival.result()
                if self._left.is_set():
                    return
                arrival = self._expect(receive)  # ahead, so that it is seen at once when the client leaves
                for chunk in _cut(list(cutter.feed(message.get("body", b"")))):
                    yield chunk
                if not message.get("more_body", False):
                    if rest := list(cutter.close()):
                        yield rest
                    return
        finally:
            stopping.cancel()
            arrival.cancel()

    def _expect(self, receive: Receive) -> asyncio.Future[Message]:
        arrival: asyncio.Future[Message] = asyncio.ensure_future(receive())
        arrival.add_done_callback(self._look_whether_left)
        return arrival

    def _look_whether_left(self, arrival: asyncio.Future[Message]) -> None:
        if not arrival.cancelled() and arrival.exception() is None and arrival.result()["type"] == "http.disconnect":
            self._left.set()

    async def _told(self, message: str, line: int) -> bytes:
        return (dumps({"error": message, "line": line}) + "\n").encode()

    async def _answer(self, lines: Sequence[bytes | None], first: int) -> bytes:
        items = [parse(line, n, "") for n, line in enumerate(lines, start=first)]
        found = await self._tag([_checked(item) for item in items])
        self._service.metrics.errors.labels("line").inc(sum(bool(given.error) for given in found))
        return "".join(dumps(as_record(given)) + "\n" for given in found).encode()

    async def _tag(self, items: Sequence[Item]) -> list[Answer]:
        """Tag items together; one that cannot be tagged spoils no other."""
        good = [item for item in items if not item.error]

        def finish(served: Served, looked: Looked) -> list[Answer]:
            tags = served.tagger.conclude(looked, [len(item.paragraphs) for item in good])
            self._service.metrics.tags(tag for article in tags for tag in article)
            return [Answer(item, tuple(found)) for item, found in zip(good, tags, strict=True)]

        texts = [text for item in good for text in item.paragraphs]
        try:
            tagged = iter(await self._service.engine.run(texts, finish, patient=True) if good else [])
        except (RefusedError, CrossheadError) as error:
            tagged = iter([Answer(item, error=str(error)) for item in good])
        except Exception as error:
            if len(good) > 1:
                return [answer for item in items for answer in await self._tag([item])]
            log_mistake("a line cannot be tagged", error)
            tagged = iter([Answer(item, error=f"it cannot be tagged ({type(error).__name__})") for item in good])
        return [Answer(item, error=item.error) if item.error else next(tagged) for item in items]


def _cut(lines: list[bytes | None]) -> list[list[bytes | None]]:
    return [lines[i : i + LINES_PER_CHUNK] for i in range(0, len(lines), LINES_PER_CHUNK)]


def _checked(item: Item) -> Item:
    """Return the item, or one with its error: alone it is refused, among others it would spoil them."""
    if item.error:
        return item
    try:
        clean(item.paragraphs)
    except DataError as error:
        return replace(item, error=str(error))
    return item

"""What the routes share: the model, the engine, and the steps from a request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crosshead.articles import Article
from crosshead.readers.formats import read_article
from crosshead.server import answers
from crosshead.server.corrections import Corrections
from crosshead.server.engine import Engine
from crosshead.server.errors import RefusedError
from crosshead.server.metrics import Metrics
from crosshead.server.model import ModelKeeper, Served, Source
from crosshead.server.settings import ServerSettings
from crosshead.server.turns import cost_of
from crosshead.tagging import explain
from crosshead.tagging.tagger import Looked, Tag, clean

T = TypeVar("T")

N_READERS = 2
"""Threads that read articles; they wait for each other all the same."""
FEW_TEXTS, FEW_TOKENS = 64, 20_000
"""So many are checked at once; more are checked in another thread."""


class Service:
    """One for an application."""

    def __init__(self, source: Source, settings: ServerSettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keeper = ModelKeeper(source, self.metrics)
        self.engine = Engine(lambda: self.keeper.current, settings, self.metrics)
        self.corrections = Corrections(settings.corrections)
        self.stopping = asyncio.Event()
        self.n_streams = 0
        self.at_start: list[Callable[[], None]] = []
        """Called in the event loop when the model is there."""
        self._readers = ThreadPoolExecutor(N_READERS, thread_name_prefix="reader")
        self._n_reading = 0
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the model and begin to answer."""
        await asyncio.to_thread(self.keeper.start)
        self.engine.start()
        if self.settings.watch_s:
            self._watcher = asyncio.create_task(self.keeper.watch(self.settings.watch_s))
        for call in self.at_start:
            call()

    async def stop(self) -> None:
        """Finish what was taken, then end."""
        self.stopping.set()
        if self._watcher is not None:
            self._watcher.cancel()
        await self.engine.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def read(self, text: str, format: str) -> Article:
        """Read an article, in another thread.

        Raises
        ------
        ArticleError
            If it is none.
        """
        return await self.aside(lambda: read_article(text, format=format))

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what takes a while in another thread, so that it holds no other request up."""
        if self._n_reading >= self.settings.max_queue:
            raise RefusedError(429, "overloaded", "too many articles at once; ask again later", retry_after=1)
        self._n_reading += 1
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        except TimeoutError as error:
            raise RefusedError(504, "timeout", "the article could not be read in time; send less at a time") from error
        finally:
            self._n_reading -= 1

    async def check(self, texts: Sequence[str], name: Callable[[int], str] = "paragraph {}".format) -> None:
        """Refuse texts that nothing can be said of, and too many of them.

        Raises
        ------
        DataError
            If a text cannot be tagged; ``name`` names it by its number.
        RefusedError
            If they are too many.
        """
        tokens, most = sum(map(cost_of, texts)), self.settings.max_tokens
        if tokens > most:
            message = (
                f"the texts have about {tokens:,} tokens; at most {most:,} are taken at once; send fewer at a time"
            )
            raise RefusedError(413, "too_large", message)
        if len(texts) <= FEW_TEXTS and tokens <= FEW_TOKENS:
            clean(texts, name)
        else:
            await self.aside(lambda: clean(texts, name))

    async def tag(self, articles: Sequence[Sequence[str]], write: Callable[[Served, list[list[Tag]]], T]) -> T:
        """Tag articles; ``write`` makes the answer of the tags, in another thread."""
        texts = [text for article in articles for text in article]
        lengths = [len(article) for article in articles]
        await self.check(texts)

        def finish(served: Served, looked: Looked) -> T:
            tags = served.tagger.conclude(looked, lengths)
            self.metrics.tags(tag for article in tags for tag in article)
            return write(served, tags)

        return await self.engine.run(texts, finish)

    async def explain(self, paragraph: str, before: Sequence[str], after: Sequence[str]) -> bytes:
        """Explain a paragraph; returns the answer."""
        names = [*(f"before.{i}" for i in range(len(before))), "paragraph", *(f"after.{i}" for i in range(len(after)))]
        await self.check([*before, paragraph, *after], names.__getitem__)
        tagger = self.keeper.current.tagger
        question = await self.aside(lambda: explain.ask(tagger, paragraph, before, after))

        def finish(served: Served, looked: Looked) -> bytes:
            found = explain.answer(served.tagger, question, looked)
            return answers.dumps(answers.explain_answer(found, served.info))

        return await self.engine.run(question.texts, finish)

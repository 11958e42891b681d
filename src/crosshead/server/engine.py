"""The engine: requests that come at the same time are looked at together, by one thread that owns the tagger.

The thread takes what waits when it is free, so a request that comes alone waits for nobody, and a batch grows with
the load. How a request is cut and what lies beside it change no bit of its answer (`Tagger.look`). The queue is
bounded: what could not be answered in time is refused at once, with the seconds after which to ask again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from crosshead.server.errors import RefusedError
from crosshead.server.metrics import Metrics
from crosshead.server.model import Served
from crosshead.server.settings import ServerSettings
from crosshead.server.turns import Turns, cost_of
from crosshead.tagging.tagger import Looked

T = TypeVar("T")

MANY_TEXTS = 256
"""The answer to more texts is written beside the thread that looks, not in it."""
SLOWEST_TOKENS_PER_S = 1000.0
"""A request gets this much more time for its own tokens."""
_FIRST_TOKENS_PER_S = 4000.0
"""A guess until the first batches were timed."""
_PATIENCE_S = 0.02


@dataclass(eq=False)
class _Job(Generic[T]):
    group: Served
    texts: Sequence[str]
    costs: Sequence[int]
    finish: Callable[[Served, Looked], T]
    future: asyncio.Future[T]
    left: int
    arrived: float
    taken: int = 0
    given_up: bool = False
    looked: list[Looked] = field(default_factory=list)

    def whole(self) -> Looked:
        if len(self.looked) == 1:
            return self.looked[0]
        return Looked.join(self.looked)


Outcome = tuple["_Job[Any]", Any, Exception | None]


class Engine:
    """Looks at texts in batches.

    Parameters
    ----------
    current
        Gives the model for a new request; a request that was begun is finished by the model that it began with.
    """

    def __init__(self, current: Callable[[], Served], settings: ServerSettings, metrics: Metrics) -> None:
        self._current = current
        self._settings = settings
        self._metrics = metrics
        self._turns: Turns[_Job[Any]] = Turns(settings.batch_tokens)
        self._changed = threading.Condition()
        self._stopping = False
        self._tokens_per_s = _FIRST_TOKENS_PER_S
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    async def stop(self) -> None:
        """Finish what was taken, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._writer.shutdown)

    async def run(self, texts: Sequence[str], finish: Callable[[Served, Looked], T], *, patient: bool = False) -> T:
        """Look at texts and return what ``finish`` makes of it, in another thread.

        Parameters
        ----------
        patient
            Wait for room instead of being refused: for streams, which are one request for a long time.

        Raises
        ------
        RefusedError
            If the queue is full, it took too long, or the server stops.
        """
        costs = [cost_of(text) for text in texts]
        tokens = sum(costs)
        while patient and self._wait(tokens):
            await asyncio.sleep(_PATIENCE_S)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = _Job(self._current(), texts, costs, finish, future, tokens, time.monotonic())
        self._enqueue(job)
        limit = self._settings.timeout_s + tokens / SLOWEST_TOKENS_PER_S
        try:
            async with asyncio.timeout(limit):
                return await future
        except TimeoutError as error:
            raise RefusedError(504, "timeout", f"not answered within {limit:.0f} s; send less at a time") from error
        finally:
            job.given_up = True  # also where the client has left

    def _enqueue(self, job: _Job[Any]) -> None:
        with self._changed:
            if self._stopping:
                raise RefusedError(503, "stopping", "the server is stopping; ask again in a moment", retry_after=2)
            wait = self._wait(job.left)
            if wait:
                raise RefusedError(
                    429,
                    "overloaded",
                    "more requests wait than can be answered in time; ask again later",
                    retry_after=wait,
                )
            self._turns.add(job)
            self._note_queue()
            self._changed.notify()

    def _wait(self, tokens: int) -> float:
        """Estimate when to ask again with so many tokens; 0 if they may come in now."""
        with self._changed:
            seconds = self._turns.tokens_before(tokens) / self._tokens_per_s
            full = len(self._turns) >= self._settings.max_queue
        return max(1.0, seconds / 2) if full or seconds > self._settings.timeout_s / 2 else 0.0

    def _note_queue(self) -> None:
        self._metrics.queue_requests.set(len(self._turns))
        self._metrics.queue_tokens.set(self._turns.tokens)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not len(self._turns) and not self._stopping:
                    self._changed.wait()
                batch = self._turns.next_batch()
                self._note_queue()
                if not batch and not len(self._turns) and self._stopping:
                    return
            self._note_waits(batch)
            self._deliver(self._look(batch))

    def _look(self, batch: list[tuple[_Job[Any], slice]]) -> list[Outcome]:
        """Look at a batch and finish the requests that are complete; one that fails spoils no other."""
        started = time.monotonic()
        texts = [text for job, part in batch for text in job.texts[part]]
        try:
            looked = batch[0][0].group.look(texts) if batch else None
        except Exception as error:
            if len(batch) == 1:
                batch[0][0].given_up = True
                return [(batch[0][0], None, error)]
            return [outcome for one in batch for outcome in self._look([one])]
        if looked is not None:
            self._time(batch, len(texts), time.monotonic() - started)
            _hand_out(looked, batch)
        done = [job for job, part in batch if part.stop == len(job.texts)]
        for job in done:
            if len(job.texts) > MANY_TEXTS:
                self._writer.submit(self._finish, job)
        return [_finished(job) for job in done if len(job.texts) <= MANY_TEXTS]

    def _note_waits(self, batch: list[tuple[_Job[Any], slice]]) -> None:
        now = time.monotonic()
        for job, part in batch:
            if part.start == 0:
                self._metrics.queue_seconds.observe(now - job.arrived)

    def _time(self, batch: list[tuple[_Job[Any], slice]], n_texts: int, seconds: float) -> None:
        tokens = sum(sum(job.costs[part]) for job, part in batch)
        self._metrics.batch(n_texts, tokens, seconds)
        if tokens and seconds > 0:
            self._tokens_per_s += 0.1 * (tokens / seconds - self._tokens_per_s)

    def _finish(self, job: _Job[Any]) -> None:
        self._deliver([_finished(job)])

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            loop = outcomes[0][0].future.get_loop()
            try:
                loop.call_soon_threadsafe(_settle, outcomes)
            except RuntimeError:  # the loop was closed: nobody is left to be told
                return


def _hand_out(looked: Looked, batch: list[tuple[_Job[Any], slice]]) -> None:
    first = 0
    for job, part in batch:
        last = first + part.stop - part.start
        job.looked.append(looked.part(first, last))
        first = last


def _finished(job: _Job[Any]) -> Outcome:
    if job.given_up:
        return job, None, None
    try:
        return job, job.finish(job.group, job.whole()), None
    except Exception as error:
        return job, None, error


def _settle(outcomes: Sequence[Outcome]) -> None:
    for job, answer, error in outcomes:
        if job.future.done():  # nobody waits any more
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(answer)

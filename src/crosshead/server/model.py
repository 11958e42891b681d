"""The model that answers, and taking a new one without dropping a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import numpy as np

from crosshead.bundle import compiled_dir
from crosshead.encoders.engines import give_back_pages
from crosshead.errors import BundleError, CrossheadError
from crosshead.loading import Found, Model
from crosshead.server.errors import RefusedError
from crosshead.server.logs import FIELDS, NAME, log_mistake
from crosshead.server.metrics import Metrics
from crosshead.tagging.heads import Floats
from crosshead.tagging.tagger import Looked

if TYPE_CHECKING:
    from crosshead.tagging.tagger import Encoder

log = logging.getLogger(NAME)

REMEMBERED = 10_000
"""Paragraphs whose outcome is kept (some four megabytes), so that explaining one does not look at its article again."""
Seen = tuple[Floats, int, bool | None]
"""Of a paragraph: log-probabilities, tokens not read, and whether it is of another kind than the training text."""
_PROBE = ["Two columns crossed the river before dawn.", "The talks went on in the lake town for another day."]


class Source(Protocol):
    """Where models come from."""

    def find(self) -> Found | None:
        """Say what `load` would load, without loading it; None where that cannot be said."""
        ...

    def load(self, reuse: Encoder | None = None) -> Model:
        """Load it; ``reuse`` is an encoder that is loaded already."""
        ...


@dataclass(frozen=True)
class LoadedOnce:
    """A model that somebody else loaded, or loads, and that never changes."""

    make: Callable[[], Model]

    def find(self) -> Found | None:
        """Say nothing: there is no other."""
        return None

    def load(self, reuse: Encoder | None = None) -> Model:
        """Return it."""
        return self.make()


class Named:
    """The model that ``--model`` names, or the champion; ``first`` is being loaded already."""

    def __init__(self, model: str | None, *, n_threads: int | None = None, first: Future[Model] | None = None) -> None:
        self._model = model
        self._n_threads = n_threads
        self._first = first

    def find(self) -> Found | None:
        """Look at the pointer and the bundle's digest."""
        from crosshead import loading

        return loading.find(self._model)

    def load(self, reuse: Encoder | None = None) -> Model:
        """Load the bundle, every file checked."""
        from crosshead import loading

        first, self._first = self._first, None
        if first is not None:
            return first.result()
        return loading.load(self._model, n_threads=self._n_threads, reuse=reuse)


class Served:
    """A model at work; ``before`` is the one whose place it takes.

    An encoder works for one thread at a time; two models that share one wait for each other.
    """

    def __init__(self, model: Model, before: Served | None = None) -> None:
        self.model = model
        self.tagger = model.tagger
        shared = before is not None and before.tagger.encoder is model.tagger.encoder
        self._working: threading.Lock = before._working if before is not None and shared else threading.Lock()
        self.info = {"name": model.name, "version": model.version, "digest": model.digest}
        self._known: OrderedDict[bytes, Seen] = OrderedDict()

    def prove(self) -> None:
        """Refuse a model that loads and cannot tag; its encoder is warm afterwards.

        Raises
        ------
        BundleError
            If the probabilities of two sentences are none.
        """
        with self._working:
            proba = self.tagger.predict_proba([_PROBE])
        if proba.shape != (2, len(self.tagger.section_types)) or not np.allclose(proba.sum(axis=1), 1, atol=1e-6):
            raise BundleError("the saved tagger gives no probabilities for a plain sentence; train again")
        if (compiled := compiled_dir()) is not None:
            give_back_pages(compiled)

    def look(self, texts: Sequence[str]) -> Looked:
        """Look at texts as the tagger does, at each different one once; what was seen lately is remembered.

        For one thread only.
        """
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        found = {key: self._known[key] for key in keys if key in self._known}
        if new or not texts:
            with self._working:
                looked = self.tagger.look(list(new.values()))
            beyond = looked.out_of_distribution
            marks = [None] * len(looked) if beyond is None else beyond.tolist()
            rows = zip(new, looked.log_proba, looked.n_truncated, marks, strict=True)
            found |= {key: (row.copy(), int(cut), mark) for key, row, cut, mark in rows}
        if not texts:
            return looked
        self._remember(keys, found)
        log_proba, n_truncated, told = zip(*(found[key] for key in keys), strict=True)
        return Looked(np.stack(log_proba), np.array(n_truncated), None if told[0] is None else np.array(told))

    def _remember(self, keys: Sequence[bytes], found: dict[bytes, Seen]) -> None:
        for key in keys[-REMEMBERED:]:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


class ModelKeeper:
    """Holds the model that answers; takes a new one when its source has one, and keeps the old if that is broken."""

    def __init__(self, source: Source, metrics: Metrics) -> None:
        self._source = source
        self._metrics = metrics
        self._changing = threading.Lock()
        self._served: Served | None = None
        self._stamp: Hashable = None
        self._refused: Hashable = None

    @property
    def current(self) -> Served:
        """The model for a new request."""
        if self._served is None:
            raise RefusedError(503, "starting", "the server is starting; ask again in a moment", retry_after=1)
        return self._served

    def start(self) -> None:
        """Load the first model; takes a while."""
        served = Served(self._source.load())
        served.prove()
        self._take(served)

    def reload(self) -> bool:
        """Take the model that the source has now; return whether it is another one. Takes a while.

        Raises
        ------
        CrossheadError
            If that model is broken; the old one goes on answering.
        """
        with self._changing:
            stamp = self._stamp_now()
            if stamp is None or stamp == self._stamp:
                return False
            try:
                served = Served(self._source.load(reuse=self.current.tagger.encoder), self.current)
                served.prove()
            except Exception as error:
                self._refused = stamp
                self._metrics.reloads.labels("refused").inc()
                if isinstance(error, CrossheadError):
                    log.error("new model refused", extra={FIELDS: {"reason": str(error)}})
                    raise
                log_mistake("new model refused", error)
                raise BundleError(f"the saved tagger cannot be loaded ({type(error).__name__}); train again") from error
            self._metrics.reloads.labels("taken").inc()
            self._take(served)
            return True

    async def watch(self, every_s: float) -> None:
        """Look for a new model again and again; a broken one is tried once, and what is wrong is told once."""
        told = ""
        while True:
            await asyncio.sleep(every_s)
            try:
                stamp = await asyncio.to_thread(self._stamp_now)
            except CrossheadError as error:
                if str(error) != told:
                    log.warning("no model to be found", extra={FIELDS: {"reason": str(error)}})
                told = str(error)
                continue
            told = ""
            if stamp not in (self._stamp, self._refused):
                with contextlib.suppress(CrossheadError):  # told already
                    await asyncio.to_thread(self.reload)

    def _stamp_now(self) -> Hashable:
        return _stamp(self._source.find())

    def _take(self, served: Served) -> None:
        self._served, self._stamp, self._refused = served, _stamp(served.model.found), None
        self._metrics.serves(**served.info)
        log.info("model taken", extra={FIELDS: served.info})


def _stamp(found: Found | None) -> Hashable:
    return None if found is None else (found.digest, found.name, found.version)

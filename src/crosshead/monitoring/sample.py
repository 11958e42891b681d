"""One side of the comparison: paragraphs by article, with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.heads import Floats

_BY_PARAGRAPH = ("ids", "texts", "languages")


@dataclass(frozen=True)
class Sample:
    """Paragraphs, those of an article together. What is not known of them is None."""

    name: str
    article: NDArray[np.int64]
    """Number of each paragraph's article: 0, 1, …, none left out."""
    ids: tuple[str, ...]
    """How a reader finds each paragraph."""
    texts: tuple[str, ...] | None = None
    """Normalised."""
    n_words: Floats | None = None
    unknown: Floats | None = None
    """Share of each paragraph's words that the model has no weight for."""
    languages: tuple[str, ...] | None = None
    vectors: NDArray[np.float32] | None = None
    answers: NDArray[np.int64] | None = None
    """Columns of the section types that the model answered."""
    confidence: Floats | None = None
    proba: Floats | None = None
    abstained: NDArray[np.bool_] | None = None
    truncated: NDArray[np.bool_] | None = None
    learnt: NDArray[np.bool_] | None = None
    """Paragraphs that the model was trained on: of these it is surer than of any others. None where there is none."""
    truth: NDArray[np.int64] | None = None
    """Columns of the section types that annotators chose; -1 where nobody did."""
    n_articles_seen: int = 0
    """Before articles were drawn from too many."""
    n_failed: int = 0
    """Inputs that could not be read or tagged."""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """Count the paragraphs."""
        return len(self.article)

    @cached_property
    def n_articles(self) -> int:
        """Count the articles."""
        return int(self.article.max()) + 1 if len(self.article) else 0

    def take(self, rows: NDArray[Any]) -> Sample:
        """Return some paragraphs, their articles numbered anew; rows are numbers or a mask."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        changed: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                changed[entry.name] = value[chosen]
            elif entry.name in _BY_PARAGRAPH and value is not None:
                changed[entry.name] = tuple(value[i] for i in chosen)
        changed["article"] = numbered(changed["article"])
        return replace(self, **changed)

    def articles(self, chosen: NDArray[np.int64], name: str | None = None) -> Sample:
        """Return some articles whole; one that is chosen twice stands there twice, as two."""
        order = np.argsort(self.article, kind="stable")
        starts = np.searchsorted(self.article[order], np.arange(self.n_articles + 1))
        rows = [order[starts[a] : starts[a + 1]] for a in chosen]
        flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        taken = self.take(flat)
        number = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        return replace(taken, article=number, name=name or self.name, n_articles_seen=len(rows))

    @cached_property
    def unlearnt(self) -> Sample:
        """The paragraphs that the model was not trained on."""
        return self if self.learnt is None or not self.learnt.any() else self.take(~self.learnt)


def numbered(keys: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """Give each key a number, in the order in which they first stand.

    Examples
    --------
    >>> numbered(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[Any, int] = {}
    listed = keys.tolist() if isinstance(keys, np.ndarray) else keys
    return np.array([numbers.setdefault(key, len(numbers)) for key in listed], dtype=np.int64)


class Reservoir:
    """Keeps at most ``size`` of what it is given, each with the same chance, in the order in which it came.

    References
    ----------
    Vitter (1985), Random sampling with a reservoir, ACM TOMS 11, doi:10.1145/3147.3165 (algorithm R).
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[int, Any]] = []
        self.n_seen = 0

    def offer(self, make: Callable[[], Any]) -> None:
        """Perhaps keep what ``make`` makes; it is called only then."""
        number = self.n_seen
        self.n_seen += 1
        if len(self._kept) < self._size:
            self._kept.append((number, make()))
            return
        place = int(self._rng.integers(0, self.n_seen))
        if place < self._size:
            self._kept[place] = (number, make())

    def kept(self) -> list[Any]:
        """Return what was kept."""
        return [item for _, item in sorted(self._kept, key=lambda pair: pair[0])]

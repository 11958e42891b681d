"""Texts read piece by piece: what stands between spaces is looked up, and worked out only when it is new.

Words come back. Whatever turns a word into numbers, a tokenizer or a pattern, is called once for each different word;
after that a batch of texts costs one look into a dictionary a word. What is remembered is bounded, so memory stays
flat however many texts are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress, repeat
from threading import Lock

import numpy as np
from numpy.typing import NDArray

MOST_CHARACTERS = 2**20
"""Characters of pieces that are remembered, some 150,000 words; then everything is forgotten."""

Numbers = NDArray[np.int64]


class Pieces:
    """Turns texts into numbers through a function on their pieces; safe for several threads.

    Parameters
    ----------
    read
        Gives the numbers of each of several pieces, none of which holds a space. What it gives for one must not
        depend on the others.
    """

    def __init__(self, read: Callable[[list[str]], Sequence[Sequence[int]]]) -> None:
        self._read = read
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._n_characters = 0
        self._position: dict[str, int] = {}
        self._numbers = np.zeros(0, dtype=np.int64)
        self._ends = np.zeros(1, dtype=np.int64)

    def read(self, texts: Sequence[str]) -> tuple[Numbers, Numbers]:
        """Return the numbers of all texts one after the other, and how many belong to each text."""
        if not texts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        pieces = " ".join(texts).split(" ")
        per_text = np.fromiter((text.count(" ") + 1 for text in texts), np.int64, len(texts))
        with self._lock:
            positions = self._positions(pieces)
            numbers, ends = self._numbers, self._ends
        counts = ends[positions + 1] - ends[positions]
        first = np.cumsum(counts) - counts
        found = numbers[np.arange(counts.sum()) + np.repeat(ends[positions] - first, counts)]
        return found, np.add.reduceat(counts, np.cumsum(per_text) - per_text)

    def _positions(self, pieces: list[str]) -> Numbers:
        positions = self._look_up(pieces)
        new = list(dict.fromkeys(compress(pieces, (positions < 0).tolist())))
        if not new:
            return positions
        n_characters = sum(map(len, new))
        if self._position and self._n_characters + n_characters > MOST_CHARACTERS:
            self._forget()
            return self._positions(pieces)
        numbers = self._read(new)
        self._position.update(zip(new, range(len(self._position), len(self._position) + len(new)), strict=True))
        self._n_characters += n_characters
        flat = np.fromiter((number for piece in numbers for number in piece), np.int64)
        ends = np.cumsum([len(piece) for piece in numbers]) + self._ends[-1]
        self._numbers, self._ends = np.concatenate([self._numbers, flat]), np.concatenate([self._ends, ends])
        return self._look_up(pieces)

    def _look_up(self, pieces: list[str]) -> Numbers:
        return np.fromiter(map(self._position.get, pieces, repeat(-1)), np.int64, len(pieces))

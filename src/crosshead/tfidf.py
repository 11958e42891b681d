"""TF-IDF features of a text without scikit-learn, equal to ``TfidfVectorizer(sublinear_tf=True)`` term by term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crosshead.pieces import Numbers, Pieces

_WORD = re.compile(r"(?u)\b\w\w+\b")


def terms(text: str, n_max: int) -> list[str]:
    """Words of two characters or more in lower case, and their runs of up to ``n_max`` words."""
    words = _WORD.findall(text.lower())
    found = list(words)
    for n in range(2, n_max + 1):
        found.extend(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return found


@dataclass(frozen=True)
class Tfidf:
    """A fitted vocabulary with its inverse document frequencies."""

    vocabulary: Mapping[str, int]
    idf: NDArray[np.float32]
    n_max: int

    def weights(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and values of the text's row: (1 + log count) × idf, scaled to unit length."""
        counts = Counter(self.vocabulary[term] for term in terms(text, self.n_max) if term in self.vocabulary)
        columns = np.fromiter(sorted(counts), dtype=np.int64, count=len(counts))
        tf = np.fromiter((counts[int(c)] for c in columns), dtype=np.float64, count=len(counts))
        values = (1.0 + np.log(tf)) * self.idf[columns]
        norm = np.sqrt((values**2).sum())
        return columns, values / norm if norm > 0 else values

    def scores(self, texts: Sequence[str], coef: NDArray[np.float32]) -> NDArray[np.float64]:
        """``tfidf(texts) @ coef.T``, shape (n_texts, n_section_types).

        A row does not depend, in a single bit, on the texts beside it: every sum is taken term by term.
        """
        rows, columns, counts = self._index.count(texts)
        values = (1.0 + np.log(counts)) * self.idf[columns]
        norms = np.sqrt(np.bincount(rows, values**2, len(texts)))
        scores = np.stack([np.bincount(rows, values * of_type[columns], len(texts)) for of_type in coef], axis=1)
        found: NDArray[np.float64] = scores / np.where(norms > 0, norms, 1.0)[:, None]
        return found

    @cached_property
    def _index(self) -> _TermIndex:
        return _TermIndex(self.vocabulary, self.n_max)


class _TermIndex:
    """Counts terms of whole batches with arrays.

    Words have numbers, and so have runs of words that begin a term, its *nodes*: the run of a word alone, and a run
    that is one word longer than another. Of each node it is known which column it is, if it is one.
    """

    def __init__(self, vocabulary: Mapping[str, int], n_max: int) -> None:
        runs = [tuple(term.split(" ")) for term in vocabulary]
        self._words = {word: i for i, word in enumerate(dict.fromkeys(word for run in runs for word in run))}
        self._pieces = Pieces(self._words_of)
        self._n_terms = max(len(vocabulary), 1)
        number: dict[tuple[str, ...], int] = {(word,): i for word, i in self._words.items()}
        self._longer: list[_Lookup] = []
        for n in range(2, n_max + 1):
            beginnings = dict.fromkeys(run[:n] for run in runs if len(run) >= n)
            keys = [number[run[:-1]] * len(self._words) + self._words[run[-1]] for run in beginnings]
            self._longer.append(_Lookup(np.array(keys, dtype=np.int64), len(number)))
            number.update(zip(beginnings, range(len(number), len(number) + len(beginnings)), strict=True))
        self._column = np.full(len(number) + 1, -1, dtype=np.int64)  # the last is for no node at all, number -1
        for run, column in zip(runs, vocabulary.values(), strict=True):
            self._column[number[run]] = column

    def _words_of(self, pieces: list[str]) -> list[list[int]]:
        return [[self._words.get(word, -1) for word in _WORD.findall(piece.lower())] for piece in pieces]

    def count(self, texts: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
        """Return text, column and count of every term of every text, ordered by text and column."""
        words, lengths = self._pieces.read(texts)
        rows = np.repeat(np.arange(len(texts)), lengths)
        found = [self._keys(rows, words)]
        nodes = words
        for n, lookup in enumerate(self._longer, start=1):
            begun, word = nodes[: max(len(words) - n, 0)], words[n:]
            whole = (begun >= 0) & (word >= 0) & (rows[n:] == rows[: len(begun)])
            nodes = np.full(len(begun), -1)
            nodes[whole] = lookup.find(begun[whole] * len(self._words) + word[whole])
            found.append(self._keys(rows[: len(nodes)], nodes))
        keys = np.sort(np.concatenate(found))
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        return keys[first] // self._n_terms, keys[first] % self._n_terms, np.diff(first, append=len(keys))

    def _keys(self, rows: Numbers, nodes: Numbers) -> Numbers:
        columns = self._column[nodes]
        known = columns >= 0
        keys: Numbers = rows[known] * self._n_terms + columns[known]
        return keys


class _Lookup:
    """Finds numbers among many, several times faster than a binary search: they stand in the order of their hashes."""

    _FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, as Knuth hashes

    def __init__(self, keys: Numbers, first: int) -> None:
        n_bits = max(int(4 * len(keys)).bit_length(), 1)
        self._shift = np.uint64(64 - n_bits)
        order = np.argsort(self._hash(keys), kind="stable")
        self._keys, self._numbers = keys[order], order + first
        self._starts = np.searchsorted(self._hash(self._keys), np.arange(2**n_bits + 1))

    def _hash(self, keys: Numbers) -> Numbers:
        hashed: Numbers = ((keys.astype(np.uint64) * self._FACTOR) >> self._shift).astype(np.int64)
        return hashed

    def find(self, keys: Numbers) -> Numbers:
        """Return ``first`` plus the place of each key among those that were given, or -1."""
        hashed = self._hash(keys)
        place, end = self._starts[hashed], self._starts[hashed + 1]
        found = np.full(len(keys), -1)
        waiting = np.flatnonzero(place < end)
        while len(waiting):
            hit = self._keys[place[waiting]] == keys[waiting]
            found[waiting[hit]] = self._numbers[place[waiting[hit]]]
            waiting = waiting[~hit]
            place[waiting] += 1
            waiting = waiting[place[waiting] < end[waiting]]
        return found

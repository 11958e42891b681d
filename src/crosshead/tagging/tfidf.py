"""TF-IDF features of a text without scikit-learn, equal to ``TfidfVectorizer(sublinear_tf=True)`` term by term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.pieces import Numbers, Pieces

_WORD = re.compile(r"(?u)\b\w\w+\b")


def terms(text: str, n_max: int) -> list[str]:
    """Words of two characters or more in lower case, and their runs of up to ``n_max`` words."""
    words = _WORD.findall(text.lower())
    found = list(words)
    for n in range(2, n_max + 1):
        found.extend(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return found


@dataclass(frozen=True)
class TermCounts:
    """How often every term stands in every text; one number an entry, none of them zero."""

    terms: list[str]
    """In alphabetical order; their places are the columns."""
    rows: Numbers
    columns: Numbers
    counts: Numbers


def count_terms(texts: Sequence[str], n_max: int, min_df: int = 1) -> TermCounts:
    """Count the `terms` of texts with arrays, leaving out terms that stand in fewer than ``min_df`` texts."""
    known: dict[str, int] = {}

    def words_of(pieces: list[str]) -> list[list[int]]:
        return [[known.setdefault(word, len(known)) for word in _WORD.findall(piece.lower())] for piece in pieces]

    words, lengths = Pieces(words_of).read(texts)
    names = list(known)
    row = np.repeat(np.arange(len(texts)), lengths)
    starts = np.arange(len(words))  # of the runs of n words that stand in one text
    runs = words  # a number for each of them
    terms: list[str] = []
    found = []
    for n in range(1, n_max + 1):
        if n > 1:
            whole = np.flatnonzero(starts + n - 1 < len(words))
            whole = whole[row[starts[whole] + n - 1] == row[starts[whole]]]
            starts, runs = starts[whole], runs[whole] * len(names) + words[starts[whole] + n - 1]
        _, first, runs = np.unique(runs, return_index=True, return_inverse=True)
        pairs, counts = np.unique(row[starts] * max(len(first), 1) + runs, return_counts=True)
        rows, of_run = pairs // max(len(first), 1), pairs % max(len(first), 1)
        kept = np.flatnonzero(np.bincount(of_run, minlength=len(first)) >= min_df)
        column = np.full(len(first), -1)
        column[kept] = np.arange(len(kept)) + len(terms)
        terms += [" ".join(names[word] for word in words[start : start + n]) for start in starts[first[kept]].tolist()]
        is_kept = column[of_run] >= 0
        found.append((rows[is_kept], column[of_run[is_kept]], counts[is_kept]))
    order = sorted(range(len(terms)), key=terms.__getitem__)
    place = np.empty(len(terms), dtype=np.int64)
    place[order] = np.arange(len(terms))
    rows, columns, counts = (np.concatenate(part) for part in zip(*found, strict=True))
    return TermCounts([terms[i] for i in order], rows, place[columns], counts)


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
        words = " ".join(vocabulary).split(" ") if vocabulary else []
        self._words = {word: i for i, word in enumerate(dict.fromkeys(words))}
        self._pieces = Pieces(self._words_of)
        self._n_terms = max(len(vocabulary), 1)
        self._longer: list[_Lookup] = []
        lengths = np.fromiter((term.count(" ") + 1 for term in vocabulary), np.int64, len(vocabulary))
        columns = np.fromiter(vocabulary.values(), np.int64, len(vocabulary))
        numbers = np.fromiter(map(self._words.__getitem__, words), np.int64, len(words))
        first = np.cumsum(lengths) - lengths
        nodes = numbers[first]  # of each term, as far as it has been read
        column_of = [np.full(len(self._words), -1)]
        column_of[0][nodes[lengths == 1]] = columns[lengths == 1]
        for n in range(2, n_max + 1):
            goes_on = lengths >= n
            keys = nodes[goes_on] * len(self._words) + numbers[first[goes_on] + n - 1]
            different, inverse = np.unique(keys, return_inverse=True)
            n_before = sum(map(len, column_of))
            self._longer.append(_Lookup(different, n_before))
            nodes[goes_on] = n_before + inverse
            column_of.append(np.full(len(different), -1))
            column_of[-1][nodes[lengths == n] - n_before] = columns[lengths == n]
        self._column = np.concatenate([*column_of, [-1]])  # the last is for no node at all, number -1

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

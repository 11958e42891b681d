"""Near-duplicate paragraphs, and the articles that must stay together because of them.

Two paragraphs are near-duplicates when the Jaccard similarity of their word 5-grams reaches a threshold. MinHash with
locality-sensitive hashing proposes pairs, and each is then compared exactly. Broder (1997), "On the resemblance and
containment of documents", https://doi.org/10.1109/SEQUEN.1997.666900.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SHINGLE_WORDS = 5
# 32 bands of 4 rows propose a pair of similarity 0.8 with probability 1 - 5e-8, one of 0.6 with 0.99.
_BANDS, _ROWS = 32, 4
_ROUNDING = 1e-6
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two paragraphs, by position, that say the same."""

    first: int
    second: int
    similarity: float


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[Duplicate]:
    """Find the paragraphs that repeat one another, wholly or nearly.

    Of several paragraphs with the same words each is linked to the first only, so that the list stays as short as the
    corpus; who is connected with whom is the same as in the list of all pairs.

    Parameters
    ----------
    texts : sequence of str
    threshold : float, default=0.8
        Least Jaccard similarity of word 5-grams; a text shorter than five words counts as one 5-gram.
    """
    positions: dict[tuple[str, ...], int] = {}
    found: list[Duplicate] = []
    for position, text in enumerate(texts):
        words = tuple(_WORD.findall(unicodedata.normalize("NFC", text).casefold()))
        first = positions.setdefault(words, position)
        if first != position:
            found.append(Duplicate(first, position, 1.0))
    distinct = list(positions)
    shingles = {positions[words]: _shingles(words) for words in _with_shared_shingles(distinct, threshold)}
    for first, second in _proposed(shingles):
        common = len(shingles[first] & shingles[second])
        similarity = common / (len(shingles[first]) + len(shingles[second]) - common)
        if similarity >= threshold:
            found.append(Duplicate(first, second, similarity))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


@dataclass(frozen=True)
class Grouping:
    """Which articles belong together, and which paragraphs say nothing about that."""

    group_ids: tuple[str, ...]
    """For every row, the first by name of the articles that its article is connected with."""
    boilerplate: frozenset[int]
    """Rows whose text returns in so many articles that it is no part of any."""
    pairs: tuple[Duplicate, ...]
    """The near-duplicates in different articles that connect them."""


def group_articles(
    texts: Sequence[str], article_ids: Sequence[str], *, threshold: float = 0.8, boilerplate_articles: int = 10
) -> Grouping:
    """Connect the articles that repeat one another's paragraphs.

    A text that returns in more than ``boilerplate_articles`` articles, such as an imprint, connects none of them: it
    would tie the whole corpus into one group.
    """
    found = near_duplicates(texts, threshold)
    cluster = connected(len(texts), [(pair.first, pair.second) for pair in found])
    articles_of: dict[int, set[str]] = defaultdict(set)
    for row, root in enumerate(cluster):
        articles_of[root].add(article_ids[row])
    boilerplate = frozenset(row for row, root in enumerate(cluster) if len(articles_of[root]) > boilerplate_articles)
    pairs = tuple(
        pair for pair in found if pair.first not in boilerplate and article_ids[pair.first] != article_ids[pair.second]
    )
    names = sorted(set(article_ids))
    number = {name: position for position, name in enumerate(names)}
    edges = [(number[article_ids[pair.first]], number[article_ids[pair.second]]) for pair in pairs]
    group_of = connected(len(names), edges)
    return Grouping(tuple(names[group_of[number[name]]] for name in article_ids), boilerplate, pairs)


def connected(n_items: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Give every item the smallest number among the items that it is connected with, itself included."""
    parent = list(range(n_items))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(item) for item in range(n_items)]


def _with_shared_shingles(texts: Sequence[tuple[str, ...]], threshold: float) -> list[tuple[str, ...]]:
    """Leave out texts that cannot have a near-duplicate, because too many of their shingles occur nowhere else.

    In most corpora that is nearly every text, and spares sketching it. The hashes here are Python's own, which
    differ from process to process but are only counted.
    """
    if not texts:
        return []
    hashed = [[hash(shingle) for shingle in _shingles(words)] for words in texts]
    n_shingles = np.array([len(numbers) for numbers in hashed])
    _, inverse, counts = np.unique(np.concatenate(hashed), return_inverse=True, return_counts=True)
    n_shared = np.add.reduceat(counts[inverse] > 1, np.cumsum(n_shingles) - n_shingles, dtype=np.int64)
    return [texts[int(position)] for position in np.flatnonzero(n_shared >= threshold * n_shingles - _ROUNDING)]


def _shingles(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {words[start : start + SHINGLE_WORDS] for start in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def _proposed(shingles: dict[int, set[tuple[str, ...]]]) -> set[tuple[int, int]]:
    if len(shingles) < 2:
        return set()
    from datasketch import MinHash, MinHashLSH  # half a second, and most corpora never come here

    words = [[" ".join(shingle).encode() for shingle in found] for found in shingles.values()]
    sketches = MinHash.bulk(words, num_perm=_BANDS * _ROWS)
    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    pairs: set[tuple[int, int]] = set()
    for position, sketch in zip(shingles, sketches, strict=True):
        pairs.update((earlier, position) for earlier in index.query(sketch))
        index.insert(position, sketch, check_duplication=False)
    return pairs

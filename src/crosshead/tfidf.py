"""TF-IDF features of a text without scikit-learn, equal to ``TfidfVectorizer(sublinear_tf=True)`` term by term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        """``tfidf(texts) @ coef.T``, shape (n_texts, n_section_types)."""
        by_column = np.ascontiguousarray(coef.T)
        scores = np.zeros((len(texts), len(coef)))
        for row, text in enumerate(texts):
            columns, values = self.weights(text)
            scores[row] = values @ by_column[columns]
        return scores

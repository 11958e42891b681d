"""Neighbouring paragraphs inform each other: forward–backward over the paragraphs of one article.

Section types come in runs. How much more often one follows another than chance would have it is learned from the
training articles and enters with a weight; weight 0 leaves every paragraph on its own. The result is a probability
for each paragraph, so the best type and its confidence come from the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosshead.heads import Floats, log_softmax


@dataclass(frozen=True)
class Transitions:
    """How strongly one section type calls for another beside it.

    ``log_ratio[i, j]`` is the logarithm of P(j follows i) / P(j), shape (n_section_types, n_section_types).
    """

    log_ratio: NDArray[np.float64]
    weight: float

    @classmethod
    def fit(cls, sequences: Sequence[NDArray[np.int64]], n_section_types: int, weight: float) -> Transitions:
        """Count neighbours in articles of encoded section types; one is added to every count."""
        counts = np.ones((n_section_types, n_section_types))
        for sequence in sequences:
            np.add.at(counts, (sequence[:-1], sequence[1:]), 1.0)
        following = counts / counts.sum(axis=1, keepdims=True)
        overall = counts.sum(axis=0) / counts.sum()
        return cls(np.log(following / overall), weight)

    def decode(self, log_proba: Floats) -> Floats:
        """Log-probabilities of each paragraph of one article given all its paragraphs, shape as the input."""
        if self.weight == 0 or len(log_proba) < 2:
            return log_softmax(log_proba)
        step = self.weight * self.log_ratio
        forward, backward = log_proba.copy(), np.zeros_like(log_proba)
        for i in range(1, len(log_proba)):
            forward[i] += _log_sum(forward[i - 1][:, None] + step, axis=0)
        for i in range(len(log_proba) - 2, -1, -1):
            backward[i] = _log_sum(step + (log_proba[i + 1] + backward[i + 1])[None, :], axis=1)
        return log_softmax(forward + backward)

    def decode_all(self, log_proba: Floats, lengths: Sequence[int]) -> Floats:
        """Decode several articles, ``lengths`` paragraphs each in order; equal to `decode` on each, but in one pass."""
        n = np.asarray(lengths, dtype=np.int64)
        if self.weight == 0 or n.max(initial=0) < 2:
            return log_softmax(log_proba)
        first = np.cumsum(n) - n
        step = self.weight * self.log_ratio
        forward, backward = log_proba.copy(), np.zeros_like(log_proba)
        for i in range(1, int(n.max())):
            rows = first[n > i] + i
            forward[rows] += _log_sum(forward[rows - 1][:, :, None] + step, axis=1)
        for i in range(int(n.max()) - 2, -1, -1):
            rows = first[n > i + 1] + i
            backward[rows] = _log_sum(step + (log_proba[rows + 1] + backward[rows + 1])[:, None, :], axis=2)
        return log_softmax(forward + backward)


def _log_sum(values: Floats, axis: int) -> Floats:
    top = values.max(axis=axis, keepdims=True)
    total: Floats = np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis)
    return total

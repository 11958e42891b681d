"""Trained heads as plain arrays: features in, log-probabilities out, no scikit-learn.

Training converts every fitted scikit-learn classifier to one of these at once and uses the result from then on, so
training and tagging cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_softmax(logits: Floats) -> Floats:
    """Row-wise logarithm of the softmax, stable for large logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


class Head(Protocol):
    """What every head can do."""

    kind: ClassVar[str]

    def log_proba(self, features: NDArray[Any]) -> Floats:
        """Log-probabilities (n_rows, n_section_types) of features (n_rows, n_features)."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that make up the head, by name."""
        ...


@dataclass(frozen=True)
class LinearHead:
    """``log_softmax(features @ coef.T + intercept)``: a linear classifier, its temperature folded in."""

    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]
    kind: ClassVar[str] = "linear"

    def log_proba(self, features: NDArray[Any]) -> Floats:
        """Log-probabilities of dense features (n_rows, n_features).

        Not a BLAS product: its last bits depend on how many rows stand beside a row.
        """
        return self.from_scores(np.einsum("nd,kd->nk", features, self.coef))

    def from_scores(self, scores: NDArray[Any]) -> Floats:
        """Log-probabilities of ``features @ coef.T`` that was computed elsewhere (sparse features)."""
        return log_softmax(np.asarray(scores, dtype=np.float64) + self.intercept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``coef`` (n_section_types, n_features) and ``intercept``."""
        return {"coef": self.coef, "intercept": self.intercept}


@dataclass(frozen=True)
class NeighboursHead:
    """k nearest training vectors by dot product vote; half a vote is shared out evenly: no type is impossible."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int32]
    n_neighbours: NDArray[np.int32]
    n_section_types: NDArray[np.int32]
    kind: ClassVar[str] = "neighbours"

    def log_proba(self, features: NDArray[Any]) -> Floats:
        """Log of the smoothed share of votes."""
        k, n_types = int(self.n_neighbours[0]), int(self.n_section_types[0])
        votes = np.full((len(features), n_types), 0.5 / n_types)
        # Unit vectors: the largest dot product is the smallest distance. Ties go to the earlier training row.
        for start in range(0, len(features), 1024):
            block = slice(start, start + 1024)
            nearest = np.argsort(-(features[block] @ self.vectors.T), axis=1, kind="stable")[:, :k]
            rows = np.arange(len(nearest))
            for rank in range(k):
                votes[block][rows, self.labels[nearest[:, rank]]] += 1.0
        shares: Floats = np.log(votes / votes.sum(axis=1, keepdims=True))
        return shares

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the training vectors, their labels and the two counts."""
        return {
            "vectors": self.vectors,
            "labels": self.labels,
            "n_neighbours": self.n_neighbours,
            "n_section_types": self.n_section_types,
        }


@dataclass(frozen=True)
class ConstantHead:
    """The same log-probabilities for every row: the majority baseline."""

    log_prior: NDArray[np.float64]
    kind: ClassVar[str] = "constant"

    def log_proba(self, features: NDArray[Any]) -> Floats:
        """Repeat the prior for every row."""
        return np.tile(self.log_prior, (features.shape[0], 1))

    def from_scores(self, scores: NDArray[Any]) -> Floats:
        """Repeat the prior for every row."""
        return self.log_proba(scores)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the prior."""
        return {"log_prior": self.log_prior}


HEADS: Mapping[str, Any] = {head.kind: head for head in (LinearHead, NeighboursHead, ConstantHead)}
"""Every kind of head that a bundle may name; nothing else is ever built from a file."""

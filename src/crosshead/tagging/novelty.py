"""Text of another kind than that of training: how far a paragraph's vector lies from all that was learned from.

The section types say nothing about a recipe or a page in another language, and neither does the confidence: it is as
high there as anywhere. A Mahalanobis distance tells such text from the model's own (experiments/out_of_domain).

References
----------
Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, arXiv:1807.03888 (one mean and
no section types here: they bring nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3
"""Share of the mean variance that is added to every direction's, so that none of them is without."""
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Novelty:
    """Mean and spread of the training vectors, and the distance from which a text is of another kind."""

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    """Turns what is left of the mean into coordinates of variance 1, (n_dimensions, n_dimensions)."""
    threshold: float
    false_alarms: float
    """Share of paragraphs of held-out articles that lie beyond ``threshold``."""

    def distance(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Mahalanobis distance of each vector.

        Not a BLAS product: its last bits depend on how many rows stand beside a row.
        """
        away = np.einsum("nd,de->ne", vectors.astype(np.float32) - self.mean, self.whitening)
        distance: NDArray[np.float64] = np.sqrt(np.einsum("ne,ne->n", away, away, dtype=np.float64))
        return distance

    def is_beyond(self, vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Say of each vector whether it lies beyond the threshold."""
        beyond: NDArray[np.bool_] = self.distance(vectors) > self.threshold
        return beyond

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays by name."""
        return {"mean": self.mean, "whitening": self.whitening}


def fit_novelty(vectors: NDArray[Any], folds: Folds, false_alarms: float) -> Novelty:
    """Fit on all vectors; the threshold is such that this share of what the folds hold out lies beyond it.

    A vector that was fitted on lies nearer than one that was not, so distances come from the other folds.
    """
    held_out = [_fit(vectors[learned]).distance(vectors[asked]) for learned, asked in folds]
    threshold = float(np.quantile(np.concatenate(held_out), 1 - false_alarms))
    found = _fit(vectors)
    return Novelty(found.mean, found.whitening, threshold, false_alarms)


def _fit(vectors: NDArray[Any]) -> Novelty:
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    covariance = centred.T @ centred / len(vectors)
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + ridge * np.eye(len(covariance))))
    return Novelty(mean.astype(np.float32), whitening.astype(np.float32), np.inf, 0.0)

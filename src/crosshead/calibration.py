"""Probabilities that mean what they say: one temperature for all section types, fitted on out-of-fold rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosshead.heads import Floats, log_softmax

_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(log_proba: Floats, y: NDArray[np.int64]) -> float:
    """Find the temperature that minimises the log-loss of ``softmax(log_proba / temperature)``.

    The loss is convex in 1 / temperature, so a golden-section search on it cannot miss.

    References
    ----------
    Guo et al. (2017), On Calibration of Modern Neural Networks, ICML.
    """
    rows = np.arange(len(y))

    def loss(inverse: float) -> float:
        return float(-log_softmax(log_proba * inverse)[rows, y].mean())

    low, high = 1.0 / _HIGHEST, 1.0 / _LOWEST
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return 2.0 / (low + high)


def apply_temperature(log_proba: Floats, temperature: float) -> Floats:
    """Divide by the temperature and normalise again."""
    return log_softmax(log_proba / temperature)

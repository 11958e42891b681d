"""Probabilities that mean what they say: one temperature for all section types, fitted on out-of-fold rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.heads import Floats, log_softmax

_LOWEST, _HIGHEST = 0.05, 20.0
_MAX_STEPS, _PRECISION = 60, 1e-12


def fit_temperature(log_proba: Floats, y: NDArray[np.int64]) -> float:
    """Find the temperature that minimises the log-loss of ``softmax(log_proba / temperature)``.

    The loss is convex in 1 / temperature: Newton's steps, kept between bounds that close in, cannot miss.

    References
    ----------
    Guo et al. (2017), On Calibration of Modern Neural Networks, ICML.
    """
    logits = np.ascontiguousarray(log_proba.T)  # sums over few section types are several times faster this way round
    truth = logits[y, np.arange(len(y))]
    low, high, inverse = 1.0 / _HIGHEST, 1.0 / _LOWEST, 1.0
    for _ in range(_MAX_STEPS):
        weights = np.exp(inverse * (logits - logits.max(axis=0)))
        weights /= weights.sum(axis=0)
        mean = (weights * logits).sum(axis=0)
        slope = float((mean - truth).mean())
        curvature = float(((weights * logits**2).sum(axis=0) - mean**2).mean())
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        better = inverse - slope / curvature if curvature > 0 else high
        if not low < better < high:
            better = (low + high) / 2.0
        if abs(better - inverse) <= _PRECISION * inverse:
            break
        inverse = better
    return 1.0 / inverse


def apply_temperature(log_proba: Floats, temperature: float) -> Floats:
    """Divide by the temperature and normalise again."""
    return log_softmax(log_proba / temperature)

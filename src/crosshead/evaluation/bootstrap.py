"""Intervals from resampling whole articles.

Paragraphs of one article share its subject, author and register, so a resample of single paragraphs would
promise too much. Each measure is first reduced to sums by article; a resample then is a weighted sum of a small
table, and a thousand of them cost one matrix product.

References
----------
Davison, A. C. and Hinkley, D. V. (1997), Bootstrap Methods and their Application, §3.8 (resampling of clusters),
doi:10.1017/CBO9780511802843.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crosshead.errors import DataError
from crosshead.evaluation.inputs import FloatArray

LEVEL = 0.95
MIN_ARTICLES = 5
"""Resampling fewer would give intervals that are far too narrow."""
CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A measured value and the ends of its 95 % interval; the ends are None where none could be had.

    ``low <= value <= high`` always: where few articles leave the percentiles beside the value, the interval is
    widened up to it.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Read as ``0.853 (0.831–0.874)``."""
        return f"{self.value:.3f}" + (f" ({self.low:.3f}–{self.high:.3f})" if self.has_ends else "")

    @property
    def has_ends(self) -> bool:
        """Whether there were enough articles for an interval."""
        return self.low is not None and self.high is not None

    def as_dict(self) -> dict[str, float | None]:
        """Return a mapping for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def resampled_sums(sums: FloatArray, n_resamples: int, seed: int) -> FloatArray:
    """Draw the articles with replacement; return the sums of each draw.

    Parameters
    ----------
    sums : array of shape (n_articles, n_sums)
        What each article contributes.

    Returns
    -------
    array of shape (n_resamples, n_sums); empty for fewer than `MIN_ARTICLES` articles.

    Raises
    ------
    DataError : if ``n_resamples`` is negative.
    """
    if n_resamples < 0:
        raise DataError(f"n_resamples is {n_resamples}; give 0 for no intervals, or at least 200 for useful ones")
    n_articles = len(sums)
    if n_articles < MIN_ARTICLES or n_resamples == 0:
        return np.empty((0, sums.shape[1]))
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // n_articles)
    parts = []
    for start in range(0, n_resamples, step):
        n_draws = min(step, n_resamples - start)
        drawn = rng.integers(0, n_articles, size=(n_draws, n_articles))
        drawn += np.arange(n_draws)[:, None] * n_articles
        weights = np.bincount(drawn.ravel(), minlength=n_draws * n_articles).reshape(n_draws, n_articles)
        parts.append(weights.astype(np.float64) @ sums)
    return np.concatenate(parts)


def percentile_interval(value: float, resampled: FloatArray, *, recentre: bool = False) -> Interval | None:
    """Put the 95 % percentile interval of the resampled values around ``value``.

    None where the value itself is not defined (``nan``). Resamples in which it is not defined are left out.

    Parameters
    ----------
    recentre : bool, default=False
        Shift the resampled values so that their mean is ``value``: for measures that resampling itself
        inflates, as it does the absolute gaps of the calibration error.
    """
    if np.isnan(value):
        return None
    defined = resampled[~np.isnan(resampled)]
    if len(defined) == 0:
        return Interval(float(value))
    if recentre:
        defined = np.maximum(defined - (defined.mean() - value), 0.0)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))

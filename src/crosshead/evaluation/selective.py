"""Answering only when sure: how the share of answers and the share of mistakes among them go together.

A paragraph is answered when its confidence, the highest probability, is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import LEVEL, resampled_sums
from crosshead.evaluation.inputs import BoolArray, FloatArray, IntArray, Labels, checked_pair, groups, same_length

ABSTAIN_ALWAYS = 2.0


@dataclass(frozen=True)
class RiskCoverage:
    """Risk against coverage, from the strictest threshold to none; ``low`` and ``high`` bound the risk (95 %).

    ``area`` is the mean risk over all coverages (AURC): 0 is perfect, the error rate is what chance order gives.
    """

    thresholds: FloatArray
    coverage: FloatArray
    risk: FloatArray
    low: FloatArray
    high: FloatArray
    area: float

    def at(self, threshold: float) -> tuple[float, float]:
        """Return coverage and risk at the nearest threshold of the curve that is not lower; (0, 0) above all."""
        reached = int((self.thresholds >= threshold).sum())
        return (float(self.coverage[reached - 1]), float(self.risk[reached - 1])) if reached else (0.0, 0.0)


def risk_coverage(
    y_true: Labels,
    y_proba: ArrayLike,
    article_ids: Sequence[Any],
    *,
    section_types: Sequence[str] | None = None,
    n_points: int = 200,
    n_resamples: int = 1000,
    seed: int = 0,
) -> RiskCoverage:
    """Draw the risk–coverage curve at up to ``n_points`` thresholds.

    Raises
    ------
    DataError : if there is no row, lengths differ, a label is unknown, or a row holds no probabilities.

    References
    ----------
    El-Yaniv and Wiener (2010), On the foundations of noise-free selective classification, JMLR 11. Geifman,
    Uziel and El-Yaniv (2019), Bias-reduced uncertainty estimation, arXiv:1805.08206 (area under the curve).
    """
    codes, proba = checked_pair(y_true, y_proba, section_types)
    same_length(y_true=codes, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    confidence, wrong = proba.max(axis=1), proba.argmax(axis=1) != codes
    levels = np.unique(confidence)[::-1]
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, min(n_points, len(levels))).round().astype(np.intp))]
    step = np.searchsorted(-chosen, -confidence)
    shape = (n_articles, len(chosen))
    cell = article * len(chosen) + step
    answered = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    mistakes = np.bincount(cell, weights=wrong, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.hstack([answered.cumsum(axis=1), mistakes.cumsum(axis=1)]).astype(np.float64)
    total = sums.sum(axis=0)
    risk = total[len(chosen) :] / total[: len(chosen)]
    low, high = _band(risk, resampled_sums(sums, n_resamples, seed), len(chosen))
    return RiskCoverage(chosen, total[: len(chosen)] / len(codes), risk, low, high, _area(confidence, wrong))


def _band(risk: FloatArray, resampled: FloatArray, n_points: int) -> tuple[FloatArray, FloatArray]:
    """Bound the risk at each threshold; a resample without any answer there counts as no mistake."""
    if not len(resampled):
        return risk, risk
    drawn = resampled[:, n_points:] / np.maximum(resampled[:, :n_points], 1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.minimum(low, risk), np.maximum(high, risk)


def _area(confidence: FloatArray, wrong: BoolArray) -> float:
    """Average the risk over coverage; paragraphs of equal confidence are answered together."""
    _, level = np.unique(-confidence, return_inverse=True)
    answered = np.bincount(level)
    risk = np.bincount(level, weights=wrong).cumsum() / answered.cumsum()
    return float((risk * answered).sum() / len(confidence))


def abstention_threshold(
    y_true: Labels,
    y_proba: ArrayLike,
    *,
    risk: float,
    article_ids: Sequence[Any] | None = None,
    level: float | None = LEVEL,
    section_types: Sequence[str] | None = None,
) -> float:
    """Find the smallest confidence at which to answer so that at most ``risk`` of the answers are wrong.

    Give rows that the probabilities were not fitted on (out of fold). The bound on the risk is Wilson's upper
    limit, with the number of answered paragraphs divided by the design effect of their articles: mistakes come
    in clusters, and fifty paragraphs of one article tell less than fifty of fifty. It holds for one threshold;
    choosing the smallest that keeps to it adds a little optimism, which tests/test_evaluation.py measures.

    Parameters
    ----------
    risk : float
        The share of wrong answers to stay below, more than 0 and less than 1.
    article_ids : the article of each paragraph; without, every paragraph counts as an article of its own
    level : float or None, default=0.95
        How sure to be (one-sided) that the risk on new articles is kept. None takes the measured risk as it
        is, which new articles exceed half of the time.

    Returns
    -------
    float : ``confidence >= threshold`` is answered. 0.0 where everything may be answered; `ABSTAIN_ALWAYS`,
        which no confidence reaches, where no threshold keeps to the risk.

    Raises
    ------
    DataError : if ``risk`` or ``level`` is out of range, or labels and probabilities don't fit.

    References
    ----------
    Geifman and El-Yaniv (2017), Selective classification for deep neural networks, arXiv:1705.08500. Wilson
    (1927), doi:10.1080/01621459.1927.10502953. Korn and Graubard (1998), Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data (effective sample size), Survey
    Methodology 24.

    Examples
    --------
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    >>> abstention_threshold([0, 0, 0, 1], proba, risk=0.1, level=None)
    0.7
    """
    codes, proba = checked_pair(y_true, y_proba, section_types)
    if not 0 < risk < 1:
        raise DataError(f"risk is {risk!r}; it is a share of wrong answers between 0 and 1, as 0.1")
    if level is not None and not 0.5 <= level < 1:
        raise DataError(f"level is {level!r}; give a value from 0.5 to below 1, as 0.95, or None for no margin")
    article = np.arange(len(codes), dtype=np.intp) if article_ids is None else groups(article_ids)[0]
    same_length(y_true=codes, article_ids=article)
    levels, bound = _bounds(proba.max(axis=1), proba.argmax(axis=1) != codes, article, level)
    kept = np.flatnonzero(bound <= risk)
    if not len(kept):
        return ABSTAIN_ALWAYS
    last = int(kept[-1])
    return 0.0 if last == len(levels) - 1 else float(levels[last])


def _bounds(
    confidence: FloatArray, wrong: BoolArray, article: IntArray, level: float | None
) -> tuple[FloatArray, FloatArray]:
    """Return every distinct confidence, highest first, and the bound on the risk of answering from it up."""
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong, article = confidence[order], wrong[order], article[order]
    n = np.arange(1, len(order) + 1, dtype=np.float64)
    share = np.cumsum(wrong) / n
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    if level is None:
        return confidence[ends], share[ends]
    effect = _design_effect(wrong, article, share, n)
    effect = np.maximum(effect, effect[-1])
    return confidence[ends], _wilson_upper(share, n / effect, level)[ends]


def _design_effect(wrong: BoolArray, article: IntArray, share: FloatArray, n: FloatArray) -> FloatArray:
    """How many times larger clustering makes the variance of the risk, at least 1, after each answered row.

    Needs the sums over articles of e², e·n and n², where n counts the article's answered paragraphs and e the
    wrong ones; each row adds to them by what its article had before.
    """
    together = np.argsort(article, kind="stable")
    first = np.append(True, np.diff(article[together]) != 0)
    start = np.flatnonzero(first)[np.cumsum(first) - 1]
    errors: FloatArray = np.cumsum(wrong[together], dtype=np.float64) - wrong[together]
    n_before, e_before = np.empty(len(n)), np.empty(len(n))
    n_before[together] = np.arange(len(n)) - start
    e_before[together] = errors - errors[start]
    squares = np.cumsum(2 * n_before + 1)
    mixed = np.cumsum(e_before + wrong * (n_before + 1))
    error_squares = np.cumsum(wrong * (2 * e_before + 1))
    n_articles = np.cumsum(n_before == 0)
    spread = np.maximum(error_squares - 2 * share * mixed + share**2 * squares, 0.0)
    binomial = share * (1 - share) * n
    ratio = np.divide(spread, binomial, out=np.ones(len(n)), where=binomial > 0)
    small_sample = n_articles / np.maximum(n_articles - 1, 1)
    return np.asarray(np.maximum(ratio * small_sample, 1.0))


def _wilson_upper(share: FloatArray, n: FloatArray, level: float) -> FloatArray:
    z = NormalDist().inv_cdf(level)
    centre = share + z**2 / (2 * n)
    width = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre + width) / (1 + z**2 / n)

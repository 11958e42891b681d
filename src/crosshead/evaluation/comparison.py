"""Is one model better than another, on the same paragraphs? Paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import Labels, checked_pair, groups, same_length
from crosshead.evaluation.scores import LOWER_IS_BETTER, OVERALL, article_sums, measures


@dataclass(frozen=True)
class Comparison:
    """The score of b minus the score of a, and the share of resamples in which b was not better.

    ``not_better`` reads like a one-sided p-value: 0.01 means that one resample in a hundred leaves b no better.
    """

    metric: str
    a: float
    b: float
    difference: Interval
    not_better: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference lies on the better side of 0 as a whole."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return False
        return high < 0 if self.metric in LOWER_IS_BETTER else low > 0


@dataclass(frozen=True)
class McNemar:
    """Paragraphs that only a, or only b, tagged right, and the exact two-sided p-value."""

    only_a: int
    only_b: int
    p_value: float


def paired_bootstrap(
    y_true: Labels,
    proba_a: ArrayLike,
    proba_b: ArrayLike,
    article_ids: Sequence[Any],
    *,
    metric: str = "macro_f1",
    section_types: Sequence[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same resamples of articles, so that hard articles are hard for both.

    Raises
    ------
    DataError : if the metric is unknown, the two have different shapes, or labels and probabilities don't fit.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, §16.4, doi:10.1201/9780429246593. Berg-Kirkpatrick,
    Burkett and Klein (2012), An empirical investigation of statistical significance in NLP, EMNLP.
    """
    if metric not in OVERALL:
        raise DataError(f"metric is {metric!r}; it is one of {', '.join(OVERALL)}")
    codes, first = checked_pair(y_true, proba_a, section_types)
    second = checked_pair(y_true, proba_b, section_types)[1]
    if first.shape != second.shape:
        raise DataError(f"proba_a has the shape {first.shape}, proba_b {second.shape}; score the same paragraphs")
    same_length(y_true=codes, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    sums = np.hstack([article_sums(codes, proba, article, n_articles) for proba in (first, second)])
    half, n_section_types = sums.shape[1] // 2, first.shape[1]
    drawn = resampled_sums(sums, n_resamples, seed)
    value_a, value_b = (float(measures(part, n_section_types)[metric]) for part in np.split(sums.sum(axis=0), [half]))
    score_a, score_b = (measures(part, n_section_types)[metric] for part in np.split(drawn, [half], axis=1))
    difference = score_b - score_a
    worse = difference >= 0 if metric in LOWER_IS_BETTER else difference <= 0
    return Comparison(
        metric=metric,
        a=value_a,
        b=value_b,
        difference=percentile_interval(value_b - value_a, difference) or Interval(value_b - value_a),
        not_better=float((worse.sum() + 1) / (len(worse) + 1)) if len(worse) else None,
    )


def mcnemar(y_true: Labels, pred_a: Labels, pred_b: Labels) -> McNemar:
    """Test exactly whether two models are right equally often, from the paragraphs where just one is right.

    It takes paragraphs as independent, which those of one article are not: read it beside `paired_bootstrap`.

    Raises
    ------
    DataError : if the lengths differ.

    References
    ----------
    McNemar (1947), doi:10.1007/BF02295996; the exact binomial form.

    Examples
    --------
    >>> mcnemar([1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0])
    McNemar(only_a=3, only_b=0, p_value=0.25)
    """
    truth, a, b = np.asarray(y_true), np.asarray(pred_a), np.asarray(pred_b)
    same_length(y_true=truth, pred_a=a, pred_b=b)
    only_a, only_b = int(((a == truth) & (b != truth)).sum()), int(((b == truth) & (a != truth)).sum())
    n, tail, ways = only_a + only_b, 0, 1
    for i in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (n - i) // (i + 1)
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**n))

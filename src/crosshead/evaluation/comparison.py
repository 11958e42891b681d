"""Is one model better than another, on the same paragraphs? Paired tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import FloatArray, Labels, checked_pair, groups, same_length
from crosshead.evaluation.scores import OVERALL, article_sums, measures
from crosshead.measures import LOWER_IS_BETTER


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
    resampled: FloatArray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """The difference in each resample in which it is defined."""

    @property
    def sign(self) -> int:
        """1 where a positive difference means that b is better, -1 where a negative one does."""
        return -1 if self.metric in LOWER_IS_BETTER else 1

    @property
    def p_value(self) -> float | None:
        """Two-sided: how easily resampling turns the difference round; None without resamples."""
        if not len(self.resampled):
            return None
        tail = min((self.resampled <= 0).sum(), (self.resampled >= 0).sum())
        return min(1.0, float(2 * (tail + 1) / (len(self.resampled) + 1)))

    def gain_at_least(self, level: float) -> float | None:
        """Return the one-sided bound: at this level of confidence, b is better than a by so much at least.

        Negative where b may be worse. None without resamples.
        """
        if not len(self.resampled):
            return None
        return float(np.quantile(self.sign * self.resampled, 1 - level))

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


@dataclass(frozen=True)
class PairedDifferences:
    """What `paired_differences` found: a `Comparison` for each overall measure, and for F1 of each section type."""

    overall: Mapping[str, Comparison]
    f1: Mapping[str, Comparison]
    """Section types that occur in the truth."""


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
    """Compare two models by one measure; see `paired_differences`.

    Raises
    ------
    DataError : if the metric is unknown, the two have different shapes, or labels and probabilities don't fit.
    """
    if metric not in OVERALL:
        raise DataError(f"metric is {metric!r}; it is one of {', '.join(OVERALL)}")
    scores = _paired_scores(y_true, proba_a, proba_b, article_ids, section_types, n_resamples, seed)
    return _comparison(metric, *(side[metric] for side in scores))


def paired_differences(
    y_true: Labels,
    proba_a: ArrayLike,
    proba_b: ArrayLike,
    article_ids: Sequence[Any],
    section_types: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> PairedDifferences:
    """Compare two models on the same resamples of articles, so that hard articles are hard for both.

    Raises
    ------
    DataError : if the two have different shapes, or labels and probabilities don't fit.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, §16.4, doi:10.1201/9780429246593. Berg-Kirkpatrick,
    Burkett and Klein (2012), An empirical investigation of statistical significance in NLP, EMNLP.
    """
    scores = _paired_scores(y_true, proba_a, proba_b, article_ids, section_types, n_resamples, seed)
    classes = [(i, name) for i, name in enumerate(section_types) if not np.isnan(scores[0]["f1"][i])]
    return PairedDifferences(
        overall={metric: _comparison(metric, *(side[metric] for side in scores)) for metric in OVERALL},
        f1={name: _comparison("f1", *(side["f1"][..., i] for side in scores)) for i, name in classes},
    )


def paired_set_accuracy(
    y_true: Labels,
    pred_a: Labels,
    pred_b: Labels,
    set_ids: Iterable[Any],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare the shares of contrast sets that two models tag right as a whole, on the same resamples of sets.

    Raises
    ------
    DataError : if the lengths differ or there is no row.
    """
    truth, a, b, ids = np.asarray(y_true), np.asarray(pred_a), np.asarray(pred_b), list(set_ids)
    same_length(y_true=truth, pred_a=a, pred_b=b, set_ids=ids)
    if not ids:
        raise DataError("there is no contrast set to compare on; give at least one row, or leave the comparison out")
    number, n_sets = groups(ids, what="set_ids")
    wrong = [np.bincount(number, weights=answer != truth, minlength=n_sets) for answer in (a, b)]
    sums = np.column_stack([side == 0 for side in wrong]).astype(np.float64)
    drawn = resampled_sums(sums, n_resamples, seed) / n_sets
    return _comparison("set_accuracy", *sums.mean(axis=0), *drawn.T)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for being several, so that the chance of any false alarm stays what one test alone would have.

    A missing one stays missing and does not count.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> holm([0.03, 0.01, None, 0.04])
    [0.06, 0.03, None, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted


def _paired_scores(
    y_true: Labels,
    proba_a: ArrayLike,
    proba_b: ArrayLike,
    article_ids: Sequence[Any],
    section_types: Sequence[str] | None,
    n_resamples: int,
    seed: int,
) -> tuple[dict[str, FloatArray], ...]:
    """Return the scores of a and of b, then both in every resample."""
    codes, first = checked_pair(y_true, proba_a, section_types)
    second = checked_pair(y_true, proba_b, section_types)[1]
    if first.shape != second.shape:
        raise DataError(f"proba_a has the shape {first.shape}, proba_b {second.shape}; score the same paragraphs")
    same_length(y_true=codes, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    sums = np.hstack([article_sums(codes, proba, article, n_articles) for proba in (first, second)])
    half, n_section_types = sums.shape[1] // 2, first.shape[1]
    drawn = resampled_sums(sums, n_resamples, seed)
    parts = (*np.split(sums.sum(axis=0), [half]), *np.split(drawn, [half], axis=1))
    return tuple(measures(part, n_section_types) for part in parts)


def _comparison(
    metric: str, a: FloatArray | float, b: FloatArray | float, drawn_a: FloatArray, drawn_b: FloatArray
) -> Comparison:
    drawn = drawn_b - drawn_a
    drawn = drawn[~np.isnan(drawn)]
    value = float(b - a)
    worse = drawn >= 0 if metric in LOWER_IS_BETTER else drawn <= 0
    return Comparison(
        metric=metric,
        a=float(a),
        b=float(b),
        difference=percentile_interval(value, drawn) or Interval(value),
        not_better=float((worse.sum() + 1) / (len(drawn) + 1)) if len(drawn) else None,
        resampled=drawn,
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

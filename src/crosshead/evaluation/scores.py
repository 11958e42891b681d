"""How good are these probabilities? Scores with intervals over articles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    Labels,
    checked_codes,
    checked_pair,
    groups,
    same_length,
)

OVERALL = ("macro_f1", "accuracy", "log_loss", "brier", "ece")
N_BINS = 15
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one section type; None where the test paragraphs hold none of it."""

    section_type: str
    support: int
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None


@dataclass(frozen=True)
class Scores:
    """What `evaluate` measured. ``coverage`` and ``risk`` are None unless abstentions were given.

    ``risk`` is the share of wrong answers among the paragraphs that got one.
    """

    n_paragraphs: int
    n_articles: int
    macro_f1: Interval
    accuracy: Interval
    log_loss: Interval
    brier: Interval
    ece: Interval
    classes: tuple[ClassScores, ...]
    coverage: Interval | None = None
    risk: Interval | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Section types of which the test paragraphs hold none; macro-F1 is the mean over the others."""
        return tuple(scores.section_type for scores in self.classes if scores.support == 0)

    def overall(self) -> dict[str, Interval]:
        """Return the overall measures by name, in the order of a table."""
        names = (*OVERALL, "coverage", "risk")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return a nested mapping for JSON."""
        classes = {
            scores.section_type: {"support": scores.support}
            | {name: interval.as_dict() for name, interval in _of_class(scores).items()}
            for scores in self.classes
        }
        overall: dict[str, Any] = {name: interval.as_dict() for name, interval in self.overall().items()}
        return {"n_paragraphs": self.n_paragraphs, "n_articles": self.n_articles, **overall, "classes": classes}

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers, as experiment trackers want them (``f1_other``, ``f1_other_low``)."""
        flat: dict[str, float] = {"n_paragraphs": self.n_paragraphs, "n_articles": self.n_articles}
        named = dict(self.overall())
        for scores in self.classes:
            named |= {f"{name}_{scores.section_type}": value for name, value in _of_class(scores).items()}
        for name, interval in named.items():
            flat[name] = interval.value
            if interval.low is not None and interval.high is not None:
                flat |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat


def _of_class(scores: ClassScores) -> dict[str, Interval]:
    named = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    return {name: interval for name, interval in named.items() if interval is not None}


def evaluate(
    y_true: Labels,
    y_proba: ArrayLike,
    article_ids: Sequence[Any],
    section_types: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    abstained: ArrayLike | None = None,
) -> Scores:
    """Score probabilities against the truth, each score with a 95 % interval from resampling articles.

    The answer for a paragraph is its most probable section type, also where the tagger abstained; only
    ``coverage`` and ``risk`` look at ``abstained``.

    - *precision* of a section type that is never answered is 0, as in scikit-learn.
    - *macro-F1* is the plain mean of F1 over the section types that occur in ``y_true``; in a resample, over
      those that occur in it. A section type that never occurs has no scores and is named in ``Scores.missing``.
    - *log-loss* clips probabilities at 2.2e-16, as scikit-learn does for float64.
    - *Brier score* is the squared difference summed over the section types, from 0 to 2 (not halved).
    - *ECE* is the mean gap between confidence and accuracy over 15 bins that hold equally many paragraphs;
      equal confidences share a bin. Resampling adds as much noise to the gaps as the sample already has, so
      its resampled values are shifted back by their mean excess before the percentiles are taken.

    Fewer than five articles, or ``n_resamples=0``: values without intervals.

    Parameters
    ----------
    y_true : the true section types, by name or by column
    y_proba : array of shape (n_paragraphs, n_section_types)
        Columns in the order of ``section_types``; rows sum to 1.
    article_ids : the article of each paragraph
    abstained : array of bool, optional
        Whether the tagger said that it is not sure.

    Raises
    ------
    DataError : if there is no row, lengths differ, a label is unknown, or a row holds no probabilities.

    References
    ----------
    Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2. Naeini, Cooper and Hauskrecht (2015),
    Obtaining well calibrated probabilities using Bayesian binning (ECE), doi:10.1609/aaai.v29i1.9602. Nguyen and
    O'Connor (2015), doi:10.18653/v1/D15-1182 (bins of equal mass). Roelofs et al. (2022), Mitigating bias in
    calibration error estimation, arXiv:2012.08668.

    Examples
    --------
    >>> scores = evaluate(["a", "b", "b"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [1, 1, 2], ["a", "b"])
    >>> round(scores.accuracy.value, 3), scores.n_articles
    (0.667, 2)
    """
    codes, proba = checked_pair(y_true, y_proba, section_types)
    same_length(y_true=codes, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    answered = _answered(abstained, len(codes))
    sums = article_sums(codes, proba, article, n_articles, answered)
    n_section_types = len(section_types)
    values = measures(sums.sum(axis=0), n_section_types)
    resampled = measures(resampled_sums(sums, n_resamples, seed), n_section_types)
    names = (*OVERALL, "coverage", "risk") if abstained is not None else OVERALL
    overall: dict[str, Any] = {name: _interval(name, values[name], resampled[name]) for name in names}
    return Scores(
        n_paragraphs=len(codes),
        n_articles=n_articles,
        classes=_classes(section_types, np.bincount(codes, minlength=n_section_types), values, resampled),
        **overall,
    )


def _answered(abstained: ArrayLike | None, n_paragraphs: int) -> BoolArray:
    if abstained is None:
        return np.ones(n_paragraphs, dtype=bool)
    answered = ~np.asarray(abstained, dtype=bool)
    same_length(y_true=range(n_paragraphs), abstained=answered)
    return answered


def _interval(name: str, value: FloatArray, resampled: FloatArray) -> Interval | None:
    return percentile_interval(float(value), resampled, recentre=name == "ece")


def _classes(
    section_types: Sequence[str], support: IntArray, values: dict[str, FloatArray], resampled: dict[str, FloatArray]
) -> tuple[ClassScores, ...]:
    return tuple(
        ClassScores(
            section_type=section_type,
            support=int(support[i]),
            **{name: _interval(name, values[name][i], resampled[name][:, i]) for name in ("precision", "recall", "f1")},
        )
        for i, section_type in enumerate(section_types)
    )


def article_sums(
    codes: IntArray, proba: FloatArray, article: IntArray, n_articles: int, answered: BoolArray | None = None
) -> FloatArray:
    """Reduce paragraphs to sums by article from which `measures` gets every score.

    Columns: the confusion matrix, row by row; log-loss; Brier; answered; answered and wrong; for each bin of
    confidence the sum of (right − confidence).
    """
    rows, n_section_types = np.arange(len(codes)), proba.shape[1]
    predicted = proba.argmax(axis=1)
    confidence, truth = proba[rows, predicted], proba[rows, codes]
    cells = n_section_types**2
    answered = np.ones(len(codes), dtype=bool) if answered is None else answered

    def by_article(values: FloatArray | BoolArray) -> FloatArray:
        return np.bincount(article, weights=values, minlength=n_articles).astype(np.float64)

    cell = (article * n_section_types + codes) * n_section_types + predicted
    table = np.bincount(cell, minlength=n_articles * cells).reshape(n_articles, cells)
    bins = confidence_bins(confidence, N_BINS)
    gaps = np.bincount(
        article * N_BINS + bins, weights=(predicted == codes) - confidence, minlength=n_articles * N_BINS
    ).reshape(n_articles, N_BINS)
    return np.column_stack(
        [
            table,
            by_article(-np.log(np.clip(truth, EPSILON, 1 - EPSILON))),
            by_article((proba**2).sum(axis=1) - 2 * truth + 1),
            by_article(answered),
            by_article(answered & (predicted != codes)),
            gaps,
        ]
    )


def measures(sums: FloatArray, n_section_types: int) -> dict[str, FloatArray]:
    """Turn sums over articles (the last axis as `article_sums` lays it out) into scores; nan where undefined."""
    cells = n_section_types**2
    table = sums[..., :cells].reshape(*sums.shape[:-1], n_section_types, n_section_types)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    support, predicted = table.sum(axis=-1), table.sum(axis=-2)
    present, n = support > 0, table.sum(axis=(-2, -1))
    loss, brier, answered, wrong = np.moveaxis(sums[..., cells : cells + 4], -1, 0)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return {
        "precision": np.where(present, hits / np.maximum(predicted, 1), np.nan),
        "recall": np.where(present, hits / np.maximum(support, 1), np.nan),
        "f1": np.where(present, f1, np.nan),
        "macro_f1": (f1 * present).sum(axis=-1) / present.sum(axis=-1),
        "accuracy": hits.sum(axis=-1) / n,
        "log_loss": loss / n,
        "brier": brier / n,
        "ece": np.abs(sums[..., cells + 4 :]).sum(axis=-1) / n,
        "coverage": answered / n,
        "risk": np.where(answered > 0, wrong / np.maximum(answered, 1), np.nan),
    }


def confidence_bins(confidence: FloatArray, n_bins: int) -> IntArray:
    """Find the bin of each confidence; bins hold equally many paragraphs, equal confidences share one."""
    edges = np.quantile(confidence, np.arange(1, n_bins) / n_bins, method="higher")
    return np.searchsorted(np.unique(edges), confidence, side="right").astype(np.intp)


def set_accuracy(
    y_true: Labels, y_pred: Labels, set_ids: Iterable[Any], *, n_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Measure the share of contrast sets in which every paragraph is tagged right, with an interval over sets.

    The paragraphs of a set share actors and words and differ in section type: a model that goes by words gets
    some of each set right and hardly any set as a whole.

    Raises
    ------
    DataError : if there is no row or the lengths differ.
    """
    truth, answer, ids = np.asarray(y_true), np.asarray(y_pred), list(set_ids)
    same_length(y_true=truth, y_pred=answer, set_ids=ids)
    if not ids:
        raise DataError("there is no contrast set to score; give at least one row, or leave the score out")
    number, n_sets = groups(ids, what="set_ids")
    wrong = np.bincount(number, weights=truth != answer, minlength=n_sets)
    sums = (wrong == 0).astype(np.float64)[:, None]
    resampled = resampled_sums(sums, n_resamples, seed)[:, 0] / n_sets
    return percentile_interval(float(sums.mean()), resampled) or Interval(float(sums.mean()))


def confusion(y_true: Labels, y_pred: Labels, section_types: Sequence[str]) -> IntArray:
    """Count paragraphs by true (row) and predicted (column) section type."""
    n = len(section_types)
    truth = checked_codes(y_true, n, section_types)
    answer = checked_codes(y_pred, n, section_types, what="y_pred")
    same_length(y_true=truth, y_pred=answer)
    return np.bincount(truth * n + answer, minlength=n * n).reshape(n, n).astype(np.intp)

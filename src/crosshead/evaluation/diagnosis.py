"""Where a model is right and wrong: reliability, slices, and the paragraphs themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import FloatArray, Labels, checked_pair, groups, same_length
from crosshead.evaluation.scores import N_BINS, confidence_bins, evaluate

N_HISTOGRAM_BARS = 20
LENGTH_BUCKETS = ("under 40 words", "40 to 79 words", "80 to 119 words", "120 words and more")
LENGTH_STEP = 40


@dataclass(frozen=True)
class Bin:
    """Paragraphs of similar confidence: how sure the model was on average, and how often it was right."""

    n: int
    low: float
    high: float
    confidence: float
    accuracy: Interval


@dataclass(frozen=True)
class Reliability:
    """Bins that hold equally many paragraphs, and how many paragraphs have which confidence (20 equal steps)."""

    bins: tuple[Bin, ...]
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """Scores on the paragraphs that share a value of a column."""

    value: str
    n_paragraphs: int
    n_articles: int
    macro_f1: Interval
    accuracy: Interval


@dataclass(frozen=True)
class Example:
    """One tagged paragraph, with what a reader needs to judge the answer."""

    paragraph_id: str
    text: str
    headings: tuple[str, ...]
    section_type: str
    predicted: str
    second: str
    confidence: float
    second_confidence: float

    @property
    def right(self) -> bool:
        """Whether the answer is the true section type."""
        return self.predicted == self.section_type


def reliability(
    y_true: Labels,
    y_proba: ArrayLike,
    article_ids: Sequence[Any],
    *,
    section_types: Sequence[str] | None = None,
    n_bins: int = N_BINS,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Compare confidence with accuracy in bins, with intervals over articles; the bins are those of the ECE.

    Raises
    ------
    DataError : if there is no row, lengths differ, a label is unknown, or a row holds no probabilities.
    """
    codes, proba = checked_pair(y_true, y_proba, section_types)
    same_length(y_true=codes, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    confidence = proba.max(axis=1)
    number = confidence_bins(confidence, n_bins)
    cell, n_cells = article * n_bins + number, n_articles * n_bins
    right = np.bincount(cell, weights=proba.argmax(axis=1) == codes, minlength=n_cells)
    count = np.bincount(cell, minlength=n_cells)
    sums = np.hstack([right.reshape(n_articles, n_bins), count.reshape(n_articles, n_bins)]).astype(np.float64)
    drawn = resampled_sums(sums, n_resamples, seed)
    shares = np.where(drawn[:, n_bins:] > 0, drawn[:, :n_bins] / np.maximum(drawn[:, n_bins:], 1), np.nan)
    bins = [
        _bin(confidence[number == i], float(sums[:, i].sum()), shares[:, i])
        for i in range(n_bins)
        if (number == i).any()
    ]
    bars = np.histogram(confidence, bins=N_HISTOGRAM_BARS, range=(0.0, 1.0 + 1e-9))[0]
    return Reliability(tuple(bins), tuple(int(n) for n in bars))


def _bin(confidence: FloatArray, right: float, shares: FloatArray) -> Bin:
    share = right / len(confidence)
    return Bin(
        n=len(confidence),
        low=float(confidence.min()),
        high=float(confidence.max()),
        confidence=float(confidence.mean()),
        accuracy=percentile_interval(share, shares) or Interval(share),
    )


def slices(
    y_true: Labels,
    y_proba: ArrayLike,
    article_ids: Sequence[Any],
    section_types: Sequence[str],
    column: Iterable[Any],
    *,
    order: Sequence[str] = (),
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[Slice]:
    """Score the paragraphs of each value of a column apart.

    Macro-F1 is the mean over the section types that occur in the slice, so slices that lack one are not
    comparable with those that have it.

    Parameters
    ----------
    column : the value of each paragraph
    order : values to list first, in this order (`LENGTH_BUCKETS`); the others follow, the largest first

    Raises
    ------
    DataError : as `evaluate`.
    """
    values = np.asarray([str(value) for value in column])
    codes, proba = checked_pair(y_true, y_proba, section_types)
    same_length(y_true=codes, column=values, article_ids=article_ids)
    ids = np.asarray([str(name) for name in article_ids])
    counts = dict(zip(*np.unique(values, return_counts=True), strict=True))
    rank = {name: i for i, name in enumerate(order)}
    found = []
    for name in sorted(counts, key=lambda name: (rank.get(str(name), len(rank)), -counts[name], name)):
        rows = values == name
        scores = evaluate(codes[rows], proba[rows], ids[rows], section_types, n_resamples=n_resamples, seed=seed)
        found.append(Slice(str(name), scores.n_paragraphs, scores.n_articles, scores.macro_f1, scores.accuracy))
    return found


def length_buckets(texts: Iterable[str]) -> list[str]:
    """Name the length of each text, as a column for `slices` with ``order=LENGTH_BUCKETS``."""
    last = len(LENGTH_BUCKETS) - 1
    return [LENGTH_BUCKETS[min(len(text.split()) // LENGTH_STEP, last)] for text in texts]


def errors(
    paragraph_ids: Sequence[str],
    texts: Sequence[str],
    headings: Sequence[Sequence[str] | None],
    y_true: Labels,
    y_proba: ArrayLike,
    section_types: Sequence[str],
) -> list[Example]:
    """List the paragraphs that were tagged wrong, the most confident mistake first.

    Raises
    ------
    DataError : if lengths differ, a label is unknown, or a row holds no probabilities.
    """
    told = _examples(paragraph_ids, texts, headings, y_true, y_proba, section_types)
    return [example for example in told if not example.right]


def examples_right(
    paragraph_ids: Sequence[str],
    texts: Sequence[str],
    headings: Sequence[Sequence[str] | None],
    y_true: Labels,
    y_proba: ArrayLike,
    section_types: Sequence[str],
    *,
    per_section_type: int = 2,
) -> list[Example]:
    """Choose the most confident right answers of each section type, in the order of ``section_types``.

    Raises
    ------
    DataError : as `errors`.
    """
    told = _examples(paragraph_ids, texts, headings, y_true, y_proba, section_types)
    return [
        example
        for section_type in section_types
        for example in [e for e in told if e.right and e.section_type == section_type][:per_section_type]
    ]


def _examples(
    paragraph_ids: Sequence[str],
    texts: Sequence[str],
    headings: Sequence[Sequence[str] | None],
    y_true: Labels,
    y_proba: ArrayLike,
    section_types: Sequence[str],
) -> list[Example]:
    codes, proba = checked_pair(y_true, y_proba, section_types)
    same_length(paragraph_ids=paragraph_ids, texts=texts, headings=headings, y_true=codes)
    ranked = np.argsort(-proba, axis=1, kind="stable")
    names = [str(paragraph_id) for paragraph_id in paragraph_ids]
    texts, paths = list(texts), [tuple(path) if path is not None else () for path in headings]
    best = proba.max(axis=1)
    runner_up = ranked[:, min(1, proba.shape[1] - 1)]
    return [
        Example(
            paragraph_id=names[i],
            text=texts[i],
            headings=paths[i],
            section_type=section_types[codes[i]],
            predicted=section_types[ranked[i, 0]],
            second=section_types[runner_up[i]],
            confidence=float(best[i]),
            second_confidence=float(proba[i, runner_up[i]]),
        )
        for i in sorted(range(len(codes)), key=lambda i: (-best[i], names[i]))
    ]

"""Label sets that hold the true section type as often as promised (split conformal prediction).

The score of a section type is 1 − its probability (least ambiguous sets, LAC). The promise holds on average over
new paragraphs that come as the calibration paragraphs did; paragraphs of one article come together, so
calibrate on many articles and look at the measured coverage.

References
----------
Sadinle, Lei and Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels,
doi:10.1080/01621459.2017.1395341. Dunn, Wasserman and Ramdas (2022), Distribution-free prediction sets for two-layer
hierarchical models, doi:10.1080/01621459.2022.2060112 (why articles matter).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import (
    BoolArray,
    Labels,
    checked_codes,
    checked_pair,
    checked_proba,
    groups,
    same_length,
)


@dataclass(frozen=True)
class SetCoverage:
    """How often label sets held the truth, how large they were, and the share that named one type alone."""

    coverage: Interval
    mean_size: float
    single: float
    by_section_type: tuple[float | None, ...]
    """Coverage for each true section type, None where there was none of it."""


def conformal_quantile(
    y_true: Labels, y_proba: ArrayLike, alpha: float, *, section_types: Sequence[str] | None = None
) -> float:
    """Find the score up to which a section type belongs to the set, for coverage of at least 1 − ``alpha``.

    With too few rows for ``alpha`` it is 1.0: every set then holds every section type.

    Raises
    ------
    DataError : if ``alpha`` is not between 0 and 1, there is no row, or labels and probabilities don't fit.

    Examples
    --------
    >>> conformal_quantile([0, 0, 1], [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], alpha=0.5)
    0.25
    """
    codes, proba = checked_pair(y_true, y_proba, section_types)
    if not 0 < alpha < 1:
        raise DataError(f"alpha is {alpha!r}; it is the share of sets that may miss the truth, as 0.1")
    scores = np.sort(1 - proba[np.arange(len(codes)), codes])
    rank = ceil((len(scores) + 1) * (1 - alpha) - 1e-9)  # 1e-9: (9 + 1) * (1 - 0.1) must not round up to 10
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def label_sets(y_proba: ArrayLike, quantile: float) -> BoolArray:
    """Mark the section types that belong to each paragraph's set; the most probable one always does.

    Returns
    -------
    array of bool, shape (n_paragraphs, n_section_types)
    """
    proba = checked_proba(y_proba)
    sets = 1 - proba <= quantile
    sets[np.arange(len(proba)), proba.argmax(axis=1)] = True
    return np.asarray(sets, dtype=np.bool_)


def set_coverage(
    y_true: Labels,
    sets: BoolArray,
    article_ids: Sequence[Any],
    *,
    section_types: Sequence[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> SetCoverage:
    """Measure how often label sets hold the truth, on rows that the quantile was not taken from.

    Raises
    ------
    DataError : if there is no row, lengths differ, or a label is unknown.
    """
    if sets.ndim != 2 or not len(sets):
        raise DataError(f"sets has the shape {sets.shape}; give what label_sets returned for at least one paragraph")
    codes = checked_codes(y_true, sets.shape[1], section_types)
    same_length(y_true=codes, sets=sets, article_ids=article_ids)
    article, n_articles = groups(article_ids)
    held = sets[np.arange(len(codes)), codes]
    sums = np.column_stack([np.bincount(article, weights=held, minlength=n_articles), np.bincount(article)]).astype(
        np.float64
    )
    resampled = resampled_sums(sums, n_resamples, seed)
    value, size = float(held.mean()), sets.sum(axis=1)
    return SetCoverage(
        coverage=percentile_interval(value, resampled[:, 0] / resampled[:, 1]) or Interval(value),
        mean_size=float(size.mean()),
        single=float((size == 1).mean()),
        by_section_type=tuple(
            float(held[codes == i].mean()) if (codes == i).any() else None for i in range(sets.shape[1])
        ),
    )

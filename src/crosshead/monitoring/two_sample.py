"""Can a classifier tell the two sides apart? If not even that can, their vectors are alike.

A linear classifier (ridge) is fitted on four fifths of the articles and asked of the rest, in turn. How well it tells
articles apart is said by the area under the curve (AUROC): 0.5 where it finds nothing, 1.0 where the sides never
overlap. Tested is the mean score of current articles, which also moves when a few of them lie far out. The sides are
redrawn within each fold and everything is fitted again; a fold's matrices do not depend on the sides, so that is cheap.
Every article counts as much as any other, however long it is: articles are what is drawn.

References
----------
Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR, arXiv:1610.06545. Kim, Ramdas, Singh and
Wasserman (2021), Classification accuracy as a proxy for two-sample testing, Annals of Statistics 49,
doi:10.1214/20-AOS1962 (why permutations). Cheng and Cloninger (2022), Classification logit two-sample testing by neural
networks, IEEE Transactions on Information Theory 68, doi:10.1109/TIT.2022.3160286 (why mean scores).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.bootstrap import Interval, percentile_interval
from crosshead.monitoring.resampling import N_DRAWS_OF_FITS, Masks, masks_within, p_value
from crosshead.tagging.heads import Floats

N_FOLDS = 5
RIDGE = 10.0
"""Times the mean variance of the vectors' dimensions."""


@dataclass(frozen=True)
class TwoSample:
    """How well the sides are told apart."""

    auroc: Interval
    p_value: float
    scores: Floats
    """How much each paragraph, reference first, looks like a current one; by classifiers that never saw its article."""


def two_sample_test(
    vectors: NDArray[np.float32],
    article: NDArray[np.int64],
    is_current: NDArray[np.bool_],
    *,
    n_draws: int = N_DRAWS_OF_FITS,
    n_resamples: int = 500,
    seed: int = 0,
) -> TwoSample:
    """Test whether a classifier tells the sides apart.

    Parameters
    ----------
    article
        Of each paragraph: 0, 1, …; reference and current articles have numbers of their own.
    is_current : array of shape (n_articles,)
    """
    means = article_means(vectors, article)
    strata = fold_of(is_current, seed)
    folds = [_Fold(vectors, article, means, strata == fold) for fold in np.unique(strata)]
    rows = np.concatenate([fold.articles for fold in folds])
    observed = _mean_score(folds, rows, is_current[None])[0]
    drawn = [_mean_score(folds, rows, mask) for mask in masks_within(strata, is_current, n_draws, seed + 1)]
    scores, of_articles = np.zeros(len(article)), np.zeros(len(is_current))
    for fold in folds:
        weights = fold.weights(is_current[None])[:, 0]
        held_out = np.isin(article, fold.articles)
        scores[held_out] = fold.centred(vectors[held_out]) @ weights
        of_articles[fold.articles] = fold.centred(means[fold.articles]) @ weights
    interval = _interval(of_articles, is_current, n_resamples, seed)
    return TwoSample(interval, p_value(float(observed), np.concatenate(drawn)), scores)


def article_means(vectors: NDArray[np.float32], article: NDArray[np.int64]) -> Floats:
    """Return the mean vector of each article."""
    sums = np.zeros((int(article.max()) + 1, vectors.shape[1]))
    np.add.at(sums, article, vectors)
    means: Floats = sums / np.bincount(article)[:, None]
    return means


def _mean_score(folds: Sequence[_Fold], rows: NDArray[np.int64], is_current: Masks) -> Floats:
    """Return the mean score of current articles in each draw, in standard deviations of all articles' scores."""
    scores = np.concatenate([fold.scores(is_current) for fold in folds])
    current = is_current.T[rows]
    standard = (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-12)
    found: Floats = (standard * current).sum(axis=0) / current.sum(axis=0)
    return found


def fold_of(is_current: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Give each article a fold; every fold has its part of both sides."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(is_current), dtype=np.int64)
    for side in (False, True):
        places = rng.permutation(np.flatnonzero(is_current == side))
        fold[places] = np.arange(len(places)) % N_FOLDS
    return fold


class _Fold:
    """What does not depend on the sides, ready to be multiplied."""

    def __init__(
        self, vectors: NDArray[np.float32], article: NDArray[np.int64], means: Floats, held_out: NDArray[np.bool_]
    ) -> None:
        self.articles = np.flatnonzero(held_out)
        self._centre = means[~held_out].mean(axis=0)
        learnt = ~held_out[article]
        # Each article weighs the same: its paragraphs share its weight.
        weight = 1.0 / np.bincount(article)[article[learnt]]
        rows = (vectors[learnt] - self._centre) * np.sqrt(weight / weight.sum())[:, None]
        covariance = rows.T @ rows
        ridge = RIDGE * float(np.trace(covariance)) / len(covariance) + 1e-12
        self._inverse = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
        self._learnt = np.where(held_out[:, None], 0.0, means - self._centre)
        self._asked = self.centred(means[self.articles])

    def centred(self, vectors: NDArray[np.floating]) -> Floats:
        """Move vectors to where this fold's classifiers were fitted."""
        moved: Floats = vectors - self._centre
        return moved

    def weights(self, is_current: Masks) -> Floats:
        """Fit for each draw of sides; shape (n_dimensions, n_draws), each of unit length."""
        weights = self._inverse @ (self._learnt.T @ is_current.T.astype(np.float64))
        # Classifiers of different folds have different lengths; scores across folds need one measure.
        unit: Floats = weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)
        return unit

    def scores(self, is_current: Masks) -> Floats:
        """Fit for each draw of sides and ask of the held-out articles; shape (n_articles, n_draws)."""
        found: Floats = self._asked @ self.weights(is_current)
        return found


def auroc(scores: NDArray[np.floating], is_current: NDArray[np.bool_]) -> Floats:
    """Area under the curve of each column; ties, which vectors do not give, are broken by order."""
    order = np.argsort(scores, axis=0, kind="stable")
    ranked = np.take_along_axis(np.broadcast_to(is_current, scores.shape), order, axis=0)
    n_current = ranked.sum(axis=0)
    n_reference = len(ranked) - n_current
    ranks = (np.arange(1, len(ranked) + 1)[:, None] * ranked).sum(axis=0)
    found: Floats = (ranks - n_current * (n_current + 1) / 2) / np.maximum(n_current * n_reference, 1)
    return found


def _interval(scores: Floats, is_current: NDArray[np.bool_], n_resamples: int, seed: int) -> Interval:
    """Draw the articles of each side with replacement; nothing is fitted again."""
    rng = np.random.default_rng(seed + 2)
    value = float(auroc(scores[:, None], is_current[:, None])[0])
    sides = [np.flatnonzero(is_current == side) for side in (False, True)]
    drawn = [np.concatenate([rng.choice(side, len(side)) for side in sides]) for _ in range(n_resamples)]
    resampled = [float(auroc(scores[rows, None], is_current[rows, None])[0]) for rows in drawn]
    return percentile_interval(value, np.array(resampled)) or Interval(value)

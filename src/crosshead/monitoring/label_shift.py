"""Section-type shares corrected for the tagger's mistakes, if the mixture has changed but each kind of text has not.

A tagger that takes one paragraph in five for another section type blurs every change of the mixture. EM finds the
shares under which the current probabilities fit best; black-box shift estimation (BBSE) solves the held-out confusion
matrix for them. Both assume that the paragraphs of one section type read as they did before: where the two-sample test
stands at alarm, that is in doubt, and so are they.

References
----------
Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a classifier to new a priori probabilities, Neural
Computation 14, doi:10.1162/089976602753284446. Lipton, Wang and Smola (2018), Detecting and correcting for label shift
with black box predictors, ICML, arXiv:1802.03916.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.bootstrap import MIN_ARTICLES, Interval, percentile_interval
from crosshead.monitoring.resampling import Masks
from crosshead.tagging.heads import Floats

N_STEPS = 100
N_STEPS_OF_INTERVALS = 24
"""From the answer for all articles it is not far to the answer for most of them."""
N_STEPS_OF_DRAWS = 5
"""Draws are compared by where these steps lead, on both sides alike: a test needs no more."""
SMALLEST_SINGULAR = 0.05
"""Of the confusion matrix: below it, two section types are taken for each other too often to be told apart."""
_CELLS_AT_ONCE = 4_000_000


def em_shares(proba: Floats, prior: Floats, weights: Floats, *, start: Floats, n_steps: int = N_STEPS) -> Floats:
    """Estimate the shares of section types.

    Parameters
    ----------
    proba : array of shape (n_paragraphs, n_section_types)
        Calibrated under the shares ``prior``.
    weights : array of shape (n_draws, n_paragraphs)
        How often each paragraph counts.

    Returns
    -------
    array of shape (n_draws, n_section_types)
    """
    likelihood = proba / np.maximum(prior, 1e-9)
    totals = weights.sum(axis=1, keepdims=True)
    shares = np.repeat(start[None], len(weights), axis=0)
    for _ in range(n_steps):
        inverse = weights / np.maximum(shares @ likelihood.T, 1e-12)
        shares = shares * (inverse @ likelihood) / totals
    return shares


class LabelShift:
    """The corrected shares of both sides, of any draw of sides."""

    def __init__(
        self,
        proba: Floats,
        article: NDArray[np.int64],
        is_current: NDArray[np.bool_],
        *,
        prior: Floats | None = None,
    ) -> None:
        """Take both sides; ``prior`` is the mixture that was learnt, by default what the reference looks like."""
        self._proba, self._article = proba, article
        self._is_current = is_current
        self._prior = proba[~is_current[article]].mean(axis=0) if prior is None else prior
        # What draws are compared by must not know the sides.
        self._of_both = np.asarray(proba.mean(axis=0))

    def shares(self) -> tuple[Floats, Floats]:
        """Return the shares of the reference and of the current side."""
        current = self._is_current[self._article].astype(np.float64)
        weights = np.stack([1 - current, current])
        reference, now = em_shares(self._proba, self._prior, weights, start=self._prior)
        return reference, now

    def largest_gaps(self, is_current: Masks) -> Floats:
        """Return the largest difference of a share in each draw of sides."""
        step = max(1, _CELLS_AT_ONCE // len(self._article))
        found = []
        for start in range(0, len(is_current), step):
            current = is_current[start : start + step][:, self._article].astype(np.float64)
            sides = [
                em_shares(self._proba, self._of_both, side, start=self._of_both, n_steps=N_STEPS_OF_DRAWS)
                for side in (1 - current, current)
            ]
            found.append(np.abs(sides[1] - sides[0]).max(axis=1))
        return np.concatenate(found)

    def intervals(self, n_resamples: int, seed: int) -> tuple[list[Interval], list[Interval]]:
        """Return the shares of both sides with intervals from drawing articles with replacement."""
        rng = np.random.default_rng(seed)
        both = []
        for side, values in zip((False, True), self.shares(), strict=True):
            chosen = np.flatnonzero(self._is_current == side)
            drawn = np.empty((0, len(values)))
            if len(chosen) >= MIN_ARTICLES and n_resamples:
                drawn = self._resample(chosen, values, n_resamples, rng)
            pairs = zip(values, drawn.T, strict=True)
            both.append([percentile_interval(float(v), column) or Interval(float(v)) for v, column in pairs])
        return both[0], both[1]

    def _resample(
        self, chosen: NDArray[np.int64], shares: Floats, n_resamples: int, rng: np.random.Generator
    ) -> Floats:
        rows = np.isin(self._article, chosen)
        article, proba = self._article[rows], self._proba[rows]
        step = max(1, _CELLS_AT_ONCE // len(article))
        found = []
        for start in range(0, n_resamples, step):
            n = min(step, n_resamples - start)
            counts = np.stack(
                [np.bincount(rng.choice(chosen, len(chosen)), minlength=len(self._is_current)) for _ in range(n)]
            )
            weights = counts[:, article].astype(np.float64)
            found.append(em_shares(proba, self._prior, weights, start=shares, n_steps=N_STEPS_OF_INTERVALS))
        return np.concatenate(found)


def bbse_shares(
    truth: NDArray[np.int64], answers: NDArray[np.int64], current: NDArray[np.int64], n_section_types: int
) -> Floats | None:
    """Solve the confusion matrix of held-out paragraphs for the shares behind the current answers.

    None where a section type is missing from the truth, or the answers tell too little of it.
    """
    joint = np.zeros((n_section_types, n_section_types))
    np.add.at(joint, (answers, truth), 1.0)
    of_truth = joint.sum(axis=0)
    if not (of_truth > 0).all() or not len(current):
        return None
    rates = joint / of_truth
    if np.linalg.svd(rates, compute_uv=False)[-1] < SMALLEST_SINGULAR:
        return None
    said = np.bincount(current, minlength=n_section_types) / len(current)
    solved = np.maximum(np.linalg.solve(rates, said), 0.0)
    shares: Floats = solved / solved.sum()
    return shares

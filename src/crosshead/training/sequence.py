"""Fit decoders: transitions by counting, a sequence by maximum likelihood, and both so that out-of-fold stays so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from crosshead.tagging.decoding import Chain, Decoder, DecoderSpec, Transitions, context
from crosshead.tagging.heads import Floats, log_softmax

MAX_ITERATIONS = 300
MIN_ARTICLES = 2
"""Articles of several paragraphs that a sequence is fitted on at least; with fewer it would be theirs alone."""

Rows = NDArray[np.int64]


def fit_decoder(
    spec: DecoderSpec, log_proba: Floats, y: Rows, lengths: Sequence[int], folds: Sequence[Rows]
) -> tuple[Decoder, Floats]:
    """Fit a decoder; return it with the log-probabilities that it gives, by one that never saw their article.

    Transitions are few counts of all articles, so they are counted once; a sequence is fitted for each fold anew.

    Parameters
    ----------
    log_proba
        Calibrated out-of-fold rows: what the decoder will get for articles that are new.
    lengths
        Paragraphs of each article in order; a paragraph on its own counts as an article of one.
    folds
        Rows that were held out together; between them they cover every row once and keep articles whole.
    """
    n_types = log_proba.shape[1]
    if spec.kind == "neighbours" or not _is_enough(lengths):
        weight = spec.weight if spec.kind == "neighbours" else 0.0
        transitions = Transitions.fit(np.split(y, np.cumsum(lengths)[:-1]), n_types, weight)
        return transitions, transitions.decode_all(log_proba, lengths)
    decoded = log_softmax(log_proba)
    with threadpool_limits(1):
        for held_out in folds if len(folds) > 1 else ():
            rest = np.ones(len(y), dtype=bool)
            rest[held_out] = False
            if _is_enough(kept := _lengths_of(lengths, rest)):
                fold_sequence = fit_sequence(spec, log_proba[rest], y[rest], kept)
                asked = fold_sequence.decode_all(log_proba[~rest], _lengths_of(lengths, ~rest))
                decoded[~rest] = asked
        return fit_sequence(spec, log_proba, y, lengths), decoded


def _is_enough(lengths: Sequence[int]) -> bool:
    return sum(length > 1 for length in lengths) >= MIN_ARTICLES


def _lengths_of(lengths: Sequence[int], rows: NDArray[np.bool_]) -> list[int]:
    """Count the paragraphs of each article that has some among these rows."""
    article = np.repeat(np.arange(len(lengths)), lengths)
    return [int(count) for count in np.bincount(article[rows], minlength=len(lengths)) if count]


def fit_sequence(spec: DecoderSpec, log_proba: Floats, y: Rows, lengths: Sequence[int]) -> Chain:
    """Maximise the likelihood of whole articles' section types, with a penalty on large weights.

    The loss is convex, so where it ends does not depend on where it starts. Articles of one paragraph teach nothing
    here: they are left as they are.
    """
    several = np.repeat(np.asarray(lengths) > 1, lengths)
    problem = _Problem.of(context(log_softmax(log_proba), lengths)[several], y[several], [n for n in lengths if n > 1])
    n_types = log_proba.shape[1]
    start = np.zeros((problem.features.shape[1] + n_types) * n_types)
    found = minimize(
        problem.loss, start, args=(n_types, spec.l2), jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS}
    )
    coef, step = _apart(found.x, n_types)
    return Chain(coef, step, spec.weight, spec.l2)


def _apart(weights: Floats, n_types: int) -> tuple[Floats, Floats]:
    table = weights.reshape(-1, n_types)
    return table[:-n_types], table[-n_types:]


@dataclass(frozen=True)
class _Problem:
    """Articles one below the other, laid out once: longest first, so that those still going on are the first rows."""

    features: Floats
    target: Floats
    """One 1 a row."""
    place: Rows
    """The row of paragraph t of article i is ``place[i, t]``; -1 beyond its end."""
    counts: Floats
    """How often one section type follows another."""

    @classmethod
    def of(cls, features: Floats, y: Rows, lengths: Sequence[int]) -> _Problem:
        n_types_seen = int(y.max()) + 1
        n = np.asarray(lengths)
        order = np.argsort(-n, kind="stable")
        first = np.cumsum(n) - n
        steps = np.arange(n.max())
        place = np.where(steps < n[order, None], first[order, None] + steps, -1)
        within = np.setdiff1d(np.arange(len(y)), first)
        counts = np.zeros((n_types_seen, n_types_seen))
        np.add.at(counts, (y[within - 1], y[within]), 1.0)
        return cls(features, np.eye(n_types_seen)[y], place, counts)

    def loss(self, weights: Floats, n_types: int, l2: float) -> tuple[float, Floats]:
        """Mean negative log-likelihood of a paragraph, with its gradient."""
        coef, step = _apart(weights, n_types)
        n_seen = self.target.shape[1]
        target = np.pad(self.target, ((0, 0), (0, n_types - n_seen)))
        counts = np.pad(self.counts, ((0, n_types - n_seen),) * 2)
        emissions = self.features @ coef
        proba, log_norm, pairs = _expect(emissions, step, self.place)
        n = len(emissions)
        likelihood = (target * emissions).sum() + (counts * step).sum() - log_norm
        gradient = np.concatenate([(self.features.T @ (proba - target)).ravel(), (pairs - counts).ravel()]) / n
        return float(-likelihood / n + l2 / 2 * (weights @ weights)), gradient + l2 * weights


def _expect(emissions: Floats, step: Floats, place: Rows) -> tuple[Floats, float, Floats]:
    """Probabilities of each paragraph's section types, the log-norm of all articles, expected counts of neighbours."""
    n_steps, n_going = place.shape[1], (place >= 0).sum(axis=0)
    top = step.max()
    factor = np.exp(step - top)
    alpha = [emissions[place[:, 0]]]
    for t in range(1, n_steps):
        before = alpha[-1][: n_going[t]]
        peak = before.max(axis=1, keepdims=True)
        alpha.append(np.log(np.exp(before - peak) @ factor) + peak + top + emissions[place[: n_going[t], t]])
    proba, pairs, log_norm = np.zeros_like(emissions), np.zeros_like(step), 0.0
    beta = np.zeros((0, step.shape[0]))
    for t in range(n_steps - 1, -1, -1):
        going_on = len(beta)
        here = np.zeros((n_going[t], step.shape[0]))
        if going_on:
            after = beta + emissions[place[:going_on, t + 1]]
            peak = after.max(axis=1, keepdims=True)
            scaled = np.exp(after - peak)
            here[:going_on] = np.log(scaled @ factor.T) + peak + top
        total = alpha[t] + here
        high = total.max(axis=1, keepdims=True)
        share = np.exp(total - high)
        norm = share.sum(axis=1, keepdims=True)
        if going_on:
            level = np.exp(alpha[t][:going_on] + peak + top - (high + np.log(norm))[:going_on])
            pairs += factor * (level.T @ scaled)
        proba[place[: n_going[t], t]] = share / norm
        if t == 0:
            log_norm = float((high + np.log(norm)).sum())
        beta = here
    return proba, log_norm, pairs

"""A first tagger from guesses: the surest guesses about paragraphs that nobody has read teach a linear head.

The guesses come from descriptions (`zero_shot`) or from rules and headings (`crosshead.labelling.weak_labels`).
Labelled paragraphs, where there are some, are believed, and say what the tagger's confidence is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from crosshead.errors import DataError
from crosshead.evaluation.scores import Scores, evaluate
from crosshead.evaluation.selective import ABSTAIN_ALWAYS, abstention_threshold
from crosshead.tagging.calibration import apply_temperature, fit_temperature
from crosshead.tagging.decoding import Transitions
from crosshead.tagging.heads import Floats, LinearHead
from crosshead.tagging.tagger import Encoder, ParagraphView, Tagger
from crosshead.training.views import to_head

SHARE = 0.5
"""The part of the paragraphs that is learned from: as many of each section type, those with the surest guess."""
MIN_CHECKED, MIN_ARTICLES = 50, 5
"""Labelled paragraphs, and articles that they stand in, from which a confidence can be calibrated."""
N_FOLDS = 5
_C = 3.0

Guess = Callable[[NDArray[np.int64]], LinearHead]
"""Labels (`UNKNOWN` where there is none) to a head."""


def surest(log_proba: Floats, *, share: float = SHARE, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Pick the paragraphs whose guess is surest, up to an equal number of every section type, in order.

    Equal numbers, because guesses favour section types with plain words, and the favoured ones would win all.

    Parameters
    ----------
    log_proba
        Shape (n_paragraphs, n_section_types).
    share
        How much of ``among`` to pick at most.
    among : optional
        Which paragraphs may be picked; all by default.
    """
    allowed = np.ones(len(log_proba), dtype=bool) if among is None else among
    n_types = log_proba.shape[1]
    quota = max(1, int(share * allowed.sum() / n_types))
    best = log_proba.argmax(axis=1)
    picked = []
    for section_type in range(n_types):
        rows = np.flatnonzero(allowed & (best == section_type))
        picked.append(rows[np.argsort(-log_proba[rows, section_type], kind="stable")[:quota]])
    return np.sort(np.concatenate(picked))


def learn(
    vectors: NDArray[np.float32],
    log_proba: Floats,
    *,
    y: NDArray[np.int64] | None = None,
    among: NDArray[np.bool_] | None = None,
    rounds: int = 1,
) -> LinearHead:
    """Fit a head on the surest guesses and on every known label; in further rounds, on its own surest answers.

    Parameters
    ----------
    vectors, log_proba
        Of the same paragraphs, in the same order.
    y : optional
        Section types where they are known, else negative.
    among : optional
        The paragraphs whose first guess may be used.

    Raises
    ------
    DataError
        If all guesses name the same section type.
    """
    labels = np.full(len(vectors), -1) if y is None else y
    known = labels >= 0
    head = _fit(vectors, log_proba, labels, ~known if among is None else among & ~known)
    for _ in range(rounds - 1):
        head = _fit(vectors, head.log_proba(vectors), labels, ~known)
    return head


def _fit(
    vectors: NDArray[np.float32], log_proba: Floats, labels: NDArray[np.int64], among: NDArray[np.bool_]
) -> LinearHead:
    targets = np.where(labels >= 0, labels, log_proba.argmax(axis=1))
    rows = np.flatnonzero(labels >= 0)
    if among.any():
        rows = np.union1d(rows, surest(log_proba, among=among))
    if len(np.unique(targets[rows])) < 2:
        raise DataError(
            f"the guesses for {len(vectors)} paragraphs name fewer than two section types, so there is nothing to "
            "tell apart; bring more paragraphs, or say more in the taxonomy's descriptions and rules"
        )
    with threadpool_limits(1):
        fitted = LogisticRegression(C=_C, max_iter=1000).fit(vectors[rows], targets[rows])
    head = to_head(fitted, log_proba.shape[1])
    assert isinstance(head, LinearHead)
    return head


@dataclass(frozen=True)
class FirstModel:
    """A tagger with how it did where labels are known."""

    tagger: Tagger
    scores: Scores | None
    """On the annotated paragraphs, by heads that never saw the label asked for; None without any."""
    is_calibrated: bool
    """Whether there were labels enough to say what a confidence is worth; if not, every answer is "not sure"."""


def build(
    guess: Guess,
    vectors: NDArray[np.float32],
    y: NDArray[np.int64],
    lengths: Sequence[int],
    article_ids: Sequence[Any],
    *,
    section_types: tuple[str, ...],
    encoder: Encoder,
    name: str,
    decoder_weight: float,
    risk: float,
    seed: int = 0,
) -> FirstModel:
    """Make the tagger, check it on the known labels, and calibrate it on them if there are enough.

    Parameters
    ----------
    guess
        Fits a head; called with all labels, and again without those of a fifth of the articles, five times.
    vectors, y, lengths, article_ids
        Of every paragraph; ``lengths`` counts the paragraphs of each article in order.
    """
    head = guess(y)
    log_proba = head.log_proba(vectors)
    unseen = _unseen(guess, head, log_proba, vectors, y, article_ids, seed)
    known = np.flatnonzero(y >= 0)
    ids = np.asarray(article_ids, dtype=object)[known]
    calibrated = len(known) >= MIN_CHECKED and len(set(ids)) >= MIN_ARTICLES
    temperature = fit_temperature(unseen[known], y[known]) if calibrated else 1.0
    transitions = _transitions(log_proba, lengths, decoder_weight)
    proba = np.exp(transitions.decode_all(apply_temperature(unseen, temperature), lengths))
    threshold = ABSTAIN_ALWAYS
    if calibrated:
        threshold = abstention_threshold(y[known], proba[known], risk=risk, article_ids=ids.tolist())
    tagger = Tagger(
        section_types=section_types,
        views=(ParagraphView("paragraph", 1.0, head),),
        encoder=encoder,
        temperature=temperature,
        transitions=transitions,
        threshold=threshold,
        risk=risk,
        name=name,
    )
    scores = evaluate(y[known], proba[known], ids.tolist(), section_types, seed=seed) if len(known) else None
    return FirstModel(tagger, scores, calibrated)


def _transitions(log_proba: Floats, lengths: Sequence[int], weight: float) -> Transitions:
    """Learn from the tagger's own answers which section type follows which."""
    sequences = np.split(log_proba.argmax(axis=1), np.cumsum(lengths)[:-1])
    return Transitions.fit(sequences, log_proba.shape[1], weight)


def _unseen(
    guess: Guess,
    head: LinearHead,
    log_proba: Floats,
    vectors: NDArray[np.float32],
    y: NDArray[np.int64],
    article_ids: Sequence[Any],
    seed: int,
) -> Floats:
    """Answer for each paragraph by a head that did not see the labels of its article."""
    result = log_proba.copy()
    _, article = np.unique(np.asarray(article_ids, dtype=str), return_inverse=True)
    labelled = np.unique(article[y >= 0])
    order = np.random.default_rng(seed).permutation(labelled)
    for part in range(min(N_FOLDS, len(order))):
        held_out = np.isin(article, order[part::N_FOLDS])
        other = guess(np.where(held_out, -1, y))
        if other is not head:
            result[held_out] = other.log_proba(vectors[held_out])
    return result

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import check_grad

from crosshead.tagging.decoding import Chain, DecoderSpec, Transitions, context
from crosshead.tagging.heads import log_softmax
from crosshead.training.sequence import _Problem, fit_decoder, fit_sequence

SEQUENCE = DecoderSpec("sequence", 1.0, 1e-3)


def corpus(n_articles: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Articles that begin with type 0, go on with 1 and end with 2, and answers that hardly tell them apart."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 8, n_articles).tolist()
    y = np.concatenate([np.minimum(np.arange(n) * 3 // n, 2) for n in lengths])
    return log_softmax(0.5 * np.eye(3)[y] + rng.normal(size=(len(y), 3))), y, lengths


def folds_of(lengths: list[int], n_folds: int = 3) -> list[np.ndarray]:
    article = np.repeat(np.arange(len(lengths)), lengths)
    return [np.flatnonzero(article % n_folds == fold) for fold in range(n_folds)]


def accuracy(log_proba: np.ndarray, y: np.ndarray) -> float:
    return float((log_proba.argmax(axis=1) == y).mean())


def test_the_loss_is_the_likelihood_of_whole_articles() -> None:
    rows, y, lengths = corpus(3)
    problem = _Problem.of(context(rows, lengths), y, lengths)
    weights = np.random.default_rng(1).normal(size=(problem.features.shape[1] + 3) * 3) * 0.3
    coef, step = np.split(weights.reshape(-1, 3), [problem.features.shape[1]])
    emissions, expected = problem.features @ coef, 0.0
    for start, end in itertools.pairwise(np.cumsum([0, *lengths])):
        own = emissions[start:end]

        def score(path: tuple[int, ...], own: np.ndarray = own) -> float:
            steps = sum(step[a, b] for a, b in itertools.pairwise(path))
            return float(sum(own[i, s] for i, s in enumerate(path)) + steps)

        paths = itertools.product(range(3), repeat=end - start)
        expected += np.logaddexp.reduce([score(path) for path in paths]) - score(tuple(y[start:end]))
    assert problem.loss(weights, 3, 0.0)[0] == pytest.approx(expected / len(y))
    assert problem.loss(weights, 3, 0.5)[0] == pytest.approx(expected / len(y) + 0.25 * weights @ weights)


def test_the_gradient_is_that_of_the_loss() -> None:
    rows, y, lengths = corpus(4, seed=2)
    problem = _Problem.of(context(rows, lengths), y, lengths)
    weights = np.random.default_rng(3).normal(size=(problem.features.shape[1] + 3) * 3) * 0.3
    loss, gradient = (lambda w: problem.loss(w, 3, 0.1)[0]), (lambda w: problem.loss(w, 3, 0.1)[1])
    assert check_grad(loss, gradient, weights) < 1e-5


def test_a_sequence_learns_the_order_of_an_article() -> None:
    rows, y, lengths = corpus()
    decoder, unseen = fit_decoder(SEQUENCE, rows, y, lengths, folds_of(lengths))
    assert isinstance(decoder, Chain)
    assert decoder.spec == SEQUENCE
    assert accuracy(unseen, y) > accuracy(rows, y) + 0.2
    other, other_y, other_lengths = corpus(30, seed=9)
    assert accuracy(decoder.decode_all(other, other_lengths), other_y) > accuracy(other, other_y) + 0.2


def test_what_a_fold_is_told_does_not_depend_on_its_section_types() -> None:
    rows, y, lengths = corpus()
    folds = folds_of(lengths)
    changed = y.copy()
    changed[folds[0]] = 2 - changed[folds[0]]
    before = fit_decoder(SEQUENCE, rows, y, lengths, folds)[1]
    after = fit_decoder(SEQUENCE, rows, changed, lengths, folds)[1]
    assert np.array_equal(before[folds[0]], after[folds[0]])
    assert not np.allclose(before[folds[1]], after[folds[1]])


def test_fitting_twice_gives_the_same_bits() -> None:
    rows, y, lengths = corpus(20)
    first, second = (fit_sequence(SEQUENCE, rows, y, lengths) for _ in range(2))
    assert np.array_equal(first.coef, second.coef)
    assert np.array_equal(first.step, second.step)


def test_paragraphs_on_their_own_teach_a_sequence_nothing() -> None:
    rows, y, lengths = corpus(20)
    alone = log_softmax(np.random.default_rng(4).normal(size=(5, 3)))
    one = fit_sequence(SEQUENCE, rows, y, lengths)
    other = fit_sequence(SEQUENCE, np.vstack([alone, rows]), np.concatenate([[2, 2, 2, 2, 2], y]), [1] * 5 + lengths)
    np.testing.assert_allclose(one.coef, other.coef)


def test_a_section_type_that_no_article_has_is_possible_and_rare() -> None:
    rows, y, lengths = corpus(30)
    four = log_softmax(np.hstack([rows, np.full((len(rows), 1), -5.0)]))
    proba = np.exp(fit_sequence(SEQUENCE, four, y, lengths).decode_all(four, lengths))
    assert np.isfinite(proba).all()
    assert proba[:, 3].max() < 0.05


@pytest.mark.parametrize("n_together", [1, 4])
def test_with_one_article_at_most_every_paragraph_stays_on_its_own(n_together: int) -> None:
    rows, y, _ = corpus(5)
    lengths = [n_together] + [1] * (len(y) - n_together)
    decoder, unseen = fit_decoder(SEQUENCE, rows, y, lengths, [np.arange(len(y))])
    assert isinstance(decoder, Transitions)
    np.testing.assert_allclose(unseen, rows)


def test_transitions_are_counted_on_all_articles() -> None:
    rows, y, lengths = corpus(5)
    decoder, unseen = fit_decoder(DecoderSpec("neighbours", 0.3), rows, y, lengths, folds_of(lengths))
    expected = Transitions.fit(np.split(y, np.cumsum(lengths)[:-1]), 3, 0.3)
    assert np.array_equal(decoder.arrays()["log_ratio"], expected.log_ratio)
    assert np.array_equal(unseen, expected.decode_all(rows, lengths))

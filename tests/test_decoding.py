from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.tagging.calibration import apply_temperature, fit_temperature
from crosshead.tagging.decoding import Chain, Transitions, context, n_features
from crosshead.tagging.heads import log_softmax


def _random(n: int, k: int, seed: int) -> np.ndarray:
    return log_softmax(np.random.default_rng(seed).normal(size=(n, k)) * 2)


def test_decode_equals_the_sum_over_all_paths() -> None:
    transitions = Transitions.fit([np.array([0, 0, 1, 2, 2])], 3, weight=0.7)
    rows = _random(4, 3, seed=1)
    expected = np.zeros((4, 3))
    for path in itertools.product(range(3), repeat=4):
        weight = sum(rows[i, s] for i, s in enumerate(path))
        weight += 0.7 * sum(transitions.log_ratio[a, b] for a, b in itertools.pairwise(path))
        for i, s in enumerate(path):
            expected[i, s] += np.exp(weight)
    np.testing.assert_allclose(
        np.exp(transitions.decode(rows)), expected / expected.sum(axis=1, keepdims=True), rtol=1e-9
    )


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 100))
def test_decoded_rows_are_probabilities(n: int, k: int, seed: int) -> None:
    transitions = Transitions.fit([np.arange(10) % k], k, weight=0.3)
    np.testing.assert_allclose(np.exp(transitions.decode(_random(n, k, seed))).sum(axis=1), 1.0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 100))
def test_articles_decoded_together_are_those_decoded_one_by_one(lengths: list[int], weight: float, seed: int) -> None:
    transitions = Transitions.fit([np.arange(10) % 4, np.zeros(5, dtype=np.int64)], 4, weight=weight)
    rows = _random(sum(lengths), 4, seed)
    one_by_one = [transitions.decode(part) for part in np.split(rows, np.cumsum(lengths)[:-1])]
    assert np.array_equal(transitions.decode_all(rows, lengths), np.concatenate(one_by_one))


def test_what_follows_what_is_set_against_chance() -> None:
    found = Transitions.fit([np.array([0, 0, 0, 1]), np.array([1])], 2, weight=0.3)
    counts = np.array([[3, 2], [1, 1]])  # two of 0 after 0, one of 1 after 0, and one for each
    expected = counts / [[5], [2]] / (np.array([4, 3]) / 7)
    np.testing.assert_allclose(np.exp(found.log_ratio), expected)


def test_no_article_decodes_to_nothing() -> None:
    assert Transitions.fit([], 4, weight=0.3).decode_all(np.zeros((0, 4)), []).shape == (0, 4)


def test_weight_zero_and_single_paragraphs_stay_as_they_are() -> None:
    rows = _random(5, 4, seed=2)
    sequences = [np.array([0, 0, 0, 1, 1])]
    np.testing.assert_allclose(Transitions.fit(sequences, 4, 0.0).decode(rows), rows)
    learned = Transitions.fit(sequences, 4, 0.9)
    np.testing.assert_allclose(learned.decode(rows[:1]), rows[:1])
    np.testing.assert_allclose(learned.muted().decode(rows), rows)
    assert (learned.muted().spec.weight, learned.muted().log_ratio is learned.log_ratio) == (0.0, True)


def test_runs_pull_an_unsure_paragraph_to_its_neighbours() -> None:
    transitions = Transitions.fit([np.array([0] * 50 + [1] * 50)], 2, weight=1.0)
    rows = np.log(np.array([[0.9, 0.1], [0.49, 0.51], [0.9, 0.1]]))
    assert np.exp(transitions.decode(rows))[1].argmax() == 0


def test_long_articles_do_not_underflow() -> None:
    transitions = Transitions.fit([np.array([0, 1] * 20)], 2, weight=0.5)
    assert np.isfinite(transitions.decode(_random(5000, 2, seed=3))).all()


@given(st.floats(0.2, 5.0), st.integers(0, 20))
def test_temperature_is_found_again(temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = log_softmax(rng.normal(size=(4000, 4)))
    y = (np.exp(true).cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    found = fit_temperature(log_softmax(true * temperature), y)
    assert abs(np.log(found / temperature)) < 0.35
    np.testing.assert_allclose(np.exp(apply_temperature(true, found)).sum(axis=1), 1.0)


@pytest.mark.parametrize(("truth", "bound"), [(0, 0.05), (1, 20.0)])
def test_answers_that_are_always_right_or_always_wrong_meet_a_bound(truth: int, bound: float) -> None:
    rows = log_softmax(np.array([[1.0, 0.0]] * 20))
    assert fit_temperature(rows, np.full(20, truth)) == pytest.approx(bound)


def _chain(k: int, seed: int, weight: float = 1.0) -> Chain:
    rng = np.random.default_rng(seed)
    return Chain(rng.normal(size=(n_features(k), k)), rng.normal(size=(k, k)), weight)


def test_a_chain_equals_the_sum_over_all_paths() -> None:
    chain, rows = _chain(3, seed=0), _random(4, 3, seed=1)
    emissions = context(rows, [4]) @ chain.coef
    expected = np.zeros((4, 3))
    for path in itertools.product(range(3), repeat=4):
        weight = sum(emissions[i, s] for i, s in enumerate(path))
        weight += sum(chain.step[a, b] for a, b in itertools.pairwise(path))
        for i, s in enumerate(path):
            expected[i, s] += np.exp(weight)
    np.testing.assert_allclose(
        np.exp(chain.decode_all(rows, [4])), expected / expected.sum(axis=1, keepdims=True), rtol=1e-9
    )


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6), weight=st.sampled_from([0.0, 0.4, 1.0]))
def test_a_chain_answers_for_an_article_as_if_it_were_alone(lengths: list[int], weight: float) -> None:
    chain, rows = _chain(4, seed=2, weight=weight), _random(sum(lengths), 4, seed=3)
    together = chain.decode_all(rows, lengths)
    starts = np.cumsum([0, *lengths])
    for start, end in itertools.pairwise(starts):
        assert np.array_equal(together[start:end], chain.decode_all(rows[start:end], [end - start]))
    np.testing.assert_allclose(np.exp(together).sum(axis=1), 1.0)


def test_a_chain_leaves_a_paragraph_on_its_own_as_it_is() -> None:
    chain, rows = _chain(3, seed=4), _random(5, 3, seed=5)
    assert np.array_equal(chain.decode_all(rows, [1] * 5), log_softmax(rows))
    assert np.array_equal(chain.muted().decode_all(rows, [5]), log_softmax(rows))
    assert not np.allclose(chain.decode_all(rows, [5]), rows)


def test_the_weight_of_a_chain_goes_from_the_own_answer_to_that_of_the_article() -> None:
    rows = _random(4, 3, seed=6)
    whole, half = (_chain(3, seed=7, weight=weight).decode_all(rows, [4]) for weight in (1.0, 0.5))
    np.testing.assert_allclose(half, log_softmax((whole + rows) / 2))


def test_a_context_says_who_stands_beside_whom_and_where() -> None:
    rows = log_softmax(np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 4.0], [1.0, 0.0]]))
    seen = context(rows, [3, 1])
    own, two_before, before, after, two_after, mean = np.split(seen[:, :12], 6, axis=1)
    np.testing.assert_allclose(own, [[1, -1], [-1, 1], [-2, 2], [0.5, -0.5]])
    np.testing.assert_allclose(before, [[0, 0], [1, -1], [-1, 1], [0, 0]])
    np.testing.assert_allclose(after, [[-1, 1], [-2, 2], [0, 0], [0, 0]])
    np.testing.assert_allclose(two_before, [[0, 0], [0, 0], [1, -1], [0, 0]])
    np.testing.assert_allclose(two_after, [[-2, 2], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(mean[:3], np.tile(own[:3].mean(axis=0), (3, 1)))
    np.testing.assert_allclose(mean[3], own[3])
    np.testing.assert_allclose(seen[:, 12], [1 / 6, 3 / 6, 5 / 6, 1 / 2])
    assert seen[:, -7:-2].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0], [1, 0, 0, 1, 0]]
    bells = np.exp(-(((seen[:, 12:13] - np.arange(7) / 6) / 0.15) ** 2))
    np.testing.assert_allclose(seen[:, 13:20], bells)
    np.testing.assert_allclose(seen[:, -2], np.log([3, 3, 3, 1]) / 3)
    assert (seen[:, -1] == 1).all()


def test_arrays_that_make_no_chain_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got step \(3, 3\) and coef \(4, 3\); for 3 section types allowed are"):
        Chain(np.zeros((4, 3)), np.zeros((3, 3)))

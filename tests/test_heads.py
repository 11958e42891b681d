"""Heads: from features of a paragraph to log-probabilities."""

from __future__ import annotations

import numpy as np

from crosshead.tagging.heads import NeighboursHead


def make_head(n_neighbours: int) -> NeighboursHead:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 30).astype(np.int32)
    return NeighboursHead(vectors, labels, np.array([n_neighbours], np.int32), np.array([3], np.int32))


def test_the_nearest_rows_vote_however_many_paragraphs_are_asked_for_at_once() -> None:
    head, features = make_head(4), np.random.default_rng(1).normal(size=(2500, 5)).astype(np.float32)
    votes = np.full((2500, 3), 0.5 / 3)
    for row, feature in enumerate(features):
        for near in np.argsort(-(head.vectors @ feature))[:4]:
            votes[row, head.labels[near]] += 1
    np.testing.assert_allclose(np.exp(head.log_proba(features)), votes / 4.5)


def test_of_equally_near_rows_the_earlier_votes() -> None:
    one = np.array([1], np.int32)
    head = NeighboursHead(np.ones((40, 2), np.float32), np.arange(40, dtype=np.int32) % 3, one, 3 * one)
    assert head.log_proba(np.ones((5, 2))).argmax(axis=1).tolist() == [0] * 5


def test_a_head_is_made_of_its_arrays() -> None:
    head, features = make_head(2), np.random.default_rng(2).normal(size=(6, 5))
    assert np.array_equal(NeighboursHead(**head.arrays()).log_proba(features), head.log_proba(features))

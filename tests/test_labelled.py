"""The rows of a paragraph table as training and evaluation take them."""

from __future__ import annotations

import numpy as np
import pytest

from crosshead.corpora.labelled import (
    article_lengths,
    as_articles,
    folds_of,
    refuse_seen,
    rows_where,
    take,
    to_paragraphs,
)
from crosshead.encoders.tuned import Tuned
from crosshead.errors import DataError
from crosshead.text import text_digest

TABLE = {
    "text": ["one", "two", "three", "four", "five", "six", "seven"],
    "section_type": ["war", "talks", "war", "war", "talks", "war", "talks"],
    "article_id": ["a", "a", "b", "set", "set", "a", "a"],
    "origin": ["article", "article", "article", "contrast_set", "contrast_set", "article", "article"],
    "group_id": ["a", "a", "b", "set", "set", "c", "c"],
}


def tuned_on(*texts: str) -> Tuned:
    return Tuned("base", "0" * 64, "1" * 64, {}, [text_digest(text) for text in texts])


def test_neighbours_of_one_article_count_together_and_contrast_paragraphs_alone() -> None:
    assert article_lengths(TABLE) == [2, 1, 1, 1, 2]
    assert as_articles(TABLE) == [["one", "two"], ["three"], ["four"], ["five"], ["six", "seven"]]
    assert article_lengths({name: [] for name in TABLE}) == []


def test_an_article_beside_a_contrast_set_of_its_name_is_another() -> None:
    table = {"article_id": ["a", "a", "a"], "origin": ["contrast_set", "article", "article"]}
    assert article_lengths(table) == [1, 2]


def test_section_types_become_numbers_in_the_order_of_the_taxonomy() -> None:
    made = to_paragraphs(TABLE, ["talks", "rest", "war"])
    assert made.y.tolist() == [2, 0, 2, 2, 0, 2, 0]
    assert made.y.dtype == np.int64
    assert (made.texts, made.lengths) == (TABLE["text"], [2, 1, 1, 1, 2])
    assert made.article_ids == TABLE["article_id"]


def test_a_section_type_that_the_taxonomy_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"section types \['talks'\] that the taxonomy lacks; allowed are \['war'\]"):
        to_paragraphs(TABLE, ["war"])


def test_rows_are_found_and_taken_in_the_order_asked_for() -> None:
    assert rows_where(TABLE, "group_id", "set").tolist() == [3, 4]
    assert take(TABLE, [4, 0])["text"] == ["five", "one"]


def make_rows(n_groups: int) -> dict[str, list[str]]:
    """Two paragraphs a group, one of each section type."""
    return {
        "text": [f"text {number} of {part}" for number in range(n_groups) for part in "ab"],
        "section_type": ["war", "talks"] * n_groups,
        "group_id": [f"g{number}" for number in range(n_groups) for _ in "ab"],
    }


def test_what_an_encoder_has_seen_is_trained_on_and_never_tested() -> None:
    rows = make_rows(8)
    splits, told = folds_of(rows, 3, 0, tuned_on("text 0 of a", "text 3 of b"))
    assert sorted(np.concatenate([test for _, test in splits]).tolist()) == [2, 3, 4, 5, *range(8, 16)]
    assert all(sorted([*train, *test]) == list(range(16)) for train, test in splits)
    said = "the encoder was fine-tuned on 4 of the 16 training paragraphs; cross-validation and calibration use the"
    assert told == f"{said} other 12"


def test_fewer_folds_are_told_after_what_was_seen() -> None:
    told = folds_of(make_rows(5), 4, 0, tuned_on("text 0 of a", "text 1 of a")).warning
    assert told is not None
    assert "use the other 6; cross-validation uses 3 folds instead of 4" in told


def test_the_seed_draws_the_folds_with_and_without_such_an_encoder() -> None:
    rows = make_rows(30)
    for tuned in (None, tuned_on("text 0 of a")):
        first, again, other = (
            [test.tolist() for _, test in folds_of(rows, 3, seed, tuned).splits] for seed in (0, 0, 1)
        )
        assert first == again != other
        assert len(first) == 3


def test_an_encoder_that_has_seen_all_leaves_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="fine-tuned on every training article, so none is left"):
        folds_of(make_rows(2), 2, 0, tuned_on("text 0 of a", "text 1 of a"))


def test_held_out_paragraphs_that_were_seen_are_refused() -> None:
    refuse_seen(TABLE, None)
    refuse_seen(TABLE, tuned_on("eight"))
    with pytest.raises(
        DataError, match="2 of 7 held-out paragraphs are among those that the encoder was fine-tuned on"
    ):
        refuse_seen(TABLE, tuned_on("one", "six", "eight"))

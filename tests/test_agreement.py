"""Agreement: coefficients against published examples and scikit-learn, intervals, disputes, and what settles them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from crosshead.corpora.annotations import Annotation
from crosshead.errors import DataError
from crosshead.labelling.adjudication import texts_of, to_settle
from crosshead.labelling.agreement import (
    Dispute,
    agree,
    cohen_kappa,
    coincidence_table,
    disputes_of,
    krippendorff_alpha,
)
from labelling_parts import NAMES, queue, vote

# Krippendorff (2011), sections B (two observers) and C (four observers, some silent), nominal data.
TWO_OBSERVERS = ("a a b b d c c c e d d a", "b a b b b c c c e d d d")
FOUR_OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
TWO_BINARY = ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")


def alpha_of(rows: tuple[str, ...]) -> float:
    names = sorted({cell for row in rows for cell in row.split()} - {"."})
    units = zip(*(row.split() for row in rows), strict=True)
    table = coincidence_table([[names.index(cell) for cell in unit if cell != "."] for unit in units], len(names))
    return float(krippendorff_alpha(table))


@pytest.mark.parametrize(("rows", "published"), [(TWO_OBSERVERS, 0.692), (FOUR_OBSERVERS, 0.743), (TWO_BINARY, 0.095)])
def test_alpha_is_that_of_krippendorffs_examples(rows: tuple[str, ...], published: float) -> None:
    assert alpha_of(rows) == pytest.approx(published, abs=0.0005)


def test_kappa_in_the_head() -> None:
    # 35 of 50 agree; the first says yes 25 times, the second 30: chance agrees on 0.5·0.6 + 0.5·0.4 = 0.5.
    assert float(cohen_kappa(np.array([[20.0, 5.0], [10.0, 15.0]]))) == pytest.approx(0.4)
    assert float(cohen_kappa(np.diag([3.0, 4.0]))) == 1
    assert np.isnan(cohen_kappa(np.diag([7.0, 0.0])))
    assert np.isnan(krippendorff_alpha(np.diag([7.0, 0.0])))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_kappa_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    table = np.zeros((4, 4))
    for i, j in pairs:
        table[i, j] += 1
    found = float(cohen_kappa(table))
    if np.isnan(found):
        assert len(set(pairs)) == 1
    else:
        assert found == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


def labels(votes: dict[str, list[str]], *, per_article: int = 2) -> list[Annotation]:
    """Make annotations of one label a paragraph (``-`` is none), some paragraphs an article."""
    return [
        Annotation(f"article{i // per_article}", i % per_article, f"{i:016}", name, who)
        for who, names in votes.items()
        for i, name in enumerate(names)
        if name != "-"
    ]


def test_a_pair_of_annotators() -> None:
    found = agree(labels({"anna": list("aaabbbcc--"), "ben": list("aabbbbca-a")}), "abc")
    (pair,) = found.pairs
    assert pair.annotators == ("ben", "anna"), "who labelled most comes first"
    assert pair.confusion.tolist() == [[2, 0, 1], [1, 3, 0], [0, 0, 1]]
    assert (pair.n_paragraphs, pair.n_articles) == (8, 4)
    assert pair.observed.value == 6 / 8
    assert not pair.observed.has_ends, "four articles give no interval"
    by_type = {name: interval and interval.value for name, interval in pair.by_section_type.items()}
    assert by_type == {"a": pytest.approx(4 / 6), "b": pytest.approx(6 / 7), "c": pytest.approx(2 / 3)}
    assert found.n_votes == {"ben": 9, "anna": 8}
    assert (found.n_paragraphs, found.n_articles) == (8, 4)


def test_three_annotators_make_three_pairs_and_one_alpha() -> None:
    votes = {"a": list("xxyyxx"), "b": list("xxyxx-"), "c": list("xyyy--"), "d": list("------")}
    found = agree(labels(votes), "xy")
    assert [pair.annotators for pair in found.pairs] == list(combinations("abc", 2))
    assert found.alpha is not None
    told = [[votes[who][i] for who in "abc" if votes[who][i] != "-"] for i in range(5)]
    expected = krippendorff_alpha(coincidence_table([["xy".index(v) for v in unit] for unit in told], 2))
    assert found.alpha.value == pytest.approx(float(expected))


def test_where_there_is_nothing_to_agree_about_no_coefficient_is_given() -> None:
    found = agree(labels({"anna": ["a"] * 4, "ben": ["a"] * 4}), "ab")
    assert found.alpha is None
    assert found.pairs[0].kappa is None
    assert found.pairs[0].by_section_type["b"] is None
    assert json.loads(json.dumps(found.as_dict()))["pairs"][0]["kappa"] is None


def test_intervals_come_from_resampling_articles() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    wrong = rng.random((2, 40)) < 0.3  # whole articles are misread
    read = [np.where(np.repeat(misread, 10), rng.integers(0, 3, 400), truth) for misread in wrong]
    votes = {who: [str(label) for label in column] for who, column in zip("ab", read, strict=True)}
    by_article = agree(labels(votes, per_article=10), "012")
    alone = agree(labels(votes, per_article=1), "012")
    assert by_article.alpha is not None
    assert alone.alpha is not None
    assert by_article.alpha.value == pytest.approx(alone.alpha.value)
    for one, other in ((by_article.alpha, alone.alpha), (by_article.pairs[0].kappa, alone.pairs[0].kappa)):
        assert one is not None
        assert other is not None
        assert one.low is not None
        assert one.high is not None
        assert other.low is not None
        assert other.high is not None
        assert one.low <= one.value <= one.high
        assert one.high - one.low > 1.3 * (other.high - other.low), "paragraphs of an article are not independent"
    assert agree(labels(votes, per_article=10), "012").as_dict() == by_article.as_dict(), "seeded"


def test_an_adjudication_is_no_vote() -> None:
    votes = [
        vote("ford", 0, "talks", "anna"),
        vote("ford", 0, "rest", "ben", note="two subjects"),
        vote("ford", 1, "talks", "anna"),
        vote("ford", 1, "talks", "ben"),
        vote("ford", 0, "rest", "clara", source="adjudication"),
    ]
    found = agree(votes, NAMES)
    assert found.n_votes == {"anna": 2, "ben": 2}
    (dispute,) = found.disputes
    assert dispute == Dispute(
        "ford", 0, votes[0].text_sha256, {"anna": "talks", "ben": "rest"}, {"ben": "two subjects"}, settled="rest"
    )


def test_labels_of_two_texts_are_not_compared() -> None:
    votes = [vote("ford", 0, "talks", "anna"), Annotation("ford", 0, "0" * 16, "rest", "ben")]
    with pytest.raises(DataError, match="no paragraph was read by two annotators"):
        agree(votes, NAMES)
    assert disputes_of(votes) == []
    longer = Annotation("ford", 0, votes[0].text_sha256 + "0" * 48, "rest", "ben")
    assert len(disputes_of([votes[0], longer])) == 1


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([], r"read by two annotators \(there are none\); let somebody read some of them again: .* --second"),
        ([vote("ford", 0, "talks", "anna")], r"\(there are 'anna'\)"),
        (
            [vote("ford", 0, "tlaks", "anna")],
            "annotator 'anna' labels paragraph 0 of 'ford' 'tlaks', which is no section",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(votes: list[Annotation], message: str) -> None:
    with pytest.raises(DataError, match=message):
        agree(votes, NAMES)


# -- settling ----------------------------------------------------------------------------------------------------------

DIVIDED = [
    vote("ford", 2, "talks", "anna"),
    vote("bridge", 0, "war_front", "anna", note="noon"),
    vote("ford", 0, "talks", "anna"),
    vote("ford", 2, "rest", "ben"),
    vote("bridge", 0, "rest", "ben"),
    vote("ford", 0, "rest", "ben"),
]


def test_disputes_are_asked_article_by_article_with_every_vote() -> None:
    items = to_settle(disputes_of(DIVIDED), texts_of(queue(suggestions=True)))
    assert [(item.article_id, item.paragraph) for item in items] == [("ford", 0), ("ford", 2), ("bridge", 0)]
    assert items[2].votes == {"anna": "war_front", "ben": "rest"}
    assert items[2].notes == {"anna": "noon"}
    assert items[2].text == "The bridge fell at noon."
    assert all(item.suggestion is None for item in items)


def test_what_is_settled_is_not_asked_again() -> None:
    settled = [*DIVIDED, vote("ford", 0, "rest", "clara", source="adjudication")]
    texts = texts_of(queue())
    assert [item.paragraph for item in to_settle(disputes_of(settled), texts)] == [2, 0]
    assert len(to_settle(disputes_of(settled), texts, again=True)) == 3


def test_where_nothing_is_to_settle_it_is_said() -> None:
    with pytest.raises(DataError, match="there is nothing to settle: all agree"):
        to_settle(disputes_of(DIVIDED[:2]), {})
    one = [*(v for v in DIVIDED if v.article_id == "bridge"), vote("bridge", 0, "rest", "clara", source="adjudication")]
    with pytest.raises(DataError, match="all 1 disputes are settled; look at them again with --again"):
        to_settle(disputes_of(one), {})


def test_a_dispute_without_its_text_is_named() -> None:
    with pytest.raises(
        DataError, match=r"the text of paragraph 0 of 'ford' .* is in none of the files; name .* --texts"
    ):
        to_settle(disputes_of(DIVIDED), {})


def test_disputed_paragraphs_can_be_written_as_a_queue(tmp_path: Path) -> None:
    from crosshead.labelling.queue import read_queue, write_queue

    items = to_settle(disputes_of(DIVIDED), texts_of(queue()))
    write_queue(items, tmp_path / "disputed.jsonl")
    assert read_queue([tmp_path / "disputed.jsonl"]) == items

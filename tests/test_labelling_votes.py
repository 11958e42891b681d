"""Labels from everywhere: read with the place where they stand, merged once, contradictions named by both rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.corpora.annotations import Annotation, check_annotations, count_votes, read_annotations
from crosshead.errors import DataError
from crosshead.labelling.log import Event, LabelLog
from crosshead.labelling.store import append
from crosshead.labelling.votes import Vote, check_votes, merge, read_all_votes, read_votes, take_into
from labelling_parts import ARTICLES, NAMES, vote


def votes(*annotations: Annotation, file: str = "a.csv") -> list[Vote]:
    return [Vote(given, f"line {i} of {file}") for i, given in enumerate(annotations, 2)]


def write_log(path: Path, annotator: str, *labels: tuple[int, str]) -> Path:
    log = LabelLog(path, annotator)
    for number, (paragraph, section_type) in enumerate(labels):
        given = vote("ford", paragraph, section_type, annotator)
        log.append(
            Event(f"{annotator}{number}", "label", "ford", paragraph, given.text_sha256, annotator,
                  f"2026-01-01T00:00:0{number}Z", section_type=section_type)
        )  # fmt: skip
    return path


def test_every_kind_of_file_gives_the_same_votes(tmp_path: Path) -> None:
    given = vote("ford", 1, "talks", "anna")
    append(tmp_path / "a.csv", given, "k1")
    write_log(tmp_path / "a.jsonl", "anna", (1, "talks"))
    export = [
        {
            "data": {"article_id": "ford", "paragraph": 1, "text": "Envoys met by the lake."},
            "annotations": [{"completed_by": 7, "result": [{"type": "choices", "value": {"choices": ["talks"]}}]}],
        }
    ]
    (tmp_path / "a.json").write_text(json.dumps(export))
    for name, where in (("a.csv", "line 2"), ("a.jsonl", "line 1"), ("a.json", "task 1")):
        (found,) = read_votes(tmp_path / name, {"7": "anna"})
        assert found.where == f"{where} of {tmp_path / name}"
        assert found.identity == ("ford", 1, "anna")
        assert (found.annotation.section_type, found.annotation.text_sha256) == ("talks", given.text_sha256)
    assert len(read_all_votes([tmp_path / "a.csv", tmp_path / "a.jsonl"])) == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in '\.txt'; read are \.jsonl \(label logs\), \.json \(Label Studio's"):
        read_votes(tmp_path / "a.txt")


def test_one_annotator_with_two_labels_in_two_files_is_refused_by_both_rows(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", vote("ford", 1, "rest", "anna", time="2025-12-31T00:00:00Z"), "k1")
    write_log(tmp_path / "b.jsonl", "anna", (0, "talks"), (1, "talks"))
    message = (
        r"annotator 'anna' labels paragraph 1 of 'ford' 'rest' on line 2 of .*a\.csv \(2025-12-31T00:00:00Z\) and "
        r"'talks' on line 2 of .*b\.jsonl \(2026-01-01T00:00:01Z\); keep one of the two"
    )
    with pytest.raises(DataError, match=message):
        read_all_votes([tmp_path / "a.csv", tmp_path / "b.jsonl"])


def test_labels_of_different_texts_are_refused() -> None:
    one, other = vote("ford", 1, "talks", "anna"), Annotation("ford", 1, "0" * 16, "talks", "anna")
    with pytest.raises(
        DataError, match=r"line 2 of a\.csv and line 3 of a\.csv are about different texts of paragraph 1"
    ):
        check_votes(votes(one, other))
    with pytest.raises(DataError, match="are about different texts of paragraph 1 of 'ford'"):
        merge(votes(one), votes(other, file="b.csv"))
    check_votes(votes(one, Annotation("ford", 1, one.text_sha256 + "0" * 48, "talks", "anna")))


# -- merging -----------------------------------------------------------------------------------------------------------


def test_what_is_known_already_changes_nothing() -> None:
    known = votes(vote("ford", 0, "talks", "anna", time="then"), vote("ford", 1, "rest", "anna"))
    merged = merge(
        known, votes(vote("ford", 1, "rest", "anna", time="now"), vote("ford", 1, "talks", "ben"), file="b.csv")
    )
    assert (merged.n_added, merged.n_replaced, merged.n_known) == (1, 0, 1)
    assert merged.annotations == [*(v.annotation for v in known), vote("ford", 1, "talks", "ben")]


def test_a_changed_mind_is_an_error_unless_the_new_label_may_win() -> None:
    known, new = votes(vote("ford", 0, "talks", "anna")), votes(vote("ford", 0, "rest", "anna"), file="b.csv")
    message = (
        r"'talks' on line 2 of a\.csv and 'rest' on line 2 of b\.csv; keep one .* or let the new one win with --repl"
    )
    with pytest.raises(DataError, match=message):
        merge(known, new)
    merged = merge(known, new, replace_known=True)
    assert (merged.n_added, merged.n_replaced) == (0, 1)
    assert [found.section_type for found in merged.annotations] == ["rest"]


def test_the_settled_label_stands_beside_the_votes(tmp_path: Path) -> None:
    known = votes(vote("ford", 0, "talks", "anna"), vote("ford", 0, "rest", "ben"))
    settled = vote("ford", 0, "rest", "anna", source="adjudication")
    merged = merge(known, votes(settled, file="b.csv"))
    assert merged.n_added == 1, "anna's own vote stays"
    other = vote("ford", 0, "talks", "clara", source="adjudication")
    with pytest.raises(DataError, match="the adjudication labels paragraph 0 of 'ford' 'rest' on line 4 of"):
        merge(votes(*merged.annotations), votes(other, file="c.csv"))


def test_taking_in_writes_a_file_that_prepare_reads(tmp_path: Path) -> None:
    path = tmp_path / "data" / "annotations.csv"
    path.parent.mkdir()
    old = vote("ford", 0, "talks", "author")
    path.write_text(
        f"article_id,paragraph,text_sha256,section_type,annotator,mood\nford,0,{old.text_sha256},talks,author,glad\n"
    )
    log = write_log(tmp_path / "anna.jsonl", "anna", (0, "talks"), (1, "talks"), (1, "rest"))
    for n_added, n_known in ((2, 0), (0, 2)):
        merged = take_into(path, read_votes(log))
        assert (merged.n_added, merged.n_known) == (n_added, n_known)
    found = read_annotations(path)
    check_annotations(found, ARTICLES, NAMES)
    assert [(a.annotator, a.section_type, a.extra["source"]) for a in found] == [
        ("author", "talks", ""),
        ("anna", "talks", "label_page"),
        ("anna", "rest", "label_page"),
    ]
    assert found[0].extra["mood"] == "glad"
    assert found[2].extra["time"] == "2026-01-01T00:00:02Z"
    append(path, vote("ford", 2, "rest", "ben"), "k1")
    assert len(read_annotations(path)) == 4


def test_taking_nothing_in_makes_an_empty_file(tmp_path: Path) -> None:
    take_into(tmp_path / "annotations.csv", [])
    assert read_annotations(tmp_path / "annotations.csv") == []


given_votes = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["anna", "ben"]), st.sampled_from(NAMES)), max_size=10
).map(lambda rows: {(paragraph, who): name for paragraph, who, name in rows})


@given(given_votes, given_votes, st.randoms())
def test_merging_loses_no_vote_and_its_order_does_not_matter(
    left: dict[tuple[int, str], str], right: dict[tuple[int, str], str], order: random.Random
) -> None:
    right = right | {key: name for key, name in left.items() if key in right}

    def as_votes(table: dict[tuple[int, str], str], file: str) -> list[Vote]:
        rows = [vote("ford", paragraph, name, who) for (paragraph, who), name in table.items()]
        order.shuffle(rows)
        return votes(*rows, file=file)

    one = merge(as_votes(left, "l.csv"), as_votes(right, "r.csv"))
    other = merge(as_votes(right, "r.csv"), as_votes(left, "l.csv"))
    expected = {(paragraph, who, name) for (paragraph, who), name in (left | right).items()}
    for merged in (one, other):
        assert {(a.paragraph, a.annotator, a.section_type) for a in merged.annotations} == expected
        assert len(merged.annotations) == len(expected)


# -- what decides ------------------------------------------------------------------------------------------------------


def test_an_adjudication_decides_over_every_majority() -> None:
    rows = [
        vote("ford", 0, "talks", "anna"),
        vote("ford", 0, "talks", "ben"),
        vote("ford", 0, "rest", "clara", source="adjudication"),
        vote("ford", 1, "talks", "anna"),
        vote("ford", 1, "rest", "ben"),
        vote("ford", 2, "rest", "clara", source="adjudication"),
    ]
    for order in (rows, rows[::-1]):
        verdicts = count_votes(order)
        assert verdicts.section_types == {("ford", 0): "rest", ("ford", 2): "rest"}
        assert verdicts.disputed == (("ford", 1),)
    check_annotations(rows, ARTICLES, NAMES)


def test_two_adjudications_that_differ_decide_nothing_and_are_refused() -> None:
    rows = [
        vote("ford", 0, "talks", "anna", line=2, source="adjudication"),
        vote("ford", 0, "rest", "ben", line=3, source="adjudication"),
    ]
    assert count_votes(rows).disputed == (("ford", 0),)
    with pytest.raises(
        DataError, match="the adjudication labels paragraph 0 of 'ford' 'talks' on line 2 and 'rest' on"
    ):
        check_annotations(rows, ARTICLES, NAMES)


def test_an_adjudicator_may_have_voted_otherwise() -> None:
    rows = [vote("ford", 0, "talks", "anna"), vote("ford", 0, "rest", "anna", source="adjudication")]
    check_annotations(rows, ARTICLES, NAMES)
    assert count_votes(rows).section_types == {("ford", 0): "rest"}

"""Corrections of the served page: brought to the paragraphs of the corpus, the last word of each reader, none lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.corpora.annotations import CORRECTION, Annotation, check_annotations, read_annotations
from crosshead.environment import DEFAULTS
from crosshead.errors import DataError
from crosshead.labelling import store
from crosshead.labelling.corrections import N_PLACES, place
from crosshead.labelling.store import append
from crosshead.labelling.votes import Vote, check_votes, last_words, merge, read_votes, take_into
from crosshead.text import text_digest
from labelling_parts import ARTICLES, NAMES, vote, write_project

GONE = Annotation("page-elsewhere-1f", 4, text_digest("Nobody keeps this text."), "talks", "anna")
RIVER = ARTICLES[0].texts[1]


def corrected(annotation: Annotation, **more: str) -> Annotation:
    return replace(annotation, extra={**annotation.extra, "source": CORRECTION, **more})


def pasted(paragraph: int, section_type: str, annotator: str = "anna", **more: str) -> Annotation:
    """Correct a paragraph of the ford that was pasted into the page."""
    found = replace(vote("ford", paragraph, section_type, annotator), article_id="page-the-ford-9c")
    return corrected(replace(found, paragraph=paragraph + 5), **more)


def votes(*annotations: Annotation) -> list[Vote]:
    return [Vote(found, f"line {i} of c.csv") for i, found in enumerate(annotations, 2)]


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_correction_goes_to_the_paragraph_that_has_its_text() -> None:
    at_home = corrected(vote("ford", 0, "rest", "anna"))
    placed = place(votes(at_home, pasted(1, "talks")), ARTICLES, NAMES)
    assert [(v.annotation.article_id, v.annotation.paragraph) for v in placed.votes] == [("ford", 0), ("ford", 1)]
    assert [v.where for v in placed.votes] == ["line 2 of c.csv", "line 3 of c.csv"]
    assert placed.votes[1].annotation.extra["source"] == CORRECTION
    assert (placed.n_moved, placed.set_aside) == (1, [])
    check_annotations([v.annotation for v in placed.votes], ARTICLES, NAMES)


def test_an_article_that_was_edited_is_found_by_the_text() -> None:
    """The page names a file's article by the file; what was corrected may have moved since, or may be gone."""
    moved = replace(corrected(vote("ford", 1, "talks", "anna")), paragraph=2)
    gone = replace(GONE, article_id="ford", paragraph=0, extra={"source": CORRECTION})
    placed = place(votes(moved, gone), ARTICLES, NAMES)
    assert [(v.annotation.article_id, v.annotation.paragraph) for v in placed.votes] == [("ford", 1)]
    assert [item.reason for item in placed.set_aside] == ["no paragraph of the corpus has its text"]


def test_a_text_that_stands_in_several_places_is_taken_only_where_it_was_corrected() -> None:
    copies = [Article.from_texts([RIVER], article_id=f"copy-{i}") for i in range(N_PLACES + 1)]
    here = corrected(replace(vote("ford", 1, "talks", "anna"), article_id="copy-2", paragraph=0))
    placed = place(votes(here, pasted(1, "talks")), [*ARTICLES, *copies], NAMES)
    assert [(v.annotation.article_id, v.annotation.paragraph) for v in placed.votes] == [("copy-2", 0)]
    (item,) = placed.set_aside
    assert (
        item.reason == f"{N_PLACES + 2} paragraphs of the corpus have its text: ford#1, copy-0#0, copy-1#0 and 2 more"
    )
    two = place(votes(pasted(1, "talks")), [*ARTICLES, copies[0]], NAMES)
    assert two.set_aside[0].reason == "2 paragraphs of the corpus have its text: ford#1, copy-0#0"


def test_a_section_type_of_another_model_is_set_aside() -> None:
    placed = place(votes(corrected(vote("ford", 0, "weather", "anna"))), ARTICLES, NAMES)
    assert placed.set_aside[0].reason == "the section type 'weather' is none of war_front, talks, rest"


def test_other_labels_are_let_through_as_they_are() -> None:
    others = votes(GONE, vote("ford", 0, "nonsense", "anna"))
    assert place(others, ARTICLES, NAMES).votes == others


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([*NAMES, "strange"]), st.sampled_from(["home", "pasted", "gone", "log"])
        )
    )
)
def test_every_vote_is_placed_or_set_aside(given_votes: list[tuple[int, str, str]]) -> None:
    made: dict[str, Callable[[int, str], Annotation]] = {
        "home": lambda n, name: corrected(vote("ford", n, name, "anna")),
        "pasted": pasted,
        "gone": lambda n, name: corrected(replace(GONE, paragraph=n, section_type=name)),
        "log": lambda n, name: vote("ford", n, name, "ben"),
    }
    sent = votes(*(made[kind](n, name) for n, name, kind in given_votes))
    placed = place(sent, ARTICLES, NAMES)
    whereabouts = sorted([v.where for v in placed.votes] + [item.vote.where for item in placed.set_aside])
    assert whereabouts == sorted(v.where for v in sent)
    fitting = [v.annotation for v in last_words(placed.votes) if v.annotation.annotator == "anna"]
    check_annotations(fitting, ARTICLES, NAMES)


# -- last words --------------------------------------------------------------------------------------------------------


def test_readers_may_change_their_minds() -> None:
    sent = votes(
        pasted(0, "talks", time="2026-03-01T10:00:00.000Z"),
        pasted(0, "rest", "ben", time="2026-03-01T10:00:01.000Z"),
        pasted(0, "rest", time="2026-03-01T10:00:02.000Z"),
        pasted(1, "rest"),
        pasted(1, "talks"),
    )
    kept = last_words(sent)
    assert [v.where for v in kept] == ["line 4 of c.csv", "line 3 of c.csv", "line 6 of c.csv"]
    check_votes(kept)
    assert last_words(reversed(sent[:3]))[0].annotation.section_type == "rest", "times count, not the order of files"
    with pytest.raises(DataError, match=r"'rest' on line 5 of c\.csv and 'talks' on line 6 of c\.csv; keep one"):
        check_votes(sent[3:])


def test_labels_that_are_no_corrections_keep_contradicting() -> None:
    with pytest.raises(DataError, match="keep one of the two"):
        merge([], votes(vote("ford", 0, "talks", "anna"), vote("ford", 0, "rest", "anna")))


def test_a_later_correction_replaces_an_earlier_one_in_the_annotations(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    days = {day: corrected(vote("ford", 0, name, "anna"), time=f"2026-03-0{day}T10:00:00.000Z")
            for day, name in ((1, "talks"), (2, "rest"), (3, "talks"))}  # fmt: skip

    def taken(*numbers: int) -> tuple[int, int, int, int]:
        merged = take_into(path, votes(*(days[number] for number in numbers)))
        return merged.n_added, merged.n_replaced, merged.n_known, merged.n_overruled

    assert taken(2) == (1, 0, 0, 0)
    assert taken(1) == (0, 0, 0, 1), "it came earlier"
    assert taken(1, 2, 3) == (0, 1, 0, 2)
    assert taken(1, 2, 3) == (0, 0, 1, 2), "the same file may be imported again and again"
    assert [(a.section_type, a.extra["time"][:10]) for a in read_annotations(path)] == [("talks", "2026-03-03")]


def test_the_same_label_given_again_counts_from_its_later_time(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    for day, name in ((1, "talks"), (3, "talks"), (2, "rest")):
        take_into(path, votes(corrected(vote("ford", 0, name, "anna"), time=f"2026-03-0{day}T10:00:00.000Z")))
    assert [a.section_type for a in read_annotations(path)] == ["talks"]


def test_a_correction_does_not_replace_what_its_reader_labelled_elsewhere() -> None:
    labelled, correction = vote("ford", 0, "talks", "anna"), corrected(vote("ford", 0, "rest", "anna"))
    with pytest.raises(DataError, match="let the new one win with --replace"):
        merge(votes(labelled), votes(correction))
    assert merge(votes(labelled), votes(correction), replace_known=True).n_replaced == 1


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CROSSHEAD_ROOT", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    folder = write_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def write_corrections(path: Path, *annotations: Annotation) -> bytes:
    for number, annotation in enumerate(annotations):
        append(path, annotation, f"{path.name}{number}")
    return path.read_bytes()


def test_the_command_takes_what_fits_and_names_the_rest(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / "corrections.csv"
    gone = corrected(GONE)
    before = write_corrections(file, pasted(1, "rest"), gone, pasted(1, "talks"), corrected(vote("ford", 0, "odd", "")))
    for options, prefix in ((["--dry-run"], "would be "), ([], "")):
        assert main(["data", "import", "corrections.csv", *options]) == Exit.OK
        told = capsys.readouterr().out.splitlines()
        assert told[0].startswith(
            f"{prefix}1 added, 0 there already, 1 overruled by a later correction of the same reader: "
        )
        assert told[1:] == [
            "found by their text alone: 2 corrections",
            "set aside, and left in their files: 2 corrections",
            "  line 3 of corrections.csv: page-elsewhere-1f#4: no paragraph of the corpus has its text",
            "  line 5 of corrections.csv: ford#0: the section type 'odd' is none of war_front, talks, rest",
            "import the file again when their articles are in the corpus",
        ]
    assert file.read_bytes() == before
    (found,) = read_annotations(project / "data" / "annotations.csv")
    assert (found.article_id, found.paragraph, found.section_type) == ("ford", 1, "talks")

    (project / "data" / "articles" / "elsewhere.md").write_text("First.\n\nNobody keeps this text.\n")
    assert main(["data", "import", "corrections.csv"]) == Exit.OK
    assert "1 added, 1 there already" in capsys.readouterr().out
    found = read_annotations(project / "data" / "annotations.csv")[-1]
    assert (found.article_id, found.paragraph, found.section_type) == ("elsewhere", 1, "talks")


def test_a_long_list_is_cut_and_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / "corrections.csv"
    write_corrections(file, *(corrected(replace(GONE, paragraph=i)) for i in range(42)))
    assert main(["data", "import", "corrections.csv"]) == Exit.OK
    told = capsys.readouterr().out
    assert "left in their files: 42 corrections" in told
    assert "  … and 2 more; --all lists them" in told
    assert main(["data", "import", "corrections.csv", "--all"]) == Exit.OK
    assert "line 43 of corrections.csv: page-elsewhere-1f#41:" in capsys.readouterr().out


def test_corrections_beside_labels_that_do_not_fit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only corrections are set aside: a label log about an article that is gone is a mistake to be told of."""
    write_corrections(project / "corrections.csv", pasted(1, "talks"))
    write_corrections(project / "labels.csv", GONE)
    assert main(["data", "import", "corrections.csv", "labels.csv"]) == Exit.DATA
    assert "line 2 of labels.csv cannot be taken in" in " ".join(capsys.readouterr().err.split())
    assert not (project / "data" / "annotations.csv").exists()


def test_corrections_without_a_project_are_merged_as_they_are(project: Path) -> None:
    write_corrections(project / "corrections.csv", pasted(1, "rest"), corrected(GONE), pasted(1, "talks"))
    assert main(["data", "merge", "corrections.csv", "-o", "all.csv"]) == Exit.OK
    kept = [(v.annotation.article_id, v.annotation.section_type) for v in read_votes(project / "all.csv")]
    assert kept == [("page-the-ford-9c", "talks"), ("page-elsewhere-1f", "talks")]


# -- clocks that are set back ------------------------------------------------------------------------------------------


def say(path: Path, section_type: str, time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Append a correction by a clock that shows ``time``."""
    monkeypatch.setattr(store, "now", lambda: time)
    said = vote("ford", 1, section_type, "anna", source=CORRECTION)
    assert store.append(path, said, f"{section_type} {time}")


def test_the_last_line_counts_where_a_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's clock is a year ahead, and is then put right: what the reader said last holds, also when taken in."""
    file, annotations = tmp_path / "corrections.csv", tmp_path / "annotations.csv"
    say(file, "talks", "2027-01-01T00:00:00.000Z", monkeypatch)
    take_into(annotations, read_votes(file))
    say(file, "rest", "2026-01-01T00:00:00.000Z", monkeypatch)
    assert [v.annotation.section_type for v in last_words(read_votes(file))] == ["rest"]
    assert take_into(annotations, read_votes(file)).n_replaced == 1
    assert take_into(annotations, read_votes(file)).n_known == 1
    (kept,) = read_annotations(annotations)
    assert (kept.section_type, kept.extra["time"]) == ("rest", "2026-01-01T00:00:00.000Z")
    say(file, "war_front", "2026-01-01T00:00:00.000Z", monkeypatch)
    take_into(annotations, read_votes(file))
    assert [a.section_type for a in read_annotations(annotations)] == ["war_front"]
    assert len(read_votes(file)) == 3, "nothing is lost of what was said"

"""Rules and headings vote; the label model learns what a vote is worth; `crosshead rules` shows it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead import bundle
from crosshead.cli import main
from crosshead.errors import ConfigError, DataError
from crosshead.labelling.weak_labels import UNKNOWN, Source, Votes, cast_votes, fit_label_model, report_sources
from crosshead.taxonomy import Taxonomy
from label_parts import TAXONOMY, make_project, use_tiny_encoder

NONE = np.array([UNKNOWN])


def names(votes: Votes, row: int) -> list[str]:
    return [source.name for source, cast in zip(votes.sources, votes.cast[row], strict=True) if cast]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The ferry left.", ["ships"]),
        ("FÉRRIES and cargo", ["ships"]),
        ("Transferring goods", []),
        ("A rising tide", ["water"]),
        ("Betides nothing", []),
        ("Pupils watched the storm over the ferry quay", ["ships", "class", "sky"]),
        ("Examples of exams", []),
        ("An exam.", ["class"]),
        ("Nothing here", []),
    ],
)
def test_phrases_and_patterns_vote_on_whole_words(text: str, expected: list[str]) -> None:
    assert names(cast_votes([text], NONE, TAXONOMY), 0) == expected


def test_a_heading_is_a_source_for_each_section_type() -> None:
    votes = cast_votes(["a ferry", "b", "c"], np.array([2, 0, UNKNOWN]), TAXONOMY)
    assert names(votes, 0) == ["ships", "heading"]
    assert votes.counts().tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert votes.covered.tolist() == [True, True, False]
    assert votes.without_headings().counts().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_nothing_that_could_vote_is_refused() -> None:
    bare = Taxonomy.from_mapping({"section_types": [{"name": "a"}, {"name": "b"}]})
    with pytest.raises(ConfigError, match="no text_rules, and no heading stands for a section type"):
        cast_votes(["x"], NONE, bare)
    assert cast_votes(["x"], np.array([1]), bare).counts().tolist() == [[0, 1]]


def test_no_vote_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 paragraphs has a vote"):
        fit_label_model(cast_votes(["silence"], NONE, TAXONOMY))


def simulate(
    accuracy: list[float], coverage: list[float], n: int = 4000, n_types: int = 3, seed: int = 0
) -> tuple[Votes, np.ndarray]:
    """Let independent sources vote: source s for section type s mod n_types, right as often as told."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_types, n)
    sources = tuple(Source(s % n_types, f"s{s}") for s in range(len(accuracy)))
    cast = np.zeros((n, len(sources)), dtype=bool)
    for s, (right, share) in enumerate(zip(accuracy, coverage, strict=True)):
        of_type = y == s % n_types
        # P(votes | its type) : P(votes | another) so that `right` of its votes are right and it covers `share`.
        cast[of_type, s] = rng.random(of_type.sum()) < share * right * n_types
        cast[~of_type, s] = rng.random((~of_type).sum()) < share * (1 - right) * n_types / (n_types - 1)
    return Votes(tuple("abc"[:n_types]), sources, cast), y


def test_the_label_model_finds_out_who_is_right_without_any_label() -> None:
    accuracy = [0.95, 0.9, 0.9, 0.7, 0.6, 0.9, 0.5, 0.85, 0.65]
    votes, y = simulate(accuracy, [0.2] * 9)
    model = fit_label_model(votes)
    belief = model.belief[np.arange(9), [s.section_type for s in votes.sources]]
    assert np.corrcoef(belief, accuracy)[0, 1] > 0.95
    assert np.abs(belief - accuracy).max() < 0.13  # good sources are thought a little worse than they are
    covered = votes.covered
    weighed = (model.log_proba(votes).argmax(axis=1) == y)[covered].mean()
    counted = (votes.counts().argmax(axis=1) == y)[covered].mean()
    assert weighed > counted + 0.02


def test_beliefs_and_answers_are_probabilities() -> None:
    votes, _ = simulate([0.9, 0.6, 0.8], [0.3, 0.1, 0.01], n=200)
    model = fit_label_model(votes)
    assert np.allclose(model.belief.sum(axis=1), 1.0)
    proba = np.exp(model.log_proba(votes))
    assert np.allclose(proba.sum(axis=1), 1.0)
    assert np.allclose(proba[~votes.covered], 1 / 3)


def test_one_vote_does_not_decide_about_a_source() -> None:
    votes, y = simulate([0.9, 0.9, 0.9, 0.0, 0.0], [0.3, 0.3, 0.3, 0.0, 0.0])
    seen_through = np.flatnonzero((y == 2) & votes.cast[:, 2])
    votes.cast[seen_through[:1], 3] = True
    votes.cast[seen_through[:200], 4] = True
    belief = fit_label_model(votes).belief
    assert 0.4 < belief[3, 0] < 0.7
    assert belief[4, 1] < 0.1


def test_known_labels_are_believed_against_the_votes() -> None:
    votes, y = simulate([0.9, 0.9, 0.9, 0.1], [0.2, 0.2, 0.2, 0.3], n=3000)
    alone = fit_label_model(votes).belief[3, 0]
    known = np.where(np.arange(3000) < 1500, y, UNKNOWN)
    told = fit_label_model(votes, known).belief[3, 0]
    assert abs(told - 0.1) < abs(alone - 0.1)
    assert told < 0.25


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_order_of_paragraphs_and_sources_does_not_matter(seed: int) -> None:
    votes, _ = simulate([0.9, 0.7, 0.8, 0.6], [0.3, 0.2, 0.2, 0.1], n=60, seed=seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(60), rng.permutation(4)
    moved = Votes(votes.section_types, tuple(votes.sources[c] for c in columns), votes.cast[np.ix_(rows, columns)])
    belief = fit_label_model(votes).belief
    assert np.allclose(fit_label_model(moved).belief, belief[columns], atol=1e-6)


def test_the_report_counts_what_can_be_counted_in_the_head() -> None:
    texts = ["a ferry", "a ferry in the rain", "cargo", "an exam", "nothing"]
    votes = cast_votes(texts, np.array([UNKNOWN, UNKNOWN, 0, UNKNOWN, UNKNOWN]), TAXONOMY)
    y = np.array([0, 2, 0, UNKNOWN, 1])
    reports = {(r.section_type, r.name): r for r in report_sources(votes, fit_label_model(votes), y, list("abcde"))}
    ships = reports["harbour", "ships"]
    assert (ships.n_votes, ships.coverage, ships.n_checked) == (3, 0.6, 3)
    assert ships.conflicts == pytest.approx(1 / 3)  # the heading of the third agrees
    assert ships.accuracy is not None
    assert ships.accuracy.value == pytest.approx(2 / 3)
    school = reports["school", "class"]
    assert (school.n_votes, school.n_checked, school.accuracy) == (1, 0, None)
    assert school.as_dict()["accuracy"] is None
    assert (reports["weather", "heading"].n_votes, reports["weather", "heading"].conflicts) == (0, 0.0)


# -- crosshead rules -------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tiny_graph: Path) -> Path:
    made = make_project(tmp_path / "project", root / "conf")
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "160")
    use_tiny_encoder(monkeypatch, tiny_graph)
    return made


def test_rules_shows_every_rule_and_writes_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--csv", "rules.csv"]) == 0
    out = capsys.readouterr().out
    assert "refugees" in out
    assert "are right by counting" in out
    with (project / "rules.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    refugees = next(row for row in rows if row["source"] == "refugees")
    assert (refugees["section_type"], refugees["n_votes"], refugees["accuracy"]) == ("regional_stability", "2", "1.0")


def test_rules_saves_a_tagger_that_tags(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--save", "models/rules"]) == 0
    out = capsys.readouterr().out
    assert "trained on the votes: macro-F1" in out
    assert 'every answer is marked "not sure"' in out  # twelve labels promise nothing
    tagger = bundle.load(project / "models" / "rules")
    tags = tagger.tag_texts(["Refugees crossed the border and the neighbours shut two crossings."])
    assert tags[0].section_type == "regional_stability"
    assert tags[0].abstained


def test_rules_without_headings_and_without_annotations(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "data" / "annotations.csv").unlink()
    assert main(["rules", "--no-headings", "data/articles/bread.md"]) == 0
    out = capsys.readouterr().out
    assert "of 3 paragraphs have a vote" in out
    assert "annotated" not in out

"""Wrong labels are found, shown with what speaks against them, and kept out of training."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from crosshead.cli import main
from crosshead.corpora.annotations import read_annotations
from crosshead.errors import DataError, MissingExtraError
from crosshead.labelling.label_noise import TREATMENTS, find_suspects, most_similar, training_weights
from crosshead.labelling.queue import read_queue
from label_parts import make_project, use_tiny_encoder

pytest.importorskip("cleanlab")


def planted(n: int, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with errors, probabilities of a good model, and which labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    proba = rng.dirichlet(np.ones(3), n) * 0.4 + 0.6 * np.eye(3)[truth]
    wrong = rng.random(n) < rate
    return np.where(wrong, (truth + rng.integers(1, 3, n)) % 3, truth), proba, wrong


@pytest.mark.parametrize("rate", [0.05, 0.15])
def test_planted_errors_are_found(rate: float) -> None:
    y, proba, wrong = planted(1000, rate)
    suspects = find_suspects(y, proba)
    assert wrong[suspects.order[: wrong.sum()]].mean() > 0.95
    assert wrong[suspects.found].mean() > 0.9
    assert wrong[suspects.found].sum() > 0.8 * wrong.sum()
    assert (np.diff(suspects.confidence[suspects.found]) >= 0).all()
    assert len(suspects.found) == suspects.is_suspect.sum()


def test_right_labels_are_left_in_peace() -> None:
    y, proba, _ = planted(500, 0.0)
    assert find_suspects(y, proba).is_suspect.sum() == 0


def test_the_order_is_that_of_the_labels_probability() -> None:
    proba = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    suspects = find_suspects(np.array([0, 0, 1, 1]), proba)
    assert suspects.order.tolist() == [1, 0, 2, 3]
    assert suspects.confidence.tolist() == [0.6, 0.1, 0.7, 0.8]


def test_a_section_type_without_any_label_does_not_matter() -> None:
    y, proba, _ = planted(400, 0.1)
    wider = np.insert(proba * 0.9, 1, 0.1, axis=1)
    found = find_suspects(np.where(y > 0, y + 1, y), wider)
    assert np.array_equal(found.is_suspect, find_suspects(y, proba).is_suspect)


def test_labels_of_one_section_type_are_refused() -> None:
    with pytest.raises(DataError, match="the 2 labels name one section type only"):
        find_suspects(np.array([1, 1]), np.array([[0.5, 0.5], [0.4, 0.6]]))


def test_without_cleanlab_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    y, proba, _ = planted(20, 0.1)
    with pytest.raises(MissingExtraError, match=r"crosshead\[labels\]"):
        find_suspects(y, proba)


def test_training_can_keep_remove_or_weigh_suspects() -> None:
    y, proba, _ = planted(300, 0.15)
    suspects = find_suspects(y, proba)
    weights = {treatment: training_weights(suspects, treatment) for treatment in TREATMENTS}
    assert (weights["keep"] == 1).all()
    assert np.array_equal(weights["remove"] == 0, suspects.is_suspect)
    assert np.array_equal(weights["weigh"], proba[np.arange(300), y])
    with pytest.raises(DataError, match="treatment is 'burn'; it is one of keep, remove, weigh"):
        training_weights(suspects, "burn")


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(1, 6), st.integers(0, 1000))
def test_similar_paragraphs_are_the_nearest_of_other_articles(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    article, rows = rng.integers(0, 4, n), rng.integers(0, n, 3)
    found = most_similar(vectors, article, rows, k)
    assert found.shape == (3, min(k, n))
    for row, near in zip(rows, found, strict=True):
        others = [i for i in range(n) if article[i] != article[row]]
        best = sorted(others, key=lambda i: -float(vectors[row] @ vectors[i]))[:k]
        assert sorted(float(vectors[row] @ vectors[i]) for i in near if i >= 0) == pytest.approx(
            sorted(float(vectors[row] @ vectors[i]) for i in best), abs=1e-5
        )


# -- crosshead suspects ----------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tiny_graph: Path) -> Path:
    """A project of many articles of the tiny texts' words, with one label that is plainly wrong."""
    made = make_project(tmp_path / "project", root / "conf", annotated=())
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "200")
    use_tiny_encoder(monkeypatch, tiny_graph)
    write_corpus(made)
    return made


def _words(label: str) -> set[str]:
    texts = [text for _, rows in tiny.ARTICLES for text, given_label in rows if given_label == label]
    return {word.strip(".,").lower() for text in texts for word in text.split()}


def write_corpus(folder: Path) -> None:
    from crosshead.text import text_digest

    rng = np.random.default_rng(0)
    used = {label: _words(label) for label in tiny.SECTION_TYPES}
    words = {
        label: sorted(own - set().union(*(other for name, other in used.items() if name != label)))
        for label, own in used.items()
    }
    for path in (folder / "data" / "articles").iterdir():
        path.unlink()
    rows = ["article_id,paragraph,text_sha256,section_type,annotator"]
    for number in range(24):
        labels = [tiny.SECTION_TYPES[i] for i in rng.permutation(4)]
        texts = [" ".join(rng.choice(words[label], 12)).capitalize() + "." for label in labels]
        headings = ["## Refugees\n\n" if label == "regional_stability" else "" for label in labels]
        body = "\n\n".join(f"{h}{t}" for h, t in zip(headings, texts, strict=True))
        (folder / "data" / "articles" / f"a{number}.md").write_text(f"# A{number}\n\n{body}\n")
        if number == 7:
            labels[labels.index("ground_developments")] = "other"
        rows += [f"a{number},{i},{text_digest(t)},{labels[i]},author" for i, t in enumerate(texts)]
    (folder / "data" / "annotations.csv").write_text("\n".join(rows) + "\n")


OVERRIDES = ["--set", "views=embedding", "--set", "folds=3"]


def test_suspects_shows_the_wrong_label_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suspects", "--top", "3", *OVERRIDES]) == 0
    told = capsys.readouterr()
    first = told.out.split("\n\n")[0]
    assert first.startswith("1. a7, paragraph ")
    assert "other 0%" in first or "other <" in first or "other 1%" in first or "other 2%" in first
    assert "→ ground_developments" in first
    assert "similar: ground_developments 5" in first
    assert "written: the 3 most suspicious labels" in told.err


def test_suspects_as_csv_as_a_blind_queue_and_what_is_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suspects", "--top", "2", "-o", "s.csv", "--clean", "clean.csv", *OVERRIDES]) == 0
    with Path("s.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["article_id"], row["label"], row["models_say"]) == ("a7", "other", "ground_developments")
    assert row["suspect"] == "True"
    kept = read_annotations(Path("clean.csv"))
    assert (row["article_id"], int(row["paragraph"])) not in {(a.article_id, a.paragraph) for a in kept}
    assert len(kept) >= 90
    assert main(["suspects", "--top", "2", "-o", "reread.jsonl", *OVERRIDES]) == 0
    items = read_queue([Path("reread.jsonl")])
    assert (items[0].article_id, items[0].strategy) == ("a7", "suspects")
    assert items[0].score is not None
    assert items[0].score > 0.5
    assert "other" not in json.loads(Path("reread.jsonl").read_text().splitlines()[0]).get("votes", {})


def test_suspects_of_headings_that_name_one_section_type(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suspects", "--labels", "headings", *OVERRIDES]) == DataError.exit_code
    assert "the labels from headings name one section type only" in capsys.readouterr().err


def test_suspects_of_headings(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (project / "data" / "articles").iterdir():
        lines = path.read_text().split("\n\n")
        i = lines.index("## Refugees")
        before = i - 1 if i > 1 else i + 2
        lines.insert(before, "## Background" if "a7" not in path.name else "## Refugees")
        path.write_text("\n\n".join(lines))
    assert main(["suspects", "--labels", "headings", "--top", "1", *OVERRIDES]) == 0
    assert "other label: " in capsys.readouterr().out


def test_suspects_without_labels(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/annotations.csv").unlink()
    assert main(["suspects"]) == DataError.exit_code
    assert "no paragraph is labelled by annotations; annotate some: crosshead label" in capsys.readouterr().err

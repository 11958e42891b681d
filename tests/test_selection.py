"""What to read next, in which order, when to stop; and `crosshead select`, which writes it down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

import tiny
from crosshead.cli import main
from crosshead.cli import select as command
from crosshead.corpora.annotations import check_annotations, read_annotations
from crosshead.errors import BundleError, ConfigError, DataError
from crosshead.labelling.label_studio import read_label_studio
from crosshead.labelling.queue import read_queue
from crosshead.labelling.selection import (
    RUN_LENGTH,
    STOP_AT,
    STRATEGIES,
    UNITS,
    Candidates,
    disagreement,
    kappa,
    reading_units,
    select,
    stability,
    uncertainty,
    unread_once,
)
from crosshead.labelling.selection_history import Snapshot, read_history, remember, settled, watched
from crosshead.readers import read_articles
from label_parts import make_project, use_tiny_encoder

PROBA = np.array([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45], [0.3, 0.7]])


def candidates(of: np.ndarray = PROBA, article: list[int] | None = None, **given: object) -> Candidates:
    n = len(of)
    parts: dict[str, object] = {
        "article": np.array(article if article is not None else [0] * n),
        "is_open": np.ones(n, dtype=bool),
        "vectors": np.eye(max(n, 2), dtype=np.float32)[:n],
        "proba": of,
        "opinions": np.stack([of, of[:, ::-1]]),
    }
    return Candidates(**{**parts, **given})  # type: ignore[arg-type]


# -- strategies ------------------------------------------------------------------------------------------------------


def test_uncertainty_is_how_close_the_second_best_comes() -> None:
    assert uncertainty(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])).tolist() == pytest.approx(
        [1.0, 0.0, 0.8]
    )
    chosen = select(candidates(), "uncertainty", 3)
    assert chosen.rows.tolist() == [1, 4, 3]
    assert chosen.scores.tolist() == pytest.approx([1.0, 0.9, 0.8])


def test_disagreement_is_a_contradiction_before_it_is_a_difference() -> None:
    sure, unsure, other = [0.95, 0.05], [0.51, 0.49], [0.45, 0.55]
    opinions = np.array([[sure, sure, unsure], [sure, unsure, other]])
    found = disagreement(opinions)
    assert found[0] == 0.0
    assert 0.0 < found[1] < 1.0 < found[2]
    picked = select(candidates(opinions[0], is_open=np.ones(3, bool), opinions=opinions), "disagreement", 3)
    assert picked.rows.tolist() == [2, 1, 0]


def two_clusters() -> tuple[np.ndarray, np.ndarray]:
    """Six paragraphs around one direction, three around another; the fourth and the last are the uncertain ones."""
    spread = np.array([0.0, 0.3, -0.3, 0.6, -0.6, 0.05, 0.0, 0.4, -0.4])
    angle = spread + np.array([0.0] * 6 + [np.pi / 2] * 3)
    proba = np.full((9, 2), [0.9, 0.1])
    proba[[3, 8]] = [0.55, 0.45]
    return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32), proba


@pytest.mark.parametrize("seed", range(5))
def test_clusters_give_one_of_each_kind(seed: int) -> None:
    vectors, proba = two_clusters()
    given = candidates(proba, vectors=vectors)
    assert sorted(select(given, "diversity", 2, seed=seed).rows.tolist()) == [0, 6]
    assert sorted(select(given, "mixed", 2, seed=seed).rows.tolist()) == [3, 8]
    assert set(select(given, "density", 2, seed=seed).rows.tolist()) & {3, 8}


def test_chance_depends_on_the_seed_alone() -> None:
    given = Candidates(np.zeros(50, dtype=np.int64), np.ones(50, dtype=bool))
    assert np.array_equal(select(given, "random", 10, seed=1).rows, select(given, "random", 10, seed=1).rows)
    assert not np.array_equal(select(given, "random", 10, seed=1).rows, select(given, "random", 10, seed=2).rows)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(STRATEGIES),
    st.sampled_from(UNITS),
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_what_is_chosen_is_open_and_chosen_once(
    strategy: str, unit: str, lengths: list[int], n: int, run_length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    article = np.repeat(np.arange(len(lengths)), lengths)
    proba, vectors = rng.dirichlet(np.ones(3), total), rng.normal(size=(total, 4)).astype(np.float32)
    given = Candidates(article, rng.random(total) < 0.7, vectors, proba, np.stack([proba, rng.permutation(proba)]))
    chosen = select(given, strategy, n, unit=unit, run_length=run_length, seed=seed)
    assert given.is_open[chosen.rows].all()
    assert len(set(chosen.rows.tolist())) == len(chosen.rows) == min(n, given.is_open.sum())
    assert len(chosen.scores) == len(chosen.rows)
    again = select(given, strategy, n, unit=unit, run_length=run_length, seed=seed)
    assert np.array_equal(chosen.rows, again.rows)


# -- units -----------------------------------------------------------------------------------------------------------


def test_runs_and_articles_are_cut_at_what_is_closed() -> None:
    article = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    is_open = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 0], dtype=bool)
    cut = [rows.tolist() for rows in reading_units(article, is_open, "run", 2)]
    assert cut == [[0, 1], [2], [4, 5], [6], [7, 8]]
    assert [rows.tolist() for rows in reading_units(article, is_open, "article")] == [[0, 1, 2, 4, 5, 6], [7, 8]]
    assert reading_units(article, np.zeros(10, dtype=bool), "run") == []


def test_the_article_with_the_largest_share_of_wanted_paragraphs_comes_first() -> None:
    sure, unsure = [0.99, 0.01], [0.5, 0.5]
    proba = np.array([sure, sure, sure, unsure, unsure, sure, unsure, unsure, sure, sure])
    given = candidates(proba, article=[0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    assert select(given, "uncertainty", 2, unit="article").rows.tolist() == [4, 5]  # half of it, as of the third
    assert select(given, "uncertainty", 1, unit="article").rows.tolist() == [4]
    assert select(given, "uncertainty", 2, unit="run", run_length=2).rows.tolist() == [6, 7]
    assert select(given, "uncertainty", 1, unit="paragraph").rows.tolist() == [3]


def test_near_duplicates_are_read_once_and_not_if_one_was_read() -> None:
    long = (
        "The garrison at the brick works counted the shells that fell on the yard and waited for the ferry to come back"
    )
    texts = [
        long,
        f"{long} again",
        "Envoys met in the lake town on Monday",
        long.upper(),
        "Envoys met in the lake town on Monday.",
    ]
    assert unread_once(texts, np.zeros(5, dtype=bool)).tolist() == [True, False, True, False, False]
    assert unread_once(texts, np.array([0, 0, 0, 0, 1], dtype=bool)).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("strategy", "given", "message"),
    [
        ("luck", {}, "strategy is 'luck'; it is one of density, mixed"),
        ("random", {"unit": "chapter"}, "unit is 'chapter'; it is one of paragraph, run, article"),
        ("random", {"n": 0}, "n is 0 and run_length 5; both must be at least 1"),
        ("density", {"vectors": None}, "strategy 'density' needs vectors; choose another"),
        ("uncertainty", {"proba": None}, "needs the tagger's probabilities"),
        ("mixed", {"proba": None, "vectors": None}, "needs vectors and the tagger's probabilities"),
        ("disagreement", {"opinions": PROBA[None]}, "needs two opinions at least"),
    ],
)
def test_what_cannot_be_chosen_is_refused(strategy: str, given: dict[str, object], message: str) -> None:
    arguments = {name: given.pop(name) for name in ("n", "unit") if name in given}
    with pytest.raises(DataError, match=message):
        select(candidates(**given), strategy, **{"n": 3, **arguments})  # type: ignore[arg-type]


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="different lengths"):
        Candidates(np.zeros(3, dtype=np.int64), np.ones(2, dtype=bool))


# -- stopping --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_kappa_is_cohens(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    if len({*a.tolist(), *b.tolist()}) > 1:
        assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert kappa(a, a) == 1.0


def test_reading_stops_when_the_last_models_agree() -> None:
    rng = np.random.default_rng(0)
    same = rng.integers(0, 3, 1000)
    other = np.where(rng.random(1000) < 0.3, (same + 1) % 3, same)
    early = stability([other, same, same])
    assert (early.mean, early.stop) == (None, False)
    found = stability([other, same, same, same, same])
    assert (found.stop, found.mean) == (True, 1.0)
    assert found.changed[0] == pytest.approx(np.mean(other != same))
    assert not stability([same, same, same, other]).stop
    assert stability([same, same, same, other], stop_at=0.8).stop


def test_models_that_predicted_different_paragraphs_are_refused() -> None:
    with pytest.raises(DataError, match="different lengths"):
        stability([np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64)])


def test_history_keeps_each_tagger_once_and_compares_what_all_saw(tmp_path: Path) -> None:
    path = tmp_path / "models" / "selection.jsonl"
    digests = [f"{i:016x}" for i in range(120)]
    assert read_history(path) == []
    for number, model in enumerate(["a", "b", "b", "c", "d"]):
        seen = digests[number:]
        kept = remember(
            path, Snapshot(model, 10 * number, watched(seen, ["x" if i % 2 else "y" for i in range(number, 120)]))
        )
    assert [snapshot.model for snapshot in read_history(path)] == ["a", "b", "c", "d"]
    found = settled(kept)
    assert found is not None
    assert (found.stop, found.kappas) == (True, (1.0, 1.0, 1.0))
    assert settled(kept[:1]) is None
    assert settled([kept[0], Snapshot("e", 1, {"0": "x"})]) is None
    assert list(watched(["b", "a", "c"], ["1", "2", "3"], n=2).items()) == [("a", "2"), ("b", "1")]


def test_a_damaged_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"model": "a"}\n')
    with pytest.raises(DataError, match=r"line 1 of .* is no record of a selection .*delete the file"):
        read_history(tmp_path / "h.jsonl")


# -- crosshead select ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tiny_graph: Path) -> Path:
    made = make_project(tmp_path / "project", root / "conf", annotated=("bridge",))
    monkeypatch.chdir(made)
    use_tiny_encoder(monkeypatch, tiny_graph)
    return made


def test_the_commands_choices_are_those_of_the_module() -> None:
    assert sorted(command.STRATEGIES) == sorted(STRATEGIES)
    assert sorted(command.UNITS) == sorted(UNITS)
    defaults = {option.name: option.default for option in command.select.params}
    assert (defaults["strategy"], defaults["run_length"], defaults["stop_at"]) == (STRATEGIES[0], RUN_LENGTH, STOP_AT)


def test_select_writes_a_queue_without_what_was_read(
    project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", "--model", str(tiny_bundle), "-n", "5", "-o", "queue.jsonl"]) == 0
    told = capsys.readouterr().err
    assert "5 paragraphs of 2 articles, 2 changes of article while reading" in told
    assert "next: crosshead label queue.jsonl" in told
    items = read_queue([project / "queue.jsonl"])
    assert len(items) == 5
    assert "bridge" not in {item.article_id for item in items}
    first = items[0]
    assert (first.paragraph, first.before, len(first.after)) == (0, (), 2)
    assert first.suggestion is not None
    assert first.suggestion.confidence == max(first.suggestion.scores.values())
    assert first.strategy == "density"


def test_select_leaves_out_near_duplicates_and_the_logs_of_annotators(project: Path, tiny_bundle: Path) -> None:
    read = tiny.ARTICLES[0][1][0][0]
    (project / "data" / "articles" / "copy.md").write_text(f"# Copy\n\n{read}\n\nSomething else that is new here.\n")
    assert main(["select", "--model", str(tiny_bundle), "--unit", "paragraph", "-n", "50", "-o", "q.jsonl"]) == 0
    texts = [item.text for item in read_queue([project / "q.jsonl"])]
    assert read not in texts
    assert "Something else that is new here." in texts
    assert len(texts) == 10


def test_select_random_needs_no_tagger_and_others_say_how_to_get_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", "--strategy", "random", "-n", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["suggestion"] for line in lines] == [None, None]
    assert main(["select"]) == BundleError.exit_code
    assert "without any label: crosshead zero-shot" in capsys.readouterr().err
    assert main(["zero-shot"]) == 0
    assert main(["select", "-n", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["suggestion"]["section_type"] in tiny.SECTION_TYPES


def test_a_filled_in_csv_is_an_annotation_file(project: Path, tiny_bundle: Path) -> None:
    assert main(["select", "--model", str(tiny_bundle), "-n", "3", "--unit", "paragraph", "-o", "queue.csv"]) == 0
    with (project / "queue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["section_type"] for row in rows] == ["", "", ""]
    with (project / "filled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"section_type": row["suggestion"], "annotator": "anna"} for row in rows)
    annotations = read_annotations(project / "filled.csv")
    check_annotations(annotations, list(read_articles([project / "data" / "articles"])), tiny.SECTION_TYPES)
    assert {a.annotator for a in annotations} == {"anna"}


def test_label_studio_gets_tasks_with_pre_annotations_and_gives_annotations_back(
    project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", "--model", str(tiny_bundle), "-n", "3", "-o", "tasks.json"]) == 0
    assert "labelling interface for the project in Label Studio: tasks.xml" in capsys.readouterr().err
    interface = (project / "tasks.xml").read_text()
    assert 'choice="single"' in interface
    assert '<Choice value="regional_stability" hotkey="2"/>' in interface
    tasks = json.loads((project / "tasks.json").read_text())
    result = tasks[0]["predictions"][0]["result"]
    exported = [
        {"data": task["data"], "annotations": [{"completed_by": 3, "result": task["predictions"][0]["result"]}]}
        for task in tasks
    ]
    (project / "export.json").write_text(json.dumps(exported))
    annotations = read_label_studio(project / "export.json")
    assert annotations[0].section_type == result[0]["value"]["choices"][0]
    check_annotations(annotations, list(read_articles([project / "data" / "articles"])), tiny.SECTION_TYPES)


def test_select_says_when_more_labels_hardly_help(
    project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosshead.labelling.selection_history.MIN_COMMON", 5)
    arguments = ["select", "--model", str(tiny_bundle), "-n", "1", "-o", "q.jsonl"]
    manifest = tiny_bundle / "manifest.json"
    for number in range(5):
        assert main(arguments) == 0
        told = capsys.readouterr().err
        assert ("more labels will hardly help" in told) == (number >= 3)
        manifest.write_text(manifest.read_text() + "\n")  # another digest: another tagger that says the same
    assert "the agreement is 1.000" in told


def test_nothing_left_to_read_is_said(project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--model", str(tiny_bundle), "data/articles/bridge.md"]) == DataError.exit_code
    assert "nothing is left to read: of 3 paragraphs each was labelled" in capsys.readouterr().err


def test_a_tagger_of_another_taxonomy_is_refused(
    project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    types = "[{name: a, description: x}, {name: b, description: y}]"
    arguments = ["select", "--model", str(tiny_bundle), "--set", f"taxonomy.section_types={types}"]
    (project / "data" / "annotations.csv").unlink()
    assert main(arguments) == DataError.exit_code
    assert "the tagger knows the section types ground_developments" in capsys.readouterr().err
    assert main([*arguments, "--set", "nonsense=1"]) == ConfigError.exit_code

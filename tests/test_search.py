"""`crosshead search`: seeded, pruned, killed and taken up again, by several processes, recorded as it goes on."""

from __future__ import annotations

import csv
import dataclasses
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

import small_project
from cli_parts import process_environ
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.open import with_cache
from crosshead.errors import ConfigError, DataError, StoreError
from crosshead.records import tracking as tracking_module
from crosshead.records.tracking import Tracking
from crosshead.search import checks, measuring
from crosshead.search.plots import plot_history, plot_importances
from crosshead.search.searching import Scorer
from crosshead.search.study import JOURNAL, Trial
from crosshead.settings import load_settings
from crosshead.stages import evaluate, prepare, search, train
from crosshead.stages.search import Searched

pytestmark = [
    # SQLAlchemy's pool gives connections back to the garbage collector when a store's engine goes.
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    # Optuna marks its newest importance evaluator and the journal's own lock so; our calls are pinned by these tests.
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

BASE = (*(word for word in small_project.WORDS if not word.startswith("folds=")), "folds=3", "search=quick")
QUICK: dict[str, Any] = {
    "name": "quick", "trials": 14, "objective": "macro_f1", "startup_trials": 4, "prune": True, "workers": 1,
    "space": {
        "classifier": {"key": "classifier", "type": "categorical", "choices": ["logreg", "linear_svm"]},
        "C": {"key": "classifier.C", "type": "float", "low": 0.001, "high": 10, "log": True, "per_decade": 1},
        "min_df": {"key": "views.tfidf.min_df", "type": "int", "low": 2, "high": 4},
        "n_max": {"key": "views.tfidf.n_max", "type": "int", "low": 1, "high": 2},
        "neighbours": {"key": "decoder.weight", "type": "float", "low": 0, "high": 1, "step": 0.1},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.make(tmp_path_factory.mktemp("search") / "project")
    write_search(root, QUICK)
    prepare.run(small_project.settings(root))
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """Return a small project with a paragraph table, a search, and an MLflow store without a run."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def shared(template: Path) -> Path:
    """Return a project that tests without a store share, so that its configuration is composed once; no search yet."""
    shutil.rmtree(template / "models", ignore_errors=True)
    return template


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the project, on a terminal of 100 columns."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "100")
    return project


def write_search(root: Path, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False)
    (root / "conf" / "search" / f"{content['name']}.yaml").write_text(text, encoding="utf-8")


def searched(root: Path, *overrides: str, tracking: str = "none") -> Searched:
    words = [*BASE, f"tracking={tracking}", *overrides]
    return search.run(load_settings(words, root), words)


def told(trials: Sequence[Trial]) -> list[Any]:
    """Return everything about trials but how long they took."""
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


def runs_of(root: Path, parent_run_id: str | None = None) -> list[Any]:
    tracking = Tracking.at(root)
    wanted = f"tags.`mlflow.parentRunId` = '{parent_run_id}'" if parent_run_id else ""
    return list(tracking.client.search_runs([tracking.experiment_id], wanted))


@dataclasses.dataclass(frozen=True)
class Done:
    root: Path
    result: Searched


@pytest.fixture(scope="module")
def done(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Return a search that is finished and recorded; tests only look at it."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("searched") / "project"))
    return Done(root, searched(root, tracking="local"))


# -- what a search finds -----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_trials_and_another_one_others(done: Done, shared: Path) -> None:
    again = searched(shared)
    assert told(again.trials) == told(done.result.trials)
    assert again.best.values == done.result.best.values
    assert again.importances == done.result.importances
    other = searched(shared, "seed=1")
    assert other.folder != again.folder
    assert [trial.values for trial in other.trials[1:]] != [trial.values for trial in again.trials[1:]]


def test_the_search_begins_with_what_there_is_already_and_ends_no_lower(done: Done) -> None:
    first, best = done.result.trials[0], done.result.best
    assert first.values == {
        "classifier": "logreg", "classifier.C": 10.0, "views.tfidf.min_df": 2, "views.tfidf.n_max": 2,
        "decoder.weight": small_project.settings(done.root).decoder.weight,
    }  # fmt: skip
    assert first.score == done.result.before
    assert best.score == max(trial.score or 0 for trial in done.result.trials if trial.state == "complete")
    assert done.result.gain.b == best.score
    assert done.result.gain.difference.value == pytest.approx((best.score or 0) - done.result.before)


def test_a_worse_trial_ends_early_and_never_before_the_sampler_has_learnt(done: Done) -> None:
    pruned = [trial for trial in done.result.trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.number >= QUICK["startup_trials"]
        assert 2 <= len(trial.steps) < 3
        earlier = [t for t in done.result.trials[: trial.number] if t.state == "complete"]
        assert trial.steps[-1] < np.median([t.steps[len(trial.steps) - 1] for t in earlier])


def test_nothing_is_pruned_where_that_is_switched_off(shared: Path) -> None:
    assert {trial.state for trial in searched(shared, "search.prune=false").trials} == {"complete"}


def test_the_score_is_what_training_gives_for_the_same_configuration(done: Done, here: Path) -> None:
    assert main(["train", *done.result.overrides, "tracking=none"]) == Exit.OK
    with np.load(here / "models" / "latest" / "out_of_fold.npz") as arrays:
        trained = arrays["proba"]
    settings = load_settings(done.result.overrides, here)
    with Scorer(measuring.read_data(settings), "macro_f1", longest=4) as scorer:
        assert np.array_equal(scorer.out_of_fold(settings), trained)
        *_, score = scorer.scores(settings)
    assert score == done.result.best.score


def test_log_loss_can_be_what_counts(shared: Path) -> None:
    found = searched(shared, "search.objective=log_loss", "search.trials=6")
    complete = [trial.score for trial in found.trials if trial.state == "complete" and trial.score is not None]
    assert found.best.score == min(complete)
    assert found.best.score <= found.before


def test_fits_are_shared_between_trials(shared: Path) -> None:
    """Trials that differ in the neighbours' weight alone need no fit of their own."""
    settings = load_settings([*BASE], shared)
    with Scorer(measuring.read_data(settings), "macro_f1") as scorer:
        first = list(scorer.scores(settings))
        n_fits = scorer.n_fits
        other = list(scorer.scores(load_settings([*BASE, "decoder.weight=0.9"], shared)))
        assert scorer.n_fits == n_fits == 3
        assert other != first
        scores = scorer.scores(load_settings([*BASE, "classifier.C=0.5"], shared))
        next(scores)
        scores.close()
        assert list(scorer.scores(settings)) == first


# -- texts are encoded once --------------------------------------------------------------------------------------------


def test_no_text_is_encoded_twice(
    shared: Path, tiny_graph: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    encode = GraphEncoder.encode

    def counted(self: GraphEncoder, texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return encode(self, texts)

    def open_tiny(source: str, cache_dir: Path, **options: Any) -> Any:
        graph = GraphEncoder(tiny_graph, engine="onnxruntime")
        return with_cache(graph, tmp_path / "vectors", options["report"]), tiny_graph

    monkeypatch.setattr(GraphEncoder, "encode", counted)
    monkeypatch.setattr(measuring, "open_encoder", open_tiny)
    words = ["encoder=minilm", "views=blend", "classifier=linear_svm"]
    first = searched(shared, *words, "search.trials=5")
    assert len(asked) == len(set(asked)) == first.n_encoded > 100
    again = searched(shared, *words, "search.trials=8")
    other = searched(shared, *words, "search.trials=4", "seed=1")
    assert len(asked) == first.n_encoded
    assert (again.n_before, again.n_encoded, len(again.trials)) == (5, 0, 8)
    assert (other.n_before, other.n_encoded, len(other.trials)) == (0, 0, 4)


# -- what is written and recorded --------------------------------------------------------------------------------------


def test_the_folder_holds_the_best_configuration_the_trials_and_two_plots(done: Done, shared: Path) -> None:
    folder = done.result.folder
    assert {path.name for path in searched(shared, "search.trials=4").folder.iterdir() if path.is_file()} >= {
        search.BEST, search.TRIALS, search.HISTORY, search.IMPORTANCES,
    }  # fmt: skip
    with (folder / search.TRIALS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [str(trial.number + 1) for trial in done.result.trials]
    assert {row["state"] for row in rows} == {"complete", "pruned"}
    assert float(rows[done.result.best.number]["macro_f1"]) == pytest.approx(done.result.best.score, abs=1e-6)
    assert rows[0]["classifier"] == "logreg"
    for name in (search.HISTORY, search.IMPORTANCES):
        assert ElementTree.parse(folder / name).getroot().tag.endswith("svg")
    assert (folder / search.BEST).read_text(encoding="utf-8") == done.result.experiment


def test_one_run_with_a_child_for_every_trial(done: Done) -> None:
    parent = Tracking.at(done.root).client.get_run(done.result.run_id)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "search · quick")
    assert parent.data.metrics["best_cv_macro_f1"] == done.result.best.score
    assert parent.data.metrics["n_complete"] + parent.data.metrics["n_pruned"] == 14
    assert {key for key in parent.data.metrics if key.startswith("importance_")} == {
        f"importance_{name}" for name in done.result.importances
    }
    files = {file.path for file in Tracking.at(done.root).client.list_artifacts(done.result.run_id)}
    assert {search.BEST, search.TRIALS, search.HISTORY, f"{search.HISTORY}.txt", search.IMPORTANCES} <= files
    children = sorted(runs_of(done.root, done.result.run_id), key=lambda run: int(run.data.tags["crosshead.trial"]))
    assert [int(run.data.tags["crosshead.trial"]) for run in children] == list(range(14))
    for trial, run in zip(done.result.trials, children, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["crosshead.state"] == trial.state
        assert run.data.params["classifier"] == trial.values["classifier"]
        assert ("cv_macro_f1" in run.data.metrics) == (trial.state == "complete")
        history = Tracking.at(done.root).client.get_metric_history(run.info.run_id, "fold_macro_f1")
        assert [point.value for point in history] == list(trial.steps)


def test_the_best_configuration_is_trained_by_name_or_by_overrides(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", *BASE, "tracking=none", "search.trials=6", "--save", "found"]
    assert main(command) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 trials")
    assert "; no text had to be encoded" in lines[0]
    assert lines[-1] == "or:      crosshead train experiment=found"
    assert all(len(line) <= 100 for line in lines if not line.startswith(("results:", "next:", "or:")))
    printed = next(line for line in lines if line.startswith("next:")).removeprefix("next:    crosshead train ")
    by_overrides = load_settings(shlex.split(printed), here).resolved
    by_name = load_settings(["experiment=found"], here).resolved
    assert by_name == by_overrides
    assert main(command) == Exit.OK  # what a search wrote, a search may replace
    assert "; 6 of them earlier; " in capsys.readouterr().out


def test_the_edge_of_a_range_is_told_with_its_code(shared: Path) -> None:
    narrow = {**QUICK, "name": "narrow", "trials": 4, "space": {
        "C": {"key": "classifier.C", "type": "float", "low": 0.0001, "high": 0.001, "log": True, "per_decade": 1},
    }}  # fmt: skip
    write_search(shared, narrow)
    found = searched(shared, "search=narrow")
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("CH020", "warning")
    assert "The best classifier.C found is 0.001, at the high end of its range" in finding.message
    assert "widen search.space.C.high" in finding.message
    trained = load_settings(found.overrides, shared)
    codes = [finding.code for finding in checks.search_findings(shared, trained.resolved)]
    assert codes == ["CH020", "CH021"]
    for stage in (train, evaluate):
        stage.run(load_settings([*found.overrides, "tracking=none"], shared))
    html = (shared / "reports" / "report.html").read_text(encoding="utf-8")
    assert "at the high end of its range" in html
    assert checks.search_findings(shared, load_settings([*BASE], shared).resolved) == []
    (found.folder / checks.SEARCH_FINDINGS).write_text("{")
    assert checks.search_findings(shared, trained.resolved) == []


# -- killed, and several at once ---------------------------------------------------------------------------------------


def n_finished(folder: Path) -> int:
    """Count finished trials by the journal's own lines: operation 6 sets a state, 1 to 3 are final."""
    lines = (folder / JOURNAL).read_bytes().splitlines() if (folder / JOURNAL).exists() else []
    whole = [json.loads(line) for line in lines[:-1]]
    return sum(line.get("op_code") == 6 and line.get("state") in (1, 2) for line in whole)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_loses_no_finished_trial(project: Path, done: Done) -> None:
    command = [sys.executable, "-m", "crosshead", "search", *BASE, "search.trials=400"]
    process = subprocess.Popen(
        command, cwd=project, env=process_environ(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    folder = project / "models" / "search" / done.result.folder.name
    while n_finished(folder) < 9:
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = n_finished(folder)
    assert 9 <= finished < 400
    result = searched(project, f"search.trials={finished + 3}", tracking="local")
    assert result.folder == folder
    assert result.n_before >= finished
    assert len(result.trials) >= finished + 3
    # The first nine, finished before the kill, are those of a search that nothing happened to.
    assert told(result.trials)[:9] == told(done.result.trials)[:9]
    assert [run.data.tags.get("crosshead.kind") for run in runs_of(project)].count("search") == 1
    recorded = [run for run in runs_of(project, result.run_id) if run.info.status == "FINISHED"]
    assert sorted(int(run.data.tags["crosshead.trial"]) for run in recorded) == [t.number for t in result.trials]


def test_a_trial_that_was_broken_off_is_tried_again(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a process in mid-trial: the values are tried again, once, and nothing else is lost."""
    scores = Scorer.scores
    calls: list[Any] = []

    def breaks(self: Scorer, settings: Any) -> Any:
        calls.append(settings)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return scores(self, settings)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "scores", breaks)
        with pytest.raises(KeyboardInterrupt):
            searched(shared, "search.trials=6")
    result = searched(shared, "search.trials=6")
    assert (result.n_before, len(result.trials)) == (3, 6)
    fresh = searched(shared, "search.trials=6", "cache_dir=elsewhere")  # the same search, which decides the same
    assert fresh.folder == result.folder
    shutil.rmtree(result.folder)
    whole = searched(shared, "search.trials=6")
    assert [(t.values, t.steps) for t in result.trials] == [(t.values, t.steps) for t in whole.trials]


def test_a_journal_whose_last_line_was_cut_off_is_read(shared: Path) -> None:
    result = searched(shared, "search.trials=4")
    journal = result.folder / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')
    assert told(searched(shared, "search.trials=4").trials) == told(result.trials)


@pytest.mark.slow
def test_several_processes_work_on_one_search(project: Path) -> None:
    """Two terminals with the same command, one of which has a helper: every trial is tried and recorded once."""
    command = [sys.executable, "-W", "error", "-m", "crosshead", "search", *BASE, "search.trials=40"]
    both = [
        subprocess.Popen(
            [*command, f"search.workers={n}"],
            cwd=project,
            env=process_environ(project, COLUMNS="200"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in (2, 1)
    ]
    outputs = [process.communicate(timeout=500) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum(b"another process records it" in out for out, _ in outputs) == 1
    result = searched(project, "search.trials=40", tracking="local")
    assert (result.n_before, len(result.trials)) == (40, 40)
    parents = [run for run in runs_of(project) if run.data.tags.get("crosshead.kind") == "search"]
    assert len(parents) == 1
    numbers = [int(run.data.tags["crosshead.trial"]) for run in runs_of(project, parents[0].info.run_id)]
    assert sorted(numbers) == [trial.number for trial in result.trials]
    assert list((result.folder / "workers").glob("*.lock")) == []


# -- a lost store ------------------------------------------------------------------------------------------------------


def test_a_store_that_is_lost_on_the_way_ends_no_search(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = tracking_module.send
    sent: list[Any] = []

    def lose(client: Any, run_id: str, items: Any, params: Any) -> None:
        if len(sent) == 3:
            raise StoreError("the MLflow server cannot be reached")
        sent.append(items)
        send(client, run_id, items, params)

    with monkeypatch.context() as patch:
        patch.setattr(tracking_module, "send", lose)
        assert main(["search", *BASE, "search.trials=6"]) == Exit.TRACKING
    told_ = capsys.readouterr()
    assert told_.out.startswith("6 trials")
    assert "the MLflow server cannot be reached" in told_.err
    assert "the search is finished, the same command records what is missing" in " ".join(told_.err.split())
    assert main(["search", *BASE, "search.trials=6"]) == Exit.OK
    (parent,) = (run for run in runs_of(here) if run.data.tags.get("crosshead.kind") == "search")
    assert parent.info.status == "FINISHED"
    assert "best_cv_macro_f1" in parent.data.metrics
    finished = [run for run in runs_of(here, parent.info.run_id) if run.info.status == "FINISHED"]
    assert sorted(int(run.data.tags["crosshead.trial"]) for run in finished) == list(range(6))


def test_without_a_store_nothing_starts(project: Path) -> None:
    (project / "mlflow" / "mlflow.db").write_bytes(b"gone" * 5000)
    with pytest.raises(StoreError, match="is no SQLite database"):
        searched(project, tracking="local")


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_something_must_say_what_to_vary(shared: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing says what to vary; choose a file of conf/search/"):
        search.run(load_settings([*BASE[:-1]], shared))


def test_an_unknown_search_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_search(here, {**QUICK, "name": "narrow"})
    assert main(["search", "search=quik"]) == Exit.USAGE
    assert "search is 'quik'; allowed are default, narrow, quick; did you mean 'quick'?" in capsys.readouterr().err


def test_a_search_without_a_trial_that_could_be_trained(shared: Path) -> None:
    hopeless = {**QUICK, "name": "hopeless", "trials": 2, "space": {
        "min_df": {"key": "views.tfidf.min_df", "type": "int", "low": 9000, "high": 9999},
    }}  # fmt: skip
    write_search(shared, hopeless)
    with pytest.raises(DataError, match=r"none of 2 trials could be trained; the first ended with: no term stands in"):
        searched(shared, "search=hopeless")


def test_a_damaged_journal_is_named(shared: Path) -> None:
    result = searched(shared, "search.trials=2")
    (result.folder / JOURNAL).write_bytes(b"not a line of JSON\n")
    with pytest.raises(DataError, match=r"the search in .* is damaged \(.*\); delete the folder to begin anew"):
        searched(shared, "search.trials=2")


@pytest.mark.parametrize("name", ["", "two words", "../up", "1st"])
def test_a_name_that_no_experiment_can_have(done: Done, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the experiment's name is .*; give letters, digits, '-' and '_'"):
        search.save_experiment(done.result, done.root, name)


def test_an_experiment_that_somebody_wrote_is_not_replaced(done: Done, project: Path) -> None:
    with pytest.raises(ConfigError, match=r"conf/experiment/default.yaml is there already, and not from a search"):
        search.save_experiment(done.result, project, "default")


def test_plots_need_something_to_draw(done: Done) -> None:
    with pytest.raises(DataError, match="a search without a complete trial has no history to draw; search on"):
        plot_history([], "macro_f1")
    with pytest.raises(DataError, match="there are no importances to draw; they need some complete trials"):
        plot_importances({})
    history = plot_history(done.result.trials, "macro_f1", first=done.result.before)
    assert history.alt.startswith("History of 14 trials, ")
    assert f"is best in trial {done.result.best.number + 1} with {done.result.best.score:.4f}" in history.alt
    assert "Importance of what was varied: " in plot_importances(done.result.importances).alt

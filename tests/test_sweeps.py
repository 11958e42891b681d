"""Many variants in one go: jobs below a parent run, at once, with errors, with a lost store."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import small_project
import stores
from cli_parts import process_environ
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.cli.sweep import show_sweep
from crosshead.errors import ConfigError, StoreError
from crosshead.evaluation.bootstrap import Interval
from crosshead.records import predictions
from crosshead.records import tracking as tracking_module
from crosshead.records.log_items import Tag, read_items
from crosshead.records.tracking import RUN_NAME, Run, Tracking
from crosshead.search import sweeps
from crosshead.search.sweep_results import OUT_OF_FOLD, OUTCOME, Outcome, Sweep, describe, rank, shown, to_markdown
from crosshead.settings import compose, config_digest, load_settings
from crosshead.stages import prepare

# SQLAlchemy's pool gives connections back to the garbage collector when a store's engine goes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

WORDS = [*(word for word in small_project.WORDS if not word.startswith("classifier=")), "views.tfidf.n_max=1"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.make(tmp_path_factory.mktemp("sweeps") / "project")
    prepare.run(small_project.settings(root))
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """Return a small project with a paragraph table and an MLflow store without a run."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the project, on a wide terminal."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    return project


def runs_of(project: Path, parent_run_id: str | None = None) -> list[Any]:
    """Return all runs, or those below a parent, in the order of their names."""
    tracking = Tracking.at(project)
    wanted = f"tags.`mlflow.parentRunId` = '{parent_run_id}'" if parent_run_id else ""
    found = tracking.client.search_runs([tracking.experiment_id], wanted)
    return sorted(found, key=lambda run: run.info.run_name)


# -- what a sweep is ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swept:
    project: Path
    sweep: Sweep
    other_run: str
    """A run of somebody else, which MLFLOW_RUN_ID named during the sweep."""


@pytest.fixture(scope="module")
def swept(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Return a sweep of three jobs; tests only look at it."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("swept") / "project"))
    other = Tracking.at(project).log_run([], name="somebody else's")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_RUN_ID", other)
        return Swept(project, sweeps.launch([*WORDS, "classifier=majority,logreg,linear_svm"], project), other)


def test_one_parent_run_has_a_child_for_every_job(swept: Swept) -> None:
    project, sweep = swept.project, swept.sweep
    assert len(sweep.outcomes) == 3
    assert sweep.failed == ()
    tracking = Tracking.at(project)
    parent = tracking.client.get_run(sweep.run_id)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "sweep · classifier")
    assert parent.data.metrics["n_failed"] == 0
    assert parent.data.tags["mlflow.note.content"] == to_markdown(sweep)
    assert [file.path for file in tracking.client.list_artifacts(sweep.run_id)] == ["sweep.md"]

    children = runs_of(project, sweep.run_id)
    names = ["classifier=linear_svm", "classifier=logreg", "classifier=majority"]
    assert [run.info.run_name for run in children] == names
    for run in children:
        overrides = [*WORDS, run.info.run_name]
        resolved = load_settings(overrides, project).resolved
        assert run.info.status == "FINISHED"
        assert run.data.tags["crosshead.overrides"] == " ".join(overrides)
        assert run.data.tags["crosshead.config_digest"] == config_digest(resolved)
        assert run.data.params["classifier._target_"] == resolved["classifier"]["_target_"]
        assert 0 < run.data.metrics["cv_macro_f1"] <= 1
        assert run.data.metrics["test_macro_f1_low"] <= run.data.metrics["test_macro_f1"]
        files = {file.path for file in tracking.client.list_artifacts(run.info.run_id)}
        assert files == {"config.yaml", "overrides.txt", predictions.FILE, OUT_OF_FOLD}
        assert run.outputs is None or not run.outputs.model_outputs
    assert not (project / "models" / "latest").exists()


def test_the_parents_id_comes_as_an_argument_and_mlflow_run_id_is_not_heeded(swept: Swept) -> None:
    other = Tracking.at(swept.project).client.get_run(swept.other_run)
    assert other.data.metrics == {}
    assert len(runs_of(swept.project)) == 5
    assert runs_of(swept.project, swept.other_run) == []


def test_a_job_scores_what_train_and_evaluate_score(swept: Swept, project: Path) -> None:
    outcome = next(outcome for outcome in swept.sweep.outcomes if outcome.label == "classifier=linear_svm")
    folder = swept.sweep.folder / str(outcome.number)
    evaluated = small_project.run(project, "views.tfidf.n_max=1", "classifier=linear_svm", "tracking=none")
    assert outcome.test == evaluated.scores["model"].as_dict()
    trained, own = (np.load(file) for file in (project / "models" / "latest" / "out_of_fold.npz", folder / OUT_OF_FOLD))
    with trained, own:
        assert np.array_equal(trained["proba"], own["proba"])
    ours, theirs = (predictions.read(path / predictions.FILE) for path in (folder, project / "reports"))
    assert np.array_equal(ours.model, predictions.in_order_of(ours, theirs).model)


def test_jobs_are_ranked_by_cross_validation_and_compared_with_the_best(swept: Swept) -> None:
    outcomes = swept.sweep.outcomes
    values = [outcome.macro_f1 for outcome in outcomes]
    assert values == sorted(values, reverse=True)
    assert outcomes[-1].label == "classifier=majority"
    behind = swept.sweep.behind[outcomes[-1].number]
    assert behind.value == pytest.approx(values[-1] - values[0])
    assert behind.high is not None
    assert behind.high < 0
    assert set(swept.sweep.behind) == {outcome.number for outcome in outcomes[1:]}


def test_one_job_that_fails_does_not_stop_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *WORDS, "views.tfidf.min_df=9999,1"]) == Exit.FAILED_INPUTS
    told = capsys.readouterr().out
    assert "2 jobs, 1 failed" in told
    assert "✗ views.tfidf.min_df=9999: no term stands in 9999 training paragraphs" in told
    assert "next:    crosshead train encoder=tfidf views=tfidf" in told
    parent, *children = sorted(runs_of(here), key=lambda run: "mlflow.parentRunId" in run.data.tags)
    assert (parent.info.status, parent.data.metrics["n_failed"]) == ("FINISHED", 1)
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED"]


def test_if_no_job_succeeds_the_first_error_is_told(project: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no job of the sweep succeeded; the first \(views.tfidf.min_df=9998\) ended"
    ):
        sweeps.launch([*WORDS, "views.tfidf.min_df=9998,9999"], project)
    assert {run.info.status for run in runs_of(project)} == {"FAILED"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("classifier=logreg,logrge", r"classifier is 'logrge'; allowed are .*did you mean 'logreg'"),
        ("classifier.CC=1,2", r"'classifier\.CC' is no configuration key"),
        ("decoder.weight=0.5,7", r"decoder\.weight is 7"),
        ("seed=range(1,", r"override 'seed=range\(1,' cannot be read: a '\)' is missing"),
        (
            "hydra/launcher=slurm",
            r"no launcher 'slurm' is installed, there are basic, joblib[^;]*; .*hydra-submitit-launcher",
        ),
        ("hydra.launcher.n_jobz=2", r"the sweep cannot be read: .*n_jobz"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(project: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweeps.launch([*WORDS, "seed=0,1", override], project)
    assert not (project / "models" / "sweeps").exists()
    assert runs_of(project) == []


def test_an_experiment_file_may_hold_the_sweep(root: Path) -> None:
    jobs, varied = sweeps.plan(["experiment=baselines"], root)
    assert varied == ("views", "classifier")
    assert len(jobs) == 8
    assert jobs[0] == ("views=tfidf", "classifier=majority", "experiment=baselines")
    assert len(sweeps.plan(["experiment=baselines", "views=tfidf"], root)[0]) == 4
    assert sweeps.plan(["seed=range(1,4)", "folds=3"], root)[0][2] == ("seed=3", "folds=3")


def test_the_default_experiment_is_the_default(root: Path) -> None:
    assert compose(["experiment=default"], root) == compose([], root)
    assert compose(["experiment=words"], root) == compose(["encoder=tfidf", "views=tfidf"], root)


def test_jobs_of_other_paragraph_tables_are_not_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run -m` prepares a table for each job that needs another, once for all jobs that share it."""
    shutil.rmtree(here / "data" / "prepared")
    assert main(["run", "-m", *WORDS, "seed=0,1", "classifier.C=1,2"]) == Exit.OK
    told = capsys.readouterr().out
    assert "4 jobs" in told
    assert "Not all jobs had the same paragraph table" in told
    (folder,) = (here / "models" / "sweeps").iterdir()
    assert len(list(folder.glob("prepared-*/corpus.json"))) == 2
    assert not (here / "data" / "prepared").exists()
    outcomes = [json.loads(path.read_text()) for path in folder.glob(f"*/{OUTCOME}")]
    assert len({outcome["dataset_digest"] for outcome in outcomes}) == 2
    ranked = rank(folder, [Outcome(**{**outcome, "overrides": tuple(outcome["overrides"])}) for outcome in outcomes])
    assert len(ranked.behind) == 1


def job_on(folder: Path, number: int, rows: list[int], n_right: int, digest: str = "d") -> Outcome:
    """Leave the out-of-fold rows of a job that gets the first ``n_right`` of them right."""
    (folder / str(number)).mkdir()
    y = np.array(rows) % 2
    proba = np.full((len(rows), 2), 0.1)
    proba[np.arange(len(rows)), np.where(np.arange(len(rows)) < n_right, y, 1 - y)] = 0.9
    names = np.array([f"a{row // 4}#{row:03}" for row in rows])
    articles = np.array([name[:2] for name in names])
    np.savez(folder / str(number) / OUT_OF_FOLD, paragraph_id=names, article_id=articles, y=y, proba=proba)
    interval = {"low": None, "high": None}
    said = {"macro_f1": {"value": n_right / len(rows), **interval}, "log_loss": {"value": 0.5, **interval}}
    cross_validated = {"n_paragraphs": len(rows), **said}
    return Outcome(number, (), f"job {number}", 1.0, dataset_digest=digest, cross_validated=cross_validated, test=said)


def test_a_job_measured_on_fewer_paragraphs_is_ranked_apart_and_never_the_best(tmp_path: Path) -> None:
    every, unseen = list(range(40)), [31, 30, *range(32, 40)]
    jobs = [
        job_on(tmp_path, 0, unseen, 10),  # a perfect score, of a quarter of the paragraphs
        job_on(tmp_path, 1, every, 20),
        job_on(tmp_path, 2, every, 36),
        replace(job_on(tmp_path, 3, every, 0), error="failed", cross_validated=None, test=None),
    ]
    sweep = rank(tmp_path, jobs)
    assert [outcome.number for outcome in sweep.outcomes] == [2, 1, 0, 3]
    assert sweep.apart == {0}
    # Job 2 is wrong in rows 36 to 39: of the ten that both have, macro-F1 is 0.6.
    assert sweep.behind[0].value == pytest.approx(0.4)
    assert sweep.behind[1].value < 0
    table = to_markdown(sweep)
    assert "| job | macro-F1, cross-validated | paragraphs | behind the best |" in table
    assert "| job 0 | 1.000 | 10* | +0.400" in table
    assert "| job 2 | 0.900 | 40 |" in table
    assert "* Ranked apart, and never the best: the encoder was fine-tuned on some of the paragraphs" in table
    assert dict(describe_tags(sweep))["crosshead.best"] == "job 2"


def describe_tags(sweep: Sweep) -> Iterator[tuple[str, str]]:
    return ((item.key, item.value) for item in describe(sweep) if isinstance(item, Tag))


def test_jobs_that_were_all_measured_on_the_same_stand_together(tmp_path: Path) -> None:
    few = [job_on(tmp_path, n, list(range(10)), 5 + n) for n in range(2)]
    sweep = rank(tmp_path, [*few, job_on(tmp_path, 2, list(range(30)), 29, digest="other")])
    assert sweep.apart == frozenset()
    assert "paragraphs |" not in to_markdown(sweep)
    assert [outcome.number for outcome in sweep.outcomes] == [2, 1, 0]
    assert sweep.behind == {}


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_four_jobs_at_once_on_one_store_never_fail(template: Path, tmp_path: Path) -> None:
    """Real processes, twenty times, each time with a store that lacks the experiment, once without a store."""
    for attempt in range(20):
        project = stores.make_project(tmp_path / f"project-{attempt}")
        if attempt == 0:
            shutil.rmtree(project / "mlflow")
        for part in ("conf", "data"):
            shutil.copytree(template / part, project / part)
        at_once = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]
        sweep = sweeps.launch([*WORDS, "classifier.C=1,2,3,4", *at_once], project)
        assert [outcome.error for outcome in sweep.outcomes] == [None] * 4, attempt
        assert [outcome.unsent for outcome in sweep.outcomes] == [""] * 4, attempt
        children = runs_of(project, sweep.run_id)
        assert [run.info.status for run in children] == ["FINISHED"] * 4, attempt
        assert sorted(run.data.params["classifier.C"] for run in children) == ["1", "2", "3", "4"]
        shutil.rmtree(project)


@pytest.mark.slow
def test_two_sweeps_at_once_in_two_processes(project: Path) -> None:
    """Both on a store that is not made yet."""
    shutil.rmtree(project / "mlflow")
    command = [sys.executable, "-W", "error", "-m", "crosshead", "train", "-m", "-j", "2", *WORDS]
    both = [
        subprocess.Popen(
            [*command, f"seed={seed}", "classifier.C=1,2"],
            cwd=project,
            env=process_environ(project, COLUMNS="200", CROSSHEAD_DEBUG="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for seed in (0, 1)
    ]
    for process in both:
        out, err = process.communicate(timeout=500)
        assert (process.returncode, err) == (0, b""), (out.decode(), err.decode())
        assert out.startswith(b"2 jobs\n")
    found = runs_of(project)
    parents = [run for run in found if run.data.tags["crosshead.kind"] == "sweep"]
    assert len(parents) == 2
    for parent in parents:
        assert len(runs_of(project, parent.info.run_id)) == 2
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len(list((project / "models" / "sweeps").iterdir())) == 2


# -- a lost store ------------------------------------------------------------------------------------------------------


def test_a_store_that_is_lost_on_the_way_costs_no_result(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*given: Any) -> None:
        raise StoreError("the MLflow server cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(tracking_module, "send", lose)
        assert main(["train", "-m", *WORDS, "classifier.C=1,2"]) == Exit.TRACKING
    told = capsys.readouterr()
    assert "2 jobs" in told.out
    assert "the MLflow server cannot be reached" in told.err
    assert "crosshead log" in told.err
    (folder,) = (here / "models" / "sweeps").iterdir()
    assert all(json.loads(path.read_text())["cross_validated"] for path in folder.glob(f"*/{OUTCOME}"))
    assert main(["log"]) == Exit.OK
    children = [run for run in runs_of(here) if run.data.tags["crosshead.kind"] == "job"]
    assert all("test_macro_f1" in run.data.metrics for run in children)
    assert len(children) == 2


def test_a_job_that_finds_no_store_keeps_its_results_for_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Tracking._start

    def refuse(self: Tracking, name: str, parent_run_id: str | None, tags: Any) -> Run:
        if parent_run_id is not None:
            raise StoreError("the MLflow server cannot be reached")
        return start(self, name, parent_run_id, tags)

    monkeypatch.setattr(Tracking, "_start", refuse)
    sweep = sweeps.launch([*WORDS, "classifier.C=1,2"], project)
    assert sweep.failed == ()
    assert all("cannot be reached" in outcome.unsent for outcome in sweep.outcomes)
    monkeypatch.undo()
    kept = [read_items(path) for path in (project / "mlflow" / "unsent").glob("*.json")]
    assert len(kept) == 2
    assert all(items[0].key == RUN_NAME for items in kept)  # type: ignore[union-attr]
    Tracking.at(project).send_unsent()
    assert [run.info.run_name for run in runs_of(project, sweep.run_id)] == ["classifier.C=1", "classifier.C=2"]


def test_without_a_store_nothing_starts(project: Path) -> None:
    (project / "mlflow" / "mlflow.db").write_bytes(b"gone" * 5000)
    with pytest.raises(StoreError, match="is no SQLite database"):
        sweeps.launch([*WORDS, "classifier.C=1,2"], project)
    assert list((project / "models" / "sweeps").glob("*/*")) == []


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_table_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *WORDS, "classifier=logreg,majority", "tracking=none"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 jobs"
    assert lines[1].split("  ")[0] == "job"
    assert "behind the best" in lines[1]
    assert lines[2].startswith("classifier=logreg")
    assert lines[3].startswith("classifier=majority")
    best = [*WORDS, "classifier=logreg", "tracking=none"]
    assert lines[-1] == f"next:    crosshead train {shlex.join(best)}"
    assert not (here / "mlflow" / "locks").exists()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_narrow_terminal_cuts_no_figure_off(tmp_path: Path, width: int) -> None:
    good = {"macro_f1": {"value": 0.5, "low": 0.412, "high": 0.634}, "log_loss": {"value": 0.75}}
    jobs = [Outcome(n, (), f"classifier=linear_svm seed={n}", 1.0, cross_validated=good, test=good) for n in (0, 1)]
    behind = {1: Interval(-0.0512, -0.1123, 0.0212)}
    out = Console(width=width, record=True, file=io.StringIO())
    show_sweep(out, Sweep(tmp_path, tuple(jobs), behind), command="train")
    told = out.export_text()
    assert "…" not in told
    assert told.count("(0.412–0.634)") == 4
    for word in ("-0.051", "(-0.112", "+0.021)", "cross-validated", "seconds"):
        assert word in told
    table = told.partition("Ranked")[0]
    assert all(len(line) <= width for line in table.splitlines())


def test_several_values_without_multirun_are_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "classifier=logreg,majority"]) == Exit.USAGE
    assert "to run several one after the other, add -m" in capsys.readouterr().err


def test_jobs_at_once_need_multirun(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-j", "2", "classifier=logreg"]) == Exit.USAGE
    assert "--jobs says how many jobs of a sweep run at once; add -m" in capsys.readouterr().err


# -- small parts -------------------------------------------------------------------------------------------------------


def test_a_table_in_markdown(tmp_path: Path) -> None:
    good = {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6}, "log_loss": {"value": 0.75}}
    outcomes = [
        Outcome(0, (), "a|b", 1.0, error="it broke\nin two"),
        Outcome(1, (), "c", 2.0, cross_validated=good, test=good),
    ]
    table = to_markdown(rank(tmp_path, outcomes)).splitlines()
    assert table[2] == "| c | 0.500 (0.400–0.600) |  | 0.500 (0.400–0.600) | 0.750 | 2.0 |"
    assert table[3] == "| a\\|b | failed: it broke in two |  |  |  | 1.0 |"


def test_an_interval_without_ends_is_a_number() -> None:
    assert shown({"value": 0.1234, "low": None, "high": None}) == "0.123"
    assert shown({"value": -0.01, "low": -0.02, "high": 0.005}, sign=True) == "-0.010 (-0.020 to +0.005)"

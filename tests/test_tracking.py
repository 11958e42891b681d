from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crosshead.records.tracking
import stores
from crosshead.errors import DataError, MissingExtraError, TrackingError
from crosshead.records import mlflow_store, unsent
from crosshead.records.lineage import GitState, git_state, lineage
from crosshead.records.log_items import (
    MAX_PARAM_CHARACTERS,
    DatasetInput,
    FileArtifact,
    FolderArtifact,
    LogItem,
    Metric,
    Param,
    Tag,
    TextArtifact,
    flatten,
    param_text,
    read_items,
    write_items,
)
from crosshead.records.tracking import ENDED_BY, Tracking


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return stores.make_project(tmp_path / "project")


@pytest.fixture
def tracking(project: Path) -> Tracking:
    return Tracking.at(project, "test")


def run_python(code: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def artifacts_of(tracking: Tracking, run_id: str, path: str | None = None) -> list[str]:
    return sorted(found.path for found in tracking.client.list_artifacts(run_id, path))


# -- where the store is ------------------------------------------------------------------------------------------------


def test_the_project_has_its_own_store_whatever_the_current_folder_is(tmp_path: Path) -> None:
    place = mlflow_store.place(tmp_path, environ={})
    assert place.uri == f"sqlite:///{tmp_path.resolve()}/mlflow/mlflow.db"
    assert place.artifact_root == tmp_path.resolve() / "mlflow" / "artifacts"


@pytest.mark.parametrize(
    ("in_conf", "in_environment", "uri", "artifacts"),
    [
        ("http://team:5000", "", "http://team:5000", None),
        ("http://team:5000", "https://other", "https://other", None),
        (None, "databricks", "databricks", None),
        (None, "sqlite:////srv/runs.db", "sqlite:////srv/runs.db", Path("/srv/artifacts")),
        (None, "sqlite:////srv/a%20b/runs.db", "sqlite:////srv/a b/runs.db", Path("/srv/a b/artifacts")),
        (None, "postgresql://u:p@db/runs", "postgresql://u:p@db/runs", "project"),
    ],
)
def test_the_environment_wins_over_conf_and_servers_keep_their_own_artifacts(
    tmp_path: Path, in_conf: str | None, in_environment: str, uri: str, artifacts: object
) -> None:
    place = mlflow_store.place(tmp_path, in_conf, environ={"MLFLOW_TRACKING_URI": in_environment})
    assert place.uri == uri
    assert place.artifact_root == (tmp_path.resolve() / "mlflow" / "artifacts" if artifacts == "project" else artifacts)


def test_a_relative_sqlite_uri_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert mlflow_store.place(tmp_path / "project").uri == f"sqlite:///{tmp_path.resolve()}/runs.db"


def test_mlflow_is_one_version_throughout() -> None:
    versions = {importlib.metadata.version(name) for name in ("mlflow", "mlflow-skinny", "mlflow-tracing")}
    assert len(versions) == 1


@pytest.mark.slow
def test_recording_is_silent_without_telemetry_and_leaves_nothing_in_the_current_folder(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.environ.pop('MLFLOW_DISABLE_TELEMETRY', None); os.environ.pop('DO_NOT_TRACK', None)\n"
        "from pathlib import Path\n"
        "from crosshead.records.log_items import Param\n"
        "from crosshead.records.tracking import Tracking\n"
        "os.chdir(sys.argv[2]); Tracking.at(Path(sys.argv[1])).log_run([Param('a', 1)], name='quiet')\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled()\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "a project é #1"
    root.mkdir()
    answer = run_python(code, root, elsewhere)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert list(elsewhere.iterdir()) == []
    with closing(sqlite3.connect(root / "mlflow" / "mlflow.db")) as store:
        places = [place for (place,) in store.execute("SELECT artifact_location FROM experiments")]
    assert len(places) == 2
    assert all(place.startswith((root / "mlflow" / "artifacts").as_uri()) for place in places)


@pytest.mark.slow
def test_processes_that_meet_an_empty_store_at_once_all_record(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from crosshead.records import mlflow_store\n"
        "from crosshead.records.log_items import Param; from crosshead.records.tracking import Tracking\n"
        "mlflow_store.load_mlflow()\n"
        "children = []\n"
        "for number in range(4):\n"
        "    if not (child := os.fork()):\n"
        "        Tracking.at(Path(sys.argv[1])).log_run([Param('number', number)], name='at once'); os._exit(0)\n"
        "    children.append(child)\n"
        "sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))"
    )
    answer = run_python(code, tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    tracking = Tracking.at(tmp_path)
    found = tracking.client.search_runs([tracking.experiment_id])
    assert sorted(run.data.params["number"] for run in found) == ["0", "1", "2", "3"]


def test_a_store_whose_making_was_killed_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    with closing(sqlite3.connect(folder / ".mlflow.db.new")) as half, half:
        half.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    (folder / ".mlflow.db.new-journal").write_bytes(b"half a journal")
    assert Tracking.at(tmp_path).log_run([], name="works")
    assert sorted(path.name for path in folder.iterdir() if "new" in path.name) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text("these are not the runs you look for", encoding="utf-8")
    with pytest.raises(TrackingError, match="is no SQLite database; move the file away"):
        Tracking.at(tmp_path).log_run([], name="no")


def test_a_store_that_cannot_be_read_or_made(tmp_path: Path) -> None:
    (tmp_path / "mlflow" / "mlflow.db").mkdir(parents=True)
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be read: .*; make it readable"):
        Tracking.at(tmp_path).log_run([], name="no")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mlflow").write_text("in the way", encoding="utf-8")
    with pytest.raises(TrackingError, match=r"cannot be (made|read)"):
        Tracking.at(tmp_path / "other").log_run([], name="no")


def test_a_store_that_somebody_else_is_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 0.01)
    (tmp_path / "mlflow").mkdir()
    with (
        FileLock(tmp_path / "mlflow" / ".mlflow.db.lock"),
        pytest.raises(TrackingError, match=r"another process has been making .* wait for it or end it"),
    ):
        Tracking.at(tmp_path).log_run([], name="no")


@pytest.mark.parametrize("name", ["100%", "what?"])
def test_a_path_that_mlflow_cannot_open(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrackingError, match=r"has a '%' or '\?', which MLflow cannot open; move the project"):
        Tracking.at(tmp_path / name).log_run([], name="no")
    assert not (tmp_path / name).exists()


def test_the_old_file_store_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    with pytest.raises(TrackingError, match=r"old file format.*mlflow migrate-filestore"):
        Tracking.at(tmp_path).log_run([], name="no")


def test_a_store_of_another_mlflow(project: Path) -> None:
    with closing(sqlite3.connect(project / "mlflow" / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    with pytest.raises(
        TrackingError, match=r"made by another version of MLflow; copy the file, then run: mlflow db upgrade"
    ):
        Tracking.at(project).log_run([], name="no")


def test_leftovers_of_the_old_file_store_are_reported(tmp_path: Path) -> None:
    assert mlflow_store.leftover_file_stores(tmp_path) == []
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    assert mlflow_store.leftover_file_stores(tmp_path) == []
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n", encoding="utf-8")
    (found,) = mlflow_store.leftover_file_stores(tmp_path, tmp_path / "mlruns" / "..")
    assert "holds 1 experiments in MLflow's old file format" in found
    assert f"mlflow migrate-filestore --source {tmp_path} --target sqlite:///{tmp_path}/mlflow/old-runs.db" in found


def test_without_mlflow_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow_store.load_mlflow.cache_clear()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'crosshead\[train\]'"):
        Tracking.at(tmp_path).log_run([], name="no")


def test_passwords_are_not_shown() -> None:
    place = mlflow_store.place(Path(), environ={"MLFLOW_TRACKING_URI": "https://ann:secret@team/"})
    assert place.shown == "https://…@team/"
    told = mlflow_store.explain(place, "trying", OSError("GET https://ann:secret@team/x?a@b failed\nmore"))
    assert told == "MLflow failed while trying (store https://…@team/): GET https://…@team/x?a@b failed"


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_everything_that_is_logged_can_be_read_back(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "confusion.csv").write_text("actual,predicted\n", encoding="utf-8")
    (tmp_path / "report.html").write_text("<p>", encoding="utf-8")
    digest = "0123456789abcdef" * 4
    run_id = tracking.log_run(
        [
            *flatten({"encoder": {"name": "minilm", "layers": [1, 2]}, "seed": 0, "source": None, "fast": True}),
            Param("economy & trade", "x" * 1000),
            Metric("macro_f1", 0.9),
            Metric("f1 économie (q)", 0.5, step=2),
            Tag("kind", "test"),
            TextArtifact("notes/about.txt", "told"),
            FileArtifact(tmp_path / "report.html"),
            FolderArtifact(tmp_path / "plots", "plots"),
            DatasetInput("train", digest, 12, source="data/prepared"),
        ],
        name="first run",
    )
    run = tracking.client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("first run", "FINISHED")
    assert run.data.params == {
        "encoder.name": "minilm",
        "encoder.layers": "[1, 2]",
        "seed": "0",
        "source": "null",
        "fast": "true",
        "economy _ trade": "x" * (MAX_PARAM_CHARACTERS - 1) + "…",
    }
    assert run.data.metrics == {"macro_f1": 0.9, "f1 économie _q_": 0.5}
    assert run.data.tags["kind"] == "test"
    assert run.data.tags["crosshead.version"]
    assert artifacts_of(tracking, run_id) == ["notes", "plots", "report.html"]
    assert artifacts_of(tracking, run_id, "plots") == ["plots/confusion.csv"]
    (recorded,) = run.inputs.dataset_inputs
    assert (recorded.dataset.name, recorded.dataset.digest) == ("train", digest[:36])
    assert json.loads(recorded.dataset.profile) == {"num_rows": 12, "sha256": digest}


def test_a_dataset_that_another_run_records_at_the_same_moment(tracking: Tracking, project: Path) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlDataset
    from sqlalchemy import event

    dataset, raced = DatasetInput("train", "0123abcd", 12, source="data/prepared"), []

    def record_it_first(*_: object) -> None:
        if not raced:
            raced.append(True)
            with Tracking.at(project, "test").run("other") as other:
                other.log([dataset])

    with tracking.run("one") as run:
        event.listen(SqlDataset, "before_insert", record_it_first)
        try:
            run.log([dataset])
        finally:
            event.remove(SqlDataset, "before_insert", record_it_first)
    assert raced
    [found] = tracking.client.get_run(run.run_id).inputs.dataset_inputs
    assert found.dataset.digest == "0123abcd"


def test_more_items_than_mlflow_takes_at_once(tracking: Tracking) -> None:
    items: list[LogItem] = [Param(f"p{i}", i) for i in range(205)]
    items += [Metric(f"m{i}", i) for i in range(1003)]
    items += [Tag(f"t{i}", str(i)) for i in range(103)]
    run = tracking.client.get_run(tracking.log_run(items, name="many"))
    assert len(run.data.params) == 205
    assert len(run.data.metrics) == 1003
    assert {f"t{i}" for i in range(103)} <= set(run.data.tags)


def test_two_experiments_share_a_store(project: Path) -> None:
    first, second = Tracking.at(project, "one"), Tracking.at(project, "two")
    first.log_run([], name="a")
    second.log_run([], name="b")
    assert first.experiment_id != second.experiment_id
    assert [run.info.run_name for run in first.client.search_runs([second.experiment_id])] == ["b"]


def test_a_deleted_or_nameless_experiment(project: Path, tracking: Tracking) -> None:
    tracking.client.delete_experiment(tracking.experiment_id)
    with pytest.raises(TrackingError, match=r"was deleted .* mlflow experiments restore --experiment-id"):
        Tracking.at(project, "test").log_run([], name="no")
    with pytest.raises(TrackingError, match="the experiment's name is ' '; give it at least one letter"):
        Tracking.at(project, " ")


def test_a_child_is_shown_below_its_parent(tracking: Tracking) -> None:
    with tracking.run("parent") as parent, tracking.run("child", parent_run_id=parent.run_id) as child:
        child.log([Param("a", 1)])
    assert tracking.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    assert tracking.client.get_run(parent.run_id).data.params == {}


def test_the_variable_mlflow_run_id_does_not_capture_a_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tracking.log_run([], name="first")
    monkeypatch.setenv("MLFLOW_RUN_ID", first)
    assert tracking.log_run([], name="second") != first


# -- a run's life ------------------------------------------------------------------------------------------------------


def test_evaluation_goes_on_with_the_run_of_training(tracking: Tracking) -> None:
    run_id = tracking.log_run([Param("seed", 1), Metric("f1", 0.1)], name="train")
    assert tracking.log_run([Param("seed", 1), Param("more", 2), Metric("f1", 0.2)], name="x", run_id=run_id) == run_id
    run = tracking.client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("train", "FINISHED")
    assert run.data.params == {"seed": "1", "more": "2"}
    assert run.data.metrics == {"f1": 0.2}


def test_a_parameter_never_changes(tracking: Tracking) -> None:
    run_id = tracking.log_run([Param("seed", 1)], name="train")
    with pytest.raises(TrackingError, match="has parameter seed = '1' and cannot change it to '2'; start a new run"):
        tracking.log_run([Metric("f1", 0.2), Param("seed", 2)], name="again", run_id=run_id)
    run = tracking.client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.metrics == {}
    with pytest.raises(TrackingError, match="has parameter a = '1' and cannot change it to '2'"):
        tracking.log_run([Param("a", 1), Param("a", 2)], name="twice")


@pytest.mark.parametrize("run_id", ["0" * 32, "no run at all"])
def test_going_on_with_an_unknown_run(tracking: Tracking, run_id: str) -> None:
    with pytest.raises(TrackingError, match=r"there is no run .* train again to record a new one"):
        tracking.log_run([], name="x", run_id=run_id)


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (DataError("two rows contradict each other"), "FAILED", "two rows contradict each other"),
        (ValueError("a sentence of the user's own article"), "FAILED", "ValueError"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_breaks_off_says_so_but_quotes_no_text(
    tracking: Tracking, error: BaseException, status: str, why: str
) -> None:
    opened = []

    def break_off() -> None:
        with tracking.run("breaks") as run:
            opened.append(run)
            run.log([Metric("before", 1.0)])
            raise error

    with pytest.raises(type(error)):
        break_off()
    (run,) = opened
    found = tracking.client.get_run(run.run_id)
    assert (found.info.status, found.data.tags[ENDED_BY]) == (status, why)
    assert found.data.metrics == {"before": 1.0}
    assert list((tracking.place.folder / "locks").iterdir()) == []

    tracking.log_run([], name="x", run_id=run.run_id)
    found = tracking.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert ENDED_BY not in found.data.tags


def test_a_killed_run_is_closed_by_the_next_one(project: Path, tracking: Tracking) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from crosshead.records.tracking import Tracking\n"
        "from crosshead.records.log_items import Metric\n"
        "with Tracking.at(Path(sys.argv[1]), 'test').run('dies') as run:\n"
        "    run.log([Metric('before', 1.0)]); print(run.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    answer = run_python(code, project)
    assert answer.returncode == -signal.SIGKILL
    run_id = answer.stdout.strip()
    assert tracking.client.get_run(run_id).info.status == "RUNNING"
    with tracking.run("alive") as alive:
        assert Tracking.at(project, "test").close_dead_runs() == []
    dead = tracking.client.get_run(run_id)
    assert (dead.info.status, dead.data.metrics) == ("KILLED", {"before": 1.0})
    assert dead.data.tags[ENDED_BY] == "its process ended without closing the run"
    assert tracking.client.get_run(alive.run_id).info.status == "FINISHED"
    assert tracking.close_dead_runs() == []


def test_one_process_at_a_time_goes_on_with_a_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crosshead.records.tracking, "LOCK_TIMEOUT_S", 0.01)
    with tracking.run("x") as run:
        with pytest.raises(TrackingError, match="is open in another process; wait until that one ends"):
            Tracking(tracking.place, "test").log_run([Metric("f1", 0.1)], name="x", run_id=run.run_id)
        assert tracking.client.get_run(run.run_id).info.status == "RUNNING"
    found = tracking.client.get_run(run.run_id)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {})


def test_a_lock_of_an_unknown_or_finished_run_is_swept_away(tracking: Tracking) -> None:
    run_id = tracking.log_run([], name="done")
    locks = tracking.place.folder / "locks"
    for name in (run_id, "0" * 32):
        (locks / f"{name}.lock").touch()
    assert tracking.close_dead_runs() == []
    assert list(locks.iterdir()) == []
    assert tracking.client.get_run(run_id).info.status == "FINISHED"


def test_locks_that_cannot_be_made(tmp_path: Path, tracking: Tracking) -> None:
    (tracking.place.folder / "locks").write_text("in the way", encoding="utf-8")
    with pytest.raises(TrackingError, match=r"locks cannot be made: .*; make it writable"):
        tracking.log_run([], name="no")


def test_a_project_that_moves_takes_its_files_along(project: Path, tracking: Tracking) -> None:
    first = tracking.log_run([TextArtifact("a.txt", "first")], name="before")
    moved = project.with_name("moved")
    project.rename(moved)
    after = Tracking.at(moved, "test")
    second = after.log_run([TextArtifact("b.txt", "second")], name="after")
    assert artifacts_of(after, first) == ["a.txt"]
    assert artifacts_of(after, second) == ["b.txt"]
    assert not project.exists()
    assert len(list((moved / "mlflow" / "artifacts").iterdir())) == 2


def test_an_experiment_that_keeps_its_files_elsewhere_stays_there(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "big disk"
    Tracking.at(project, "other").client.create_experiment("test", artifact_location=elsewhere.as_uri())
    tracking = Tracking.at(project, "test")
    run_id = tracking.log_run([TextArtifact("a.txt", "first")], name="x")
    assert artifacts_of(tracking, run_id) == ["a.txt"]
    assert (elsewhere / run_id / "artifacts" / "a.txt").is_file()


# -- a store that is lost ----------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking = Tracking.at(tmp_path, uri="http://ann:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"the MLflow server http://…@127.0.0.1:9 cannot be reached while") as error:
        tracking.log_run([], name="x")
    assert "MLFLOW_TRACKING_URI unset, runs are recorded in the project's own store" in str(error.value)
    assert "secret" not in str(error.value)


def test_results_that_a_lost_store_did_not_take_are_kept_and_sent_later(project: Path, tmp_path: Path) -> None:
    tracking = Tracking.at(project, "test")
    database = project / "mlflow" / "mlflow.db"
    report = tmp_path / "report.html"
    report.write_text("<p>", encoding="utf-8")
    run_id = tracking.log_run([Param("seed", 1)], name="train")
    content = database.read_bytes()

    def lose_the_store() -> None:
        with tracking.run("evaluate", run_id=run_id) as run:
            database.write_bytes(b"gone" * 5000)
            run.log([Metric("f1", 0.5), FileArtifact(report)])

    with pytest.raises(TrackingError, match=r"no SQLite database.*; the results are kept in") as lost:
        lose_the_store()
    assert any("could not be marked FAILED" in note for note in lost.value.__notes__)
    assert unsent.path_of(tracking.unsent_dir, run_id).is_file()
    database.write_bytes(content)

    later = Tracking.at(project, "test")
    assert later.send_unsent() == [run_id]
    found = later.client.get_run(run_id)
    assert (found.info.status, found.data.params, found.data.metrics) == ("FINISHED", {"seed": "1"}, {"f1": 0.5})
    assert artifacts_of(later, run_id) == ["report.html"]
    assert later.send_unsent() == []


def test_unsent_results_of_several_tries_add_up(tracking: Tracking, tmp_path: Path) -> None:
    missing = FileArtifact(tmp_path / "missing")
    with tracking.run("x") as run:
        for key in ("a", "b"):
            with pytest.raises(TrackingError, match=r"No such file.*; the results are kept in"):
                run.log([Metric(key, 1.0), missing])
    assert read_items(unsent.path_of(tracking.unsent_dir, run.run_id)) == [
        Metric("a", 1.0),
        missing,
        Metric("b", 1.0),
        missing,
    ]


def test_a_spoilt_file_of_unsent_results(tracking: Tracking) -> None:
    path = unsent.path_of(tracking.unsent_dir, "x")
    path.parent.mkdir(parents=True)
    for content in ("{", '[{"kind": "Nothing"}]', '[{"kind": "Tag"}]', "[7]"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(TrackingError, match="does not hold unsent results of a run"):
            tracking.send_unsent()


# -- log items and lineage ---------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | texts
items = st.one_of(
    st.builds(Param, texts, leaves | numbers),
    st.builds(Metric, texts, numbers, st.integers(0, 9)),
    st.builds(Tag, texts, texts),
    st.builds(TextArtifact, texts, texts),
    st.builds(FileArtifact, st.just(Path("/a/é b")), texts),
    st.builds(FolderArtifact, st.just(Path("/a")), texts),
    st.builds(DatasetInput, texts, texts, st.integers(0)),
)


@given(st.lists(items, max_size=5))
def test_items_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, kept: list[LogItem]) -> None:
    path = tmp_path_factory.mktemp("unsent") / "deep" / "items.json"
    write_items(kept, path)
    assert read_items(path) == kept


def nested(keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        st.dictionaries(keys, leaves, max_size=3), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=9
    )


@given(nested(st.text("abc", min_size=1, max_size=2)))
def test_flattening_keeps_every_leaf(config: dict[str, Any]) -> None:
    def lookup(key: str) -> Any:
        found: Any = config
        for part in key.split("."):
            found = found[part]
        return found

    params = list(flatten(config))
    assert len({param.key for param in params}) == len(params)
    for param in params:
        assert param.value == (lookup(param.key) if lookup(param.key) != {} else "{}")

    def count(value: Any) -> int:
        return sum(map(count, value.values())) if isinstance(value, dict) and value else 1

    assert len(params) == (count(config) if config else 0)


@pytest.mark.parametrize(("value", "text"), [(None, "null"), (True, "true"), (1.5, "1.5"), ("as it is", "as it is")])
def test_values_of_parameters(value: Any, text: str) -> None:
    assert param_text(value) == text


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "tester")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "trunk")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_git_state_of_a_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(repository) == GitState("", "trunk", dirty=False)
    (repository / "a").write_text("1", encoding="utf-8")
    assert git_state(repository) == GitState("", "trunk", dirty=True)
    git(repository, "add", "a")
    git(repository, "commit", "--quiet", "--message", "first")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(repository) == GitState(commit, "trunk", dirty=False)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a git hook
    (repository / "a").write_text("2", encoding="utf-8")
    assert git_state(repository / ".") == GitState(commit, "trunk", dirty=True)


def test_git_state_without_git_or_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_lineage_says_code_and_configuration() -> None:
    assert list(lineage(GitState("abc", "main", dirty=True), "digest", "seed: 0\n")) == [
        Tag("mlflow.source.git.commit", "abc"),
        Tag("mlflow.source.git.branch", "main"),
        Tag("crosshead.git_dirty", "true"),
        Tag("crosshead.config_digest", "digest"),
        TextArtifact("config.yaml", "seed: 0\n"),
    ]
    assert next(iter(lineage(None, "digest", "seed: 0\n"))) == Tag("crosshead.config_digest", "digest")

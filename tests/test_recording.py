"""A lost MLflow server: a clear error, everything kept on disk, and `crosshead log` sends it later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import small_project
import stores
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.errors import StoreError, TrackingError
from crosshead.records import recording, unsent
from crosshead.records.log_items import FileArtifact, FolderArtifact, LogItem, Metric, Param, Tag, read_items
from crosshead.records.recording import ModelToRegister, record, send_unsent, short_card
from crosshead.records.tracking import RUN_NAME, Tracking
from crosshead.releases import champion, registry


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return stores.make_project(tmp_path / "project")


def break_store(project: Path) -> bytes:
    database = project / "mlflow" / "mlflow.db"
    content = database.read_bytes()
    database.write_bytes(b"gone" * 5000)
    return content


def mend_store(project: Path, content: bytes) -> None:
    (project / "mlflow" / "mlflow.db").write_bytes(content)


# -- what waits --------------------------------------------------------------------------------------------------------


def test_files_are_kept_as_they_were(tmp_path: Path) -> None:
    report, plots, folder = tmp_path / "report.html", tmp_path / "plots", tmp_path / "unsent"
    report.write_text("first")
    plots.mkdir()
    (plots / "a.csv").write_text("first")
    items: list[LogItem] = [Metric("a", 1.0), FileArtifact(report), FolderArtifact(plots, "plots")]
    unsent.keep(folder, "r", items)
    report.write_text("second")
    (plots / "a.csv").write_text("second")
    unsent.keep(folder, "r", [FileArtifact(report)])
    with unsent.taken(folder, "r") as taken:
        _, first, plot, second = taken
        assert isinstance(first, FileArtifact)
        assert isinstance(second, FileArtifact)
        assert isinstance(plot, FolderArtifact)
        assert (first.file.name, first.file.read_text(), second.file.read_text()) == ("report.html", "first", "second")
        assert (plot.path, (plot.folder / "a.csv").read_text()) == ("plots", "first")
    assert list(folder.iterdir()) == []


def test_what_is_not_taken_stays(tmp_path: Path) -> None:
    unsent.keep(tmp_path, "r", [Metric("a", 1.0)])
    unsent.keep(tmp_path, unsent.LOCAL + "x", [])
    (tmp_path / "killed.sending").write_text("[]")
    assert unsent.ids(tmp_path) == ["unsent-x", "killed", "r"]

    def fail() -> None:
        with unsent.taken(tmp_path, "r"):
            raise StoreError("still lost")

    with pytest.raises(StoreError, match="still lost"):
        fail()
    assert read_items(unsent.path_of(tmp_path, "r")) == [Metric("a", 1.0)]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "unsent").write_text("a file")
    with pytest.raises(StoreError, match=r"the results cannot even be kept in .*; make room there"):
        unsent.keep(tmp_path / "unsent", "r", [Metric("a", 1.0)])


def test_a_card_that_is_too_long_is_cut_at_a_section() -> None:
    card = "# Card\n\ntext\n\n## One\n\n" + "word " * 50 + "\n\n## Two\n\n" + "word " * 500
    assert short_card(card, 5000) == card
    short = short_card(card, 500)
    assert len(short) <= 500
    assert "## One" in short
    assert "## Two" not in short
    assert short.endswith("The rest is in the file model_card.md of the run and of the model.\n")
    assert len(short_card("x" * 600, 200)) == 200


# -- a store that is lost at any point ---------------------------------------------------------------------------------


def test_a_new_run_that_the_store_never_saw_is_made_later(project: Path) -> None:
    content = break_store(project)
    kept = record(Tracking.at(project), project, [Param("seed", 1), Metric("f1", 0.5)], name="words")
    assert unsent.is_local(kept.run_id)
    assert "is no SQLite database" in kept.unsent
    assert kept.unsent.endswith("send them when the store is back: crosshead log")
    (project / "models" / "latest").mkdir(parents=True)
    noted = project / "models" / "latest" / recording.RUN_FILE
    noted.write_text(json.dumps({"run_id": kept.run_id, "bundle_digest": "d"}))
    with pytest.raises(StoreError, match="is no SQLite database"):
        list(send_unsent(Tracking.at(project), project))
    mend_store(project, content)

    tracking = Tracking.at(project)
    (sent,) = send_unsent(tracking, project)
    run = tracking.client.get_run(sent.run_id)
    assert (run.info.run_name, run.data.params, run.data.metrics) == ("words", {"seed": "1"}, {"f1": 0.5})
    assert json.loads(noted.read_text()) == {"run_id": sent.run_id, "bundle_digest": "d"}
    assert list(send_unsent(tracking, project)) == []


def test_a_later_stage_finds_the_run_that_waits(project: Path, tiny_bundle: Path) -> None:
    content = break_store(project)
    trained = record(Tracking.at(project), project, [Param("seed", 1)], name="words")
    model = ModelToRegister(tiny_bundle, bundle_digest(tiny_bundle), "crosshead", {"macro_f1": "0.5"}, card="# Card")
    tracking = Tracking.at(project)
    evaluated = record(tracking, project, [Metric("f1", 0.5)], name="evaluate", run_id=trained.run_id, model=model)
    assert evaluated.run_id == trained.run_id
    assert evaluated.registered is None
    items = read_items(unsent.path_of(tracking.unsent_dir, trained.run_id))
    assert items == [Tag(RUN_NAME, "words"), Param("seed", 1), Metric("f1", 0.5)]
    mend_store(project, content)

    (sent,) = send_unsent(Tracking.at(project), project)
    assert sent.registered is not None
    assert (sent.registered.version, sent.registered.run_id) == (1, sent.run_id)
    found = champion.find(project)
    assert found is not None
    assert found.version == 1
    assert list(Tracking.at(project).unsent_dir.iterdir()) == []


def bundle_digest(folder: Path) -> str:
    from crosshead import bundle

    return bundle.digest(folder)


def test_a_stage_that_comes_when_the_store_is_back_sends_what_waits(project: Path, tiny_bundle: Path) -> None:
    content = break_store(project)
    trained = record(Tracking.at(project), project, [Param("seed", 1)], name="words")
    mend_store(project, content)
    tracking = Tracking.at(project)
    evaluated = record(tracking, project, [Metric("f1", 0.5)], name="evaluate", run_id=trained.run_id)
    run = tracking.client.get_run(evaluated.run_id)
    assert (evaluated.unsent, run.info.run_name) == ("", "words")
    assert (run.data.params, run.data.metrics) == ({"seed": "1"}, {"f1": 0.5})
    gone = record(tracking, project, [], name="evaluate", run_id=unsent.local_id())
    assert tracking.client.get_run(gone.run_id).info.run_name == "evaluate"


def test_a_store_that_is_lost_while_the_model_is_registered(
    project: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> str:
        raise StoreError("the server cannot be reached")

    tracking = Tracking.at(project)
    model = ModelToRegister(tiny_bundle, bundle_digest(tiny_bundle), "crosshead", card="# Card\n\nall of it")
    monkeypatch.setattr(registry, "register", lost)
    kept = record(tracking, project, [Metric("f1", 0.5)], name="words", model=model)
    assert kept.unsent.startswith("the server cannot be reached; nothing is lost")
    assert not unsent.is_local(kept.run_id)
    monkeypatch.undo()

    (sent,) = send_unsent(tracking, project)
    assert sent.registered is not None
    version = tracking.client.get_model_version("crosshead", "1")
    assert version.description == "# Card\n\nall of it"
    logged = tracking.client.get_logged_model(tracking.client.get_run(kept.run_id).outputs.model_outputs[-1].model_id)
    assert "model_card.md" in os.listdir(logged.artifact_location.removeprefix("file://"))


def test_another_model_that_lies_there_by_now_is_not_registered(project: Path, tiny_bundle: Path) -> None:
    content = break_store(project)
    model = ModelToRegister(tiny_bundle, "0" * 64, "crosshead")
    record(Tracking.at(project), project, [Metric("f1", 0.5)], name="words", model=model)
    mend_store(project, content)
    (sent,) = send_unsent(Tracking.at(project), project)
    assert sent.problem == f"its model was not registered: another tagger lies in {tiny_bundle} by now"
    assert list(send_unsent(Tracking.at(project), project)) == []


def test_recording_twice_makes_one_version(project: Path, tiny_bundle: Path) -> None:
    tracking = Tracking.at(project)
    model = ModelToRegister(tiny_bundle, bundle_digest(tiny_bundle), "crosshead", {"macro_f1": "0.5"})
    first = record(tracking, project, [], name="words", model=model)
    again = ModelToRegister(model.folder, model.digest, model.name, {"macro_f1": "0.6"})
    second = record(tracking, project, [], name="words", run_id=first.run_id, model=again)
    assert first.registered is not None
    assert second.registered is not None
    assert (first.registered.version, second.registered.version, first.is_champion) == (1, 1, True)
    found = registry.find_version(tracking, "crosshead", 1)
    assert found is not None
    assert found.tags["macro_f1"] == "0.6"


def test_what_is_wrong_with_the_items_is_no_lost_store(project: Path) -> None:
    tracking = Tracking.at(project)
    first = record(tracking, project, [Param("seed", 1)], name="words")
    with pytest.raises(TrackingError, match="cannot change it to '2'"):
        record(tracking, project, [Param("seed", 2)], name="words", run_id=first.run_id)
    with pytest.raises(TrackingError, match="there is no run"):
        record(tracking, project, [], name="words", run_id="0" * 32)
    note = tracking.unsent_dir / f"{first.run_id}.model"
    note.parent.mkdir(exist_ok=True)
    note.write_text("{")
    with pytest.raises(TrackingError, match=r"\.model cannot be read .*; delete it and evaluate again"):
        list(send_unsent(tracking, project))


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[stores.Server]:
    made = stores.Server(tmp_path / "server")
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_real_server_that_is_stopped_and_started_again(
    server: stores.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small_project.make(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.stop()

    assert main(["run", *small_project.WORDS]) == Exit.TRACKING
    captured = capsys.readouterr()
    assert f"the MLflow server {server.uri} cannot be reached" in captured.err
    assert "nothing is lost: the results are kept in" in captured.err
    assert captured.err.rstrip().endswith("crosshead log")
    assert "macro-F1" in captured.out  # the scores are shown all the same
    assert (root / "reports" / "report.html").is_file()
    found = champion.find(root)
    assert found is not None
    assert found.version is None  # tagging works without the server
    assert main(["log"]) == Exit.TRACKING
    capsys.readouterr()
    (root / "reports" / "report.html").write_text("of a later run")

    server.start()
    assert main(["log"]) == 0
    told = capsys.readouterr().out
    assert ", crosshead 1 registered\n1 run sent to" in told
    run_id = told.split()[2].rstrip(",")
    tracking = Tracking.at(root)
    run = tracking.client.get_run(run_id)
    name = "tfidf · tfidf · classifier=logreg · folds=2 · curve_shares=[] · corpus.test_share=0.3"
    assert (run.info.run_name, run.info.status) == (name, "FINISHED")
    assert run.data.metrics["test_macro_f1"] == pytest.approx(0.751, abs=0.001)
    assert json.loads((root / "models" / "latest" / "run.json").read_text())["run_id"] == run_id
    report = tracking.client.download_artifacts(run_id, "report.html", str(tmp_path))
    assert "of a later run" not in Path(report).read_text("utf-8")
    found = champion.find(root)
    assert found is not None
    assert found.version == 1
    version = tracking.client.get_model_version("crosshead", "1")
    assert version.description.startswith("# crosshead: a tagger of paragraphs in articles")
    assert main(["log"]) == 0
    assert capsys.readouterr().out == "nothing waits to be sent\n"
    assert main(["show", "champion"]) == 0
    assert "every digest is what was recorded" in capsys.readouterr().out
    assert main(["compare", "champion", "last", "--paragraphs", "0"]) == 0
    assert "predicts exactly what" in capsys.readouterr().out

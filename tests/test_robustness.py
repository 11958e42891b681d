"""What the kill matrix cannot aim at: locks that cannot be made, torn lines of others, left-overs, clocks set back."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest

import kill_writers
import labelling_parts
from crosshead import locks, whole
from crosshead.batch.folder import OutputFolder
from crosshead.batch.parts import Shape
from crosshead.cli.alone import alone_in
from crosshead.errors import BundleError, DataError, StoreError, TrackingError
from crosshead.labelling.durable import LineFile
from crosshead.labelling.log import Event, LabelLog
from crosshead.locks import Lock
from crosshead.records import unsent
from crosshead.records.log_items import FileArtifact, Param
from crosshead.records.recording import ModelToRegister, _keep, send_unsent
from crosshead.records.tracking import Tracking
from crosshead.releases import champion, registry
from crosshead.search.study import JOURNAL
from stores import make_project

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc and marks on open files are Linux's"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
NOWHERE = Path("/proc/crosshead")


# -- locks -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_PAUSE_S", 0.0)


def test_a_lock_where_no_file_can_be_made_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Lock(NOWHERE).acquire()


def test_a_lock_in_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "gone" / "lock").acquire()


def test_nobody_waits_for_a_lock_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in([NOWHERE]):  # whoever writes there first says why it cannot
        pass
    assert "waits" not in capsys.readouterr().err
    with pytest.raises(FileNotFoundError), OutputFolder(str(NOWHERE / "out"), Shape()).locked():
        pass
    with pytest.raises(DataError, match="cannot be written: No such file or directory"), _lines(NOWHERE).locked():
        pass
    with pytest.raises(BundleError, match=r"/proc/models cannot be written: .*; make the folder writable"):
        registry.prune(Path("/proc"))


def _lines(path: Path) -> LineFile:
    return LineFile(path, lambda tail: True)


def test_a_champion_that_another_process_is_changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LOCK_TIMEOUT_S", 0.0)
    (tmp_path / "models").mkdir()
    with (
        Lock(tmp_path / "models" / ".champion.lock"),
        pytest.raises(TrackingError, match="another process has been changing the champion in"),
    ):
        registry.prune(tmp_path)


# -- folders that are replaced -----------------------------------------------------------------------------------------


def fill(folder: Path, content: str) -> None:
    with whole.new_folder(folder) as made:
        (made / "content").write_text(content)


def test_a_folder_that_is_replaced_is_there_at_every_moment(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fill(folder, "0")
    n_gone, ends = 0, threading.Event()

    def look() -> None:
        nonlocal n_gone
        while not ends.is_set():
            n_gone += not (folder / "content").exists()

    looking = threading.Thread(target=look)
    looking.start()
    for n in range(300):
        fill(folder, str(n))
    ends.set()
    looking.join()
    assert (n_gone, (folder / "content").read_text()) == (0, "299")
    assert os.listdir(tmp_path) == ["folder"]


def test_where_names_cannot_be_swapped_a_folder_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_swap", lambda one, other: False)
    for content in "01":
        fill(tmp_path / "folder", content)
        assert (tmp_path / "folder" / "content").read_text() == content
    assert os.listdir(tmp_path) == ["folder"]


def test_what_a_killed_writer_left_goes_and_what_is_at_work_stays(tmp_path: Path) -> None:
    dead, young, alive = (tmp_path / f".{name}.0a0a0a0a{whole.TEMPORARY}" for name in ("dead", "young", "alive"))
    dead_file = tmp_path / f".file.0a0a0a0a{whole.TEMPORARY}"
    dead_file.write_text("half")
    for folder in (dead, young, alive):
        (folder / "new").mkdir(parents=True)
    for path in (dead, alive, dead_file):
        os.utime(path, (0, 0))
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        fill(tmp_path / "folder", "0")
    finally:
        os.close(held)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", young.name, alive.name}


# -- a search ----------------------------------------------------------------------------------------------------------


def trials_of(folder: Path) -> list[str]:
    kill_writers.search(folder, lambda line: None)
    return kill_writers.search_content(folder)


def test_a_line_that_another_process_left_half_written_harms_nobody(tmp_path: Path) -> None:
    """It dies while this one is at work, which then writes behind what is left of the line."""
    with kill_writers._study(tmp_path) as study:
        n = 0

        def after() -> None:
            nonlocal n
            n += 1
            if n == 3:
                with (tmp_path / "search" / JOURNAL).open("ab") as journal:
                    journal.write(b'{"op_code":5,"worker_id":"gone","trial')

        study.run(kill_writers.scores, after)
    assert kill_writers.search_content(tmp_path) == trials_of(tmp_path / "whole")


def test_values_that_were_half_drawn_are_drawn_as_they_would_have_been(tmp_path: Path) -> None:
    expected = trials_of(tmp_path / "whole")
    folder = tmp_path / "broken"
    for n in (0, 2, 5):
        with kill_writers._study(folder) as study:
            while len(study.trials()) < n:
                trial = study._begin()
                assert trial is not None
                study._try(trial, kill_writers.scores)
            trial = study._begin()
            assert trial is not None
            trial.suggest_float("C", 0.001, 10, log=True)  # and here it ends
    assert trials_of(folder) == expected


class SetBack(datetime.datetime):
    """A clock that is set back by an hour whenever it is looked at."""

    n = 0

    @classmethod
    def now(cls, tz: Any = None) -> datetime.datetime:
        cls.n += 1
        return datetime.datetime(2026, 6, 1) - datetime.timedelta(hours=cls.n)


def test_a_clock_that_is_set_back_disturbs_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trials_of(tmp_path / "whole")
    monkeypatch.setattr(optuna.storages.journal._storage, "datetime", SetBack)
    assert trials_of(tmp_path / "back") == expected
    with kill_writers._study(tmp_path / "back") as study:
        assert SetBack.n > 10
        assert all(trial.seconds == 0 for trial in study.trials())


# -- labels and champions by a clock that jumps ------------------------------------------------------------------------


def test_the_order_of_a_log_is_that_of_its_lines(tmp_path: Path) -> None:
    """A label of the future, then one of now: the one that was given last holds, and none is lost."""
    log = LabelLog(tmp_path / "anna.jsonl", "anna")
    first, second, *_ = labelling_parts.queue()
    for n, (item, name, year) in enumerate([(first, "rest", 2031), (second, "rest", 2026), (first, "talks", 2019)]):
        time = f"{year}-01-01T00:00:00.000Z"
        told = ("label", item.article_id, item.paragraph, item.text_sha256, "anna", time)
        assert log.append(Event(f"key-{n:08}", *told, section_type=name))  # type: ignore[arg-type]
    again = LabelLog(tmp_path / "anna.jsonl", "anna")
    assert [(event.paragraph, event.section_type) for event in again.marks.labels()] == [(1, "rest"), (0, "talks")]
    session = labelling_parts.session(tmp_path)
    assert session.overview()["history"] == [1, 0]


def test_the_champion_is_not_pruned_by_a_clock_that_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    for digest, year in (("a" * 64, 2031), ("b" * 64, 2019), ("c" * 64, 2026)):
        (tmp_path / "bundle" / "manifest.json").write_text(digest)
        kept = champion.keep(tmp_path, tmp_path / "bundle", digest)
        moment = datetime.datetime(year, 1, 1).timestamp()
        os.utime(kept, (moment, moment))
        if digest.startswith("b"):
            champion.write(tmp_path, kept, digest)
    assert [path.name for path in champion.prune(tmp_path)] == ["c" * 16]
    found = champion.find(tmp_path)
    assert found is not None
    assert found.digest == "b" * 64


# -- results that wait -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What stands for the end of the process."""


def test_a_model_that_waits_is_found_after_a_kill_between_sending_and_forgetting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its note is given the run's true id before what waits is deleted; afterwards nobody would know the id."""
    tracking = Tracking.at(make_project(tmp_path))
    (tmp_path / "gone").mkdir()
    model = ModelToRegister(tmp_path / "gone", "0" * 64, "crosshead")
    kept_id = unsent.local_id()
    _keep(tracking, kept_id, [Param("a", 1)], model, StoreError("lost"))

    def die(path: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(unsent, "_forget", die)
        with pytest.raises(Killed):
            list(send_unsent(tracking, tmp_path))
    (note,) = tracking.unsent_dir.glob("*.model")
    assert not unsent.is_local(note.stem)
    (sent,) = send_unsent(tracking, tmp_path)
    assert "its model was not registered" in sent.problem, "the note was read, and its bundle looked for"
    assert [path.name for path in tracking.unsent_dir.iterdir()] == []


def test_files_of_what_was_sent_go_with_it_also_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plot").write_text("a plot")
    folder = tmp_path / "unsent"
    unsent.keep(folder, "run", [FileArtifact(tmp_path / "plot")])

    def die(*told: Any, **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(unsent.shutil, "rmtree", die)
        with pytest.raises(Killed), unsent.taken(folder, "run"):
            pass
    assert sorted(path.suffix for path in folder.iterdir()) == [".files", ".sent"]
    assert unsent.ids(folder) == []
    assert list(folder.iterdir()) == []


def test_what_another_process_sends_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "unsent"
    unsent.keep(folder, "one", [Param("a", 1)])
    unsent.keep(folder, "two", [Param("a", 2)])
    with unsent.taken(folder, "one"):
        assert unsent.ids(folder) == ["two"]
        monkeypatch.setattr(unsent, "LOCK_TIMEOUT_S", 0.0)
        with pytest.raises(TrackingError, match="another process has been sending what waits in"):
            with_another_hand(lambda: unsent.taken(folder, "two").__enter__())
    with pytest.raises(TrackingError, match="was sent by another process meanwhile; nothing is left to do"):
        unsent.taken(folder, "one").__enter__()
    assert json.loads((folder / "two.json").read_text())


def with_another_hand(do: Any) -> None:
    """Call in another thread, which holds none of this one's locks; raise what it raises."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            do()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]

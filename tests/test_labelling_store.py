"""Annotations appended durably: once each, by several processes, through kills, torn ends and full disks."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosshead.corpora.annotations import Annotation, read_annotations
from crosshead.errors import DataError
from crosshead.labelling import durable
from crosshead.labelling.durable import LineFile, lock_path, write_durably
from crosshead.labelling.log import Event, LabelLog
from crosshead.labelling.store import AnnotationFile, append, columns_for, to_csv, to_row
from labelling_parts import kill_in_mid_work, vote

HEADER = "article_id,paragraph,text_sha256,section_type,annotator,time,source,note,key"
OLD = "article_id,paragraph,text_sha256,section_type,annotator\nford,0,aa,talks,author\n"

APPEND_FOR_EVER = """
import itertools, sys
from pathlib import Path
from crosshead.corpora.annotations import Annotation
from crosshead.labelling.store import append
path, run = Path(sys.argv[1]), sys.argv[2]
for i in itertools.count():
    append(path, Annotation(run, i, "0" * 16, "talks", "anna", extra={"note": "é" * (i % 50)}), f"{run}-{i}")
    print(run, i, flush=True)
"""
APPEND_SOME = APPEND_FOR_EVER.replace("itertools.count()", "range(int(sys.argv[3]))")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels" / "annotations.csv"


def test_an_annotation_is_read_back_with_author_time_and_source(path: Path) -> None:
    given = vote("ford", 1, "talks", "Anna, B.", time="2026-01-02T03:04:05Z", source="page", note='she said\n"yes"')
    assert append(path, given, "k1")
    assert path.read_text(encoding="utf-8").splitlines()[0] == HEADER
    (found,) = read_annotations(path)
    assert (found.article_id, found.paragraph, found.text_sha256) == ("ford", 1, given.text_sha256)
    assert (found.section_type, found.annotator, found.line) == ("talks", "Anna, B.", 2)
    assert found.extra["time"] == "2026-01-02T03:04:05Z"
    assert (found.extra["source"], found.extra["note"]) == ("page", 'she said "yes"')


def test_time_is_now_where_none_is_given(path: Path) -> None:
    append(path, vote("ford", 1, "talks", "anna"), "k1")
    assert read_annotations(path)[0].extra["time"].endswith("Z")


def test_a_request_that_is_sent_again_is_written_once(path: Path) -> None:
    assert append(path, vote("ford", 0, "talks", "anna"), "k1")
    assert not append(path, vote("ford", 0, "talks", "anna"), "k1")
    assert append(path, vote("ford", 0, "talks", "anna"), "k2")
    file = AnnotationFile(path)
    assert not file.append(vote("ford", 0, "talks", "anna"), "k1")
    append(path, vote("ford", 1, "rest", "ben"), "k3")
    assert not file.append(vote("ford", 1, "rest", "ben"), "k3"), "what another process appended is seen"
    assert len(read_annotations(path)) == 3


def test_a_key_belongs_to_one_annotation(path: Path) -> None:
    append(path, vote("ford", 0, "talks", "anna"), "k1")
    with pytest.raises(DataError, match=r"key of this annotation \(paragraph 1 of 'ford'\) was used for paragraph 0"):
        append(path, vote("ford", 1, "talks", "anna"), "k1")
    with pytest.raises(DataError, match="the key of an annotation is empty"):
        append(path, vote("ford", 1, "talks", "anna"), "")


def test_a_file_without_the_further_columns_gets_them(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("\ufeff" + OLD.replace("\n", "\r\n"), encoding="utf-8")
    path.chmod(0o640)
    append(path, vote("ford", 1, "rest", "anna"), "k1")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [HEADER, "ford,0,aa,talks,author,,,,"]
    assert [found.section_type for found in read_annotations(path)] == ["talks", "rest"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_columns_of_ones_own_are_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("key,mood," + OLD.replace("\nford", "\n,glad,ford"), encoding="utf-8")
    append(path, vote("ford", 1, "rest", "anna", mood="sad"), "k1")
    assert path.read_text(encoding="utf-8").startswith("mood,article_id,")
    assert [found.extra["mood"] for found in read_annotations(path)] == ["glad", "sad"]


def test_a_file_that_was_replaced_meanwhile_is_read_anew(path: Path) -> None:
    file = AnnotationFile(path)
    file.append(vote("ford", 0, "talks", "anna"), "k1")
    write_durably(path, to_csv([to_row(vote("ford", 2, "rest", "ben"))], columns_for(())))
    assert file.append(vote("ford", 0, "talks", "anna"), "k1"), "the row of that key is gone"
    assert [found.annotator for found in read_annotations(path)] == ["ben", "anna"]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_last_row_without_a_line_end_is_no_torn_row(path: Path, ending: str) -> None:
    path.parent.mkdir()
    path.write_text(f"{HEADER}\nford,0,aa,talks,author,,,,{ending}", encoding="utf-8")
    append(path, vote("ford", 1, "rest", "anna"), "k1")
    assert [found.annotator for found in read_annotations(path)] == ["author", "anna"]
    assert not list(path.parent.glob("*.torn"))


def test_a_header_alone_is_no_torn_row(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(HEADER, encoding="utf-8")
    append(path, vote("ford", 1, "rest", "anna"), "k1")
    assert len(read_annotations(path)) == 1


def test_whatever_is_cut_off_the_last_row_the_others_stay(path: Path) -> None:
    append(path, vote("ford", 0, "talks", "anna", note="ünlike"), "k1")
    whole = path.read_bytes()
    append(path, vote("bridge", 1, "rest", "ben, c", note='"élan", she said'), "k2")
    content = path.read_bytes()
    for n in range(len(whole), len(content)):
        path.write_bytes(content[:n])
        (path.parent / "annotations.csv.torn").unlink(missing_ok=True)
        assert append(path, vote("draft", 0, "talks", "dan"), "k3")
        found = [(a.article_id, a.annotator) for a in read_annotations(path)]
        torn = path.with_name("annotations.csv.torn")
        if n == len(whole):
            assert found == [("ford", "anna"), ("draft", "dan")]
        elif torn.exists():
            assert found == [("ford", "anna"), ("draft", "dan")]
            assert torn.read_bytes() == content[len(whole) : n] + b"\n", "nothing is thrown away"
        else:
            assert found == [("ford", "anna"), ("bridge", "ben, c"), ("draft", "dan")]
            assert n >= len(content) - 17, "only a row with all its cells is taken for whole"


def test_every_appended_row_survives_a_kill(path: Path) -> None:
    acknowledged: list[str] = []
    for run in range(20):
        acknowledged += kill_in_mid_work(APPEND_FOR_EVER, path, str(run), n_acknowledged=run % 4 + 1, wait_s=run / 2000)
    written = [f"{found.article_id} {found.paragraph}" for found in read_annotations(path)]
    assert len(written) == len(set(written))
    assert set(acknowledged) <= set(written)
    assert len(written) <= len(acknowledged) + 20, "at most one row a kill was written but not acknowledged"
    for line in acknowledged:
        run, i = line.split()
        assert not append(path, Annotation(run, int(i), "0" * 16, "talks", "anna"), f"{run}-{i}")


def test_two_processes_append_to_one_file(path: Path) -> None:
    runs = ("left", "right")
    processes = [subprocess.Popen([sys.executable, "-c", APPEND_SOME, str(path), run, "60"]) for run in runs]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for run in runs:
        assert [row["paragraph"] for row in rows if row["article_id"] == run] == [str(i) for i in range(60)]
    assert len(rows) == 120


def test_a_disk_that_is_full_leaves_the_file_as_it_was(path: Path) -> None:
    append(path, vote("ford", 0, "talks", "anna"), "k1")
    before = path.read_bytes()
    script = f"""
import resource, signal, sys
from pathlib import Path
from crosshead.corpora.annotations import Annotation
from crosshead.labelling.store import append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 30}, {len(before) + 30}))
try:
    append(Path(sys.argv[1]), Annotation("ford", 1, "0" * 16, "talks", "anna"), "k2")
except Exception as error:
    print(type(error).__name__, error)
"""
    told = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True).stdout
    assert "DataError" in told
    assert "cannot be written: File too large; make room there" in told
    assert path.read_bytes() == before
    assert append(path, vote("ford", 1, "talks", "anna"), "k2")


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"annotations\.csv cannot be written: File exists"):
        append(tmp_path / "file" / "annotations.csv", vote("ford", 0, "talks", "anna"), "k1")
    with pytest.raises(DataError, match=r"x\.csv cannot be written: File exists"):
        write_durably(tmp_path / "file" / "x.csv", b"")
    folder = tmp_path / "annotations.csv"
    folder.mkdir()
    with pytest.raises(DataError, match="cannot be written: Is a directory"):
        append(folder, vote("ford", 0, "talks", "anna"), "k1")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        LineFile(folder, lambda tail: True).read_new()


def test_a_file_that_is_no_csv_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes("article_id,café\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read: 'utf-8' codec"):
        append(path, vote("ford", 0, "talks", "anna"), "k1")
    assert path.read_bytes() == "article_id,café\n".encode("latin-1")


def test_a_file_in_others_hands_is_waited_for_and_then_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    path.parent.mkdir()
    monkeypatch.setattr(durable, "LOCK_SECONDS", 0.05)
    with (
        FileLock(lock_path(path)),
        pytest.raises(DataError, match=r"has been in another process's hands for 0 s; end that process"),
    ):
        append(path, vote("ford", 0, "talks", "anna"), "k1")


def test_nothing_is_left_over_but_a_hidden_lock(path: Path) -> None:
    append(path, vote("ford", 0, "talks", "anna"), "k1")
    append(path, vote("ford", 1, "talks", "anna"), "k2")
    assert {name for name in os.listdir(path.parent) if not name.startswith(".")} == {"annotations.csv"}
    assert set(os.listdir(path.parent)) <= {"annotations.csv", ".annotations.csv.lock"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=12), st.sampled_from(["k1", "k2", "k3", "k4"])),
        max_size=6,
    )
)
def test_any_text_comes_back(tmp_path: Path, given_rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "any.csv"
    path.unlink(missing_ok=True)
    expected: dict[str, tuple[str, str]] = {}
    for annotator, note, key in given_rows:
        if key not in expected:
            expected[key] = (" ".join(annotator.split()), " ".join(note.split()))
            append(path, Annotation("a", 0, "0" * 16, "talks", annotator, extra={"note": note}), key)
    found = [(a.annotator, a.extra["note"]) for a in read_annotations(path)] if expected else []
    assert found == list(expected.values())


def test_the_disk_has_a_row_before_it_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))
        fsync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", note)
    for i in range(3):
        append(path, vote("ford", i, "talks", "anna"), f"k{i}")
        assert (path.stat().st_ino, path.stat().st_size) in synced
        synced.clear()
    log = LabelLog(path.with_name("anna.jsonl"), "anna")
    log.append(Event("key", "label", "ford", 0, "0" * 16, "anna", "2026-01-01T00:00:00Z", section_type="talks"))
    assert (log.path.stat().st_ino, log.path.stat().st_size) in synced
    assert path.parent.stat().st_ino in {inode for inode, _ in synced}, "the folder has the new file's name, too"

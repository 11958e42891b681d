"""Logs of key presses: what holds after any of them, and that none that was acknowledged is ever lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.errors import ConfigError, DataError
from crosshead.labelling.log import Event, LabelLog, Marks, check_annotator, file_name, parse_event, read_events
from labelling_parts import kill_in_mid_work

LABEL_FOR_EVER = """
import itertools, sys
from pathlib import Path
from crosshead.labelling.log import Event, LabelLog
run = sys.argv[2]
log = LabelLog(Path(sys.argv[1]), "anna")
for i in itertools.count() if len(sys.argv) == 3 else range(int(sys.argv[3])):
    log.append(Event(f"{run}-{i}", "label", run, i, "0" * 16, "anna", "2026-01-01T00:00:00Z", section_type="talks"))
    print(f"{run}-{i}", flush=True)
"""


def event(key: str, kind: str = "label", place: int = 0, **fields: Any) -> Event:
    fields = {"section_type": "talks"} | fields if kind == "label" else fields
    return Event(
        key, kind, "ford", place, "0" * 16, fields.pop("annotator", "anna"), f"2026-01-01T00:00:{key:0>2}Z", **fields
    )  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    return LabelLog(tmp_path / "data" / "labels" / "anna.jsonl", "anna")


def held(log: LabelLog | Marks) -> dict[int, str]:
    marks = log.marks if isinstance(log, LabelLog) else log
    return {label.paragraph: label.section_type for label in marks.labels()}


def test_the_last_label_holds_and_undo_brings_back_the_one_before(log: LabelLog) -> None:
    log.append(event("1", section_type="talks"))
    log.append(event("2", section_type="rest"))
    assert held(log) == {0: "rest"}
    log.append(event("3", "undo", of="2"))
    assert held(log) == {0: "talks"}
    log.append(event("4", "undo", of="1"))
    assert held(log) == {}
    assert log.marks.of(event("1").place) is None


def test_a_skip_is_no_annotation_and_hides_an_earlier_label(log: LabelLog) -> None:
    log.append(event("1"))
    log.append(event("2", "skip"))
    mark = log.marks.of(event("1").place)
    assert mark is not None
    assert mark.kind == "skip"
    assert log.marks.annotations() == []


def test_a_note_goes_with_the_label_whichever_came_first(log: LabelLog) -> None:
    log.append(event("1", "note", note="odd"))
    log.append(event("2", source="adjudication"))
    log.append(event("3", "note", note="very odd"))
    (found,) = log.marks.annotations()
    assert found.extra == {"time": "2026-01-01T00:00:02Z", "source": "adjudication", "note": "very odd"}
    assert (found.article_id, found.annotator, found.section_type, found.line) == ("ford", "anna", "talks", 2)


def test_another_text_is_another_paragraph(log: LabelLog) -> None:
    log.append(event("1"))
    edited = Event("2", "label", "ford", 0, "1" * 16, "anna", "2026-01-01T00:00:09Z", section_type="rest")
    log.append(edited)
    assert [label.section_type for label in log.marks.labels()] == ["talks", "rest"]


def test_what_is_sent_again_is_written_once(log: LabelLog) -> None:
    assert log.append(event("1"))
    assert not log.append(event("1"))
    assert not LabelLog(log.path, "anna").append(event("1"))
    assert len(log.path.read_bytes().splitlines()) == 1


def test_only_what_is_there_can_be_taken_back(log: LabelLog) -> None:
    with pytest.raises(DataError, match="there is no label with the key 'gone' to take back; load the page again"):
        log.append(event("1", "undo", of="gone"))
    assert not log.path.exists() or log.path.read_bytes() == b""


def test_two_windows_see_each_other(log: LabelLog) -> None:
    other = LabelLog(log.path, "anna")
    log.append(event("1"))
    other.append(event("2", place=1))
    log.refresh()
    assert held(log) == held(other) == {0: "talks", 1: "talks"}


def test_a_log_belongs_to_one_annotator(log: LabelLog) -> None:
    log.append(event("1"))
    with pytest.raises(DataError, match=r"line 1 of .*anna\.jsonl is by 'anna', but the log is opened for 'ben'"):
        LabelLog(log.path, "ben")


Operation = tuple[str, int, str]


@given(st.lists(st.tuples(st.sampled_from(["label", "skip", "undo"]), st.integers(0, 2), st.sampled_from("xy"))))
def test_marks_are_those_of_a_stack_for_each_paragraph(operations: list[Operation]) -> None:
    marks, stacks = Marks(), {place: [] for place in range(3)}  # type: dict[int, list[tuple[str, str]]]
    for number, (kind, place, section_type) in enumerate(operations):
        key = str(number)
        if kind == "undo":
            if stacks[place]:
                marks.add(event(key, "undo", place, of=stacks[place].pop()[0]))
            continue
        stacks[place].append((key, section_type if kind == "label" else "skip"))
        marks.add(event(key, kind, place, **({"section_type": section_type} if kind == "label" else {}), line=number))
        marks.add(event(key, kind, place, section_type="again"))
    expected = {place: stack[-1][1] for place, stack in stacks.items() if stack and stack[-1][1] != "skip"}
    assert held(marks) == expected


# -- the file ----------------------------------------------------------------------------------------------------------


def test_whatever_is_cut_off_the_last_line_the_others_stay(log: LabelLog) -> None:
    log.append(event("1"))
    whole = log.path.read_bytes()
    log.append(event("2", "note", place=1, note="ünlike {} \\"))
    content = log.path.read_bytes()
    for n in range(len(whole), len(content)):
        log.path.write_bytes(content[:n])
        assert [found.key for found in read_events(log.path)] == ["1"], "what was not acknowledged is not read"
        again = LabelLog(log.path, "anna")
        again.append(event("3", place=2))
        keys = [found.key for found in read_events(log.path)]
        assert keys == (["1", "2", "3"] if n == len(content) - 1 else ["1", "3"])


def test_every_acknowledged_event_survives_a_kill(log: LabelLog) -> None:
    acknowledged: list[str] = []
    for run in range(20):
        acknowledged += kill_in_mid_work(
            LABEL_FOR_EVER, log.path, f"r{run}", n_acknowledged=run % 5 + 1, wait_s=run / 2000
        )
    written = [found.key for found in read_events(log.path)]
    assert set(acknowledged) <= set(written)
    assert len(written) == len(set(written)) <= len(acknowledged) + 20


def test_two_processes_write_one_log(log: LabelLog) -> None:
    runs = ("left", "right")
    processes = [
        subprocess.Popen([sys.executable, "-c", LABEL_FOR_EVER, str(log.path), run, "60"], stdout=subprocess.DEVNULL)
        for run in runs
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    keys = [found.key for found in read_events(log.path)]
    assert sorted(keys) == sorted(f"{run}-{i}" for run in runs for i in range(60))


LINE = event("1").as_line()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"line 3 of label log .*x\.jsonl is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[]", "is list; it must be an object with key, event, article_id"),
        (LINE.replace(b'"paragraph": 0', b'"paragraph": true'), "has True for 'paragraph'; it must be int"),
        (LINE.replace(b'"key": "1", ', b""), "has None for 'key'; it must be str"),
        (LINE.replace(b'"label"', b'"shout"'), "has the event 'shout'; allowed are label, skip, note, undo"),
        (LINE.replace(b'"talks"', b"7"), "has 7 for 'section_type'; it must be str"),
    ],
)
def test_a_line_that_is_no_event_is_named(line: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_event(line, Path("x.jsonl"), 3)


def test_a_line_comes_back_as_it_was() -> None:
    given_event = event("1", "undo", of="0", line=4)
    assert parse_event(given_event.as_line(), Path("x.jsonl"), 4) == given_event
    newer = json.loads(LINE) | {"mood": "glad"}
    assert parse_event(json.dumps(newer).encode(), Path("x"), 0) == event("1"), "keys of later versions are passed over"


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl is not there; check the path"):
        list(read_events(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("name", ["", " ", " anna", "a\nb", "x" * 81, "\u200b"])
def test_names_that_cannot_stand_in_a_file_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"the annotator is .*; give a name or initials of at most 80 visible"):
        check_annotator(name)


@pytest.mark.parametrize(
    ("name", "file"),
    [("anna", "anna"), ("Anna B.", "Anna_B."), ("a/../b", "a_.._b"), ("..", "_"), ("łucja@x.org", "łucja@x.org")],
)
def test_names_become_names_of_files(name: str, file: str) -> None:
    check_annotator(name)
    assert file_name(name) == file

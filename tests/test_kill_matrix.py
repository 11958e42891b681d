"""kill -9 at any moment of any writer: what was acknowledged is there, nothing is torn, and going on ends as it would.

`make kill-matrix` runs twenty kills of every writer and prints the table of docs/explanation/robustness.md.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

import kill_matrix
from kill_matrix import Matrix, Moment, Tally, fill, run

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no kill -9 there"
)
QUICK = ("vector cache", "search store", "batch parts, JSONL, 1 worker", "corrections", "label log", "saved tagger")
SLOW = (
    "batch parts, Parquet, 1 worker",
    "batch parts, Parquet, 2 workers",
    "labels taken in",
    "champion and registry",
    "fine-tuning checkpoint",
    "unsent results",
    "paragraph table",
)
N_SEEDS = int(os.environ.get("KILLS", "4"))


@pytest.mark.parametrize("name", QUICK)
def test_a_kill_loses_nothing_and_tears_nothing(name: str, tmp_path: Path) -> None:
    tally = fill(name, tmp_path, range(2))
    assert not tally.problems, tally.problems
    assert (tally.kills, tally.remaining) == (2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_some_kills_lose_nothing_and_tear_nothing(name: str, tmp_path: Path) -> None:
    tally = fill(name, tmp_path, range(N_SEEDS))
    assert not tally.problems, tally.problems
    assert (tally.kills >= N_SEEDS, tally.remaining) == (True, 0)


def test_every_writer_is_in_a_test() -> None:
    from kill_writers import WRITERS

    assert {*QUICK, *SLOW} == set(WRITERS)


# -- the matrix can fail -----------------------------------------------------------------------------------------------


def test_a_writer_that_promises_too_early_is_found_out(tmp_path: Path) -> None:
    """It says that a line is saved before it is; a kill at the next event shows it."""
    assert "lost" in notes_after_a_kill("hasty", tmp_path, event=6)


def test_a_writer_that_writes_in_place_is_found_out(tmp_path: Path) -> None:
    """It writes one file over the other without a temporary name; a kill after the opening leaves none."""
    assert "torn" in notes_after_a_kill("in place", tmp_path, event=5)


def notes_after_a_kill(name: str, folder: Path, event: int) -> set[str]:
    ended = run(name, "work", folder, moment=Moment(event))
    assert ended.exit_code == -9
    assert ended.lines
    return set(run(name, "check", folder, acknowledged=ended.lines).notes)


def test_kills_fall_before_during_and_after(tmp_path: Path) -> None:
    tally = fill("label log", tmp_path, range(1))
    assert tally.kills == tally.before + tally.during + tally.after == 1
    assert tally.as_row().count("|") == kill_matrix.HEADER.splitlines()[0].count("|")


def test_work_goes_on_after_a_kill_between_any_two_steps(tmp_path: Path) -> None:
    """Every event of one small work, one after the other, in place of a choice by chance."""
    matrix, tally = Matrix("saved tagger", tmp_path), Tally("saved tagger")
    steps = range(matrix.n_events // 2, matrix.n_events // 2 + 12)  # one replacing of a tagger by the next
    for event in steps:
        folder = matrix._copy(f"event-{event}")
        ended = run("saved tagger", "work", folder, moment=Moment(event))
        matrix._note(tally, str(event), run("saved tagger", "check", folder, acknowledged=ended.lines))
    assert not tally.problems, tally.problems

"""Full and read-only disks: an error that says why, nothing torn, and work that goes on when there is room."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

import starved
from kill_matrix import Matrix, run

QUICK = ("vector cache", "label log", "labels taken in", "saved tagger", "batch parts, JSONL, 1 worker")
SLOW = ("search store", "paragraph table", "fine-tuning checkpoint", "unsent results", "champion and registry")
WHY = "No space left|disk is full|read-only|readonly|Read-only|unable to open database|full|disk I/O"


@functools.cache
def are_mounts_allowed() -> bool:
    return starved.are_mounts_allowed()


@pytest.fixture(autouse=True)
def _needs_mounts() -> None:
    if not are_mounts_allowed():
        pytest.skip("a full or read-only disk needs the right to mount one for a process alone")


def n_bytes(folder: Path) -> int:
    """Count whole pages, as a disk in memory does."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def fill_the_disk(name: str, folder: Path) -> None:
    """Let the disk be full at a third and at two thirds of the way."""
    matrix = Matrix(name, folder)
    before, after = n_bytes(folder / "template"), n_bytes(folder / "whole" / "work")
    errors = []
    for part in (1, 2):
        matrix._copy(f"full-{part}")
        size = before + max(0, after - before) * part // 3 + 4096
        ended = run(name, "full", folder / f"full-{part}" / "work", acknowledged=[str(size)])
        assert not {"lost", "torn"} & set(ended.notes), ended.notes
        found = ended.notes["found"]
        assert found["content"] == matrix.expected
        errors.append(found["error"])
    assert any(errors), "the disk was never full"
    assert all(re.search(WHY, error) for error in errors if error), errors


def forbid_writing(name: str, folder: Path) -> None:
    matrix = Matrix(name, folder)
    matrix._copy("new")
    whole = folder / "whole" / "work"
    ended = run(name, "read-only", folder / "new" / "work", acknowledged=[str(whole)])
    assert not {"lost", "torn"} & set(ended.notes), ended.notes
    assert ended.notes["found"]["content"] == matrix.expected
    new, begun = ended.notes["found"]["errors"]
    assert re.search(WHY, new), new
    assert not begun or re.search(WHY, begun), begun


@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    fill_the_disk(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_full_disk_under_slow_writers(name: str, tmp_path: Path) -> None:
    fill_the_disk(name, tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_read_only_disk(name: str, tmp_path: Path) -> None:
    forbid_writing(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_read_only_disk_under_slow_writers(name: str, tmp_path: Path) -> None:
    forbid_writing(name, tmp_path)

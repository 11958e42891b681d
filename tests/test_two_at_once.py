"""Two processes on one store: both succeed and everything is kept, or the second gets an error that says why."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kill_matrix import Ended, Matrix, run

BOTH: dict[str, str] = {
    "vector cache": "",
    "search store": "",
    "batch parts, JSONL, 1 worker": "another job writes to 'out'; wait for its end, or name another folder",
    "corrections": "",
    "label log": "",
    "labels taken in": "",
    "saved tagger": "",
}
"""What the second of two processes may be told; nothing where both must succeed."""
SLOW: dict[str, str] = {
    "champion and registry": "",
    "unsent results": "was sent by another process meanwhile; nothing is left to do",
}
WAYS_DIFFER = {"search store"}
"""Two processes see each other's trials at other moments, and so try other values."""


def two_at_once(name: str, folder: Path, refusal: str) -> None:
    matrix = Matrix(name, folder)
    place = matrix._copy("shared")
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: run(name, "work", place), range(2)))
    told = [found.notes["torn"] for found in ended if "torn" in found.notes]
    assert len(told) <= (1 if refusal else 0), told
    assert all(re.search(refusal, text) for text in told)
    everything = [line for found in ended for line in found.lines]
    assert everything
    if name not in {"saved tagger", "champion and registry"}:  # their last state is that of either
        assert_well(run(name, "check", place, acknowledged=everything))
    assert_well(run(name, "check", place))
    if name not in WAYS_DIFFER:
        assert run(name, "content", place).notes["content"] == matrix.expected
    else:
        content: Any = run(name, "content", place).notes["content"]
        assert len(content) == len(matrix.expected)


def assert_well(ended: Ended) -> None:
    assert not {"lost", "torn"} & set(ended.notes), ended.notes


@pytest.mark.parametrize("name", BOTH)
def test_two_processes_on_one_store(name: str, tmp_path: Path) -> None:
    two_at_once(name, tmp_path, BOTH[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_on_one_mlflow_store(name: str, tmp_path: Path) -> None:
    two_at_once(name, tmp_path, SLOW[name])

"""The model in benchmarks/capacity.py, on jobs that can be worked out in the head."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from capacity import Costs, Trace, costs_of, predict, simulate

COSTS = Costs(
    plan_us=10.0,
    start_s=0.5,
    part_s=(1.0,),
    close_us=0.0,
    rows_per_part=1000,
    bytes_in=400.0,
    bytes_out=300.0,
    manifest_bytes=250.0,
)


@pytest.mark.parametrize(
    ("n_parts", "n_workers", "ended"),
    [(4, 1, 1 + 0.5 + 4), (4, 2, 1 + 0.5 + 2), (5, 2, 1 + 0.5 + 3), (4, 100, 1 + 0.5 + 1)],
)
def test_workers_take_the_next_part_when_they_are_free(n_parts: int, n_workers: int, ended: float) -> None:
    assert simulate(COSTS, n_parts, n_workers, random.Random(0), 1.0) == pytest.approx(ended)


def test_the_driver_works_alone_before_and_after() -> None:
    slow = replace(COSTS, plan_us=1000.0, close_us=2e6)
    assert predict(slow, 4000, 4)[0] == pytest.approx(4 + 0.5 + 1 + 4 * 2)


def test_parts_of_different_lengths_give_an_interval() -> None:
    middle, low, high = predict(replace(COSTS, part_s=(0.5, 1.5)), 20_000, 2)
    assert low < middle < high
    assert 0.2 + 0.5 + 8 < middle < 0.2 + 0.5 + 13


def test_costs_are_read_off_jobs_with_one_worker(tmp_path: Path) -> None:
    feed, output = tmp_path / "feed", tmp_path / "out"
    feed.write_bytes(b"x" * 6000)
    (output / "parts").mkdir(parents=True)
    (output / "parts" / "one").write_bytes(b"y" * 3000)
    (output / "manifest.json").write_bytes(b"z" * 900)
    found = costs_of([Trace(3.0, (6.0, 8.0, 10.0), 10.3)], 3000, 1000, feed, output)
    assert (found.plan_us, found.start_s, *found.part_s) == pytest.approx((1000.0, 1.0, 2.0, 2.0))
    assert (found.bytes_in, found.bytes_out, found.manifest_bytes) == (2.0, 1.0, 300.0)
    assert found.close_us == pytest.approx(1e5)
    assert found.paragraph_us == pytest.approx(2000.0)

"""From what a part costs to how long an archive takes: a simulation of workers, and a check of it.

    python benchmarks/capacity.py --model models/distilled --json benchmarks/capacity.json      # measure and check
    python benchmarks/capacity.py --from benchmarks/capacity.json --paragraphs 1e9 --workers 16 64 256 1024
    python benchmarks/capacity.py --from benchmarks/capacity.json --cpu-us 6700 --price 0.04    # another model

Measured with one worker process: how long planning, a worker's start, each part and the closing of the books take, what
is read and what is written. The model: one driver looks at all inputs, then hands parts to workers, each of which takes
the next one when it is free, then reads what was noted of each part. Parts take what measured parts took, drawn at
random. Nothing is known to it of two workers, so what it says of two is held against a measurement of the same run.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from batch import machine, words_bundle, write_rows

from crosshead.batch.crew import work
from crosshead.batch.inputs import find_sources
from crosshead.batch.job import Options, Silent, Watcher, tag_archive
from crosshead.batch.plan import Unit
from crosshead.batch.worker import Done, Job

DRAWS = 200


@dataclass(frozen=True)
class Trace:
    """When what happened in one job, in seconds since its beginning."""

    planned: float
    done: tuple[float, ...]
    ended: float
    cpu: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Processor time: of the driver until it had planned, of the workers, of the driver afterwards."""


@dataclass(frozen=True)
class Costs:
    """What the model knows."""

    plan_us: float
    """Driver, for a paragraph: to read, hash and cut the input."""
    start_s: float
    """A worker: to start and load its bundle."""
    part_s: tuple[float, ...]
    """A worker, for a part: every one that was measured."""
    close_us: float
    """Driver, for a part: to read what was noted of it and close the books."""
    rows_per_part: int
    bytes_in: float
    bytes_out: float
    """For a paragraph."""
    manifest_bytes: float
    """For a part."""
    plan_cpu_us: float = 0.0
    part_cpu_us: float = 0.0
    """Processor time for a paragraph, of the driver and of a worker: what plans are made with."""
    close_cpu_us: float = 0.0
    """For a part, of the driver: handing it out and closing the books."""

    @property
    def paragraph_us(self) -> float:
        return 1e6 * statistics.mean(self.part_s) / self.rows_per_part


def trace(feed: Path, output: Path, model: str, n_workers: int, rows_per_part: int) -> Trace:
    """Do a job with worker processes, of which there may be one, and note when parts are done."""
    times: dict[str, Any] = {"done": []}
    began, cpu_before, workers_before = time.perf_counter(), time.process_time(), _workers_cpu()

    class Noting(Silent):
        def planned(self, n_records: int, n_done: int) -> None:
            times["planned"] = time.perf_counter() - began
            times["plan_cpu"] = time.process_time() - cpu_before

    def engine(job: Job, units: Sequence[Unit], watcher: Watcher) -> Iterator[Done]:
        for done in work(replace(job, n_threads=1), units, n_workers):
            times["done"].append(time.perf_counter() - began)
            yield done
        times["closing"] = time.perf_counter() - began

    sources = find_sources([str(feed)], "auto").found
    tag_archive(sources, str(output), model, Options(rows_per_part=rows_per_part), engine=engine, watcher=Noting())
    times["ended"] = times["done"][-1] + time.perf_counter() - began - times.pop("closing")
    driver = time.process_time() - cpu_before - times["plan_cpu"]
    cpu = (times["plan_cpu"], _workers_cpu() - workers_before, driver)
    return Trace(times["planned"], tuple(times["done"]), times["ended"], cpu)


def _workers_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def costs_of(traces: Sequence[Trace], rows: int, rows_per_part: int, feed: Path, output: Path) -> Costs:
    """Learn from jobs with one worker."""
    parts = [b - a for one in traces for a, b in zip(one.done, one.done[1:], strict=False)]
    start = statistics.median(one.done[0] - one.planned for one in traces) - statistics.median(parts)
    n_parts = math.ceil(rows / rows_per_part)
    share = statistics.median(parts) * n_parts / (statistics.median(parts) * n_parts + max(0.0, start))
    written = sum(path.stat().st_size for path in (output / "parts").iterdir())
    return Costs(
        plan_us=1e6 * statistics.median(one.planned for one in traces) / rows,
        start_s=max(0.0, start),
        part_s=tuple(parts),
        close_us=1e6 * statistics.median(one.ended - one.done[-1] for one in traces) / n_parts,
        rows_per_part=rows_per_part,
        bytes_in=feed.stat().st_size / rows,
        bytes_out=written / rows,
        manifest_bytes=(output / "manifest.json").stat().st_size / n_parts,
        plan_cpu_us=1e6 * statistics.median(one.cpu[0] for one in traces) / rows,
        part_cpu_us=1e6 * share * statistics.median(one.cpu[1] for one in traces) / rows,  # without the start
        close_cpu_us=1e6 * statistics.median(one.cpu[2] for one in traces) / n_parts,
    )


def simulate(costs: Costs, n_parts: int, n_workers: int, rng: random.Random, plan_s: float) -> float:
    """Return when the last part is done and the books are closed."""
    free = [plan_s + costs.start_s] * min(n_workers, n_parts)
    end = 0.0
    for _ in range(n_parts):
        at = heapq.heappop(free) + rng.choice(costs.part_s)
        end = max(end, at)
        heapq.heappush(free, at)
    return end + n_parts * costs.close_us / 1e6


def predict(costs: Costs, rows: int, n_workers: int) -> tuple[float, float, float]:
    """Return the median of many simulated jobs, and the ends of the middle nine tenths."""
    rng = random.Random(0)
    n_parts = math.ceil(rows / costs.rows_per_part)
    ends = sorted(simulate(costs, n_parts, n_workers, rng, rows * costs.plan_us / 1e6) for _ in range(DRAWS))
    return statistics.median(ends), ends[DRAWS // 20], ends[-DRAWS // 20]


def check(folder: Path, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one worker and two in turn; predict the latter from the former."""
    before = machine()
    feed = write_rows(folder / "feed.jsonl", options.rows, options.words)
    traces: dict[int, list[Trace]] = {1: [], 2: []}
    for repetition in range(options.repeat):
        for n_workers in traces:
            output = folder / f"{n_workers}-{repetition}"
            traces[n_workers].append(trace(feed, output, model, n_workers, options.rows_per_part))
            ended = traces[n_workers][-1].ended
            print(f"{n_workers} workers: {ended:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    costs = costs_of(traces[1], options.rows, options.rows_per_part, feed, folder / "1-0")
    predicted, low, high = predict(costs, options.rows, 2)
    measured = statistics.median(one.ended for one in traces[2])
    slower = statistics.mean(b - a for one in traces[2] for a, b in zip(one.done[::2], one.done[2::2], strict=False))
    error = predicted / measured - 1
    print(
        f"2 workers: predicted {predicted:.1f} s ({low:.1f}–{high:.1f}), measured {measured:.1f} s, off by {error:+.0%}"
    )
    cpu = {n_workers: statistics.median(one.cpu[1] for one in found) for n_workers, found in traces.items()}
    more = cpu[2] / cpu[1] - 1
    print(f"processor time of the workers: {cpu[1]:.1f} s by one, {cpu[2]:.1f} s by two, {more:+.0%}")
    return {
        "machine": {"before": before, "after": machine()},
        "model": Path(model).name,
        "rows": options.rows,
        "costs": asdict(costs),
        "one_worker_s": [one.ended for one in traces[1]],
        "two_workers": {
            "predicted_s": predicted,
            "predicted_90_percent": [low, high],
            "measured_s": [one.ended for one in traces[2]],
            "relative_error": error,
            "more_processor_time_than_one": more,
            "a_part_takes_times_as_long_beside_another": slower / statistics.mean(costs.part_s),
        },
    }


def plan(costs: Costs, options: argparse.Namespace) -> None:
    """Print what an archive takes."""
    n = int(options.paragraphs)
    scaled = _at(costs, options.rows_per_part, options.cpu_us)
    n_parts = math.ceil(n / scaled.rows_per_part)
    core_h = n * scaled.paragraph_us / 3.6e9
    alone_h = (n * scaled.plan_us + n_parts * scaled.close_us) / 3.6e9
    print(f"{n:,} paragraphs, {n_parts:,} parts, {scaled.paragraph_us:,.0f} µs of a core each")
    price = 1e6 / n * core_h * options.price
    print(f"  {core_h:,.0f} core-hours; {price:.4f} a million at {options.price} for a core-hour")
    print(
        f"  read {2 * n * scaled.bytes_in / 1e9:,.0f} GB (twice {n * scaled.bytes_in / 1e9:,.0f}), "
        f"written {n * scaled.bytes_out / 1e9:,.0f} GB; manifest {n_parts * scaled.manifest_bytes / 1e6:,.0f} MB"
    )
    print(f"  the driver alone: {alone_h:,.2f} h, whatever the workers")
    for n_workers in options.workers:
        hours = simulate(scaled, n_parts, n_workers, random.Random(0), n * scaled.plan_us / 1e6) / 3600
        print(f"  {n_workers:>6,} workers: {hours:>9,.1f} h, {core_h / hours / n_workers:>4.0%} of them at work")
    left = options.deadline_h - alone_h
    needed = (
        f"{math.ceil(core_h / left):,} workers" if left > 0 else "no number of workers; split the archive into jobs"
    )
    print(f"  within {options.deadline_h:g} h: {needed}")


def _at(costs: Costs, rows_per_part: int, cpu_us: float | None) -> Costs:
    """Scale to processor time, as if every core were free; to parts of another size, and a model of another cost."""
    scale = rows_per_part / costs.rows_per_part * (cpu_us or costs.part_cpu_us) / costs.paragraph_us
    return replace(
        costs,
        plan_us=costs.plan_cpu_us,
        close_us=costs.close_cpu_us,
        rows_per_part=rows_per_part,
        part_s=tuple(one * scale for one in costs.part_s),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved tagger; by default a small one of words only")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--words", type=int, default=60, help="words of a paragraph, on average")
    parser.add_argument("--rows-per-part", type=int, help="by default 1,000 to measure and 10,000 to plan")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write what was measured there")
    parser.add_argument("--from", dest="measured", type=Path, help="plan with what was measured before")
    parser.add_argument("--paragraphs", type=float, default=1e9)
    parser.add_argument("--workers", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--cpu-us", type=float, help="what a paragraph costs a core with another model")
    parser.add_argument("--price", type=float, default=0.04, help="of a core-hour")
    parser.add_argument("--deadline-h", type=float, default=24.0)
    options = parser.parse_args()
    if options.measured:
        options.rows_per_part = options.rows_per_part or 10_000
        given = json.loads(options.measured.read_text())["costs"]
        plan(Costs(**{**given, "part_s": tuple(given["part_s"])}), options)
        return
    options.rows_per_part = options.rows_per_part or 1_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = check(folder, options.model or words_bundle(folder), options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

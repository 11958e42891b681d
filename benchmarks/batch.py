"""Batches: paragraphs a second, processor time and peak memory, by the number of rows, of workers and by engine.

    python benchmarks/batch.py --model models/distilled                     # 10^3 to 10^6 rows, one process
    python benchmarks/batch.py --model models/distilled --rows 100000 --workers 1 2 --engine local ray-there --repeat 3
    python benchmarks/batch.py --model models/distilled --rows 1000000 --kill     # killed half-way, then --resume

Without --model a small tagger of words is trained. Engines: `local`; `ray`, which starts a cluster for the job alone
and ends it; and `ray-there`, a cluster that was there before, as on Kubernetes. Each job runs in processes of its own;
peak memory and processor time are those of all of them together, Ray's own included.
Arms are repeated in turn, so that they can be compared with each other whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
LOOK_EVERY_S = 0.2
HOLD_A_CLUSTER = """
import ray, sys
found = ray.init("local", num_cpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False,
                 object_store_memory=256 * 1024**2)
print(found.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True)
class Cost:
    """What a job took."""

    seconds: float
    cpu_s: float
    peak_mib: float


@dataclass
class Arm:
    """One way to do the job, and what each repetition took."""

    rows: int
    engine: str
    workers: int
    costs: list[Cost] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median(getattr(cost, what) for cost in self.costs)

    def figures(self) -> dict[str, Any]:
        medians = {name: self.median(name) for name in ("seconds", "cpu_s", "peak_mib")}
        rates = {"paragraphs_per_s": self.rows / medians["seconds"], "cpu_us_each": 1e6 * medians["cpu_s"] / self.rows}
        return {**asdict(self), **medians, **rates}


class Usage:
    """Watches processes and their children: processor time that they used since now, and the memory they hold."""

    def __init__(self, *processes: psutil.Process) -> None:
        self._processes = list(processes)
        self._cpu: dict[tuple[int, float], float] = {}
        self.peak = 0
        self.look()
        self._before = sum(self._cpu.values())

    def add(self, process: psutil.Process) -> None:
        self._processes.append(process)

    def look(self) -> None:
        held = 0
        for root in self._processes:
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            for one in family:
                try:
                    with one.oneshot():
                        times = one.cpu_times()
                        self._cpu[one.pid, one.create_time()] = times.user + times.system
                        held += one.memory_info().rss
                except psutil.Error:
                    continue
        self.peak = max(self.peak, held)

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values()) - self._before


def measure(command: Sequence[str], *beside: psutil.Process) -> Cost:
    """Run a command; the processes ``beside`` it work for it, and for nobody else."""
    usage = Usage(*beside)
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=told, env={**os.environ, **RAY})
        usage.add(process)
        while process.poll() is None:
            usage.look()
            time.sleep(LOOK_EVERY_S)
        seconds = time.perf_counter() - began
        usage.look()
        if process.returncode:
            told.seek(0)
            raise SystemExit(told.read().decode())
    return Cost(seconds, usage.cpu_s, usage.peak / 1024**2)


@contextmanager
def cluster(n_cpus: int) -> Iterator[tuple[str, psutil.Process]]:
    """Hold a cluster; give its address and the process to which all of its own belong."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", HOLD_A_CLUSTER, str(n_cpus)]
    process = psutil.Popen(command, env={**os.environ, **RAY}, text=True, **pipes)
    try:
        address = process.stdout.readline().strip()
        time.sleep(3)  # its workers are still starting
        yield address, process
    finally:
        process.stdin.close()
        process.wait(60)


def write_rows(path: Path, n: int, n_words: int) -> Path:
    """Write JSONL of texts with the words of the shipped articles, each with one that no other has."""
    articles = sorted((ROOT / "data" / "articles").rglob("*.md"))
    words = re.findall(r"[\w'’,.-]+", " ".join(article.read_text(encoding="utf-8") for article in articles))
    rng = random.Random(n)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            begins = rng.randrange(len(words) - 2 * n_words)
            text = words[begins : begins + rng.randrange(n_words // 2, n_words * 3 // 2)]
            file.write(json.dumps({"id": i, "text": " ".join([*text, f"word{i}"])}, ensure_ascii=False) + "\n")
    return path


def words_bundle(folder: Path) -> str:
    """Train a small tagger of words."""
    sys.path.insert(0, str(ROOT / "tests"))
    from batch_parts import build_words_bundle

    return str(build_words_bundle(folder / "bundle"))


def tag(feed: Path, output: Path, model: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "crosshead", "tag", str(feed), "-o", str(output), "--model", model, *more]


def machine() -> dict[str, Any]:
    """Say what was measured on, without its name."""
    from crosshead.encoders.engines import cpu_features, n_cores

    return {"cores": n_cores(), "features": sorted(cpu_features()), "load": [round(one, 1) for one in os.getloadavg()]}


def run_arms(arms: Sequence[Arm], folder: Path, options: argparse.Namespace, model: str) -> None:
    """Repeat all arms in turn."""
    print(f"{'rows':>9} {'engine':>9} {'workers':>7} {'seconds':>8} {'rows/s':>9} {'CPU µs':>8} {'peak MiB':>9}  load")
    with cluster(max(options.workers)) if "ray-there" in options.engine else _nothing() as (address, holder):
        for repetition, arm in product(range(options.repeat), arms):
            feed = folder / f"feed-{arm.rows}.jsonl"
            if not feed.exists():
                write_rows(feed, arm.rows, options.words)
            output = folder / f"{arm.rows}-{arm.engine}-{arm.workers}-{repetition}"
            there = ["--address", address] if arm.engine == "ray-there" else []
            how = ["--workers", str(arm.workers), "--engine", arm.engine.partition("-")[0], *there]
            how += ["--rows-per-part", str(options.rows_per_part)]
            arm.costs.append(measure(tag(feed, output, model, *how), *([holder] if there else [])))
            cost = arm.costs[-1]
            figures = f"{cost.seconds:>8.1f} {arm.rows / cost.seconds:>9,.0f} {1e6 * cost.cpu_s / arm.rows:>8,.0f}"
            load = os.getloadavg()[0]
            print(
                f"{arm.rows:>9,} {arm.engine:>9} {arm.workers:>7} {figures} {cost.peak_mib:>9,.0f} {load:>5.1f}",
                flush=True,
            )


@contextmanager
def _nothing() -> Iterator[tuple[str, Any]]:
    yield "", None


def overheads(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Compare each engine with the local one, repetition by repetition; the median counts."""
    found = []
    for arm in arms:
        local = next(
            (one for one in arms if (one.rows, one.workers, one.engine) == (arm.rows, arm.workers, "local")), arm
        )
        if arm is local:
            continue
        ratios = {
            name: statistics.median(
                getattr(a, name) / getattr(b, name) for a, b in zip(arm.costs, local.costs, strict=True)
            )
            for name in ("seconds", "cpu_s")
        }
        found.append({"rows": arm.rows, "workers": arm.workers, "engine": arm.engine, "ratios": ratios})
        shown = f"wall {ratios['seconds']:.2f}, CPU {ratios['cpu_s']:.2f}"
        print(f"{arm.engine} / local, {arm.rows:,} rows, {arm.workers} workers: {shown}")
    return found


def kill_and_resume(n: int, folder: Path, options: argparse.Namespace, model: str) -> dict[str, Any]:
    """Kill -9 a job about half-way, go on, and compare with one that ran through."""
    feed = write_rows(folder / f"feed-{n}.jsonl", n, options.words)
    output, through = folder / "killed", folder / "through"
    measure(tag(feed, through, model))
    process = psutil.Popen(tag(feed, output, model), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    n_parts = len(list((through / "parts").iterdir()))
    while len(list(output.glob("parts/part-*"))) < n_parts // 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("parts/part-*")}
    again = measure(tag(feed, output, model, "--resume"))
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("parts/part-*")}
    found = {
        "rows": n,
        "parts": n_parts,
        "finished_when_killed": len(before),
        "written_again": sum(after[name] != written for name, written in before.items()),
        "written_after": len(after) - len(before),
        "equal_to_one_that_ran_through": _content(output) == _content(through),
        "resume_s": again.seconds,
    }
    print(found)
    return found


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix != ".lock" and path.is_file()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved tagger; by default a small one of words only")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=60, help="words of a paragraph, on average")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--engine", choices=("local", "ray", "ray-there"), nargs="+", default=["local"])
    parser.add_argument("--rows-per-part", type=int, default=10_000, help="few, where parts are to keep several busy")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--kill", action="store_true", help="kill one job half-way and go on with it")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    about = {"before": machine()}
    results: dict[str, Any] = {"model": Path(options.model).name if options.model else "words", "words": options.words}
    results["rows_per_part"] = options.rows_per_part
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or words_bundle(folder)
        if options.kill:
            results["kill"] = kill_and_resume(max(options.rows), folder, options, model)
        else:
            arms = [Arm(*one) for one in product(options.rows, options.engine, options.workers)]
            run_arms(arms, folder, options, model)
            results |= {"figures": [arm.figures() for arm in arms], "overheads": overheads(arms)}
    if options.json:
        options.json.write_text(json.dumps({"machine": {**about, "after": machine()}, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

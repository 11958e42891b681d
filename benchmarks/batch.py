"""Batches: paragraphs a second and peak memory, by the number of rows and of workers.

    python benchmarks/batch.py                                    # a tagger of words only, 10^3 to 10^6 rows
    python benchmarks/batch.py --model models/latest --rows 1000 10000
    python benchmarks/batch.py --rows 100000 --workers 1 2 --engine local ray

Each job runs in a process of its own; its peak is that of all its processes together. Everything is measured in one
run, so that the rows of the table can be compared with each other whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

WORDS_PER_PARAGRAPH = 60


def write_rows(path: Path, n: int) -> Path:
    from batch_parts import TEXTS

    words, rng = " ".join(TEXTS).split(), random.Random(n)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            text = " ".join(rng.choices(words, k=rng.randrange(WORDS_PER_PARAGRAPH // 2, WORDS_PER_PARAGRAPH * 3 // 2)))
            file.write(json.dumps({"id": i, "text": text}) + "\n")
    return path


def measure(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command took, and the most memory in MiB that it and its children held together."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, stopped = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stopped.wait(0.1):
            total = 0
            try:
                for one in (process, *process.children(recursive=True)):
                    total += one.memory_info().rss
            except psutil.Error:
                continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    began = time.perf_counter()
    watcher.start()
    _, err = process.communicate()
    seconds = time.perf_counter() - began
    stopped.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(err.decode())
    return seconds, peak / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved tagger; by default a small one of words only")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--engine", choices=("local", "ray"), nargs="+", default=["local"])
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model
        if model is None:
            from batch_parts import build_words_bundle

            model = str(build_words_bundle(folder / "bundle"))
        print(f"{'rows':>9} {'engine':>7} {'workers':>7} {'seconds':>8} {'paragraphs/s':>13} {'peak MiB':>9}")
        for n in options.rows:
            feed = write_rows(folder / "feed.jsonl", n)
            for engine in options.engine:
                for workers in options.workers:
                    output = folder / f"{n}-{engine}-{workers}"
                    command = [sys.executable, "-m", "crosshead", "tag", str(feed), "-o", str(output), "--model", model]
                    seconds, peak = measure([*command, "--workers", str(workers), "--engine", engine])
                    row = {"rows": n, "engine": engine, "workers": workers, "seconds": seconds, "peak_mib": peak}
                    figures.append({**row, "paragraphs_per_s": n / seconds})
                    print(f"{n:>9,} {engine:>7} {workers:>7} {seconds:>8.1f} {n / seconds:>13,.0f} {peak:>9,.0f}")
    if options.json:
        options.json.write_text(json.dumps({"model": options.model or "words", "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Trials of a search with the embedding cache against encoding every text anew in each trial, in one run.

    python benchmarks/search_cache.py                          100 trials against 4, on 60 articles and contrast sets
    python benchmarks/search_cache.py --groups 200 -o FILE

Both arms score the same kind of configurations, drawn from conf/search/default.yaml with one seed, by the same folds
of the same paragraphs of the shipped corpus. The arm that encodes anew has the exported and compiled graph at hand, but
an empty folder of vectors, and lays out and fits everything itself, as a loop over `crosshead train` without a cache
would. It gets a few trials only, spread over the run, because each takes long; the ratio is of the times of one trial.
On few articles the ratio is smaller than on many: encoding grows with the texts, starting up does not.
The machine's speed changes from minute to minute: ratios count, seconds are for this machine and hour.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from crosshead.corpora import labelled
from crosshead.corpora.splits import folds
from crosshead.encoders.engines import machine
from crosshead.schema import Settings
from crosshead.search.measuring import Data, read_data
from crosshead.search.searching import Scorer
from crosshead.search.space import SearchSettings, Value
from crosshead.search.variations import Variations
from crosshead.settings import find_root, load_settings

SEED = 0


@dataclass
class Arm:
    """One way to run trials, and how long each of them took."""

    name: str
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    n_encoded: int = 0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time one trial."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds.append(time.perf_counter() - wall)
        self.processor_s.append(time.process_time() - processor)

    def summary(self) -> dict[str, Any]:
        """Say what was measured."""
        return {
            "arm": self.name,
            "trials": len(self.seconds),
            "mean_s": mean(self.seconds),
            "median_s": median(self.seconds),
            "mean_processor_s": mean(self.processor_s),
            "texts_encoded": self.n_encoded,
        }


def part_of(data: Data, settings: Settings, n_groups: int) -> Data:
    """Keep the first groups of articles and contrast sets."""
    columns = labelled.take(data.train, [i for i, origin in enumerate(data.train["origin"]) if origin != "single"])
    groups = dict.fromkeys(columns["group_id"])
    kept = set(list(groups)[:: max(1, len(groups) // n_groups)][:n_groups])
    columns = labelled.take(columns, [i for i, group in enumerate(columns["group_id"]) if group in kept])
    cut = folds(columns["group_id"], columns["section_type"], settings.folds, settings.seed)
    paragraphs = labelled.to_paragraphs(columns, data.section_types)
    return replace(data, paragraphs=paragraphs, folds=cut.splits, train=columns)


def draw(search: SearchSettings, rng: np.random.Generator) -> dict[str, Value]:
    """Draw the values of one trial as a sampler does before it has learnt anything."""
    values: dict[str, Value] = {}
    for name, dimension in search.space.items():
        if not search.active(name, values):
            continue
        if dimension.type == "categorical":
            values[dimension.key] = dimension.choices[int(rng.integers(len(dimension.choices)))]
            continue
        low, high = float(dimension.low or 0), float(dimension.high or 0)
        if dimension.type == "int":
            values[dimension.key] = int(rng.integers(int(low), int(high) + 1))
        else:
            drawn = np.exp(rng.uniform(np.log(low), np.log(high))) if dimension.log else rng.uniform(low, high)
            values[dimension.key] = dimension.shown(dimension.on_step(float(drawn)))
    return values


def encode_anew(data: Data, settings: Settings, objective: str) -> int:
    """Score one configuration with an empty folder of vectors; return how many texts were encoded."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("graphs", "compiled"):
            (Path(folder) / part).symlink_to(settings.cache_dir / part)
        alone = settings.model_copy(update={"cache_dir": Path(folder)})
        with Scorer(data, objective) as scorer:
            list(scorer.scores(alone))
            return scorer.n_encoded


def run(n_groups: int, n_cached: int, n_encoding: int) -> dict[str, Any]:
    """Run both arms, the slow one spread over the quick one, and compare the time of a trial."""
    root = find_root()
    settings = load_settings(["search=default", "tracking=none"], root)
    assert settings.search is not None
    variations = Variations((), root)
    data = part_of(read_data(settings), settings, n_groups)
    rng = np.random.default_rng(SEED)
    drawn = [variations.settings(draw(settings.search, rng)) for _ in range(n_cached)]
    cached, encoding = Arm("cached, everything shared"), Arm("encoded anew in each trial")
    slow_at = set(np.linspace(0, n_cached - 1, n_encoding).astype(int).tolist())
    with Scorer(data, settings.search.objective, longest=3) as scorer:
        scorer.read(settings)
        missing = scorer.n_encoded
        for number, chosen in enumerate(drawn):
            with cached.timed():
                list(scorer.scores(chosen))
            if number in slow_at:
                with encoding.timed():
                    encoding.n_encoded += encode_anew(data, chosen, settings.search.objective)
        cached.n_encoded = scorer.n_encoded - missing
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "paragraphs": len(data.paragraphs.texts),
        "filled_cache_with": missing,
        "arms": [cached.summary(), encoding.summary()],
        "ratio_wall": mean(encoding.seconds) / mean(cached.seconds),
        "ratio_processor": mean(encoding.processor_s) / mean(cached.processor_s),
    }


def show(found: dict[str, Any]) -> None:
    """Print the result as a table."""
    print(f"{found['paragraphs']:,} paragraphs; load average {found['load_average']:.1f}")
    print(f"{'arm':<28}{'trials':>8}{'s a trial':>12}{'median':>10}{'processor s':>14}{'texts encoded':>16}")
    for arm in found["arms"]:
        times = f"{arm['mean_s']:>12.2f}{arm['median_s']:>10.2f}{arm['mean_processor_s']:>14.2f}"
        print(f"{arm['arm']:<28}{arm['trials']:>8}{times}{arm['texts_encoded']:>16,}")
    print(f"a trial takes {found['ratio_wall']:.0f} times as long without the cache ", end="")
    print(f"({found['ratio_processor']:.0f} times the processor time)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", type=int, default=60, help="articles and contrast sets to use")
    parser.add_argument("--trials", type=int, default=100, help="trials with the cache")
    parser.add_argument("--encoding-trials", type=int, default=4, help="trials that encode anew")
    parser.add_argument("--output", "-o", type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    found = run(options.groups, options.trials, options.encoding_trials)
    show(found)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

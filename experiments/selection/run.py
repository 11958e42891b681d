"""How many readings does it save to choose what is read? Run: python experiments/selection/run.py"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from label_studies import Data, fit, load, macro_f1, mean_interval, shown, table, write_csv, write_results

from crosshead.labelling.selection import STRATEGIES, UNITS, Candidates, select, stability

HERE = Path(__file__).resolve().parent
BATCH, N_STEPS, N_LONG, N_LONG_SEEDS = 50, 12, 60, 6
RUNS = [
    *((strategy, "paragraph") for strategy in STRATEGIES),
    *((strategy, "run") for strategy in ("density", "uncertainty", "random")),
    *((strategy, "article") for strategy in ("density", "mixed", "uncertainty", "diversity", "random")),
]
DEFAULT = ("density", "article")
STOP_AT = (0.95, 0.96, 0.97, 0.98, 0.99)
N_WATCHED = 1000


@dataclass(frozen=True)
class Curve:
    """What one simulated annotator got after each batch."""

    n_labels: list[int]
    n_read: list[int]
    """Paragraphs read, with one on each side of every run for its context; a paragraph is read once."""
    scores: list[float]
    predictions: list[np.ndarray]


class Simulation:
    """One split of the corpus: an annotator who knows all labels of the training articles, and held-out articles."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data, self.seed = data, seed
        self.train, self.test = data.split(seed)
        self.vectors, self.y = data.vectors[self.train], data.y[self.train]
        self.article = data.article[self.train]
        rng = np.random.default_rng(seed)
        self.first = rng.choice(len(self.train), BATCH, replace=False)
        self.watched = rng.choice(len(self.train), N_WATCHED, replace=False)

    @cached_property
    def words(self):
        texts = [self.data.texts[row] for row in self.train]
        return TfidfVectorizer(min_df=5, sublinear_tf=True).fit_transform(texts)

    def run(self, strategy: str, unit: str, n_steps: int) -> Curve:
        curve = Curve([], [], [], [])
        chosen = self.first
        for step in range(n_steps):
            model = fit(self.vectors[chosen], self.y[chosen])
            curve.n_labels.append(len(chosen))
            curve.n_read.append(self.n_read(chosen))
            predicted = model.predict(self.data.vectors[self.test])
            curve.scores.append(macro_f1(self.data.y[self.test], predicted))
            curve.predictions.append(model.predict(self.vectors[self.watched]))
            if step < n_steps - 1:
                more = select(
                    self.candidates(model, chosen, strategy), strategy, BATCH, unit=unit, seed=1000 * self.seed + step
                )
                chosen = np.concatenate([chosen, more.rows])
        return curve

    def candidates(self, model: LogisticRegression, chosen: np.ndarray, strategy: str) -> Candidates:
        is_open = np.ones(len(self.train), dtype=bool)
        is_open[chosen] = False
        proba = self.proba(model, self.vectors)
        opinions = None
        if strategy == "disagreement":
            second = LogisticRegression(C=10.0, max_iter=300, tol=1e-2).fit(self.words[chosen], self.y[chosen])
            opinions = np.stack([proba, self.proba(second, self.words)])
        return Candidates(self.article, is_open, self.vectors, proba, opinions)

    def proba(self, model: LogisticRegression, X) -> np.ndarray:
        proba = np.zeros((len(self.train), len(self.data.section_types)))
        proba[:, model.classes_] = model.predict_proba(X)
        return proba

    def n_read(self, chosen: np.ndarray) -> int:
        mask = np.zeros(len(self.train), dtype=bool)
        mask[chosen] = True
        beside = np.zeros_like(mask)
        same = self.article[1:] == self.article[:-1]
        beside[1:] |= mask[:-1] & same
        beside[:-1] |= mask[1:] & same
        return int((mask | beside).sum())

    @cached_property
    def with_all_labels(self) -> float:
        model = fit(self.vectors, self.y)
        return macro_f1(self.data.y[self.test], model.predict(self.data.vectors[self.test]))


def first_reach(x: Sequence[int], scores: Sequence[float], goal: float) -> float:
    """Where a curve, made to never fall, reaches the goal; its end where it does not."""
    rising = np.maximum.accumulate(scores)
    return float(x[int(np.argmax(rising >= goal))]) if rising[-1] >= goal else float(x[-1])


def summarise(curves: dict[tuple[str, str], list[Curve]]) -> list[dict]:
    chance = curves["random", "paragraph"]
    rows = []
    for (strategy, unit), found in curves.items():
        diff = [np.mean(c.scores) - np.mean(r.scores) for c, r in zip(found, chance, strict=True)]
        goal = [r.scores[-1] for r in chance]
        rows.append(
            {
                "strategy": strategy,
                "unit": unit,
                **{
                    f"f1_at_{n}": mean_interval([c.scores[n // BATCH - 1] for c in found]) for n in (100, 200, 400, 600)
                },
                "mean_f1_over_random": mean_interval(diff),
                "labels_to_random_600": mean_interval(
                    [first_reach(c.n_labels, c.scores, g) for c, g in zip(found, goal, strict=True)]
                ),
                "read_to_random_600": mean_interval(
                    [first_reach(c.n_read, c.scores, g) for c, g in zip(found, goal, strict=True)]
                ),
                "read_at_600": mean_interval([c.n_read[-1] for c in found]),
            }
        )
    return rows


def stopping(simulations: Sequence[Simulation]) -> list[dict]:
    """Read on with the default strategy, and see where the rule would have stopped and what was still to be had."""
    curves = [simulation.run(*DEFAULT, N_LONG) for simulation in simulations]
    rows = []
    for stop_at in STOP_AT:
        at = [_stops(curve, stop_at) for curve in curves]
        rows.append(
            {
                "stop_at": stop_at,
                "stopped": sum(step is not None for step in at),
                "of": len(curves),
                "labels": mean_interval([c.n_labels[-1 if i is None else i] for c, i in zip(curves, at, strict=True)]),
                "f1_at_stop": mean_interval(
                    [c.scores[-1 if i is None else i] for c, i in zip(curves, at, strict=True)]
                ),
                "f1_lost_to_all_labels": mean_interval(
                    [
                        s.with_all_labels - c.scores[-1 if i is None else i]
                        for s, c, i in zip(simulations, curves, at, strict=True)
                    ]
                ),
            }
        )
    return rows


def _stops(curve: Curve, stop_at: float) -> int | None:
    ends = range(2, len(curve.predictions) + 1)
    return next((i - 1 for i in ends if stability(curve.predictions[:i], stop_at=stop_at).stop), None)


def draw(curves: dict[tuple[str, str], list[Curve]], full: float) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "crosshead"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for key in [(strategy, "paragraph") for strategy in ("density", "uncertainty", "diversity", "random")]:
        _line(left, curves[key], lambda c: c.n_labels, key[0], key[0] == "random")
    for key in [(strategy, unit) for strategy in ("density", "random") for unit in UNITS]:
        _line(right, curves[key], lambda c: c.n_read, f"{key[0]}, {key[1]}", key[0] == "random")
    for axis, what in ((left, "labels"), (right, "paragraphs read, context included")):
        axis.axhline(full, color="0.6", linewidth=0.8, linestyle=":")
        axis.set_xlabel(what)
        axis.legend(frameon=False, fontsize=8)
    left.set_ylabel("macro-F1 on held-out articles")
    figure.tight_layout()
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


def _line(axis, found: list[Curve], x: Callable[[Curve], list[int]], label: str, is_chance: bool) -> None:
    scores = np.array([c.scores for c in found])
    at = np.mean([x(c) for c in found], axis=0)
    half = 1.96 * scores.std(axis=0, ddof=1) / np.sqrt(len(found))
    style = {"run": "--", "article": ":"}.get(label.rpartition(", ")[2], "-") if is_chance else "-"
    colour = "0.3" if is_chance else None
    (line,) = axis.plot(at, scores.mean(axis=0), label=label, color=colour, linestyle=style, linewidth=1.5)
    axis.fill_between(at, scores.mean(axis=0) - half, scores.mean(axis=0) + half, alpha=0.12, color=line.get_color())


def run_strategies(data: Data, simulations: Sequence[Simulation]) -> dict:
    curves = {(s, u): [simulation.run(s, u, N_STEPS) for simulation in simulations] for s, u in RUNS}
    rows = summarise(curves)
    full = mean_interval([simulation.with_all_labels for simulation in simulations])
    n_train = mean_interval([len(simulation.train) for simulation in simulations])
    write_csv(
        HERE / "curves.csv",
        (
            {"strategy": s, "unit": u, "seed": seed, "labels": n, "paragraphs_read": r, "macro_f1": round(f, 4)}
            for (s, u), found in curves.items()
            for seed, c in enumerate(found)
            for n, r, f in zip(c.n_labels, c.n_read, c.scores, strict=True)
        ),
    )
    draw(curves, full["mean"])
    print(f"all {n_train['mean']:.0f} labels: {shown(full)}")
    names = ("f1_at_100", "f1_at_200", "f1_at_400", "f1_at_600", "mean_f1_over_random")
    wide = ("labels_to_random_600", "read_to_random_600", "read_at_600")
    print(
        table(
            ["strategy", "unit", *names, *wide],
            [[r["strategy"], r["unit"], *(shown(r[n]) for n in names), *(shown(r[n], 0) for n in wide)] for r in rows],
        )
    )
    return {"all_labels": {"f1": full, "n": n_train}, "strategies": rows}


def run_stopping(simulations: Sequence[Simulation]) -> dict:
    stops = stopping(simulations[:N_LONG_SEEDS])
    names = ("f1_at_stop", "f1_lost_to_all_labels")
    print(
        table(
            ["stop at", "stopped", "labels", *names],
            [
                [s["stop_at"], f"{s['stopped']} of {s['of']}", shown(s["labels"], 0), *(shown(s[n]) for n in names)]
                for s in stops
            ],
        )
    )
    return {"stopping": stops}


def run(n_seeds: int, part: str) -> None:
    started = time.process_time()
    data = load()
    simulations = [Simulation(data, seed) for seed in range(n_seeds)]
    file = HERE / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results |= {"corpus": data.facts, "seeds": n_seeds}
    if part in ("all", "strategies"):
        results |= run_strategies(data, simulations)
    if part in ("all", "stopping"):
        results |= run_stopping(simulations)
    write_results(HERE, results)
    print(data.facts, f"{time.process_time() - started:.0f} s of CPU")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--part", choices=("all", "strategies", "stopping"), default="all")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        run(arguments.seeds, arguments.part)

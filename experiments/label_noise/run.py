"""Are wrong labels found, and does finding them help? Run: python experiments/label_noise/run.py"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from label_studies import Data, fit, load, macro_f1, mean_interval, shown, table, write_csv, write_results

from crosshead.corpora.splits import folds
from crosshead.labelling.label_noise import Suspects, find_suspects, training_weights

HERE = Path(__file__).resolve().parent
RATES = (0.05, 0.15)
KINDS = ("any", "plausible")
TOPS = (25, 50, 100)
C = 3.0


def out_of_fold(data: Data, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probabilities of every row by a model that never saw its article."""
    proba = np.zeros((len(rows), len(data.section_types)))
    groups = [data.groups[row] for row in rows]
    for learned, asked in folds(groups, [data.section_types[label] for label in y], 5, 0).splits:
        model = fit(data.vectors[rows[learned]], y[learned], C=C)
        proba[np.ix_(asked, model.classes_)] = model.predict_proba(data.vectors[rows[asked]])
    return proba


def plant(y: np.ndarray, rate: float, kind: str, proba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace labels: by any other section type, or by one that a model also finds likely, as a tired reader would."""
    n_types = proba.shape[1]
    noisy, flipped = y.copy(), np.flatnonzero(rng.random(len(y)) < rate)
    for row in flipped:
        weight = np.ones(n_types) if kind == "any" else proba[row].copy()
        weight[y[row]] = 0.0
        noisy[row] = rng.choice(n_types, p=weight / weight.sum())
    return noisy


def finding(suspects: Suspects, wrong: np.ndarray) -> dict[str, float]:
    """Precision at the top and recall of a ranking."""
    ranked, n_wrong = wrong[suspects.order], int(wrong.sum())
    tenth = len(wrong) // 10
    return {
        **{f"precision_at_{n}": float(ranked[:n].mean()) for n in TOPS},
        "precision_at_n_wrong": float(ranked[:n_wrong].mean()),
        "recall_in_top_tenth": float(ranked[:tenth].sum() / n_wrong),
        "share_suspect": float(suspects.is_suspect.mean()),
        "precision_of_suspects": float(wrong[suspects.is_suspect].mean()),
        "recall_of_suspects": float(wrong[suspects.is_suspect].sum() / n_wrong),
    }


def training(data: Data, rows: np.ndarray, test: np.ndarray, noisy: np.ndarray, suspects: Suspects) -> dict[str, float]:
    """Macro-F1 on clean test labels after each treatment of the training labels."""
    truth = data.y[rows]

    def score(y: np.ndarray, weights: np.ndarray | None = None) -> float:
        model = fit(data.vectors[rows], y, C=C, weights=weights)
        return macro_f1(data.y[test], model.predict(data.vectors[test]))

    return {
        "noise kept": score(noisy),
        "suspects removed": score(noisy, training_weights(suspects, "remove")),
        "weighed by the label's probability": score(noisy, training_weights(suspects, "weigh")),
        "suspects read again": score(np.where(suspects.is_suspect, truth, noisy)),
        "no noise": score(truth),
    }


def run(n_seeds: int) -> None:
    data = load()
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    trained: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(n_seeds):
        rows, test = data.split(seed)
        rng, truth = np.random.default_rng(seed), data.y[rows]
        clean = out_of_fold(data, rows, truth)
        for kind in KINDS:
            for rate in RATES:
                noisy = plant(truth, rate, kind, clean, rng)
                suspects = find_suspects(noisy, out_of_fold(data, rows, noisy))
                name = f"{rate:.0%} {kind}"
                for measure, value in finding(suspects, noisy != truth).items():
                    found[name][measure].append(value)
                for how, value in training(data, rows, test, noisy, suspects).items():
                    trained[name][how].append(value)
        headed = rows[data.by_heading[rows] >= 0]
        suspects = find_suspects(data.by_heading[headed], out_of_fold(data, headed, data.by_heading[headed]))
        for measure, value in finding(suspects, data.by_heading[headed] != data.y[headed]).items():
            found["headings, as they are"][measure].append(value)
        for how, value in training(data, headed, test, data.by_heading[headed], suspects).items():
            trained["headings, as they are"][how].append(value)
    ranking = {name: {m: mean_interval(values) for m, values in of.items()} for name, of in found.items()}
    helped = {
        name: {
            how: {**mean_interval(v), "over_noise_kept": mean_interval(np.subtract(v, of["noise kept"]).tolist())}
            for how, v in of.items()
        }
        for name, of in trained.items()
    }
    wrong_headings = float((data.by_heading != data.y)[data.by_heading >= 0].mean())
    write_results(
        HERE,
        {"corpus": data.facts, "seeds": n_seeds, "wrong_headings": wrong_headings, "found": ranking, "trained": helped},
    )
    write_csv(
        HERE / "results.csv",
        (
            {"labels": name, "measure": m, **{k: v for k, v in i.items() if k in ("mean", "low", "high")}}
            for part in (ranking, helped)
            for name, of in part.items()
            for m, i in of.items()
        ),
    )
    print(data.facts, f"headings wrong: {wrong_headings:.3f}")
    measures = list(next(iter(ranking.values())))
    print(table(["wrong labels", *measures], [[n, *(shown(of[m], 2) for m in measures)] for n, of in ranking.items()]))
    ways = list(next(iter(helped.values())))
    print(table(["wrong labels", *ways], [[n, *(shown(of[w]) for w in ways)] for n, of in helped.items()]))
    print(
        table(
            ["gain over noise kept", *ways[1:]],
            [[n, *(shown(of[w]["over_noise_kept"]) for w in ways[1:])] for n, of in helped.items()],
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    with threadpool_limits(1):
        run(parser.parse_args().seeds)

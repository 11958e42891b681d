"""What are rules and headings worth beside hand labels? Run: python experiments/weak_supervision/run.py"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from label_studies import Data, fit, load, macro_f1, mean_interval, shown, table, write_csv, write_results

from crosshead.labelling.weak_labels import UNKNOWN, Votes, cast_votes, fit_label_model, report_sources
from crosshead.tagging.heads import Floats, LinearHead, log_softmax
from crosshead.training.first_model import learn
from crosshead.training.zero_shot import zero_shot

HERE = Path(__file__).resolve().parent
N_HAND = (0, 50, 200)


def take(votes: Votes, rows: np.ndarray) -> Votes:
    return Votes(votes.section_types, votes.sources, votes.cast[rows])


def counted(votes: Votes) -> Floats:
    """Every vote counts the same: what the label model is measured against."""
    counts = votes.counts() + 1e-3
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def heads(data: Data, votes: Votes, train: np.ndarray, hand: np.ndarray) -> dict[str, LinearHead]:
    """Taggers by what they learned from; ``hand`` are the rows of ``train`` that somebody read."""
    vectors, known = data.vectors[train], np.full(len(train), UNKNOWN)
    known[hand] = data.y[train[hand]]
    ours = take(votes, train)
    rules = ours.without_headings()
    by_heading = data.by_heading[train]
    headed = np.full((len(train), len(data.section_types)), 1e-3)
    headed[by_heading >= 0, by_heading[by_heading >= 0]] = 1.0
    guesses = {
        "headings": (np.log(headed), by_heading >= 0),
        "rules, votes counted": (counted(rules), rules.covered),
        "rules, label model": (fit_label_model(rules, known).log_proba(rules), rules.covered),
        "rules and headings, votes counted": (counted(ours), ours.covered),
        "rules and headings, label model": (fit_label_model(ours, known).log_proba(ours), ours.covered),
    }
    found = {name: learn(vectors, guess, y=known, among=among) for name, (guess, among) in guesses.items()}
    described = zero_shot(data.settings.taxonomy, data.encoder, vectors, rounds=0).log_proba(vectors)
    found["descriptions (zero-shot)"] = learn(vectors, described, y=known)
    both = log_softmax(described + fit_label_model(ours, known).log_proba(ours))
    found["rules, headings and descriptions"] = learn(vectors, both, y=known)
    return found


def run(n_seeds: int) -> None:
    data = load()
    votes = cast_votes(data.texts, data.by_heading, data.settings.taxonomy)
    model = fit_label_model(votes)
    sources = [s.as_dict() for s in report_sources(votes, model, data.y, data.article_ids)]
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(n_seeds):
        train, test = data.split(seed)
        order = np.random.default_rng(seed).permutation(len(train))
        for n in N_HAND:
            hand = order[:n]
            found = {
                name: head.log_proba(data.vectors[test]).argmax(axis=1)
                for name, head in heads(data, votes, train, hand).items()
            }
            if n:
                found["hand labels alone"] = fit(data.vectors[train[hand]], data.y[train[hand]]).predict(
                    data.vectors[test]
                )
            for name, predicted in found.items():
                scores[name][str(n)].append(macro_f1(data.y[test], predicted))
        everything = fit(data.vectors[train], data.y[train]).predict(data.vectors[test])
        scores["all hand labels"]["all"].append(macro_f1(data.y[test], everything))
    results = {name: {n: mean_interval(values) for n, values in by_n.items()} for name, by_n in scores.items()}
    gains = {
        n: mean_interval(
            np.subtract(scores["rules and headings, label model"][n], scores["hand labels alone"][n]).tolist()
        )
        for n in map(str, N_HAND[1:])
    }
    weighed = mean_interval(
        np.subtract(
            scores["rules and headings, label model"]["0"], scores["rules and headings, votes counted"]["0"]
        ).tolist()
    )
    voted = [s for s in sources if s["n_checked"] >= 20]
    trust = float(np.corrcoef([s["belief"] for s in voted], [s["accuracy"] for s in voted])[0, 1])
    by_model = (model.log_proba(votes).argmax(axis=1) == data.y)[votes.covered].mean()
    by_count = (votes.counts().argmax(axis=1) == data.y)[votes.covered].mean()
    totals = {
        "covered": round(float(votes.covered.mean()), 4),
        "covered_by_rules": round(float(votes.without_headings().covered.mean()), 4),
        "right_by_counting": round(float(by_count), 4),
        "right_by_label_model": round(float(by_model), 4),
        "correlation_of_belief_and_accuracy": round(trust, 3),
        "gain_over_hand_labels": gains,
        "gain_of_label_model_over_counting": weighed,
    }
    write_results(HERE, {"corpus": data.facts, "seeds": n_seeds, "results": results, "totals": totals})
    write_csv(HERE / "sources.csv", sources)
    print(data.facts, totals)
    print(
        table(
            ["learned from", *(f"{n} hand labels" for n in N_HAND), "all"],
            [[n, *(shown(r[k]) if k in r else "" for k in (*map(str, N_HAND), "all"))] for n, r in results.items()],
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    with threadpool_limits(1):
        run(parser.parse_args().seeds)

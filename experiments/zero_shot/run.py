"""How far do the taxonomy's words alone go? Run from the project's root: python experiments/zero_shot/run.py"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from label_studies import Data, fit, load, macro_f1, mean_interval, shown, table, write_csv, write_results

from crosshead.evaluation import evaluate
from crosshead.tagging.heads import LinearHead
from crosshead.taxonomy import Taxonomy
from crosshead.training.zero_shot import describe, zero_shot

HERE = Path(__file__).resolve().parent
POOLS = (5, 20, 80)
DEFAULT = "both, then taught once (default)"


def only(taxonomy: Taxonomy, *, phrases: bool, descriptions: bool) -> Taxonomy:
    """Leave the taxonomy only some of its words."""
    kept = tuple(
        replace(
            d, description=d.description if descriptions else "", heading_phrases=d.heading_phrases if phrases else ()
        )
        for d in taxonomy.definitions
    )
    return replace(taxonomy, definitions=kept)


def heads(data: Data, unlabelled: np.ndarray, rng: np.random.Generator) -> dict[str, LinearHead]:
    vectors, taxonomy = data.vectors[unlabelled], data.settings.taxonomy
    described = only(taxonomy, phrases=False, descriptions=True)
    centred = describe(taxonomy, data.encoder, vectors)
    found = {
        "descriptions and phrases, as they are": replace(centred, intercept=np.zeros_like(centred.intercept)),
        "descriptions alone, usual similarity taken off": describe(described, data.encoder, vectors),
        "phrases alone, usual similarity taken off": describe(
            only(taxonomy, phrases=True, descriptions=False), data.encoder, vectors
        ),
        "both, usual similarity taken off": centred,
        "descriptions alone, then taught once": zero_shot(described, data.encoder, vectors),
        DEFAULT: zero_shot(taxonomy, data.encoder, vectors),
        "both, then taught 3 times": zero_shot(taxonomy, data.encoder, vectors, rounds=3),
        "both, then taught 6 times": zero_shot(taxonomy, data.encoder, vectors, rounds=6),
    }
    articles = np.unique(data.article[unlabelled])
    for n in POOLS:
        few = unlabelled[np.isin(data.article[unlabelled], rng.choice(articles, n, replace=False))]
        found[f"default, with {n} unlabelled articles"] = zero_shot(taxonomy, data.encoder, data.vectors[few])
    return found


def run(n_seeds: int) -> None:
    data = load()
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(n_seeds):
        train, test = data.split(seed)
        below = test[data.by_heading[test] >= 0]
        ids = [data.article_ids[row] for row in test]
        logits = {n: h.log_proba(data.vectors) for n, h in heads(data, train, np.random.default_rng(seed)).items()}
        logits["all labels (supervised)"] = fit(data.vectors[train], data.y[train]).predict_log_proba(data.vectors)
        labelled = train[data.by_heading[train] >= 0]
        from_headings = fit(data.vectors[labelled], data.by_heading[labelled], C=3.0)
        logits["headings' labels"] = from_headings.predict_log_proba(data.vectors)
        for name, log_proba in logits.items():
            best = log_proba.argmax(axis=1)
            found = evaluate(data.y[test], np.exp(log_proba[test]), ids, data.section_types, n_resamples=0)
            scores[name]["macro_f1"].append(found.macro_f1.value)
            scores[name]["ece"].append(found.ece.value)
            scores[name]["against_headings"].append(macro_f1(data.by_heading[below], best[below]))
            for of_type in found.classes:
                scores[name][f"f1_{of_type.section_type}"].append(of_type.f1.value if of_type.f1 else 0.0)
    results = {name: {m: mean_interval(values) for m, values in found.items()} for name, found in scores.items()}
    write_results(HERE, {"corpus": data.facts, "seeds": n_seeds, "results": results})
    write_csv(
        HERE / "results.csv",
        (
            {"model": n, **{f"{m}_{k}": v for m, i in r.items() for k, v in i.items() if k != "n"}}
            for n, r in results.items()
        ),
    )
    print(data.facts)
    print(
        table(
            ["labels used: none, unless said", "macro-F1 against annotations", "against headings", "calibration error"],
            [[n, *(shown(r[m]) for m in ("macro_f1", "against_headings", "ece"))] for n, r in results.items()],
        )
    )
    default = results[DEFAULT]
    print({m: shown(v) for m, v in default.items() if m.startswith("f1_")})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    with threadpool_limits(1):
        run(parser.parse_args().seeds)

"""How many articles would the next point cost? The default, trained on part of the shipped articles.

    python experiments/learning_curve/run.py PARAGRAPHS.jsonl

PARAGRAPHS is as in ../real_text and only judged on. Answers are kept under models/learning_curve/, so the command can
be stopped and repeated. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.schema import Settings
from crosshead.settings import load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from table_studies import train_on

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
N_SEEDS = 5
N_RESAMPLED = 2000
TAGGERS = ("blend", "paragraph", "tfidf")
PLACES = ("held_out", "real")
Floats = NDArray[np.float64]


def main(paragraphs: str) -> None:
    settings = load_settings(["views=blend"], ROOT)
    types = list(settings.taxonomy.section_types)
    tables = {split: labelled.columns_of(table) for split, table in read_table(settings.prepared_dir).items()}
    tables["test"] = labelled.take(tables["test"], labelled.rows_where(tables["test"], "origin", "article"))
    rows = [json.loads(line) for line in Path(paragraphs).read_text(encoding="utf-8").splitlines()]
    asked = {"held_out": labelled.as_articles(tables["test"]), "real": [[row["text"]] for row in rows]}
    y = {"held_out": tables["test"]["section_type"], "real": [row["section_type"] for row in rows]}
    ids = {"held_out": tables["test"]["article_id"], "real": [row["article_id"] for row in rows]}
    answers: dict[tuple[float, int], dict[str, Any]] = {}
    for share in SHARES:
        for seed in range(N_SEEDS if share < 1 else 1):
            answers[share, seed] = answered(settings, tables["train"], share, seed, asked)
    truth = {place: np.array([types.index(name) for name in y[place]]) for place in PLACES}
    results = {place: measured(answers, place, truth[place], ids[place]) for place in PLACES}
    sizes = {str(share): sizes_of(answers, share) for share in SHARES}
    (HERE / "results.json").write_text(json.dumps({"sizes": sizes, **results}, indent=1) + "\n", encoding="utf-8")
    draw(sizes, results)
    print(json.dumps(results, indent=1))


# -- training ----------------------------------------------------------------------------------------------------------


def drawn(columns: dict[str, list[Any]], share: float, seed: int) -> NDArray[np.int64]:
    """Draw articles, and contrast sets apart; a smaller share of the same seed lies inside a larger one."""
    groups, origin = np.asarray(columns["group_id"]), np.asarray(columns["origin"])
    rng, chosen = np.random.default_rng(seed), np.zeros(len(groups), dtype=bool)
    for kind in sorted(set(origin)):
        names = rng.permutation(np.unique(groups[origin == kind]))
        chosen |= (origin == kind) & np.isin(groups, names[: round(share * len(names))])
    return np.flatnonzero(chosen)


def answered(
    settings: Settings, columns: dict[str, list[Any]], share: float, seed: int, asked: dict[str, list[list[str]]]
) -> dict[str, Any]:
    """Probabilities of the tagger and of each of its views alone, made once."""
    stored = ROOT / "models" / "learning_curve" / f"{share:g}-{seed}.npz"
    if not stored.is_file():
        part = labelled.take(columns, drawn(columns, share, seed))
        tagger = train_on(settings, part, seed).tagger
        taggers = {"blend": tagger}
        for view in tagger.views:
            taggers[view.name] = replace(tagger, views=(view,), transitions=tagger.transitions.muted())
        found = {f"{name}/{place}": t.predict_proba(asked[place]) for name, t in taggers.items() for place in PLACES}
        articles = len({a for a, o in zip(part["article_id"], part["origin"], strict=True) if o == "article"})
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(stored, articles=articles, paragraphs=len(part["text"]), **found)
        print(f"{share:4.0%} seed {seed}: {articles} articles, {len(part['text'])} paragraphs", flush=True)
    with np.load(stored) as read:
        return dict(read)


def sizes_of(answers: dict[tuple[float, int], dict[str, Any]], share: float) -> dict[str, float]:
    chosen = [found for (part, _), found in answers.items() if part == share]
    return {name: float(np.mean([found[name] for found in chosen])) for name in ("articles", "paragraphs")}


# -- scores ------------------------------------------------------------------------------------------------------------


def measured(answers: dict[tuple[float, int], dict[str, Any]], place: str, y: Any, ids: list[str]) -> dict[str, Any]:
    """Score every share, mean over its draws; intervals resample the articles judged on and the draws together."""
    _, article = np.unique(ids, return_inverse=True)
    n, rng = int(article.max()) + 1, np.random.default_rng(0)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLED)])
    seeds = np.vstack([np.arange(N_SEEDS), rng.integers(N_SEEDS, size=(N_RESAMPLED, N_SEEDS))])
    found: dict[str, Any] = {}
    for name in TAGGERS:
        f1 = np.column_stack(
            [over_draws(answers, share, f"{name}/{place}", y, article, weights, seeds) for share in SHARES]
        )
        found[name] = {
            "macro_f1": {f"{share:g}": interval(f1[:, i]) for i, share in enumerate(SHARES)},
            "last_doubling": interval(f1[:, -1] - f1[:, SHARES.index(0.5)]),
            "doubling_before": interval(f1[:, SHARES.index(0.5)] - f1[:, SHARES.index(0.2)], np.log2(2.5)),
            "slope_from_35": interval(slopes(f1)),
            "power_law": power_law(f1, [sizes_of(answers, share)["articles"] for share in SHARES]),
        }
    losses = {f"{share:g}": mean_loss(answers, share, f"blend/{place}", y) for share in SHARES}
    return {**found, "log_loss": losses}


def over_draws(answers: Any, share: float, key: str, y: Any, article: Any, weights: Floats, seeds: Any) -> Floats:
    draws = [found[key].argmax(axis=1) for (part, _), found in answers.items() if part == share]
    f1 = np.column_stack([macro_f1(y, answer, article, weights) for answer in draws])
    if len(draws) == 1:
        return np.asarray(f1[:, 0])
    return np.asarray(np.take_along_axis(f1, seeds, axis=1).mean(axis=1))


def macro_f1(y: Any, answer: Any, article: Any, weights: Floats) -> Floats:
    """Macro-F1 of every weighing of the articles."""
    scores = []
    for k in range(4):
        both, given, true = (
            weights @ np.bincount(article, mask.astype(float), minlength=weights.shape[1])
            for mask in ((y == k) & (answer == k), answer == k, y == k)
        )
        scores.append(2 * both / np.maximum(given + true, 1))
    return np.asarray(np.mean(scores, axis=0))


def slopes(f1: Floats) -> Floats:
    """Rise for each doubling, a straight line through the last four shares."""
    x = np.log2(SHARES[-4:])
    return np.asarray(np.polyfit(x, f1[:, -4:].T, 1)[0])


def power_law(f1: Floats, n: list[float]) -> dict[str, Any]:
    """Fit 1 - F1 = a n^-b to all shares: the exponent b, and how many articles more one point would cost."""
    exponent = -np.asarray(np.polyfit(np.log(n), np.log(1 - f1).T, 1)[0])
    missing = 1 - f1[:, -1]
    with np.errstate(over="ignore"):
        more = n[-1] * ((missing / (missing - 0.01)) ** (1 / np.maximum(exponent, 1e-3)) - 1)
    return {"exponent": interval(exponent), "articles_for_a_point": interval(more)}


def mean_loss(answers: Any, share: float, key: str, y: Any) -> float:
    draws = [found[key] for (part, _), found in answers.items() if part == share]
    return round(float(np.mean([-np.log(p[np.arange(len(y)), y]).mean() for p in draws])), 4)


def interval(values: Floats, divisor: float = 1.0) -> dict[str, float]:
    """Give the first value, of the articles as they are, and the middle 95 % of the others."""
    low, high = np.percentile(values[1:] / divisor, [2.5, 97.5])
    return {"value": round(float(values[0] / divisor), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def draw(sizes: dict[str, dict[str, float]], results: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "crosshead"
    x = [sizes[f"{share}"]["articles"] for share in SHARES]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    looks = {"blend": ("default: both", "-"), "paragraph": ("vector alone", "--"), "tfidf": ("words alone", ":")}
    for axis, place, title in zip(axes, PLACES, ("held-out shipped articles", "text that people wrote"), strict=True):
        for name, (label, style) in looks.items():
            points = list(results[place][name]["macro_f1"].values())
            (line,) = axis.plot(x, [p["value"] for p in points], style, marker="o", markersize=3, label=label)
            if name == "blend":
                axis.fill_between(
                    x, [p["low"] for p in points], [p["high"] for p in points], alpha=0.15, color=line.get_color()
                )
        axis.set(title=title, xlabel="training articles", xscale="log")
        axis.set_xticks(x, [f"{n:.0f}" for n in x])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("macro-F1")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(HERE / "curve.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(*sys.argv[1:])

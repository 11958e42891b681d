"""Count the default's errors by the kind that a reader gave them, and see which kinds other taggers get right.

    python experiments/errors/run.py PARAGRAPHS.jsonl [NAME=BUNDLE …]

`held_out.csv` and `real.csv` hold the kinds (the scheme is in README.md); PARAGRAPHS is as in ../real_text and only
judged on. NAME=BUNDLE is a tagger to compare with. With the answers of ../learning_curve under models/learning_curve/,
it is also counted how often taggers trained on three quarters of the articles make the same errors. Nothing of the
real text is written anywhere.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.encoders.open import with_cache

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = (
    "edge",
    "several",
    "vocabulary",
    "quotation",
    "background",
    "context",
    "hypothetical",
    "implied",
    "label",
    "mistake",
)
N_RESAMPLED = 5000
Floats = NDArray[np.float64]


def main(paragraphs: str, *others: str) -> None:
    places = {"held_out": held_out(), "real": real(Path(paragraphs))}
    taggers = dict(other.split("=", 1) for other in others)
    default = bundle.load(ROOT / "models" / "latest" / "bundle")
    results: dict[str, Any] = {}
    for name, place in places.items():
        kinds = read_kinds(HERE / f"{name}.csv")
        y = np.array([default.section_types.index(label) for label in place["y"]])
        proba = tagged(default, place["articles"])
        found = {
            other: tagged(bundle.load(Path(at)), place["articles"]).argmax(axis=1) == y for other, at in taggers.items()
        }
        results[name] = counted(place, kinds, y, proba, default, found, three_quarters(name, y))
    results["read_again"] = agreement([*read_rows(HERE / "held_out.csv"), *read_rows(HERE / "real.csv")])
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in places:
        show(name, results[name], list(taggers))
    print(results["read_again"])


def held_out() -> dict[str, Any]:
    columns = labelled.columns_of(read_table(ROOT / "data" / "prepared")["test"])
    columns = labelled.take(columns, labelled.rows_where(columns, "origin", "article"))
    names = [f"{a}/{p}" for a, p in zip(columns["article_id"], columns["paragraph"], strict=True)]
    articles = labelled.as_articles(columns)
    return {"names": names, "y": columns["section_type"], "articles": articles, "beside": beside(columns, articles)}


def beside(columns: dict[str, Any], articles: list[list[str]]) -> list[bool]:
    """Of every paragraph, whether the one before or after it in its article has the same section type."""
    found, start = [], 0
    for article in articles:
        own = columns["section_type"][start : start + len(article)]
        start += len(article)
        found += [label in own[max(0, i - 1) : i] + own[i + 1 : i + 2] for i, label in enumerate(own)]
    return found


def real(paragraphs: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in paragraphs.read_text(encoding="utf-8").splitlines()]
    return {
        "names": [row["id"] for row in rows],
        "y": [row["section_type"] for row in rows],
        "articles": [[row["text"]] for row in rows],
        "agree": [row["annotators_agree"] for row in rows],
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_kinds(path: Path) -> dict[str, str]:
    return {row["paragraph"]: row["kind"] for row in read_rows(path)}


def tagged(tagger: Any, articles: list[list[str]]) -> Floats:
    cached = with_cache(tagger.encoder, ROOT / ".cache" / "crosshead")
    return np.asarray(replace(tagger, encoder=cached).predict_proba(articles))


def three_quarters(name: str, y: NDArray[np.int64]) -> Floats | None:
    """Of every paragraph, the share of taggers trained on three quarters of the articles that are wrong, too."""
    stored = sorted((ROOT / "models" / "learning_curve").glob("0.75-*.npz"))
    if not stored:
        return None
    wrong = []
    for path in stored:
        with np.load(path) as read:
            wrong.append(read[f"blend/{name}"].argmax(axis=1) != y)
    return np.asarray(np.mean(wrong, axis=0))


# -- counting ----------------------------------------------------------------------------------------------------------


def counted(
    place: dict[str, Any],
    kinds: dict[str, str],
    y: NDArray[np.int64],
    proba: Floats,
    tagger: Any,
    found: dict[str, NDArray[np.bool_]],
    again: Floats | None,
) -> dict[str, Any]:
    answer = proba.argmax(axis=1)
    wrong = np.flatnonzero(answer != y)
    unread = [place["names"][i] for i in wrong if place["names"][i] not in kinds]
    if unread:
        raise SystemExit(f"{len(unread)} errors have no kind, such as {unread[0]}: the tagger is another; read them")
    kind = np.array([kinds[place["names"][i]] for i in wrong])
    confidence, second = proba.max(axis=1), np.argsort(-proba, axis=1)[:, 1]
    table = {}
    for name in (*KINDS, "all"):
        rows = wrong if name == "all" else wrong[kind == name]
        pairs = Counter((tagger.section_types[y[i]], tagger.section_types[answer[i]]) for i in rows)
        table[name] = {
            "n": len(rows),
            "share": wilson(len(rows), len(wrong)),
            "confidence": mean(confidence[rows]),
            "not_sure": mean(confidence[rows] < tagger.threshold),
            "second_answer_right": mean(second[rows] == y[rows]),
            "wrong_with_three_quarters": None if again is None else mean(again[rows]),
            "pairs": [[*pair, n] for pair, n in pairs.most_common(3)],
            "readers_disagreed": int(sum(not place["agree"][i] for i in rows)) if "agree" in place else None,
            "like_a_neighbour": mean([place["beside"][i] for i in rows]) if "beside" in place else None,
            **{f"{other} right": wilson(int(right[rows].sum()), len(rows)) for other, right in found.items()},
        }
    others = {
        other: {
            "mended": int(right[wrong].sum()),
            "spoilt": int((~right[answer == y]).sum()),
            "p_kind_matters": permuted(kind, right[wrong]),
        }
        for other, right in found.items()
    }
    right = np.flatnonzero(answer == y)
    return {
        "n_paragraphs": len(y),
        "of_the_right_ones_like_a_neighbour": mean([place["beside"][i] for i in right]) if "beside" in place else None,
        "kinds": table,
        "others": others,
    }


def permuted(kind: NDArray[np.str_], right: NDArray[np.bool_]) -> float:
    """Test by permutation whether how often another tagger is right depends on the kind (chi-squared statistic)."""
    rng, (_, number) = np.random.default_rng(0), np.unique(kind, return_inverse=True)
    sizes = np.bincount(number)

    def statistic(values: NDArray[np.bool_]) -> float:
        of_kind = np.bincount(number, values)
        return float(((of_kind - sizes * values.mean()) ** 2 / sizes).sum())

    measured = statistic(right)
    draws = [statistic(rng.permutation(right)) for _ in range(N_RESAMPLED)]
    return (1 + sum(draw >= measured for draw in draws)) / (1 + N_RESAMPLED)


def mean(values: Any) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None


def wilson(k: int, n: int) -> dict[str, float]:
    if not n:
        return {"k": 0, "n": 0}
    z, p = 1.96, k / n
    middle, half = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return {"k": k, "n": n, "value": round(p, 3), "low": round(low, 3), "high": round(high, 3)}


def agreement(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Cohen's kappa of the first and the second reading, with an interval from resampling paragraphs."""
    pairs = np.array([(KINDS.index(r["kind"]), KINDS.index(r["second"])) for r in rows if r["second"]])
    if not len(pairs):
        return {}
    rng = np.random.default_rng(0)
    draws = [kappa(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(N_RESAMPLED)]
    low, high = np.percentile(draws, [2.5, 97.5])
    changed = Counter((KINDS[a], KINDS[b]) for a, b in pairs if a != b)
    return {
        "n": len(pairs),
        "same": int((pairs[:, 0] == pairs[:, 1]).sum()),
        "kappa": {"value": round(kappa(pairs), 3), "low": round(float(low), 3), "high": round(float(high), 3)},
        "changed": [[*pair, n] for pair, n in changed.most_common()],
    }


def kappa(pairs: NDArray[np.int64]) -> float:
    shares = [np.bincount(column, minlength=len(KINDS)) / len(pairs) for column in pairs.T]
    chance = float(shares[0] @ shares[1])
    return (float((pairs[:, 0] == pairs[:, 1]).mean()) - chance) / (1 - chance)


def show(name: str, result: dict[str, Any], others: list[str]) -> None:
    print(f"\n{name}: {result['kinds']['all']['n']} errors of {result['n_paragraphs']}", result["others"])
    for kind, row in result["kinds"].items():
        pairs = ", ".join(f"{a.split('_')[0]}→{b.split('_')[0]} {n}" for a, b, n in row["pairs"])
        right = " ".join(str(row[f"{other} right"].get("value")) for other in others)
        print(
            f"{kind:13} {row['n']:4} {row['share'].get('value')} ({row['share'].get('low')}–{row['share'].get('high')})"
            f" conf {row['confidence']} unsure {row['not_sure']} 2nd {row['second_answer_right']}"
            f" again {row['wrong_with_three_quarters']} | {right} | {pairs} | {row['readers_disagreed']}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Measure how well simple scores tell text of another kind from text of the model's own kind.

    crosshead run corpus.single_paragraphs=null views=blend
    python experiments/out_of_domain/run.py [PARAGRAPHS.jsonl]

PARAGRAPHS is as in ../real_text and only judged on. `texts.jsonl` holds the texts of another kind, written for this
study. Scores are chosen by one half of the texts and of the held-out articles, and reported on the other half.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.encoders.open import with_cache
from crosshead.settings import load_settings
from crosshead.tagging.tagger import Inputs, Tagger

Floats = NDArray[np.float64]
Score = Callable[[Inputs], Floats]
"""Texts of a known kind in, a number for each out: the higher, the more of another kind."""
WORD = re.compile(r"(?u)\b\w\w+\b")
FALSE_ALARMS = (0.01, 0.05)
N_RESAMPLES, SEED = 1000, 0
SHORT = 40
"""Words to which held-out paragraphs are cut for one of the tests: the texts of another kind are shorter."""


@dataclass(frozen=True)
class Known:
    """What the scores are fitted on: vectors of the training paragraphs, and their section types."""

    vectors: Floats
    y: NDArray[np.int64]


def main(paragraphs: str | None = None) -> None:
    settings = load_settings([])
    tagger = bundle.load(settings.model_dir / "bundle")
    tagger = replace(tagger, encoder=with_cache(tagger.encoder, settings.cache_dir))  # type: ignore[arg-type]
    table = read_table(settings.prepared_dir)
    columns = {split: labelled.columns_of(table[split]) for split in ("train", "test")}
    train = tagger.read(columns["train"]["text"])
    number = {name: i for i, name in enumerate(tagger.section_types)}
    y = np.array([number[name] for name in columns["train"]["section_type"]])
    scores = make_scores(tagger, Known(np.asarray(train.vectors, dtype=float), y))

    held_out = labelled.take(columns["test"], labelled.rows_where(columns["test"], "origin", "article"))
    rows = read_lines(Path(__file__).parent / "texts.jsonl")
    known = {"held_out": (held_out["text"], held_out["article_id"])}
    known["held_out_short"] = ([" ".join(text.split()[:SHORT]) for text in held_out["text"]], held_out["article_id"])
    if paragraphs is not None:
        real = read_lines(Path(paragraphs))
        known["real"] = ([row["text"] for row in real], [row["article_id"] for row in real])
    inputs = {name: tagger.read(texts) for name, (texts, _) in known.items()}
    other = tagger.read([row["text"] for row in rows])
    values = {name: {kind: score(given) for kind, given in inputs.items()} for name, score in scores.items()}
    others = {name: score(other) for name, score in scores.items()}

    ids = {name: np.unique(ids, return_inverse=True)[1] for name, (_, ids) in known.items()}
    choosing = np.array([int(row["id"].rsplit("-", 1)[1]) % 2 == 1 for row in rows])
    group = np.array([row["group"] for row in rows])
    n_known = {name: len(texts) for name, (texts, _) in known.items()}
    results: dict[str, Any] = {"n_texts": len(rows), "n_known": n_known, "answers": answers(tagger, other, group)}
    for name in scores:
        first = ids["held_out"] % 2 == 0
        wanted = choosing & (group != "near")
        chosen = auroc(values[name]["held_out"][first], others[name][wanted])
        results[name] = {"auroc_choosing": chosen, **report(values[name], others[name], ids, group, ~choosing, first)}
        show(name, results[name])
    best = max(scores, key=lambda name: results[name]["auroc_choosing"])
    results["chosen"] = best
    results["kinds"] = by_kind(values[best]["held_out"], others[best], rows)
    print("chosen:", best, json.dumps(results["kinds"]))
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(tagger: Tagger, other: Inputs, group: NDArray[np.str_]) -> dict[str, Any]:
    """What the tagger says of text of another kind: how often `other`, how sure it is, how often "not sure"."""
    proba = np.exp(tagger.look_at(other).log_proba)
    is_other = proba.argmax(axis=1) == tagger.section_types.index("other")
    said = {"other": is_other, "confidence": proba.max(axis=1), "not_sure": proba.max(axis=1) < tagger.threshold}
    return {
        str(name): {what: float(values[group == name].mean()) for what, values in said.items()}
        for name in np.unique(group)
    }


# -- scores ------------------------------------------------------------------------------------------------------------


def make_scores(tagger: Tagger, known: Known) -> dict[str, Score]:
    """Everything that is compared, by name."""
    log_proba: Score = lambda given: tagger.look_at(given).log_proba  # noqa: E731
    vectors: Score = lambda given: np.asarray(given.vectors, dtype=float)  # noqa: E731
    head = next(view.head for view in tagger.views if view.kind == "paragraph")
    other = tagger.section_types.index("other")
    found: dict[str, Score] = {
        "1 - largest probability": lambda given: 1 - np.exp(log_proba(given).max(axis=1)),
        "entropy": lambda given: -(np.exp(log_proba(given)) * log_proba(given)).sum(axis=1),
        "energy": lambda given: -np.logaddexp.reduce(vectors(given) @ head.coef.T + head.intercept, axis=1),
        "probability of other": lambda given: log_proba(given)[:, other],
    }
    for k in (1, 5, 10, 50):
        found[f"{k} nearest"] = lambda given, k=k: nearest(known.vectors, vectors(given), k)
    for n in (256,):
        centres = KMeans(n, random_state=SEED, n_init=1, max_iter=20).fit(known.vectors).cluster_centers_
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        found[f"nearest of {n} centres"] = lambda given, centres=centres: nearest(centres, vectors(given), 1)
    classes, marginal = Gaussian.of(known.vectors, known.y), Gaussian.of(known.vectors, np.zeros_like(known.y))
    found["Mahalanobis"] = lambda given: classes.distance(vectors(given))
    found["Mahalanobis, one mean"] = lambda given: marginal.distance(vectors(given))
    found["Mahalanobis, relative"] = lambda given: classes.distance(vectors(given)) - marginal.distance(vectors(given))
    for rank in (32, 128):
        low = Components.of(known.vectors, rank)
        found[f"beyond {rank} components"] = lambda given, low=low: low.left(vectors(given))
    view = next(view for view in tagger.views if view.kind == "tfidf")
    words = {term for term in view.tfidf.vocabulary if " " not in term}
    found["unknown words"] = lambda given: np.array([unknown(text, words) for text in given.texts])
    terms = set(view.tfidf.vocabulary) - words
    found["unknown pairs of words"] = lambda given: np.array([unknown_pairs(text, terms) for text in given.texts])
    return found


def nearest(known: Floats, vectors: Floats, k: int) -> Floats:
    """Mean cosine distance to the k nearest known vectors."""
    return 1 - np.partition(vectors @ known.T, -k, axis=1)[:, -k:].mean(axis=1)


@dataclass(frozen=True)
class Gaussian:
    """Means, and one covariance that they share (Lee et al. 2018, arXiv:1807.03888)."""

    means: Floats
    precision: Floats

    @classmethod
    def of(cls, vectors: Floats, y: NDArray[np.int64]) -> Gaussian:
        means = np.stack([vectors[y == c].mean(axis=0) for c in np.unique(y)])
        centred = vectors - means[y]
        covariance = centred.T @ centred / len(vectors)
        ridge = 1e-3 * np.trace(covariance) / len(covariance)
        return cls(means, np.linalg.inv(covariance + ridge * np.eye(len(covariance))))

    def distance(self, vectors: Floats) -> Floats:
        """Squared, to the nearest mean."""
        away = vectors[:, None, :] - self.means[None]
        return np.einsum("ncd,de,nce->nc", away, self.precision, away, optimize=True).min(axis=1)


@dataclass(frozen=True)
class Components:
    """Principal components: what of a vector lies beyond them."""

    mean: Floats
    axes: Floats

    @classmethod
    def of(cls, vectors: Floats, rank: int) -> Components:
        mean = vectors.mean(axis=0)
        return cls(mean, np.linalg.svd(vectors - mean, full_matrices=False)[2][:rank])

    def left(self, vectors: Floats) -> Floats:
        centred = vectors - self.mean
        return (centred**2).sum(axis=1) - ((centred @ self.axes.T) ** 2).sum(axis=1)


def unknown(text: str, words: set[str]) -> float:
    """Share of the words that no training paragraph has (or one alone)."""
    found = WORD.findall(text.lower())
    return 1 - sum(word in words for word in found) / max(len(found), 1)


def unknown_pairs(text: str, terms: set[str]) -> float:
    found = WORD.findall(text.lower())
    pairs = [" ".join(pair) for pair in itertools.pairwise(found)]
    return 1 - sum(pair in terms for pair in pairs) / max(len(pairs), 1)


# -- measures ----------------------------------------------------------------------------------------------------------


def auroc(known: Floats, other: Floats) -> float:
    return float(roc_auc_score(np.r_[np.zeros(len(known)), np.ones(len(other))], np.r_[known, other]))


def kept_at_95(known: Floats, other: Floats) -> float:
    """Share of texts of another kind that pass where 95 % of the known ones do."""
    return float((other <= np.quantile(known, 0.95, method="inverted_cdf")).mean())


def report(
    known: Mapping[str, Floats],
    other: Floats,
    ids: Mapping[str, NDArray[np.int64]],
    group: NDArray[np.str_],
    reported: NDArray[np.bool_],
    first: NDArray[np.bool_],
) -> dict[str, Any]:
    """Measure on the half of texts and articles that nothing was chosen by; thresholds come from the other half."""
    found: dict[str, Any] = {}
    thresholds = {share: float(np.quantile(known["held_out"][first], 1 - share)) for share in FALSE_ALARMS}
    for kind, values in known.items():
        rows = ~first if kind.startswith("held_out") else np.ones(len(values), dtype=bool)
        for name, wanted in (("other", group != "near"), ("near", group == "near")):
            asked = other[reported & wanted]
            found[f"{kind}, {name}"] = with_intervals(values[rows], ids[kind][rows], asked)
        found[f"{kind}, flagged"] = {f"{share:g}": float((values[rows] > t).mean()) for share, t in thresholds.items()}
    for name, wanted in (("far", group == "far"), ("language", group == "language"), ("near", group == "near")):
        asked = other[reported & wanted]
        found[f"{name}, flagged"] = {f"{share:g}": float((asked > t).mean()) for share, t in thresholds.items()}
    return found


def with_intervals(known: Floats, ids: NDArray[np.int64], other: Floats) -> dict[str, dict[str, float]]:
    """Both measures with 95 % intervals; articles are resampled, and texts of another kind one by one."""
    rng = np.random.default_rng(SEED)
    order = np.argsort(known)
    known, article = known[order], np.unique(ids[order], return_inverse=True)[1]
    n_articles = article.max() + 1
    drawn = rng.multinomial(n_articles, np.full(n_articles, 1 / n_articles), N_RESAMPLES)[:, article].astype(float)
    weights = drawn / drawn.sum(axis=1, keepdims=True)
    others = rng.multinomial(len(other), np.full(len(other), 1 / len(other)), N_RESAMPLES) / len(other)
    above = (other[None, :] > known[:, None]) + 0.5 * (other[None, :] == known[:, None])
    limits = known[np.minimum((weights.cumsum(axis=1) < 0.95 - 1e-9).sum(axis=1), len(known) - 1)]
    resampled = {
        "auroc": np.einsum("rm,rm->r", weights @ above, others),
        "kept_at_95": np.einsum("rm,rm->r", other[None, :] <= limits[:, None], others),
    }
    values = {"auroc": auroc(known, other), "kept_at_95": kept_at_95(known, other)}
    ends = {name: np.quantile(rows, [0.025, 0.975]) for name, rows in resampled.items()}
    return {
        name: {"value": value, "low": float(ends[name][0]), "high": float(ends[name][1])}
        for name, value in values.items()
    }


def by_kind(known: Floats, other: Floats, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each kind: AUROC against all held-out paragraphs, and the share flagged at one false alarm in a hundred."""
    threshold = float(np.quantile(known, 0.99))
    kind = np.array([row["kind"] + (f", {row['subject']}" if "subject" in row else "") for row in rows])
    return {
        str(name): {
            "n": int((kind == name).sum()),
            "auroc": auroc(known, other[kind == name]),
            "flagged": float((other[kind == name] > threshold).mean()),
        }
        for name in dict.fromkeys(kind)
    }


def show(name: str, found: Mapping[str, Any]) -> None:
    parts = [f"{name:26} choosing {found['auroc_choosing']:.3f}"]
    for key, value in found.items():
        if isinstance(value, dict) and "auroc" in value:
            parts.append(f"{key} {value['auroc']['value']:.3f}/{value['kept_at_95']['value']:.2f}")
        elif isinstance(value, dict):
            parts.append(f"{key} {value['0.01']:.2f}")
    print("  ".join(parts))


if __name__ == "__main__":
    main(*sys.argv[1:])

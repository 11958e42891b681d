"""How often does `crosshead monitor` cry wolf, and what does it see? Run: python experiments/drift/run.py"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from crosshead import bundle
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.open import with_cache
from crosshead.monitoring.checks import Draws
from crosshead.monitoring.drift import Fitted, compare
from crosshead.monitoring.job import sample_of
from crosshead.monitoring.reading import Article, Paragraph, Read, read_prepared
from crosshead.monitoring.results import Drift
from crosshead.monitoring.sample import Sample
from crosshead.monitoring.texts import with_counts
from crosshead.settings import load_settings
from crosshead.tagging.tagger import Tagger, TfidfView

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = ("sport", "recipes", "old_style", "german")
PARAGRAPHS_PER_ARTICLE = 3
N_REFERENCE, N_CURRENT = 150, 50
LEVELS = (0.01, 0.05)
MIXED = ((10, 2), (10, 5), (10, 10), (40, 10), (0, 10))
"""Current articles: so many of the project's kind, and so many of another."""
SHIFTS = (0.05, 0.10, 0.20)
SHIFTED = "other"


@dataclass(frozen=True)
class Data:
    """All articles of the project, tagged by models that never saw them; and articles of other kinds."""

    reference: Sample
    others: dict[str, Sample]
    model: Fitted
    digest: str


def load() -> Data:
    settings = load_settings([], ROOT)
    folder = settings.model_dir / "bundle"
    tagger = bundle.load(folder)
    assert isinstance(tagger.encoder, GraphEncoder)
    tagger = replace(tagger, encoder=with_cache(tagger.encoder, settings.cache_dir))
    tfidf = next(view.tfidf for view in tagger.views if isinstance(view, TfidfView))
    types = tagger.section_types
    side = read_prepared(settings.prepared_dir, max_articles=10_000, seed=0)
    sample = with_counts(sample_of(side, types, tagger, "reference"), tfidf)
    sample = out_of_fold(sample, tagger, settings.model_dir / "out_of_fold.npz")
    others = {kind: with_counts(sample_of(read_kind(kind), types, tagger, kind), tfidf) for kind in KINDS}
    truth = np.bincount(sample.truth, minlength=len(types)) / len(sample)
    return Data(sample, others, Fitted(types, truth), bundle.digest(folder))


def out_of_fold(sample: Sample, tagger: Tagger, path: Path) -> Sample:
    """Put answers of models that never saw the article in the place of those of the one that was trained on it."""
    with np.load(path, allow_pickle=False) as stored:
        by_id = dict(zip(stored["paragraph_id"].tolist(), stored["proba"], strict=True))
    proba = np.array([by_id.get(name, own) for name, own in zip(sample.ids, sample.proba, strict=True)])
    return replace(
        sample,
        proba=proba,
        answers=proba.argmax(axis=1),
        confidence=proba.max(axis=1),
        abstained=proba.max(axis=1) < tagger.threshold,
        learnt=None,
    )


def read_kind(kind: str) -> Read:
    paragraphs = (HERE / "texts" / f"{kind}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    articles = [
        Article(tuple(Paragraph(f"{kind}-{a}#{i}", text) for i, text in enumerate(paragraphs[a : a + 3])))
        for a in range(0, len(paragraphs), PARAGRAPHS_PER_ARTICLE)
    ]
    return Read(kind, articles, len(articles))


def joined(first: Sample, second: Sample) -> Sample:
    """Put articles of two samples into one."""
    columns: dict[str, Any] = {"article": np.concatenate([first.article, second.article + first.n_articles])}
    for name in ("vectors", "answers", "confidence", "proba", "abstained", "truncated", "n_words", "unknown", "truth"):
        columns[name] = np.concatenate([getattr(first, name), getattr(second, name)])
    for name in ("ids", "texts", "languages"):
        columns[name] = (*getattr(first, name), *getattr(second, name))
    return replace(first, **columns, n_articles_seen=first.n_articles + second.n_articles)


def checked(
    data: Data, reference: Sample, current: Sample, seed: int, level: float = 0.01, resamples: int = 0
) -> Drift:
    draws = Draws(shares=1999, fits=999, resamples=resamples, seed=seed)
    return compare(reference, current, data.model, false_alarms=level, draws=draws, with_text=False)


def split(data: Data, seed: int, n_current: int = N_CURRENT) -> tuple[Sample, Sample]:
    order = np.random.default_rng(seed).permutation(data.reference.n_articles)
    return data.reference.articles(order[:N_REFERENCE]), data.reference.articles(
        order[N_REFERENCE : N_REFERENCE + n_current]
    )


# -- false alarms ------------------------------------------------------------------------------------------------------


def false_alarms(data: Data, n_splits: int) -> dict[str, Any]:
    """Split the reference again and again: nothing has changed, so every alarm is false."""
    alarms: dict[str, int] = Counter()
    below: dict[str, list[bool]] = defaultdict(list)
    adjusted_below: dict[float, int] = Counter()
    for seed in range(n_splits):
        drift = checked(data, *split(data, seed), seed=seed)
        smallest = min(check.adjusted for check in drift.checks if check.adjusted is not None)
        for level in LEVELS:
            adjusted_below[level] += smallest <= level
            alarms[str(level)] += any(
                check.adjusted is not None and check.adjusted <= level and check.counts for check in drift.checks
            )
        for check in drift.checks:
            if check.p_value is not None:
                below[check.name].append(check.p_value <= 0.05)
    return {
        "splits": n_splits,
        "any_alarm": {str(level): share(alarms[str(level)], n_splits) for level in LEVELS},
        "any_p_below": {str(level): share(adjusted_below[level], n_splits) for level in LEVELS},
        "single_p_below_0.05": {name: share(sum(found), len(found)) for name, found in below.items()},
    }


# -- power -------------------------------------------------------------------------------------------------------------


def foreign(data: Data, n_draws: int) -> dict[str, Any]:
    """Put articles of another kind among current ones; see which checks stand at alarm."""
    found: dict[str, Any] = {}
    for kind, sample in data.others.items():
        for n_own, n_foreign in MIXED:
            alarms: dict[str, int] = Counter()
            aurocs, shares = [], []
            for seed in range(n_draws):
                reference, own = split(data, 10_000 + seed, n_own)
                some = sample.articles(np.random.default_rng(seed).permutation(sample.n_articles)[:n_foreign])
                current = joined(own, some) if n_own else some
                drift = checked(data, reference, current, seed=seed)
                shares.append(len(some) / len(current))
                alarms.update(check.name for check in drift.of("alarm"))
                alarms["any"] += drift.verdict == "alarm"
                aurocs += [c.current.value for c in drift.checks if c.name == "embedding" and c.current is not None]
            found[f"{kind}: {n_foreign} of {n_own + n_foreign} articles"] = {
                "share_of_paragraphs": round(float(np.mean(shares)), 3),
                "any_alarm": share(alarms.pop("any"), n_draws),
                "checks": {name: n / n_draws for name, n in alarms.most_common()},
                "mean_auroc": round(float(np.mean(aurocs)), 3),
            }
    return found


def shifted(data: Data, n_draws: int) -> dict[str, Any]:
    """Draw current articles so that one section type has a larger share; see what is found and said."""
    found: dict[str, Any] = {}
    column = data.model.section_types.index(SHIFTED)
    for shift in SHIFTS:
        rows: dict[str, list[float]] = defaultdict(list)
        alarms: dict[str, int] = Counter()
        for seed in range(n_draws):
            reference, current = tilted(data, shift, column, seed)
            drift = checked(data, reference, current, seed=seed)
            alarms.update(check.name for check in drift.of("alarm"))
            alarms["any"] += drift.verdict == "alarm"
            truth = float((current.truth == column).mean())
            answer = drift.classes[column]
            rows["true shift"].append(truth - float((reference.truth == column).mean()))
            rows["error of the answers"].append(abs(answer.current.value - truth))
            rows["error of EM"].append(abs(answer.corrected.value - truth) if answer.corrected else math.nan)
            rows["error of BBSE"].append(abs(answer.solved - truth) if answer.solved is not None else math.nan)
        found[f"+{shift:.0%}"] = {
            "any_alarm": share(alarms.pop("any"), n_draws),
            "checks": {name: n / n_draws for name, n in alarms.most_common()},
            **{name: mean_interval(values) for name, values in rows.items()},
        }
    return found


def tilted(data: Data, shift: float, column: int, seed: int) -> tuple[Sample, Sample]:
    """Draw current articles with the better chance, the more of the section type they hold."""
    sample = data.reference
    n = np.bincount(sample.article)
    of_type = np.bincount(sample.article, weights=sample.truth == column)
    wanted = of_type.sum() / n.sum() + shift
    low, high = 0.0, 50.0
    for _ in range(60):
        tilt = (low + high) / 2
        weight = np.exp(tilt * (of_type / n - 1))
        low, high = (tilt, high) if (weight * of_type).sum() / (weight * n).sum() < wanted else (low, tilt)
    rng = np.random.default_rng(20_000 + seed)
    keys = np.log(weight) + rng.gumbel(size=len(n))
    order = np.argsort(-keys)
    rest = rng.permutation(order[N_CURRENT:])
    return sample.articles(rest[:N_REFERENCE]), sample.articles(order[:N_CURRENT])


# -- figures -----------------------------------------------------------------------------------------------------------


def share(n: int, of: int) -> dict[str, float]:
    """Share with its 95 % interval (Wilson)."""
    z, p = 1.96, n / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return {"share": round(p, 4), "low": round(low, 4), "high": round(high, 4), "n": of}


def mean_interval(values: list[float]) -> dict[str, float]:
    found = np.array(values)
    half = 1.96 * float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    mean = float(found.mean())
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4), "n": len(found)}


def lines(found: dict[str, Any]) -> Iterator[str]:
    for name, row in found.items():
        rate = row["any_alarm"]
        part = f"{row['share_of_paragraphs']:.0%} | " if "share_of_paragraphs" in row else ""
        checks = ", ".join(f"{check} {value:.0%}" for check, value in row["checks"].items())
        yield f"| {name} | {part}{rate['share']:.0%} ({rate['low']:.0%}–{rate['high']:.0%}) | {checks or '–'} |"


def run(n_splits: int, n_draws: int) -> None:
    started = time.perf_counter()
    data = load()
    facts = {
        "articles": data.reference.n_articles,
        "paragraphs": len(data.reference),
        "reference_articles": N_REFERENCE,
        "current_articles": N_CURRENT,
        "model": data.digest[:16],
    }
    results = {
        "facts": facts,
        "false_alarms": false_alarms(data, n_splits),
        "foreign": foreign(data, n_draws),
        "shifted": shifted(data, 2 * n_draws),
    }
    content = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (HERE / "results.json").write_text(content, encoding="utf-8")
    print(facts)
    print(json.dumps(results["false_alarms"]))
    print(*lines(results["foreign"]), *lines(results["shifted"]), sep="\n")
    for name, row in results["shifted"].items():
        print(name, {key: value for key, value in row.items() if key not in ("any_alarm", "checks")})
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        run(arguments.splits, arguments.draws)

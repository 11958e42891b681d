"""What the studies of zero-shot, selection, label noise and weak supervision share: the shipped articles with their
cached vectors, article-safe splits, and intervals over seeds."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from crosshead.corpora.annotations import read_annotations
from crosshead.corpora.duplicates import group_articles
from crosshead.corpora.splits import split_test
from crosshead.encoders.open import open_encoder
from crosshead.labelling.pool import Pool, read_pool
from crosshead.schema import Settings
from crosshead.settings import load_settings
from crosshead.tagging.tagger import read_inputs

ROOT = Path(__file__).resolve().parents[1]
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Data:
    """Annotated paragraphs of the shipped articles, in order."""

    settings: Settings
    encoder: Any
    pool: Pool
    rows: np.ndarray
    vectors: np.ndarray

    @property
    def section_types(self) -> tuple[str, ...]:
        return self.settings.taxonomy.section_types

    @cached_property
    def y(self) -> np.ndarray:
        return self.pool.annotated[self.rows]

    @cached_property
    def by_heading(self) -> np.ndarray:
        return self.pool.by_heading[self.rows]

    @cached_property
    def texts(self) -> list[str]:
        return [self.pool.texts[row] for row in self.rows]

    @cached_property
    def article_ids(self) -> list[str]:
        return [self.pool.article_ids[row] for row in self.rows]

    @cached_property
    def article(self) -> np.ndarray:
        return self.pool.article[self.rows]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        return group_articles(self.texts, self.article_ids).group_ids

    @cached_property
    def facts(self) -> dict[str, Any]:
        lines = (f"{a} {t} {y}" for a, t, y in zip(self.article_ids, self.texts, self.y, strict=True))
        return {
            "articles": len(set(self.article_ids)),
            "paragraphs": len(self.rows),
            "encoder": self.settings.encoder.name,
            "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
        }

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Training and test rows; articles stay whole."""
        names = [self.section_types[label] for label in self.y]
        test = split_test(self.groups, names, strata=names, test_share=TEST_SHARE, seed=seed).is_test
        return np.flatnonzero(~test), np.flatnonzero(test)


def load() -> Data:
    """Read the shipped articles; every vector comes from the cache once the project was trained."""
    settings = load_settings([], ROOT)
    pool = read_pool(settings, (), read_annotations(ROOT / settings.corpus.annotations))
    chosen = settings.encoder
    encoder, _ = open_encoder(chosen.source, settings.cache_dir, name=chosen.name, sha256=chosen.sha256)
    rows = np.flatnonzero(pool.annotated >= 0)
    vectors = read_inputs([pool.texts[row] for row in rows], encoder, with_sentences=False).vectors
    return Data(settings, encoder, pool, rows, vectors)


def fit(
    vectors: np.ndarray, y: np.ndarray, *, C: float = 10.0, weights: np.ndarray | None = None
) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=1000, tol=1e-3).fit(vectors, y, sample_weight=weights)


def macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(y, predicted, average="macro"))


def mean_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean over seeds with its 95 % interval (Student's t)."""
    found = np.asarray(values, dtype=float)
    mean = float(found.mean())
    if len(found) < 2:
        return {"mean": round(mean, 4)}
    half = float(student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4), "n": len(found)}


def shown(interval: Mapping[str, float], digits: int = 3) -> str:
    """Write ``0.812 (0.805–0.819)``."""
    if "low" not in interval:
        return f"{interval['mean']:.{digits}f}"
    return f"{interval['mean']:.{digits}f} ({interval['low']:.{digits}f}–{interval['high']:.{digits}f})"


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

"""Would more articles help? The blend trained on part of the articles, scored on held-out folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosshead.encoders.engines import n_cores
from crosshead.tagging.heads import Floats, log_softmax
from crosshead.training.views import Features, answer, design

N_FOLDS = 2
"""Folds that are scored; more would narrow the intervals and cost as much again."""


@dataclass(frozen=True)
class CurvePoint:
    """What a blend trained on part of the articles says of the held-out rows."""

    n_articles: int
    """Articles and contrast sets trained on, on average over the folds; single paragraphs are trained on besides."""
    rows: NDArray[np.int64]
    proba: Floats


def learning_curve(
    feats: Mapping[str, Features],
    y: NDArray[np.int64],
    article_ids: NDArray[np.str_],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    n_section_types: int,
    *,
    shares: Sequence[float],
    seed: int,
    always: NDArray[np.bool_],
) -> list[CurvePoint]:
    """Train on a growing share of each fold's articles, smaller shares inside larger ones.

    A share that lacks a section type altogether is left out. Rows that are ``always`` trained on belong to no article:
    they are in every part, and not counted.
    """
    asked = [test for _, test in folds[:N_FOLDS]]
    drawn = [
        [_part(article_ids, train, always[train], share, seed + i) for i, (train, _) in enumerate(folds[:N_FOLDS])]
        for share in shares
    ]
    drawn = [parts for parts in drawn if all(len(np.unique(y[rows])) == n_section_types for rows, _ in parts)]
    jobs = [(learned, test) for parts in drawn for (learned, _), test in zip(parts, asked, strict=True)]

    def blend(job: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats:
        learned, test = job
        return _blend(feats, y, learned, test, n_section_types)

    with ThreadPoolExecutor(max_workers=n_cores()) as pool:
        answers = pool.map(blend, jobs)
        return [
            CurvePoint(
                n_articles=round(float(np.mean([n for _, n in parts]))),
                rows=np.concatenate(asked),
                proba=np.concatenate([next(answers) for _ in asked]),
            )
            for parts in drawn
        ]


def _part(
    articles: NDArray[np.str_], train: NDArray[np.int64], always: NDArray[np.bool_], share: float, seed: int
) -> tuple[NDArray[np.int64], int]:
    names = np.unique(articles[train[~always]])
    drawn = np.random.default_rng(seed).permutation(names)[: max(1, round(share * len(names)))]
    return train[always | np.isin(articles[train], drawn)], len(drawn)


def _blend(
    feats: Mapping[str, Features],
    y: NDArray[np.int64],
    learned: NDArray[np.int64],
    asked: NDArray[np.int64],
    n_types: int,
) -> Floats:
    """Blend the views' answers by their weights; uncalibrated, which changes no answer of equal strength."""
    total = sum(found.spec.weight for found in feats.values())
    answers = [
        found.spec.weight / total * answer(design(found, y, learned, asked), found.spec.classifier, n_types)[1]
        for found in feats.values()
    ]
    proba: Floats = np.exp(log_softmax(np.sum(answers, axis=0)))
    return proba

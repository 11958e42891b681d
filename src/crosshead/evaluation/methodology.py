"""Warnings about the evaluation itself, each with a code that can be looked up and tested for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crosshead.evaluation.scores import Scores

FEW_ARTICLES = 30
FEW_PARAGRAPHS = 25
LARGE_ECE = 0.10
WIDE_INTERVAL = 0.10


@dataclass(frozen=True)
class Finding:
    """Something a reader of the scores should know. ``code`` never changes its meaning."""

    code: str
    severity: Literal["note", "warning"]
    message: str


def check_scores(model: str, scores: Mapping[str, Scores]) -> list[Finding]:
    """Look for reasons to distrust the scores of ``model``; the other entries are its baselines.

    CH001 few articles · CH002 section type missing · CH003 section type rare · CH004 wide interval · CH005 not
    better than a baseline · CH006 confidence off.
    """
    own = scores[model]
    found = []
    if own.n_articles < FEW_ARTICLES:
        articles = "1 article was" if own.n_articles == 1 else f"{own.n_articles} articles were"
        why = "the intervals are too narrow" if own.macro_f1.has_ends else "the scores are mostly luck"
        text = f"Only {articles} scored; below {FEW_ARTICLES} {why}."
        found.append(Finding("CH001", "warning", text))
    if own.missing:
        text = f"No paragraph of {', '.join(own.missing)} was scored; macro-F1 is the mean over the others."
        found.append(Finding("CH002", "warning", text))
    if rare := [f"{c.section_type} ({c.support})" for c in own.classes if 0 < c.support < FEW_PARAGRAPHS]:
        text = f"Fewer than {FEW_PARAGRAPHS} paragraphs of {', '.join(rare)} were scored; its scores say little."
        found.append(Finding("CH003", "warning", text))
    f1 = own.macro_f1
    if f1.low is not None and f1.high is not None and f1.high - f1.low > WIDE_INTERVAL:
        text = f"The interval of macro-F1 is {f1.high - f1.low:.2f} wide; more test articles would narrow it."
        found.append(Finding("CH004", "note", text))
    for name, other in scores.items():
        if name != model and f1.value <= other.macro_f1.value:
            text = f"{model} scores {f1.value:.3f} macro-F1, no better than {name} with {other.macro_f1.value:.3f}."
            found.append(Finding("CH005", "warning", text))
    if own.ece.value > LARGE_ECE:
        text = f"Stated confidence is off by {own.ece.value:.2f} on average; calibrate before relying on it."
        found.append(Finding("CH006", "warning", text))
    return found

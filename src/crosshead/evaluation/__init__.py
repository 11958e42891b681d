"""Judging a model: scores with intervals over articles, abstention, label sets, comparisons, and the mistakes.

Functions take the true section types by name or by column number, probabilities with one column for each section
type, and the article of each paragraph. Only numpy is needed.
"""

from __future__ import annotations

from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.comparison import (
    Comparison,
    McNemar,
    PairedDifferences,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_differences,
    paired_set_accuracy,
)
from crosshead.evaluation.conformal import SetCoverage, conformal_quantile, label_sets, set_coverage
from crosshead.evaluation.diagnosis import (
    LENGTH_BUCKETS,
    Bin,
    Example,
    Reliability,
    Slice,
    errors,
    examples_right,
    length_buckets,
    reliability,
    slices,
)
from crosshead.evaluation.methodology import Finding, check_scores
from crosshead.evaluation.scores import ClassScores, Scores, confusion, evaluate, set_accuracy
from crosshead.evaluation.selective import ABSTAIN_ALWAYS, RiskCoverage, abstention_threshold, risk_coverage

__all__ = [
    "ABSTAIN_ALWAYS",
    "LENGTH_BUCKETS",
    "Bin",
    "ClassScores",
    "Comparison",
    "Example",
    "Finding",
    "Interval",
    "McNemar",
    "PairedDifferences",
    "Reliability",
    "RiskCoverage",
    "Scores",
    "SetCoverage",
    "Slice",
    "abstention_threshold",
    "check_scores",
    "conformal_quantile",
    "confusion",
    "errors",
    "evaluate",
    "examples_right",
    "holm",
    "label_sets",
    "length_buckets",
    "mcnemar",
    "paired_bootstrap",
    "paired_differences",
    "paired_set_accuracy",
    "reliability",
    "risk_coverage",
    "set_accuracy",
    "set_coverage",
    "slices",
]

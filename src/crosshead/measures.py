"""What scores are called: one name for each measure, wherever people read it, and what it means in plain words."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "ECE",
    "coverage": "coverage",
    "risk": "selective risk",
    "set_accuracy": "contrast sets right",
}
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "risk"})
PLAIN = {
    "accuracy": "share right",
    "ece": "expected calibration error, the mean gap between stated confidence and accuracy",
    "coverage": "share answered, not abstained",
    "risk": "share of these answers that is wrong",
}


def title(measure: str) -> str:
    """Name a measure, with an arrow where less is better.

    Examples
    --------
    >>> title("risk"), title("accuracy")
    ('selective risk ↓', 'accuracy')
    """
    return NAMES[measure] + (" ↓" if measure in LOWER_IS_BETTER else "")


def explained(measures: Iterable[str]) -> str:
    """Say in plain words what the names of these measures mean, where they need it.

    Examples
    --------
    >>> explained(["macro_f1", "coverage", "risk"])
    'coverage: share answered, not abstained · selective risk: share of these answers that is wrong'
    """
    known = set(measures)
    return " · ".join(f"{NAMES[measure]}: {words}" for measure, words in PLAIN.items() if measure in known)

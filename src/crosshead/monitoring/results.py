"""What monitoring found, as plain values: for the terminal, JSON, the page and MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.comparison import holm
from crosshead.records.log_items import LogItem, Metric, Param

Verdict = Literal["ok", "notice", "alarm", "left out"]
NOTICE = 5.0
"""A notice may come from chance this many times as often as an alarm."""
TRAINED_WITH = "trained_with"
"""What was typed to make the model, among what is known of it; left out where the project does not say."""
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    name: str
    title: str
    about: str
    """What the values are."""
    form: Literal["percent", "number"] = "percent"
    reference: Interval | None = None
    current: Interval | None = None
    change: float | None = None
    """How large the change is, on a scale that does not depend on how many paragraphs there are."""
    matters: float = 0.0
    """A change below this is too small for an alarm, however sure it is."""
    p_value: float | None = None
    gap: str = ""
    """What ``change`` is, where the values shown do not tell it."""
    left_out: str = ""
    """Why it was not compared."""
    details: Mapping[str, Any] = field(default_factory=dict)
    adjusted: float | None = None
    """The p-value, corrected for all checks that were made."""
    verdict: Verdict = "left out"

    @property
    def counts(self) -> bool:
        """Whether the change is large enough to matter."""
        return self.change is not None and self.change >= self.matters

    def as_dict(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        found = asdict(self) | {name: _as_dict(getattr(self, name)) for name in ("reference", "current")}
        return {name: value for name, value in found.items() if value not in (None, "", {})}


@dataclass(frozen=True)
class ClassShare:
    """How often a section type was answered, and how often it probably stands there."""

    section_type: str
    reference: Interval
    current: Interval
    corrected_reference: Interval | None = None
    corrected: Interval | None = None
    """By EM."""
    solved: float | None = None
    """By BBSE."""


@dataclass(frozen=True)
class Word:
    """A term that tells the sides apart, and in what share of each side's articles it stands."""

    term: str
    reference: float
    current: float
    weight: float


@dataclass(frozen=True)
class Unlike:
    """A current paragraph that looks least like the reference."""

    paragraph_id: str
    text: str
    section_type: str | None
    confidence: float | None


@dataclass(frozen=True)
class About:
    """What one side was."""

    name: str
    n_paragraphs: int
    n_articles: int
    n_articles_seen: int
    n_learnt: int
    n_failed: int
    languages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """What monitoring found."""

    checks: tuple[Check, ...]
    reference: About
    current: About
    model: Mapping[str, str]
    false_alarms: float
    classes: tuple[ClassShare, ...] = ()
    words: tuple[Word, ...] = ()
    unlike: tuple[Unlike, ...] = ()
    histograms: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Shares of paragraphs by bin, for the plots."""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks."""
        found = {check.verdict for check in self.checks}
        return next((v for v in ("alarm", "notice", "ok") if v in found), "left out")

    def of(self, verdict: Verdict) -> list[Check]:
        """Return the checks with this verdict, the surest first."""
        chosen = [check for check in self.checks if check.verdict == verdict]
        return sorted(chosen, key=lambda check: math.inf if check.adjusted is None else check.adjusted)

    def as_dict(self) -> dict[str, Any]:
        """Return a mapping for JSON; it holds words, but no paragraph."""
        return {
            "verdict": self.verdict,
            "false_alarms": self.false_alarms,
            "model": dict(self.model),
            "reference": asdict(self.reference),
            "current": asdict(self.current),
            "checks": [check.as_dict() for check in self.checks],
            "section_types": [
                {key: _as_dict(value) for key, value in vars(share).items() if value is not None}
                for share in self.classes
            ],
            "words": [asdict(word) for word in self.words],
            "notes": list(self.notes),
        }


def judged(checks: list[Check], false_alarms: float) -> tuple[Check, ...]:
    """Correct the p-values for being several, and judge.

    Where nothing has changed, the chance that any check stands at alarm is ``false_alarms`` at most.
    """
    adjusted = holm([check.p_value for check in checks])
    return tuple(
        replace(check, adjusted=p, verdict=_verdict(check, p, false_alarms))
        for check, p in zip(checks, adjusted, strict=True)
    )


def _verdict(check: Check, p: float | None, false_alarms: float) -> Verdict:
    if p is None:
        return "left out"
    if p <= false_alarms and check.counts:
        return "alarm"
    return "notice" if p <= min(1.0, NOTICE * false_alarms) else "ok"


def describe(drift: Drift) -> Iterator[LogItem]:
    """Say what a run should record; no text."""
    yield Param("false_alarms", drift.false_alarms)
    for name, about in (("reference", drift.reference), ("current", drift.current)):
        yield Param(name, about.name)
        yield Metric(f"{name}_paragraphs", about.n_paragraphs)
        yield Metric(f"{name}_articles", about.n_articles)
    for name, value in drift.model.items():
        yield Param(f"model_{name}", value)
    yield Metric("alarms", len(drift.of("alarm")))
    yield Metric("notices", len(drift.of("notice")))
    for check in drift.checks:
        values = {
            "reference": check.reference.value if check.reference else None,
            "current": check.current.value if check.current else None,
            "change": check.change,
            "p": check.adjusted,
        }
        yield from (Metric(f"{check.name}_{key}", value) for key, value in values.items() if value is not None)
    for share in drift.classes:
        yield Metric(f"share_{share.section_type}", share.current.value)
        if share.corrected is not None:
            yield Metric(f"corrected_share_{share.section_type}", share.corrected.value)


def _as_dict(value: Any) -> Any:
    return value.as_dict() if isinstance(value, Interval) else value

"""Results in plain words, for the terminal and the page."""

from __future__ import annotations

from crosshead.evaluation.bootstrap import Interval
from crosshead.monitoring.results import TRAINED_WITH, Check, Drift

VERDICTS = {
    "alarm": "the text has changed",
    "notice": "something may have changed",
    "ok": "no change that can be told from chance",
    "left out": "nothing could be compared",
}


def sentences(drift: Drift) -> list[str]:
    """Say in plain sentences what the results mean."""
    made = [check for check in drift.checks if not check.left_out]
    told = [
        f"{VERDICTS[drift.verdict][:1].upper()}{VERDICTS[drift.verdict][1:]}: {len(drift.of('alarm'))} of "
        f"{len(made)} checks stand at alarm, {len(drift.of('notice'))} at notice."
    ]
    told += [_sentence(check) for check in (*drift.of("alarm"), *drift.of("notice"))]
    names = {check.name for check in drift.of("alarm")}
    if "embedding" in names and names & {"corrected_shares", "class_shares"}:
        told.append(
            "Paragraphs themselves read otherwise than before, so the corrected shares, which assume that only the "
            "mixture has changed, are in doubt."
        )
    if drift.verdict == "alarm":
        again = f"train again{how_to_train(drift)}"
        told.append(f"Read some of the paragraphs, label the unlike ones, {again}, and promote what is better.")
    return told


def how_to_train(drift: Drift) -> str:
    """Say in brackets what to type, or that nobody knows; nothing where no model is known."""
    if command := drift.model.get(TRAINED_WITH):
        return f" ({command})"
    return " (with which overrides this model was trained is not recorded in this project)" if drift.model else ""


def _sentence(check: Check) -> str:
    p = p_text(check.adjusted)
    if check.reference is None:
        return f"{check.title}: {check.about} {value_text(check, check.current)}, p {p}."
    of = f" ({next(iter(check.details.values()))})" if check.details else ""
    change = f"{value_text(check, check.reference)} → {value_text(check, check.current)}"
    apart = f"; {check.gap.format(f'{100 * (check.change or 0):.0f} points')}" if check.gap else ""
    return f"{check.title}{of}: {check.about} {change}{apart}; p {p}."


def value_text(check: Check, interval: Interval | None, *, with_ends: bool = False) -> str:
    """Write a value of a check, with its interval if wanted."""
    if interval is None:
        return "–"
    text = _number(check, interval.value)
    if not with_ends or interval.low is None or interval.high is None:
        return text
    low, high = _number(check, interval.low), _number(check, interval.high)
    return f"{text} ({low.removesuffix(' %')}–{high.removesuffix(' %')})"


def _number(check: Check, value: float) -> str:
    if check.form == "percent":
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def p_text(p: float | None) -> str:
    """Write a p-value; never 0."""
    return "–" if p is None else "under 0.001" if p < 0.001 else f"{p:.3f}"


def reasons(drift: Drift) -> dict[str, list[str]]:
    """Say why checks were not made: the checks by reason."""
    found: dict[str, list[str]] = {}
    for check in drift.checks:
        if check.left_out:
            found.setdefault(check.left_out, []).append(check.title)
    return found

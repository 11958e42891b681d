"""The gate of promotion: is a tagger good enough to be the champion? Limits, checks, and the decision as a record."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from crosshead.evaluation import Comparison, PairedDifferences, evaluate, paired_differences
from crosshead.records.predictions import Predictions
from crosshead.reporting.report_text import markdown_cell, signed
from crosshead.schema import PromotionSettings
from crosshead.tagging.tagger import Tagger

N_WARM, MIN_ROUNDS, MAX_ROUNDS = 2, 14, 400
_SENTENCES = (
    "The column left the depot before dawn and reached the second bridge by nine, where it stopped for want of fuel.",
    "Officials across the border said that four thousand people had crossed in two days and that the school was full.",
    "The envoy flew on to the lake town, carrying a draft that neither delegation had seen in full.",
    "In the market the price of flour had doubled since the road was cut, and the mill ran for three hours a day.",
    "A retired teacher who keeps the town's archive remembers the last time that the river froze in March.",
    "The council put off its vote until Thursday, when the observers are to report on both crossings.",
)


@dataclass(frozen=True)
class Check:
    """One condition, whether it holds, and the figures."""

    name: str
    holds: bool
    said: str


@dataclass(frozen=True)
class Side:
    """A tagger that takes part in a decision."""

    run_id: str
    version: int | None
    """None where the run is not registered."""
    bundle_digest: str


@dataclass(frozen=True)
class Decision:
    """What was decided, on what grounds, when and by whom."""

    candidate: Side
    champion: Side | None
    """The champion until then."""
    checks: tuple[Check, ...]
    limits: PromotionSettings
    decided_at: str
    decided_by: str

    @property
    def holds(self) -> bool:
        """Whether every condition holds."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> str:
        """Write everything."""
        content = {**asdict(self), "limits": self.limits.model_dump(), "promoted": self.holds}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    def to_markdown(self) -> str:
        """Write it for people."""
        verdict = "good enough" if self.holds else "not good enough"
        against = f"the champion (version {self.champion.version})" if self.champion else "its baselines"
        lines = [f"# {_name(self.candidate)} is {verdict} to be the champion", ""]
        lines += [f"Measured against {against}, {self.decided_at}, by {markdown_cell(self.decided_by)}.", ""]
        lines += ["| | condition | figures |", "|---|---|---|"]
        lines += [
            f"| {'✓' if c.holds else '✗'} | {markdown_cell(c.name)} | {markdown_cell(c.said)} |" for c in self.checks
        ]
        return "\n".join(lines) + "\n"


def _name(side: Side) -> str:
    return f"version {side.version}" if side.version is not None else f"run {side.run_id}"


# -- quality -----------------------------------------------------------------------------------------------------------


def check_against_champion(
    candidate: Predictions, standing: Predictions, limits: PromotionSettings, *, seed: int
) -> Iterator[Check]:
    """Check that no section type gets worse by more than the margin, and that the whole gets better.

    Both hold the same articles in the same order. Every section type must pass, so no correction for their number is
    due: testing several conditions that must all hold makes an error less likely, not more.

    References
    ----------
    Berger (1982), Multiparameter hypothesis testing and acceptance sampling, doi:10.2307/1267823.
    """
    found = _differences(candidate, standing.model, limits, seed)
    yield _better("better overall than the champion", found.overall["macro_f1"], limits)
    for name in candidate.section_types:
        yield _not_worse(name, found.f1.get(name), limits)


def check_against_baselines(candidate: Predictions, limits: PromotionSettings, *, seed: int) -> Iterator[Check]:
    """Check that the tagger is better overall than each of its baselines."""
    if not candidate.baselines:
        yield Check("better than its baselines", False, "the run kept no baselines to compare with; evaluate it again")
    for name, proba in candidate.baselines.items():
        found = _differences(candidate, proba, limits, seed)
        yield _better(f"better overall than {name}", found.overall["macro_f1"], limits)


def check_calibration(candidate: Predictions, limits: PromotionSettings) -> Check:
    """Check that stated confidence is near the share that is right."""
    scores = evaluate(candidate.y, candidate.model, candidate.article_ids, candidate.section_types, n_resamples=0)
    ece = scores.ece.value
    return Check("calibrated", ece <= limits.max_ece, f"ECE {ece:.3f}, at most {limits.max_ece:g}")


def _differences(candidate: Predictions, other: np.ndarray, limits: PromotionSettings, seed: int) -> PairedDifferences:
    return paired_differences(
        candidate.y,
        other,
        candidate.model,
        candidate.article_ids,
        candidate.section_types,
        n_resamples=limits.n_resamples,
        seed=seed,
    )


def _better(name: str, comparison: Comparison, limits: PromotionSettings) -> Check:
    bound = comparison.gain_at_least(limits.level)
    if bound is None:
        return Check(name, False, "too few held-out articles to say")
    return Check(name, bound > 0, f"macro-F1 {_change(comparison, bound, limits)}, must be above 0")


def _not_worse(section_type: str, comparison: Comparison | None, limits: PromotionSettings) -> Check:
    name = f"no worse at {section_type}"
    bound = comparison.gain_at_least(limits.level) if comparison else None
    if comparison is None or bound is None:
        return Check(name, False, "cannot be shown: too few held-out paragraphs of it")
    said = f"F1 {_change(comparison, bound, limits)}, must not be below {signed(-limits.margin)}"
    return Check(name, bound >= -limits.margin, said)


def _change(comparison: Comparison, bound: float, limits: PromotionSettings) -> str:
    return f"{comparison.a:.3f} → {comparison.b:.3f}; difference at least {signed(bound)} ({limits.level:.0%} sure)"


# -- cost --------------------------------------------------------------------------------------------------------------


def check_size(n_bytes: int, limits: PromotionSettings) -> Check:
    """Check that the bundle is not too large."""
    return Check("size", n_bytes <= limits.max_mb * 1e6, f"{n_bytes / 1e6:.1f} MB, at most {limits.max_mb:g} MB")


def check_latency(candidate: Tagger, standing: Tagger, limits: PromotionSettings) -> Check:
    """Check, side by side in this process, that an article does not take too much longer."""
    ratio, seconds = latency_ratio(candidate, standing)
    said = (
        f"{ratio:.2f} times the champion's, at most {limits.max_latency_ratio:g} ({seconds * 1000:.1f} ms an article)"
    )
    return Check("latency", ratio <= limits.max_latency_ratio, said)


def latency_ratio(
    candidate: Tagger, standing: Tagger, *, seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Measure how much longer the candidate takes for an article, and its seconds; in about ``seconds`` altogether.

    The two take turns, first one and then the other, so that whatever else the machine does meets both; the medians
    are compared.
    """
    spent: tuple[list[float], list[float]] = ([], [])
    began = clock()
    for i in range(MAX_ROUNDS):
        if i >= MIN_ROUNDS and clock() - began > seconds:
            break
        article = sample_article(i)
        for side in (0, 1) if i % 2 else (1, 0):
            started = clock()
            (candidate, standing)[side].tag_article(article)
            spent[side].append(clock() - started)
    # The first rounds load and warm what the taggers need.
    own, other = (statistics.median(times[N_WARM:]) for times in spent)
    return own / max(other, 1e-9), own


def sample_article(number: int) -> Sequence[str]:
    """Make an article of eight paragraphs of about eighty words; each number gives other texts."""
    n = len(_SENTENCES)
    return [
        " ".join(f"{_SENTENCES[(i + j) % n]}" for j in range(4)) + f" That was on day {number * 8 + i + 17}."
        for i in range(8)
    ]

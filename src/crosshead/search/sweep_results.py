"""What came out of a sweep: its jobs, the table of them, and what their runs record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.comparison import paired_bootstrap
from crosshead.records import predictions
from crosshead.records.lineage import git_state, learned_from, lineage
from crosshead.records.log_items import FileArtifact, LogItem, Metric, Param, Tag, TextArtifact, flatten
from crosshead.schema import Settings
from crosshead.search.measuring import Data, Measured
from crosshead.settings import to_yaml

OUTCOME, OUT_OF_FOLD = "outcome.json", "out_of_fold.npz"
APART = "*"
"""Marks jobs that were measured on other paragraphs."""
KIND, OVERRIDES = "crosshead.kind", "crosshead.overrides"
"""Tags of runs: what the run is, and the overrides that made it."""


@dataclass(frozen=True)
class Outcome:
    """What came out of one job."""

    number: int
    overrides: tuple[str, ...]
    label: str
    """The overrides in which the jobs of the sweep differ."""
    seconds: float
    error: str | None = None
    config_digest: str = ""
    dataset_digest: str = ""
    cross_validated: dict[str, Any] | None = None
    """Scores on the training articles, as `Scores.as_dict` writes them."""
    test: dict[str, Any] | None = None
    run_id: str | None = None
    unsent: str = ""
    """Why the store did not take the results; they are kept on disk."""

    @property
    def n_paragraphs(self) -> int:
        """Training paragraphs that cross-validation measured; fewer where a fine-tuned encoder has seen the others."""
        return int(self.cross_validated["n_paragraphs"]) if self.cross_validated else 0

    @property
    def macro_f1(self) -> float:
        """Cross-validated macro-F1, by which jobs are ranked; the held-out articles choose nothing."""
        return float(self.cross_validated["macro_f1"]["value"]) if self.cross_validated else float("-inf")


@dataclass(frozen=True)
class Sweep:
    """All jobs of a sweep, best first; then those that are ranked apart, failed ones last."""

    folder: Path
    outcomes: tuple[Outcome, ...]
    behind: Mapping[int, Interval]
    """By job number: how much less macro-F1 than the best job, on the out-of-fold paragraphs that both have."""
    run_id: str | None = None
    unsent: str = ""
    """Why the store did not take the summary; it is kept on disk."""
    apart: frozenset[int] = frozenset()
    """Numbers of the jobs that were measured on other paragraphs of the same table, as with a fine-tuned encoder."""

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The jobs that ended with an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.error)

    @property
    def notes(self) -> list[str]:
        """What a reader of the table should know."""
        notes = ["Ranked by cross-validation on the training articles; intervals are 95 %, from resampling articles."]
        if len({outcome.dataset_digest for outcome in self.outcomes if not outcome.error}) > 1:
            notes.append(
                "Not all jobs had the same paragraph table; only jobs with the best one's can be compared to it."
            )
        if self.apart:
            notes.append(
                f"{APART} Ranked apart, and never the best: the encoder was fine-tuned on some of the paragraphs, so "
                "the job was measured on the others alone. Its difference is on those that the best job has too, and "
                "its models learned from more articles there."
            )
        return notes


def rank(folder: Path, outcomes: Sequence[Outcome], run_id: str | None = None) -> Sweep:
    """Put the jobs in order, and compare each with the best one, paragraph by paragraph.

    Scores on different paragraphs of one table say nothing of which job is better, so the jobs that were measured on
    the most of them come first, and the others apart.
    """
    apart = _measured_on_others(folder, outcomes)
    ranked = tuple(sorted(outcomes, key=lambda o: (bool(o.error), o.number in apart, -o.macro_f1, o.number)))
    good = [outcome for outcome in ranked if not outcome.error]
    behind: dict[int, Interval] = {}
    for outcome in good[1:]:
        if outcome.dataset_digest != good[0].dataset_digest:
            continue
        best, own = (_out_of_fold(folder, job) for job in (good[0], outcome))
        if outcome.number in apart:
            _, of_best, of_own = np.intersect1d(best["paragraph_id"], own["paragraph_id"], return_indices=True)
            best, own = (
                {name: rows[which] for name, rows in a.items()} for a, which in ((best, of_best), (own, of_own))
            )
        if len(own["y"]):
            compared = paired_bootstrap(best["y"], best["proba"], own["proba"], best["article_id"])
            behind[outcome.number] = compared.difference
    return Sweep(folder, ranked, behind, run_id, apart=apart)


def _measured_on_others(folder: Path, outcomes: Sequence[Outcome]) -> frozenset[int]:
    """Name the jobs whose paragraphs are not those of the job that has the most, for each table by itself."""
    good = [outcome for outcome in outcomes if not outcome.error]
    if len(good) < 2:
        return frozenset()
    measured = {job.number: frozenset(_out_of_fold(folder, job)["paragraph_id"].tolist()) for job in good}
    most: dict[str, frozenset[str]] = {}
    for job in sorted(good, key=lambda job: job.number):
        if len(measured[job.number]) > len(most.get(job.dataset_digest, ())):
            most[job.dataset_digest] = measured[job.number]
    return frozenset(job.number for job in good if measured[job.number] != most[job.dataset_digest])


def _out_of_fold(folder: Path, outcome: Outcome) -> dict[str, Any]:
    with np.load(folder / str(outcome.number) / OUT_OF_FOLD, allow_pickle=False) as arrays:
        return dict(arrays)


def describe_job(
    settings: Settings, outcome: Outcome, folder: Path, data: Data, measured: Measured
) -> Iterator[LogItem]:
    """Say what the run of a job should record."""
    yield from flatten(settings.resolved)
    yield from lineage(git_state(settings.root), outcome.config_digest, to_yaml(settings.resolved))
    yield TextArtifact("overrides.txt", "".join(f"{override}\n" for override in outcome.overrides))
    yield from learned_from(data.digest, len(data.paragraphs.texts))
    yield Metric("seconds", outcome.seconds)
    yield Metric("cache_hit_rate", measured.cache_use.hit_rate)
    for name, value in measured.cross_validated.metrics().items():
        yield Metric(f"cv_{name}", value)
    for name, value in measured.test.metrics().items():
        yield Metric(f"test_{name}", value)
    if measured.set_accuracy is not None:
        yield Metric("test_set_accuracy", measured.set_accuracy.value)
    for file in (predictions.FILE, OUT_OF_FOLD):
        yield FileArtifact(folder / file)


def describe(sweep: Sweep) -> Iterator[LogItem]:
    """Say what the parent run should record."""
    yield Param("n_jobs", len(sweep.outcomes))
    yield Metric("n_failed", len(sweep.failed))
    table = to_markdown(sweep)
    yield TextArtifact("sweep.md", table)
    yield Tag("mlflow.note.content", table)
    best = sweep.outcomes[0]
    if best.error is None:
        yield Metric("best_cv_macro_f1", best.macro_f1)
        yield Tag("crosshead.best", best.label)
        yield Tag("crosshead.best_run", best.run_id or "")


def columns(sweep: Sweep) -> list[str]:
    """Name the columns of the table; how many paragraphs were measured stands there where it is not always the same."""
    counted = ["paragraphs"] if sweep.apart else []
    others = ["behind the best", "macro-F1, held out", "log-loss, held out", "seconds"]
    return ["macro-F1, cross-validated", *counted, *others]


def cells(sweep: Sweep, outcome: Outcome) -> list[str]:
    """Return a job's cells, in the order of `columns`; none where it failed."""
    if outcome.cross_validated is None or outcome.test is None:
        return []
    behind = sweep.behind.get(outcome.number)
    return [
        shown(outcome.cross_validated["macro_f1"]),
        *([f"{outcome.n_paragraphs:,}{APART if outcome.number in sweep.apart else ''}"] if sweep.apart else []),
        shown(behind.as_dict(), sign=True) if behind else "",
        shown(outcome.test["macro_f1"]),
        f"{outcome.test['log_loss']['value']:.3f}",
        f"{outcome.seconds:.1f}",
    ]


def to_markdown(sweep: Sweep) -> str:
    """Write the jobs as a table, best first."""
    names = columns(sweep)
    lines = [f"| job | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for outcome in sweep.outcomes:
        row = cells(sweep, outcome) or [
            f"failed: {outcome.error}",
            *[""] * (len(names) - 2),
            f"{outcome.seconds:.1f}",
        ]
        lines.append("| " + " | ".join(_cell(text) for text in (outcome.label, *row)) + " |")
    return "\n".join([*lines, "", *sweep.notes]) + "\n"


def shown(interval: Mapping[str, Any], *, sign: bool = False) -> str:
    """Write ``0.872 (0.852–0.889)``, and a difference as ``-0.012 (-0.020 to -0.003)``."""
    form, dash = ("+.3f", " to ") if sign else (".3f", "–")
    value = f"{interval['value']:{form}}"
    if interval["low"] is None or interval["high"] is None:
        return value
    return f"{value} ({interval['low']:{form}}{dash}{interval['high']:{form}})"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

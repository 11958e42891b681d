"""The report of a run: one HTML file that opens anywhere, asks nothing of the network, and prints.

`ReportData` holds what was measured; what is left out is not shown. Every text from articles and from the
configuration passes through Jinja's escaping.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from crosshead import measures
from crosshead.errors import DataError
from crosshead.evaluation import (
    Comparison,
    Example,
    Finding,
    Interval,
    McNemar,
    Reliability,
    RiskCoverage,
    Scores,
    SetCoverage,
    Slice,
)
from crosshead.reporting.plots import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    ON_ACCENT,
    SERIES,
    LearningPoint,
    Plot,
    plot_class_f1,
    plot_confusion,
    plot_learning_curve,
    plot_reliability,
    plot_risk_coverage,
    readable,
)
from crosshead.reporting.report_text import ABOUT, clip, interval_html, percent, summarise, whole
from crosshead.text import counted

N_ERRORS_OPEN = 8
POINTS_PER_REM = 12
LARGE_SLICE = (30, 5)
MAX_ERROR_BYTES = 1_600_000
THEME = {
    INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent", ON_ACCENT: "on-accent",
    SERIES[1]: "second", SERIES[2]: "third", SERIES[3]: "fourth",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of words, for what the report does not know by itself."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report made elsewhere: sentences, tables, plots."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """What a report can show. Only ``title``, ``model`` and ``scores`` are needed."""

    title: str
    model: str
    """The entry of ``scores`` that the report is about; the others stand beside it as baselines."""
    scores: Mapping[str, Scores]
    made_of: str = ""
    """What the model is, for the head of the report; its entry's name where this is empty."""
    created: str = ""
    """Date and time as they should be read; the report asks no clock."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What a model does, by its name, in a few plain words."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """What each section type is about."""
    findings: Sequence[Finding] = ()
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """Difference between the model (b) and a baseline (a), by the baseline's name."""
    mcnemar: Mapping[str, McNemar] = field(default_factory=dict)
    confusion: NDArray[np.intp] | None = None
    reliability: Reliability | None = None
    risk_coverage: RiskCoverage | None = None
    threshold: float | None = None
    risk: float | None = None
    label_sets: SetCoverage | None = None
    alpha: float | None = None
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    learning_curve: Mapping[str, Sequence[LearningPoint]] = field(default_factory=dict)
    set_accuracy: Mapping[str, Interval] = field(default_factory=dict)
    """Share of contrast sets tagged right as a whole, by model."""
    n_truncated: int | None = None
    """How many of the scored paragraphs were longer than the encoder reads."""
    duplicates: Sequence[str] | None = None
    leaks: Sequence[str] | None = None
    headings: Section | None = None
    telling_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    right: Sequence[Example] = ()
    errors: Sequence[Example] = ()
    extra: Sequence[Section] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    config: str = ""

    def __post_init__(self) -> None:
        """Refuse a model without scores.

        Raises
        ------
        DataError : if ``model`` is not in ``scores``.
        """
        if self.model not in self.scores:
            known = ", ".join(self.scores) or "empty"
            raise DataError(f"model is {self.model!r}, but the scores are of: {known}; name the one to report on")

    @property
    def own(self) -> Scores:
        """The scores of the model that the report is about."""
        return self.scores[self.model]

    @property
    def named(self) -> str:
        """How sentences call the model: by its own name, unless that is only "model"."""
        return "the model" if self.model == "model" else self.model

    @property
    def baselines(self) -> dict[str, Scores]:
        """The scores of the others."""
        return {name: scores for name, scores in self.scores.items() if name != self.model}


def write_report(path: Path, data: ReportData) -> Path:
    """Write the report as one HTML file, whole or not at all; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(render_report(data).encode("utf-8", "replace"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def draw_plots(data: ReportData) -> dict[str, Plot]:
    """Draw the plots for which there is something to draw, by name."""
    section_types = [c.section_type for c in data.own.classes]
    plots = {"class_f1": plot_class_f1({data.model: data.own, **data.baselines})}
    if data.confusion is not None:
        plots["confusion"] = plot_confusion(data.confusion, section_types)
    if data.reliability is not None:
        plots["reliability"] = plot_reliability(data.reliability, ece=data.own.ece)
    if data.risk_coverage is not None:
        plots["risk_coverage"] = plot_risk_coverage(data.risk_coverage, threshold=data.threshold, risk=data.risk)
    if data.learning_curve:
        plots["learning_curve"] = plot_learning_curve(data.learning_curve)
    return plots


def render_report(data: ReportData, plots: Mapping[str, Plot] | None = None) -> str:
    """Return the report as HTML; ``plots`` saves drawing them again."""
    shown = list(within_budget(data.errors))
    drawn = draw_plots(data) if plots is None else plots
    hues = {c.section_type: i % 6 for i, c in enumerate(data.own.classes)}
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            plots={name: inline_plot(plot, name) for name, plot in drawn.items()},
            chapters=chapters(data),
            summary=summarise(data),
            about={**ABOUT, **data.about},
            measure_names=measures.NAMES,
            hues=hues,
            errors_open=shown[:N_ERRORS_OPEN],
            error_groups=by_confusion(shown),
            n_left_out=len(data.errors) - len(shown),
        )
    )


@cache
def environment() -> Environment:
    """Return where pages are made: templates of this package, every text escaped, no name misspelt."""
    made = Environment(
        loader=PackageLoader("crosshead"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["is_large"] = is_large
    made.filters.update(
        readable=readable,
        interval=interval_html,
        percent=percent,
        clip=clip,
        inline=inline_plot,
        whole=whole,
        counted=counted,
    )
    return made


def is_large(row: Slice) -> bool:
    """Whether a slice has enough paragraphs and articles to stand in the open."""
    return row.n_paragraphs >= LARGE_SLICE[0] and row.n_articles >= LARGE_SLICE[1]


def inline_plot(plot: Plot, name: str) -> Markup:
    """Put a plot into the page: SVG with ids of its own and the page's colours, PNG as data."""
    if plot.format == "png":
        data = base64.b64encode(plot.data).decode("ascii")
        return Markup(f'<img src="data:image/png;base64,{data}" alt="{escape(plot.alt)}">')
    svg = plot.data.decode("utf-8")
    svg = svg[svg.index("<svg") :]
    for part in ("metadata", "style"):
        svg = re.sub(rf"<{part}\b.*?</{part}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    for colour, role in THEME.items():
        svg = svg.replace(colour, f"var(--{role})")
    svg = re.sub(r"font: ([^;\"]*?)'[^']*'(?:, [^;\"]*)?", r"font: \1var(--sans)", svg)
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    size = f'style="max-width: {float(width.group(1)) / POINTS_PER_REM:.1f}rem"' if width else ""
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(plot.alt)}" {size}', 1))


def within_budget(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield examples until their texts would make the file unwieldy."""
    spent = 0
    for i, example in enumerate(examples):
        # The first few stand in the page twice.
        size = len(escape(clip(example.text)).encode("utf-8", "replace")) + 900
        spent += 2 * size if i < N_ERRORS_OPEN else size
        if spent > MAX_ERROR_BYTES:
            return
        yield example


def by_confusion(examples: Sequence[Example]) -> list[tuple[str, str, list[Example]]]:
    """Group mistakes by true and given section type, the largest group first; the order within is kept."""

    def pair(example: Example) -> tuple[str, str]:
        return example.section_type, example.predicted

    grouped = [(*key, list(rows)) for key, rows in groupby(sorted(examples, key=pair), key=pair)]
    return sorted(grouped, key=lambda group: -len(group[2]))


def chapters(data: ReportData) -> dict[str, str]:
    """Name the parts that this report has, by their anchors, in order."""
    checked = (data.set_accuracy, data.duplicates is not None, data.leaks is not None, data.n_truncated is not None)
    parts: list[tuple[str, str, Any]] = [
        ("summary", "In short", True),
        ("findings", "What to keep in mind", data.findings),
        ("scores", "Scores", True),
        ("classes", "Each section type", True),
        ("confusion", "What is taken for what", data.confusion is not None),
        ("confidence", "Is it as sure as it should be?", data.reliability is not None or data.label_sets is not None),
        ("unsure", "Answering only when sure", data.risk_coverage is not None),
        ("slices", "Where it does better and worse", data.slices),
        ("learning", "Would more articles help?", data.learning_curve),
        ("checks", "Checks on the data", any(checked)),
        ("headings", data.headings.title if data.headings else "", data.headings),
        ("words", "Telling words", data.telling_words),
        *((f"extra-{i}", section.title, True) for i, section in enumerate(data.extra)),
        ("right", "Paragraphs it got right", data.right),
        ("errors", "Paragraphs it got wrong", data.errors),
        ("reading", "How to read this", True),
        ("facts", "How this was made", data.facts or data.config),
    ]
    return {anchor: title for anchor, title, present in parts if present}

"""Plots of a comparison: shares of section types, and distributions of both sides."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from crosshead.evaluation.bootstrap import Interval
from crosshead.monitoring.results import ClassShare
from crosshead.reporting.plots import ACCENT, MARKERS, SERIES, STYLE, Plot, finish, new_figure, readable

TITLES = {
    "confidence": "Confidence",
    "length": "Words in a paragraph",
    "unknown_words": "Share of unknown words",
    "embedding": "How current a paragraph looks",
}
_SIDES = (("reference", ACCENT, "-"), ("current", SERIES[1], "--"))


def plot_shares(classes: Sequence[ClassShare]) -> Plot:
    """Draw each section type's share on both sides, and the corrected current share, with intervals."""
    series: list[tuple[str, list[Interval | None]]] = [
        ("reference", [share.reference for share in classes]),
        ("current", [share.current for share in classes]),
        ("current, corrected", [share.corrected for share in classes]),
    ]
    told = []
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = new_figure(6.6, 1.1 + 0.75 * len(classes))
        for i, (name, intervals) in enumerate(series):
            if any(interval is None for interval in intervals):
                continue
            for row, interval in enumerate(intervals):
                assert interval is not None
                _dot(axes, row + (i - 1) * 0.23, interval, i, name if row == 0 else "_nolegend_")
        rows = [textwrap.fill(readable(share.section_type), 22) for share in classes]
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, None), xlabel="Share of paragraphs")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", ncols=3, handletextpad=0.3)
        for share in classes:
            corrected = f", corrected {share.corrected.value:.0%}" if share.corrected else ""
            told.append(
                f"{readable(share.section_type)}: {share.reference.value:.0%}, now {share.current.value:.0%}{corrected}"
            )
        return finish(figure, f"Shares of section types with 95 % intervals. {'; '.join(told)}.", "svg")


def _dot(axes: Any, row: float, interval: Interval, series: int, label: str) -> None:
    colour = SERIES[series]
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2)
    axes.plot(
        [interval.value],
        [row],
        color=colour,
        marker=MARKERS[series],
        markersize=6,
        linestyle="none",
        label=label,
        clip_on=False,
    )


def plot_distributions(histograms: Mapping[str, Mapping[str, Sequence[float]]]) -> Plot | None:
    """Draw how many paragraphs of each side lie below each value; None where nothing is known."""
    names = [name for name in TITLES if name in histograms]
    if not names:
        return None
    n_rows = (len(names) + 1) // 2
    told = []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 2.5 * n_rows + 0.4), layout="constrained")
        panels = np.atleast_1d(figure.subplots(n_rows, min(2, len(names)), squeeze=False)).ravel()
        for axes, name in zip(panels, names, strict=False):
            found = histograms[name]
            for side, colour, line in _SIDES:
                axes.plot(found["places"], found[side], color=colour, linestyle=line, label=side)
            axes.set(title=TITLES[name], ylim=(0, 1.02))
            axes.title.set_fontsize(10.5)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            medians = [float(np.interp(0.5, found[side], found["places"])) for side, _, _ in _SIDES]
            told.append(f"{TITLES[name]}: median {medians[0]:.3g}, now {medians[1]:.3g}")
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        figure.supylabel("Share of paragraphs below", fontsize=10.5)
        return finish(figure, f"Distributions of both sides. {'; '.join(told)}.", "svg")

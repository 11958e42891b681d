"""Plots of an evaluation, as SVG or PNG with a text that says the same.

Colours come from one small palette that readers with a colour vision deficiency can tell apart, and every series
has a marker of its own, so nothing rests on colour alone. The report swaps the palette for the reader's theme.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from crosshead.errors import DataError
from crosshead.evaluation import ClassScores, Interval, PairedDifferences, Reliability, RiskCoverage, Scores

Format = Literal["svg", "png"]

INK, MUTED, GRID = "#1f2328", "#59636e", "#d5dae0"
ACCENT, ON_ACCENT = "#1d5fa8", "#fdfdfe"
SERIES = (ACCENT, "#b3530c", "#00785e", "#7a4b94")
MARKERS = ("o", "s", "D", "^")
FONT = "DejaVu Sans"
WHITE_ABOVE = 0.7
"""Share from which a cell of the confusion matrix is dark enough for light letters."""

STYLE: dict[str, Any] = {
    "font.family": FONT,
    "font.size": 10.5,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "crosshead",
    "path.simplify_threshold": 0.2,
}


@dataclass(frozen=True)
class Plot:
    """A drawing and the text that stands for it where it can't be seen."""

    data: bytes
    format: Format
    alt: str


@dataclass(frozen=True)
class LearningPoint:
    """A score after training on some of the articles."""

    n_articles: int
    score: Interval


def readable(name: str) -> str:
    """Write a section type's name as a reader would: ``regional_stability`` as ``Regional stability``.

    Examples
    --------
    >>> readable("regional_stability")
    'Regional stability'
    """
    words = drawable(name.replace("_", " ").strip())
    return words[:1].upper() + words[1:]


def drawable(name: str) -> str:
    """Replace what can't stand in a drawing (control characters, halves of characters) by ``\ufffd``."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in name)
    return f" {shown}" if shown.startswith("_") else shown  # matplotlib leaves "_name" out of legends


def plot_confusion(matrix: NDArray[np.intp], section_types: Sequence[str], *, format: Format = "svg") -> Plot:
    """Draw how often each true section type (row) was given each answer (column).

    Raises
    ------
    DataError : if the matrix does not fit the section types.
    """
    n = len(section_types)
    if matrix.shape != (n, n) or n == 0:
        raise DataError(f"the confusion matrix has the shape {matrix.shape}; {n} section types need ({n}, {n})")
    support = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(support, 1)
    names = [textwrap.fill(readable(name), 15) for name in section_types]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        side = min(max(0.95 * n + 1.6, 3.6), 9.0)
        figure, axes = new_figure(side + 0.9, 0.82 * side + 0.5)
        for row, column in np.ndindex(n, n):
            share = float(shares[row, column])
            axes.add_patch(
                Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=ACCENT, alpha=0.04 + 0.96 * share, lw=0)
            )
            _cell(axes, column, row, share, int(matrix[row, column]), small=n > 6)
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="Answer of the tagger", ylabel="True section type")
        axes.set_xticks(range(n), names, rotation=45 if n > 6 else 0, ha="right" if n > 6 else "center")
        axes.set_yticks(range(n), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        kept = "; ".join(
            f"{readable(name)}: {shares[i, i]:.0%} of {int(support[i, 0])} right"
            + _most_taken_for(i, shares, section_types)
            for i, name in enumerate(section_types)
        )
        return finish(figure, f"Confusion matrix, share of each true section type by answer. {kept}.", format)


def _cell(axes: Any, column: int, row: int, share: float, count: int, *, small: bool) -> None:
    colour = ON_ACCENT if share > WHITE_ABOVE else INK
    if small:
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour, fontsize=8)
        return
    axes.text(column, row - 0.1, f"{share:.0%}", ha="center", va="center", color=colour, fontsize=13)
    axes.text(column, row + 0.24, f"{count}", ha="center", va="center", color=colour, fontsize=9)


def _most_taken_for(row: int, shares: NDArray[np.float64], section_types: Sequence[str]) -> str:
    others = shares[row].copy()
    others[row] = 0
    worst = int(others.argmax())
    return f", {others[worst]:.0%} taken for {readable(section_types[worst])}" if others[worst] > 0 else ""


def plot_reliability(reliability: Reliability, *, ece: Interval | None = None, format: Format = "svg") -> Plot:
    """Draw accuracy against stated confidence, with 95 % intervals, over a histogram of the confidences."""
    bins = reliability.bins
    confidence = [b.confidence for b in bins]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        upper.text(
            0.2, 0.23, "as sure as it is right", color=MUTED, fontsize=9, ha="center", rotation=45,
            rotation_mode="anchor", transform_rotates_text=True,
        )  # fmt: skip
        low = [b.accuracy.value if b.accuracy.low is None else b.accuracy.low for b in bins]
        high = [b.accuracy.value if b.accuracy.high is None else b.accuracy.high for b in bins]
        upper.fill_between(confidence, low, high, color=ACCENT, alpha=0.18, linewidth=0)
        upper.plot(confidence, [b.accuracy.value for b in bins], color=ACCENT, marker="o", markersize=5, clip_on=False)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="Accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1))
        counts = np.asarray(reliability.histogram)
        edges = np.linspace(0, 1, len(counts) + 1)
        lower.bar(edges[:-1], counts / max(counts.sum(), 1), width=np.diff(edges) * 0.9, align="edge", color=ACCENT)
        lower.set(xlabel="Stated confidence", ylabel="Share of\nparagraphs")
        lower.xaxis.set_major_formatter(PercentFormatter(1))
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return finish(figure, _reliability_alt(reliability, ece), format)


def _reliability_alt(reliability: Reliability, ece: Interval | None) -> str:
    told = f"Mean gap (ECE) {ece}. " if ece is not None else ""
    rows = "; ".join(f"stated {b.confidence:.0%}, right {b.accuracy.value:.0%}" for b in reliability.bins)
    return f"Reliability diagram: stated confidence against the share that is right. {told}{rows}."


def plot_risk_coverage(
    curve: RiskCoverage, *, threshold: float | None = None, risk: float | None = None, format: Format = "svg"
) -> Plot:
    """Draw the share of mistakes against the share of answers, and mark the threshold in use and its goal."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.2, 4.0)
        axes.fill_between(curve.coverage, curve.low, curve.high, color=ACCENT, alpha=0.18, linewidth=0)
        axes.plot(curve.coverage, curve.risk, color=ACCENT)
        told = f"answering everything, {curve.risk[-1]:.1%} of the answers are wrong"
        top = float(max(curve.high[curve.coverage > 0.05].max(initial=0.0), curve.risk[-1], risk or 0.0, 0.02)) * 1.12
        if risk is not None:
            dashes = (0, (4, 3))
            axes.axhline(
                risk, color=SERIES[1], linewidth=1.2, linestyle=dashes, label=f"goal: at most {risk:.0%} wrong"
            )
        if threshold is not None:
            share, wrong = curve.at(threshold)
            label = f"in use: answers {share:.0%}, of these {wrong:.1%} wrong" if share else "in use: answers nothing"
            axes.plot([share], [wrong], marker="D", color=SERIES[1], markersize=8, linestyle="none", label=label)
            told += f"; at the threshold in use, {share:.1%} are answered and {wrong:.1%} of these are wrong"
        if risk is not None or threshold is not None:
            figure.legend(loc="outside upper left", ncols=2, handletextpad=0.4, fontsize=9.5)
        axes.set(xlim=(0, 1.01), ylim=(0, top))
        axes.set_xlabel("Coverage: share of paragraphs that get an answer, surest first")
        axes.set_ylabel("Selective risk: share that is wrong")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        half = int(np.searchsorted(curve.coverage, 0.5).clip(max=len(curve.coverage) - 1))
        told += f"; the surest {curve.coverage[half]:.0%}: {curve.risk[half]:.1%}"
        return finish(figure, f"Risk–coverage curve: {told}.", format)


def plot_class_f1(scores: Mapping[str, Scores], *, format: Format = "svg") -> Plot:
    """Draw macro-F1 and the F1 of each section type with intervals, the models one beside the other.

    Raises
    ------
    DataError : if there are no scores, or they are of different section types.
    """
    kinds = {tuple(c.section_type for c in s.classes) for s in scores.values()}
    if len(kinds) != 1:
        raise DataError(
            f"scores of {len(kinds)} different lists of section types can't share a plot; give at least one model, "
            "and all with one taxonomy"
        )
    rows = ["Mean of all (macro-F1)", *(textwrap.fill(readable(name), 22) for name in kinds.pop())]
    told = []
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = new_figure(6.6, 1.1 + len(rows) * (0.34 + 0.15 * len(scores)))
        for i, (name, own) in enumerate(scores.items()):
            offset = (i - (len(scores) - 1) / 2) * 0.7 / max(len(scores), 2)
            intervals = [own.macro_f1, *(c.f1 for c in own.classes)]
            _dots(axes, intervals, offset, i, drawable(name))
            told.append(f"{name}: macro-F1 {own.macro_f1}, " + ", ".join(map(_f1_alt, own.classes)))
        axes.axhline(0.5, color=MUTED, linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="F1 (1 is perfect)")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=min(len(scores), 3), handletextpad=0.3)
        return finish(figure, "F1 by section type with 95 % intervals. " + ". ".join(told) + ".", format)


def _dots(axes: Any, intervals: Sequence[Interval | None], offset: float, i: int, name: str) -> None:
    colour, label = SERIES[i % len(SERIES)], name
    for row, interval in enumerate(intervals):
        if interval is None:
            continue
        if interval.low is not None and interval.high is not None:
            axes.plot([interval.low, interval.high], [row + offset] * 2, color=colour, linewidth=2.6 if i == 0 else 1.6)
        axes.plot(
            [interval.value], [row + offset], color=colour, marker=MARKERS[i % len(MARKERS)],
            markersize=7 if i == 0 else 5.5, linestyle="none", clip_on=False, label=label,
        )  # fmt: skip
        label = "_nolegend_"


def _f1_alt(scores: ClassScores) -> str:
    return f"{readable(scores.section_type)} {'not tested' if scores.f1 is None else f'{scores.f1.value:.3f}'}"


def plot_differences(
    differences: Mapping[str, PairedDifferences], section_types: Sequence[str], *, format: Format = "svg"
) -> Plot:
    """Draw how much higher macro-F1 and the F1 of each section type are than those of the model compared with.

    Raises
    ------
    DataError : if there is nothing to draw.
    """
    if not differences:
        raise DataError("differences of no model can't be drawn; give at least one, or leave the plot out")
    rows = ["Mean of all (macro-F1)", *(textwrap.fill(readable(name), 22) for name in section_types)]
    told = []
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = new_figure(6.6, 1.1 + len(rows) * (0.34 + 0.15 * len(differences)))
        for i, (name, found) in enumerate(differences.items()):
            offset = (i - (len(differences) - 1) / 2) * 0.7 / max(len(differences), 2)
            by_type = [found.f1[t].difference if t in found.f1 else None for t in section_types]
            overall = found.overall["macro_f1"].difference
            _dots(axes, [overall, *by_type], offset, i, drawable(name))
            shown = zip(section_types, by_type, strict=True)
            each = ", ".join(f"{readable(t)} {'not tested' if d is None else f'{d.value:+.3f}'}" for t, d in shown)
            told.append(f"{name}: macro-F1 {overall.value:+.3f}, {each}")
        axes.axvline(0, color=INK, linewidth=1.2)
        axes.axhline(0.5, color=MUTED, linewidth=0.8)
        reach = 1.1 * max(abs(end) for end in (*axes.get_xlim(), 0.01))
        axes.set(
            xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), xlabel="Difference in F1: left worse, right better"
        )
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0)
        if len(differences) > 1:
            figure.legend(loc="outside upper left", ncols=min(len(differences), 3), handletextpad=0.3)
        return finish(figure, "Differences in F1 with 95 % intervals. " + ". ".join(told) + ".", format)


def plot_learning_curve(
    curves: Mapping[str, Sequence[LearningPoint]], *, measure: str = "Macro-F1", format: Format = "svg"
) -> Plot:
    """Draw a score against the number of articles trained on.

    Raises
    ------
    DataError : if a curve has no point.
    """
    if not curves or not all(curves.values()):
        raise DataError("a learning curve without a point can't be drawn; give each at least one, or leave it out")
    told = []
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.2, 3.8)
        for i, (name, points) in enumerate(curves.items()):
            x, y = [p.n_articles for p in points], [p.score.value for p in points]
            low = [p.score.value if p.score.low is None else p.score.low for p in points]
            high = [p.score.value if p.score.high is None else p.score.high for p in points]
            colour, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, y, color=colour, marker=marker, label=drawable(name))
            told.append(f"{name}: " + ", ".join(f"{n} articles {score:.3f}" for n, score in zip(x, y, strict=True)))
        axes.set(xlabel="Articles trained on", ylabel=measure, xlim=(0, None))
        axes.legend(loc="lower right")
        return finish(figure, f"Learning curve. {'; '.join(told)}.", format)


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Begin a drawing; inside of ``mpl.rc_context(STYLE)``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def finish(figure: Figure, alt: str, format: Format) -> Plot:
    """Save without date or version, so that equal figures are equal bytes."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        # An SVG holds text as text: the browser has the letters that the font measured with here may lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(
            buffer,
            format=format,
            dpi=160,
            facecolor="none" if format == "svg" else "#ffffff",
            metadata={"Date": None, "Creator": None} if format == "svg" else {"Software": None},
        )
    return Plot(buffer.getvalue(), format, alt)

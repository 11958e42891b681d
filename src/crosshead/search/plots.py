"""Plots of a search, in the style of `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import PercentFormatter

from crosshead.errors import DataError
from crosshead.reporting.plots import ACCENT, MUTED, SERIES, STYLE, Format, Plot, drawable, finish, new_figure
from crosshead.search.space import OBJECTIVES
from crosshead.search.study import Trial

TITLES = {"macro_f1": "Macro-F1, cross-validated", "log_loss": "Log-loss, cross-validated"}


def plot_history(
    trials: Sequence[Trial], objective: str, *, first: float | None = None, format: Format = "svg"
) -> Plot:
    """Draw the score of every trial, the best so far, and where the search started.

    Pruned trials are marks at the lower edge: their scores are of some folds only. Trials far below the others are
    drawn at the edge too, so that the interesting part has room.

    Raises
    ------
    DataError
        If no trial is complete.
    """
    done = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    if not done:
        raise DataError("a search without a complete trial has no history to draw; search on")
    up = OBJECTIVES[objective] == "maximize"
    numbers, scores = [t.number + 1 for t in done], np.array([t.score for t in done], dtype=np.float64)
    best = np.maximum.accumulate(scores) if up else np.minimum.accumulate(scores)
    low, high = _limits(scores, first, up=up)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.4, 3.8)
        inside = (scores >= low) & (scores <= high)
        axes.plot(np.array(numbers)[inside], scores[inside], "o", color=ACCENT, alpha=0.55, markersize=5, label="trial")
        axes.step(numbers, best, where="post", color=SERIES[1], label="best so far")
        if first is not None:
            axes.axhline(first, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="before the search")
        _marks(axes, [t.number + 1 for t in trials if t.state == "pruned"], low if up else high, "|", "pruned")
        far = [n for n, within in zip(numbers, inside, strict=True) if not within]
        _marks(axes, far, low if up else high, "v" if up else "^", "far off")
        axes.set(
            xlabel="Trial", ylabel=TITLES[objective], xlim=(0, max(t.number for t in trials) + 2), ylim=(low, high)
        )
        figure.legend(loc="outside upper left", ncols=5, handletextpad=0.3, columnspacing=1.2, fontsize=9.5)
        winner = int(scores.argmax() if up else scores.argmin())
        pruned = sum(t.state == "pruned" for t in trials)
        began = f", which began at {first:.4f}" if first is not None else ""
        alt = f"History of {len(trials)} trials, {pruned} of them pruned: {TITLES[objective]} is best in trial "
        return finish(figure, f"{alt}{numbers[winner]} with {scores[winner]:.4f}{began}.", format)


def _limits(scores: np.ndarray, first: float | None, *, up: bool) -> tuple[float, float]:
    """Show the better half, and as much again of the others."""
    best, middle = (scores.max() if up else scores.min()), float(np.median(scores))
    known = [best, best + 2.5 * (middle - best)] + ([first] if first is not None else [])
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _marks(axes: mpl.axes.Axes, numbers: Sequence[int], at: float, marker: str, label: str) -> None:
    if numbers:
        axes.plot(
            numbers,
            [at] * len(numbers),
            marker,
            color=MUTED,
            markersize=7,
            linestyle="none",
            clip_on=False,
            label=label,
        )


def plot_importances(importances: Mapping[str, float], *, format: Format = "svg") -> Plot:
    """Draw how much each dimension decides whether a trial is among the better ones.

    Raises
    ------
    DataError
        If there is no importance.
    """
    if not importances:
        raise DataError("there are no importances to draw; they need some complete trials with different scores")
    rows = sorted(importances.items(), key=lambda item: item[1])
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = new_figure(6.4, 0.9 + 0.36 * len(rows))
        axes.barh([drawable(name) for name, _ in rows], [share for _, share in rows], color=ACCENT, height=0.62)
        for row, (_, share) in enumerate(rows):
            axes.text(share, row, f" {share:.0%}", va="center", fontsize=9.5)
        axes.set(xlim=(0, max(share for _, share in rows) * 1.12 or 1), xlabel="Share of what decides the score")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="y", length=0)
        told = ", ".join(f"{name} {share:.0%}" for name, share in reversed(rows))
        return finish(figure, f"Importance of what was varied: {told}.", format)

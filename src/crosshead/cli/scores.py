"""Scores as a person reads them, from the ``metrics.json`` that evaluation writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crosshead.cli.words import counted
from crosshead.errors import DataError

METRICS, REPORT, MODEL = "metrics.json", "report.html", "model"
MEASURES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "log_loss": "log-loss, less is better",
    "brier": "Brier, less is better",
    "ece": "calibration error (ECE), less is better",
    "coverage": "share not abstained",
    "risk": "mistakes among these",
}


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read what evaluation wrote.

    Raises
    ------
    DataError
        If nothing was evaluated yet, or the file is damaged.
    """
    path = folder / METRICS
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics[MODEL], dict):
            raise TypeError("it holds no scores of the model")
    except FileNotFoundError as error:
        raise DataError(f"nothing has been evaluated yet: there is no {path}; type: crosshead run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); evaluate again: crosshead evaluate") from error
    return dict(metrics)


def show_scores(console: Console, metrics: Mapping[str, Any]) -> None:
    """Print the table of scores, each with its 95 % interval, the baselines beside the model."""
    names = [
        MODEL,
        *(
            name
            for name, value in metrics.items()
            if isinstance(value, Mapping) and "macro_f1" in value and name != MODEL
        ),
    ]
    own = metrics[MODEL]
    told = f"{counted(own['n_paragraphs'], 'paragraph')} of {counted(own['n_articles'], 'held-out article')}"
    table = _table(Text(f"Scores on {told}, with 95 % intervals from resampling articles"), "", *names)
    for measure, title in MEASURES.items():
        if measure in own:
            table.add_row(title, *(_interval(metrics[name].get(measure)) for name in names))
    sets = metrics.get("set_accuracy") or {}
    if sets:
        table.add_row("contrast sets right as a whole", *(_interval(sets.get(name)) for name in names))
    console.print(table)
    console.print(_classes(own))


def _classes(own: Mapping[str, Any]) -> Table:
    table = _table(Text("The model, by section type"), "", "F1", "precision", "recall", "paragraphs")
    for name, scores in own["classes"].items():
        table.add_row(
            name, *(_interval(scores.get(measure)) for measure in ("f1", "precision", "recall")), str(scores["support"])
        )
    return table


def _table(title: Text, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, header_style="dim", justify="left" if i == 0 else "right")
    return table


def _interval(interval: Mapping[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    ends = f" ({interval['low']:.3f}–{interval['high']:.3f})" if interval["low"] is not None else ""
    return f"{interval['value']:.3f}{ends}"

"""Scores as a person reads them, from the ``metrics.json`` that evaluation writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crosshead import measures
from crosshead.cli.words import counted
from crosshead.errors import DataError

METRICS, REPORT, RECORD, MODEL = "metrics.json", "report.html", "run.json", "model"


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
    own = metrics[MODEL]
    baselines = [
        name for name, value in metrics.items() if name != MODEL and isinstance(value, Mapping) and "macro_f1" in value
    ]
    names = [MODEL, *baselines]
    told = f"{counted(own['n_paragraphs'], 'paragraph')} of {counted(own['n_articles'], 'held-out article')}"
    table = _table("", *names)
    measured = [measure for measure in measures.NAMES if measure in own]
    for measure in measured:
        table.add_row(measures.title(measure), *(_interval(metrics[name].get(measure)) for name in names))
    if sets := metrics.get("set_accuracy"):
        table.add_row(measures.title("set_accuracy"), *(_interval(sets.get(name)) for name in names))
    console.print(Text(f"{told}: value, 95 % interval; ↓ less is better", style="dim"))
    console.print(table)
    console.print(Text(measures.explained(measured), style="dim"))
    console.print()
    console.print(_classes(own))


def show_end(console: Console, root: Path, reports: Path, model_dir: Path, *, registered: str | None = None) -> None:
    """Print where the report lies, how the evaluated tagger stands, and what to type next; MLflow is not asked.

    ``registered`` is the tagger's name and version in the registry, where the caller knows it.
    """
    from crosshead.records import tested
    from crosshead.releases import champion

    standing, apart = champion.find(root), ""
    trained = _read_record(model_dir)
    folder = _short(root, model_dir / "bundle")
    is_champion = standing is not None and trained.get("bundle_digest") == standing.digest
    name = f"{standing.name} {standing.version}" if standing and standing.version is not None else None
    by_default = is_champion or (standing is not None and not trained)
    commands = ["crosshead tag FILE…" if by_default else f"crosshead tag --model {folder} FILE…"]
    if standing is None:
        told = f"{registered or folder}; there is no champion yet"
    elif not trained:
        told = f"{name or 'one that was never registered'} is the champion"
    elif is_champion:
        told = f"{name or folder}, the champion"
    else:
        told = f"{registered or folder}; the champion is {name or 'one that was never registered'}"
        apart = tested.why_not_comparable(
            root, (standing.bundle, standing.digest), (model_dir / "bundle", str(trained.get("bundle_digest")))
        )
        weighed = "crosshead promote last --dry-run" if apart else "crosshead compare champion last"
        commands += [weighed, "crosshead promote last"] if trained.get("run_id") else []
    console.print(f"report:  {reports / REPORT}", soft_wrap=True)
    console.print(f"model:   {told}", soft_wrap=True)
    if _is_newer(model_dir / RECORD, reports / METRICS):
        console.print("note:    a tagger was trained after this evaluation: crosshead evaluate", style="yellow")
    if apart:
        console.print(
            f"note:    `crosshead compare` cannot compare it with the champion: {apart}. "
            "With promote --dry-run the champion tags this run's held-out articles, those that it was not trained on",
            style="yellow",
            soft_wrap=True,
        )
    for i, line in enumerate(commands):
        console.print(f"{'' if i else 'next:':9}{line}", soft_wrap=True)


def _read_record(model_dir: Path) -> dict[str, Any]:
    """Read what training noted beside its bundle; empty where there is nothing to read."""
    try:
        record = json.loads((model_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_newer(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.stat().st_mtime_ns > other.stat().st_mtime_ns


def _short(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _classes(own: Mapping[str, Any]) -> Table:
    table = _table("", "F1", "precision", "recall", "paragraphs")
    for name, scores in own["classes"].items():
        precision, recall = (_value(scores.get(measure)) for measure in ("precision", "recall"))
        table.add_row(name, _interval(scores.get("f1")), precision, recall, f"{scores['support']:,}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, header_style="bold", justify="left" if i == 0 else "right")
    return table


def _value(interval: Mapping[str, float | None] | None) -> str:
    return f"{interval['value']:.3f}" if interval is not None else "–"


def _interval(interval: Mapping[str, float | None] | None) -> Text:
    text = Text(_value(interval))
    if interval is not None and interval["low"] is not None:
        text.append(f" {interval['low']:.3f}–{interval['high']:.3f}", style="dim")
    return text

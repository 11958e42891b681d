"""`crosshead distill`: a small fast tagger that learns from a saved one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.pipeline import import_training, load_settings
from crosshead.cli.reading import overrides_option
from crosshead.cli.tag import model_option
from crosshead.cli.words import counted, printable
from crosshead.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.schema import Settings
    from crosshead.stages.distill import Distilled

FOLDER = "distilled"
"""Below models/: where the student is saved."""


@command(
    "crosshead distill",
    "crosshead distill archive/ 'feeds/*.jsonl.zst'",
    "crosshead tag archive/ --model models/distilled -o tagged/ --workers 2",
)
@click.argument("names", metavar="[FILE]...", nargs=-1)
@model_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Where the tagger is saved.  [default: models/distilled]"
)
@click.option(
    "--dimensions",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Of the token vectors: fewer are smaller and faster.",
)
@overrides_option
def distill(
    names: tuple[str, ...], model: str | None, output: Path | None, dimensions: int, overrides: tuple[str, ...]
) -> int:
    """Make a small fast tagger that learns from a saved one.

    The student learns the teacher's probabilities on the prepared training paragraphs, and on those of every FILE,
    which need no labels: text of the kind that it will tag makes it better. Both are then measured on the held-out
    articles, which no choice looks at; those of a FILE are left out. Scores and tagger are kept in an MLflow run.
    """
    settings = load_settings(overrides)
    from crosshead import loading
    from crosshead.cli.alone import alone_in
    from crosshead.cli.output import console, reporter

    stage = import_training("crosshead.stages.distill")
    teacher = loading.load(model)
    folder = output or settings.root / "models" / FOLDER
    articles = _read(names)
    with alone_in([folder]), reporter() as report:
        result = stage.run(settings, teacher, articles, output=folder, n_dimensions=dimensions, report=report)
    _show(console(), settings, result)
    if result.unsent:
        raise StoreError(result.unsent)
    return Exit.OK


def _read(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Read paragraphs as `crosshead tag` does; what cannot be read is named and passed over."""
    from crosshead.feeds.reading import find, read

    articles = []
    for items in read(find(names, "auto")) if names else ():
        for item in items:
            if item.error:
                click.echo(f"crosshead: {printable(item.name)}: {printable(item.error)}", err=True)
            else:
                articles.append(item.paragraphs)
    return articles


def _show(out: Console, settings: Settings, result: Distilled) -> None:
    from rich.table import Table

    said = f"distilled from {counted(result.n_labelled, 'labelled paragraph')}"
    out.print(said + (f" and {counted(result.n_unlabelled, 'other')}" if result.n_unlabelled else ""))
    if result.n_left_out:
        out.print(f"  {counted(result.n_left_out, 'paragraph')} of articles that are in the corpus already left out")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("held-out articles", "macro-F1", "accuracy", "paragraphs/s", "µs CPU each", "MB"):
        table.add_column(name, justify="left" if name == "held-out articles" else "right")
    for name, side in (("teacher", result.teacher_side), ("student", result.student_side)):
        table.add_row(
            name,
            str(side.scores.macro_f1),
            f"{side.scores.accuracy.value:.3f}",
            f"{side.speed.per_s:,.0f}",
            f"{side.speed.cpu_us:,.0f}",
            f"{side.n_bytes / 1e6:.1f}",
        )
    out.print(table)
    faster = result.teacher_side.speed.cpu_us / result.student_side.speed.cpu_us
    out.print(
        f"{result.share_kept:.1%} of the teacher's macro-F1 kept, {faster:,.0f} times as fast; "
        f"difference {result.difference.difference}"
    )
    for note in result.notes:
        out.print(f"  note: {note}", style="yellow")
    shown = result.bundle_dir
    shown = shown.relative_to(settings.root) if shown.is_relative_to(settings.root) else shown
    out.print(f"tagger: {shown}" + (f", MLflow run {result.run_id}" if result.run_id else ""), soft_wrap=True)
    out.print(f"next:   crosshead tag --model {shown} FILE…", soft_wrap=True)

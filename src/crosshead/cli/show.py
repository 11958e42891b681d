"""`crosshead show`: the scores of the last evaluation, or where a model comes from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.records.provenance import Step


@command("crosshead show", "crosshead show champion", "crosshead show 2", "crosshead show 3f2a")
@click.argument("what", metavar="[MODEL|RUN|FOLDER]", required=False)
def show(what: str | None) -> int:
    """Show the last scores, or where a model comes from.

    Without argument: the scores that stand in reports/, or in FOLDER. With the name of a run or a model (`champion`,
    `last`, a version's number, models:/NAME/VERSION, a run's id or name): what it was made from, step by step, each
    digest checked.
    """
    from crosshead.cli.output import console

    out = console()
    if what is None or Path(what).is_dir():
        return _show_last(out, Path(what) if what else None)
    return _show_chain(out, what)


def _show_last(out: Console, folder: Path | None) -> int:
    from crosshead.cli.scores import read_metrics, show_end, show_scores
    from crosshead.loading import project_root

    root = project_root() or Path.cwd()
    reports = folder or root / "reports"
    show_scores(out, read_metrics(reports))
    out.print()
    show_end(out, root, reports, root / "models" / "latest")
    return Exit.OK


def _show_chain(out: Console, reference: str) -> int:
    from crosshead.cli.pipeline import import_training, load_settings

    provenance = import_training("crosshead.records.provenance")
    finder = import_training("crosshead.records.runs").finder_of(load_settings(()))
    steps: Sequence[Step] = provenance.chain(finder, reference)
    _print_chain(out, steps)
    broken = [link for step in steps for link in step.links if link.holds is False]
    out.print()
    if not broken:
        out.print("every digest is what was recorded", style="green")
        return Exit.OK
    out.print(f"{counted(len(broken), 'link')} to look at: {', '.join(link.name for link in broken)}", style="yellow")
    return Exit.OK


def _print_chain(out: Console, steps: Sequence[Step]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(width=1)
    table.add_column(ratio=1, overflow="fold")
    for i, step in enumerate(steps):
        for j, link in enumerate(step.links):
            mark, style = {True: ("✓", "green"), False: ("!", "yellow"), None: (" ", "")}[link.holds]
            title = Text(f"{'→ ' if i else ''}{step.title}", style="bold") if j == 0 else Text("")
            table.add_row(title, link.name, Text(mark, style=style), Text(printable(link.value)))
    out.print(table)

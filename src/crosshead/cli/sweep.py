"""`crosshead train -m` and `crosshead run -m`: every combination of overrides, and a table of what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosshead.cli.exits import Exit
from crosshead.cli.words import counted, printable
from crosshead.errors import StoreError

WIDE = 120

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from crosshead.search.sweep_results import Sweep


def run_sweep(overrides: Sequence[str], *, prepare: bool, n_jobs: int | None) -> int:
    """Run the jobs, ``n_jobs`` of them at once, and print the best first."""
    from crosshead.cli.output import console, reporter
    from crosshead.cli.pipeline import import_training, settings_module

    root = settings_module().find_root()
    several = [] if n_jobs is None else ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}"]
    stage = import_training("crosshead.stages.prepare")
    with reporter() as report:
        sweep: Sweep = import_training("crosshead.search.sweeps").launch(
            [*several, *overrides], root, prepare=stage.run if prepare else None, report=report
        )
    out = console()
    show_sweep(out, sweep, command="run" if prepare else "train")
    if lost := sweep.unsent or next((outcome.unsent for outcome in sweep.outcomes if outcome.unsent), ""):
        raise StoreError(f"{lost}; send what is kept when the store is back: crosshead log")
    return Exit.FAILED_INPUTS if sweep.failed else Exit.OK


def show_sweep(out: Console, sweep: Sweep, *, command: str) -> None:
    """Print the table of jobs, what to know about it, and how to train the best one."""
    from rich.text import Text

    failed = f", {counted(len(sweep.failed), 'failed')}" if sweep.failed else ""
    out.print(Text.assemble((counted(len(sweep.outcomes), "job"), "bold green"), failed))
    out.print(_table(sweep, out.width))
    for outcome in sweep.failed:
        out.print(Text(f"✗ {printable(outcome.label)}: {printable(outcome.error or '')}", style="red"))
    for note in sweep.notes:
        out.print(Text(note, style="dim"))
    run = f", MLflow run {sweep.run_id}" if sweep.run_id else ""
    out.print(Text(f"results: {sweep.folder}{run}", style="dim"), soft_wrap=True)
    best = sweep.outcomes[0]
    words = " ".join(quoted(override) for override in best.overrides)
    out.print(f"next:    crosshead {command} {words}".rstrip(), soft_wrap=True)


def _table(sweep: Sweep, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    from crosshead.search.sweep_results import cells, columns

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    narrow = width < WIDE
    table.add_column("job", header_style="bold", overflow="fold")
    rows = [cells(sweep, outcome) for outcome in sweep.outcomes]
    for i, column in enumerate(columns(sweep)):
        # On a narrow terminal lines break between words, and the job's name gives way: no figure is cut off.
        words = [word for text in (column, *(row[i] for row in rows if row)) for word in text.split()]
        table.add_column(column, header_style="bold", justify="right", width=max(map(len, words)) if narrow else None)
    for outcome in sweep.outcomes:
        if row := cells(sweep, outcome):
            table.add_row(Text(printable(outcome.label)), *map(Text, row))
    return table


def quoted(override: str) -> str:
    """Write an override as it is typed into a shell."""
    import shlex

    return shlex.quote(override)

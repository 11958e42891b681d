"""What a person sees: consoles, progress on stderr, tables of names and values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Make a console that takes texts as they are: no markup, no emoji, no guessed highlights.

    Colours only on a terminal; ``NO_COLOR`` turns them off, ``FORCE_COLOR`` on.
    """
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the command line's one place for errors."""
            raise BrokenPipeError

    return Quiet(file=file or sys.stdout, width=width, markup=False, emoji=False, highlight=False)


@contextmanager
def counter(what: str, *, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Show how many were done, and how fast, while stderr is a terminal; give a function that counts on."""
    if not (show and sys.stderr.isatty()):
        yield lambda n: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} {task.description}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task(what, total=None, rate="")

        def advance(n: int) -> None:
            progress.advance(task, n)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


@contextmanager
def reporter() -> Iterator[Callable[[str, int, int], None]]:
    """Show bars on stderr while it is a terminal; give ``report(what, done, total)``, as the stages call it."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        tasks: dict[str, int] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield report

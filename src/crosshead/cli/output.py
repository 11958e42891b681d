"""What a person sees: consoles, progress on stderr, tables of names and values."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from crosshead.cli.words import counted

if TYPE_CHECKING:
    from rich.console import Console

LINE_S = 60.0
"""Seconds between lines that say how far the work is, where no bar can."""


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


def _lines() -> Callable[[str, int, int], None]:
    """Write how far the work is, once in a while: short work gives no line."""
    began = told = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= LINE_S:
            told = now
            minutes = counted(round((now - began) / 60), "minute")
            click.echo(f"crosshead: {what}: {done:,} of {total:,} ({minutes})", err=True)

    return report


@contextmanager
def reporter() -> Iterator[Callable[[str, int, int], None]]:
    """Give ``report(what, done, total)``, as the stages call it: bars on stderr, or lines where it is no terminal."""
    if not sys.stderr.isatty():
        yield _lines()
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

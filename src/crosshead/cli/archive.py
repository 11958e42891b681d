"""`crosshead tag … --output FOLDER`: what a person sees of a batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosshead.batch.stores import is_remote
from crosshead.cli.exits import Exit
from crosshead.cli.words import counted, printable

if TYPE_CHECKING:
    from crosshead.batch.folder import Totals
    from crosshead.batch.job import Engine, Watcher

MAX_NAMED = 10


@dataclass(frozen=True)
class Archive:
    """What was asked for that only a folder can have; None where it was not said."""

    text: bool | None = None
    resume: bool = False
    workers: int | None = None
    rows_per_part: int | None = None
    batch_size: int | None = None
    engine: str | None = None
    address: str | None = None

    def asked(self) -> list[str]:
        """Name the options that were given."""
        given = {name: value for name, value in vars(self).items() if value is not None and value is not False}
        names = [f"--{name.replace('_', '-')}" for name in given]
        return [*names, "--no-text"] if self.text is False else names


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--resume", is_flag=True, help="Go on with the job in the folder --output."),
    click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Processes, each with its own model.  [default: 1; on Ray one a core]",
    ),
    click.option("--text/--no-text", default=None, help="Whether rows hold the text.  [default: they do]"),
    click.option("--rows-per-part", type=click.IntRange(1), metavar="N", help="Inputs that give one part.  [10000]"),
    click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Paragraphs tagged at once.  [2048]"),
    click.option("--engine", type=click.Choice(("local", "ray")), help="Where the work is done.  [default: local]"),
    click.option(
        "--address", metavar="HOST:PORT", help="The Ray cluster, or auto.  [default: one started for the job]"
    ),
)


def archive_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options that go with a folder."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def is_folder(output: str | None, output_format: str | None, archive: Archive) -> bool:
    """Whether answers go into a folder: it is one or is named like one, or nothing else can have what was asked for."""
    if output is None or output == "-":
        return False
    if is_remote(output) or os.path.isdir(output) or output.endswith(("/", os.sep)):
        return True
    if output_format == "parquet" or archive.asked():
        return True
    goes_into_a_file = output_format not in (None, "jsonl")
    return not (Path(output).suffix or goes_into_a_file or os.path.exists(output))


def tag_archive(
    names: Sequence[str],
    output: str,
    output_format: str | None,
    input_format: str,
    model: str | None,
    keep_going: bool | None,
    archive: Archive,
) -> int:
    """Do the job and say what came of it."""
    from crosshead.batch.inputs import find_sources
    from crosshead.batch.job import Options, tag_archive
    from crosshead.batch.parts import FORMATS, PARAGRAPHS_AT_ONCE, Shape
    from crosshead.batch.plan import ROWS_PER_PART
    from crosshead.cli.tag import tell_ignored

    if output_format not in (None, *FORMATS):
        raise click.UsageError(f"--format {output_format} goes into a file; a folder takes {' or '.join(FORMATS)}")
    if keep_going is False:
        raise click.UsageError("--stop goes with a file; a folder keeps what cannot be tagged in errors.jsonl")
    sources = find_sources(names, input_format, output=output)
    tell_ignored(sources.ignored)
    options = Options(
        shape=Shape(output_format or FORMATS[0], archive.text is not False),
        resume=archive.resume,
        n_workers=archive.workers or 1,
        rows_per_part=archive.rows_per_part or ROWS_PER_PART,
        paragraphs_at_once=archive.batch_size or PARAGRAPHS_AT_ONCE,
    )
    engine = _engine(archive)
    with _watcher() as watcher:
        totals = tag_archive(sources.found, output, model, options, engine=engine, watcher=watcher)
    _tell(totals, output)
    return Exit.FAILED_INPUTS if totals.n_errors and not keep_going else Exit.OK


def _engine(archive: Archive) -> Engine | None:
    if archive.engine == "ray":
        from crosshead.batch.ray_job import Cluster, ray_engine

        return ray_engine(Cluster(archive.address, archive.workers))
    if archive.address is not None:
        raise click.UsageError("--address goes with --engine ray")
    return None


def _tell(totals: Totals, output: str) -> None:
    parts = counted(totals.n_parts, "part")
    paragraphs = counted(totals.n_paragraphs, "paragraph")
    click.echo(f"crosshead: {paragraphs} in {parts} in {printable(output)}", err=True)
    if totals.n_errors:
        what = f"{counted(totals.n_errors, 'input')} could not be tagged"
        click.echo(
            f"crosshead: {what}; {printable(os.path.join(output, 'errors.jsonl'))} says which, and why", err=True
        )


@contextmanager
def _watcher() -> Iterator[Watcher]:
    from crosshead.batch.job import Silent

    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from crosshead.cli.output import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        yield _Bar(progress)


class _Bar:
    """Shows how far the job is, how fast, and how long it will still take."""

    def __init__(self, progress: Any) -> None:
        from time import monotonic

        self._progress = progress
        self._task = progress.add_task("looking at the inputs", total=None, told="")
        self._clock = monotonic
        self._n_bytes = self._n_paragraphs = self._n_records = self._n_to_do = 0
        self._began = 0.0

    def looked(self, n_bytes: int) -> None:
        """Show how much was read."""
        self._n_bytes += n_bytes
        self._progress.update(self._task, told=f"{self._n_bytes / 1024**2:,.0f} MiB")

    def planned(self, n_records: int, n_done: int) -> None:
        """Begin with the bar."""
        self._n_to_do = n_records - n_done
        self._began = self._clock()
        self._progress.update(self._task, description="tagging", total=n_records, completed=n_done, told="")

    def tagged(self, n_records: int, n_paragraphs: int) -> None:
        """Go on with it."""
        self._n_records += n_records
        self._n_paragraphs += n_paragraphs
        seconds = max(self._clock() - self._began, 1e-3)
        told = f"{self._n_paragraphs:,} paragraphs, {self._n_paragraphs / seconds:,.0f}/s"
        if self._n_records > 0:
            told += f", {_duration(seconds * (self._n_to_do - self._n_records) / self._n_records)} left"
        self._progress.update(self._task, advance=n_records, told=told)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

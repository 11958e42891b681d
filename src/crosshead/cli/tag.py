"""`crosshead tag`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from crosshead.cli.archive import Archive, archive_options, is_folder, tag_archive
from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable
from crosshead.cli.writers import MAKERS, SUFFIXES, Writer, opened

if TYPE_CHECKING:
    from crosshead.feeds.items import Answer, Item
    from crosshead.loading import Model

FORMATS = ("table", *MAKERS, "parquet")
INPUT_FORMATS = ("auto", "markdown", "html", "text", "jsonl", "csv", "parquet")
TABLE_WIDTH = 100
"""Columns of a table that goes into a file."""
MAX_NAMED = 10
"""Failures that are named on stderr; the rest is counted."""

model_option = click.option(
    "--model",
    metavar="MODEL",
    help="A saved tagger: its folder, models:/NAME@ALIAS or models:/NAME/VERSION.  [default: the champion]",
)


class _Stopped(Exception):
    """An input failed, and nothing was to follow."""


@command(
    "crosshead tag article.md",
    "crosshead tag archive/ --format csv --output archive.csv",
    "zcat feed.jsonl.gz | crosshead tag - --input-format jsonl > tagged.jsonl",
    "crosshead tag archive/ 'feeds/*.jsonl.zst' --output tagged/ --workers 4",
)
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format",
    "-f",
    "output_format",
    type=click.Choice(FORMATS),
    help="How the answer is written.  [default: by the ending of --output; table on a terminal, else jsonl; "
    "parquet in a folder]",
)
@model_option
@click.option(
    "--output",
    "-o",
    metavar="FILE|FOLDER",
    help="Write here: a file, whole or not at all; or a folder, part by part.  [default: standard output]",
)
@click.option(
    "--input-format",
    type=click.Choice(INPUT_FORMATS),
    default="auto",
    show_default=True,
    help="What every FILE is; auto goes by its ending, and by its beginning for standard input.",
)
@click.option(
    "--keep-going/--stop",
    default=None,
    help="What an input that cannot be tagged does: exit code 0 all the same, or the end at the first one.  "
    "[default: it is named and passed over, and the exit code is 1]",
)
@archive_options
def tag(
    names: tuple[str, ...],
    output_format: str | None,
    model: str | None,
    output: str | None,
    input_format: str,
    keep_going: bool | None,
    **archive: Any,
) -> int:
    """Tag the paragraphs of articles, or of a feed in JSONL.

    FILE is a Markdown, HTML, text, JSONL, CSV or Parquet file, also with .gz or .zst, a folder, a quoted pattern such
    as 'news/**/*.md', or - for standard input.

    A line {"id": "7", "text": "…"} of JSONL is a text on its own; {"article_id": "a", "paragraphs": ["…", "…"]} is an
    article. Each line gives one line, in order; a bad one gives {"error": …, "line": n}.

    For archives there is --output FOLDER: parts of fixed size, several processes, and --resume for a job that was
    stopped; docs/batch.md tells more.
    """
    from crosshead.feeds import reading
    from crosshead.loading import load

    wanted = Archive(**archive)
    if is_folder(output, output_format, wanted):
        return tag_archive(names, str(output), output_format, input_format, model, keep_going, wanted)
    _refuse_folder_options(output_format, wanted)
    _refuse_overwriting(names, output)
    chosen = output_format or _default_format(output)
    loaded = load(model)
    found = reading.find(names, input_format)
    tell_ignored(found.ignored)
    several = len(found.files) + len(found.problems) > 1
    count = _Count(names_failures=chosen != "table", stops=keep_going is False)
    try:
        with (
            opened(output) as stream,
            _writer(chosen, stream, loaded, several, to_stdout=output in (None, "-")) as writer,
        ):
            _tag_all(loaded, reading.read(found), writer, count)
    except _Stopped:
        click.echo("crosshead: stopped at the first input that could not be tagged", err=True)
        return Exit.FAILED_INPUTS
    count.tell()
    return Exit.FAILED_INPUTS if count.n_failed and not keep_going else Exit.OK


def _tag_all(loaded: Model, chunks: Iterator[list[Item]], writer: Writer, count: _Count) -> None:
    from crosshead.cli.output import counter
    from crosshead.feeds.items import answer

    with counter("tagged", show=not sys.stdout.isatty()) as advance:
        for chunk in chunks:
            answers = answer(loaded.tagger, chunk)
            end = count.add(answers)
            writer.write(answers[:end])
            if end is not None:
                raise _Stopped
            advance(len(answers))
    writer.close()


class _Count:
    """Counts failures, and names the first few on stderr."""

    def __init__(self, *, names_failures: bool, stops: bool) -> None:
        self.n_inputs = self.n_failed = 0
        self._names_failures = names_failures
        self._stops = stops

    def add(self, answers: Sequence[Answer]) -> int | None:
        """Note answers; return how many to write if the rest is not wanted."""
        for i, given in enumerate(answers):
            self.n_inputs += 1
            if not given.error:
                continue
            self.n_failed += 1
            if self._stops or (self._names_failures and self.n_failed <= MAX_NAMED):
                click.echo(f"crosshead: {printable(given.item.name)}: {printable(given.error)}", err=True)
            if self._stops:
                return i
        return None

    def tell(self) -> None:
        """Sum up, where there is anything to say."""
        if self.n_failed:
            n, inputs = self.n_failed, counted(self.n_inputs, "input")
            click.echo(f"crosshead: {n:,} of {inputs} could not be tagged", err=True)


@contextmanager
def _writer(name: str, stream: BinaryIO, loaded: Model, several: bool, *, to_stdout: bool) -> Iterator[Writer]:
    if name != "table":
        yield MAKERS[name](stream, loaded.tagger.section_types, several)
        return
    from crosshead.cli.output import console
    from crosshead.cli.table import TableWriter

    if to_stdout:
        yield TableWriter(console(), loaded.tagger.section_types)
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="\n")
    yield TableWriter(console(text, width=TABLE_WIDTH), loaded.tagger.section_types)
    text.detach()


def _default_format(output: str | None) -> str:
    if output is None or output == "-":
        return "table" if sys.stdout.isatty() else "jsonl"
    suffix = Path(output).suffix.lower()
    if suffix == ".parquet":
        raise click.UsageError(
            f"--output {output!r} is named like a file, and Parquet goes into a folder, part by part; "
            f"name one: --output {Path(output).with_suffix('')}/"
        )
    if suffix and suffix not in SUFFIXES:
        raise click.UsageError(
            f"--output {output!r} ends in {suffix!r}, which says no format; known endings are {', '.join(SUFFIXES)}; "
            "take one of them, or say --format"
        )
    return SUFFIXES.get(suffix, "jsonl")


def _refuse_folder_options(output_format: str | None, wanted: Archive) -> None:
    given = [*(["--format parquet"] if output_format == "parquet" else []), *wanted.asked()]
    if given:
        raise click.UsageError(f"{given[0]} goes with --output FOLDER; name one")


def _refuse_overwriting(names: Sequence[str], output: str | None) -> None:
    if output in (None, "-"):
        return
    target = Path(str(output))
    if target.is_file() and any(os.path.exists(name) and os.path.samefile(name, target) for name in names):
        raise click.UsageError(f"--output {output!r} is one of the inputs; name another file")


def tell_ignored(ignored: Sequence[Path]) -> None:
    """Name the first files of folders that were passed over."""
    if ignored:
        some = ", ".join(printable(path.name) for path in ignored[:3])
        files = counted(len(ignored), "file")
        click.echo(
            f"crosshead: passed over {files} of a kind that is not read: {some}{'…' if ignored[3:] else ''}", err=True
        )

"""`crosshead monitor`: whether the model still fits the text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.tag import model_option
from crosshead.cli.words import counted, printable
from crosshead.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.monitoring.results import About, Drift

STYLES = {"alarm": "bold red", "notice": "yellow", "ok": "green", "left out": "dim"}
MARKS = {"alarm": "▲", "notice": "△", "ok": "✓", "left out": "–"}
N_WORDS = 8


@command(
    "crosshead monitor --current 'inbox/*.md'",
    "crosshead monitor --current tagged/ -o drift.html --log",
    "crosshead monitor --reference tagged-may/ --current tagged-june/ --format json",
)
@click.argument("more", metavar="[FILE]...", nargs=-1)
@click.option(
    "--current",
    metavar="FILE",
    multiple=True,
    help="Articles or a feed, to be tagged; or what `crosshead tag` wrote.  May be given again.",
)
@click.option(
    "--reference",
    metavar="FILE",
    multiple=True,
    help="What to compare with, of the same kinds.  [default: what the model was trained on]",
)
@model_option
@click.option(
    "--format", "-f", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it as a page, too.")
@click.option("--text/--no-text", default=True, show_default=True, help="Whether words and paragraphs are shown.")
@click.option("--log", is_flag=True, help="Record the results in MLflow, too.")
@click.option(
    "--false-alarms",
    type=click.FloatRange(0.002, 0.2),
    default=0.01,
    show_default=True,
    help="Chance that any check stands at alarm although nothing has changed.",
)
@click.option(
    "--max-articles",
    type=click.IntRange(10),
    default=2000,
    show_default=True,
    help="Of each side; more are drawn from.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything that is drawn.")
def monitor(more: tuple[str, ...], current: tuple[str, ...], **options: Any) -> int:
    """Say whether the model still fits the text.

    Compares what comes in now, the --current files, with what the model learnt from: section types, confidence,
    vectors, words, lengths, languages. Exit code 7 if any check stands at alarm;
    docs/reference/monitoring.md tells how to read it.
    """
    from crosshead.cli.output import console, reporter
    from crosshead.cli.pipeline import import_training

    if not (names := (*current, *more)):
        raise click.UsageError("nothing to look at: name files, --current FILE")
    job = import_training("crosshead.monitoring.job")
    wanted = job.Wanted(
        current=names,
        reference=options["reference"],
        model=options["model"],
        false_alarms=options["false_alarms"],
        max_articles=options["max_articles"],
        with_text=options["text"],
        seed=options["seed"],
    )
    with reporter() as report:
        drift: Drift = job.monitor(wanted, report)
    output: Path | None = options["output"]
    if output is not None:
        _write_page(drift, output, with_text=options["text"])
    if options["output_format"] == "json":
        click.echo(json.dumps(drift.as_dict(), ensure_ascii=False, indent=2))
    else:
        show(out := console(), drift)
        if output is not None:
            out.print(f"written: {printable(str(output))}", soft_wrap=True)
    if options["log"]:
        _record(drift, output)
    if drift.verdict == "left out":
        # Whoever goes by the exit code must not take it for "no change".
        click.echo("crosshead: nothing could be compared, so nothing can be said", err=True)
        return Exit.DATA
    return Exit.DRIFT if drift.verdict == "alarm" else Exit.OK


def _write_page(drift: Drift, path: Path, *, with_text: bool) -> None:
    from crosshead.cli.pipeline import import_training
    from crosshead.corpora.corpus import write_file

    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page: str = import_training("crosshead.monitoring.page").to_html(drift, created, with_text=with_text)
    write_file(path, page.encode("utf-8", "replace"))


def _record(drift: Drift, page: Path | None) -> None:
    from crosshead.cli.pipeline import load_settings
    from crosshead.monitoring.results import describe
    from crosshead.records.log_items import FileArtifact
    from crosshead.records.recording import record
    from crosshead.records.tracking import Tracking

    settings = load_settings(())
    # Of its own: whoever looks for the last training should not find this.
    tracking = Tracking.at(settings.root, f"{settings.tracking.experiment}-monitor", settings.tracking.uri)
    items = [*describe(drift), *([FileArtifact(page)] if page is not None else [])]
    recorded = record(tracking, settings.root, items, name="monitor")
    if recorded.unsent:
        raise StoreError(recorded.unsent)
    click.echo(f"crosshead: recorded in MLflow as run {recorded.run_id}", err=True)


def show(out: Console, drift: Drift) -> None:
    """Print what was found."""
    from rich.table import Table
    from rich.text import Text

    from crosshead.monitoring.sentences import VERDICTS, how_to_train, p_text, reasons, value_text

    out.print(Text.assemble((f"{MARKS[drift.verdict]} {VERDICTS[drift.verdict]}", STYLES[drift.verdict])))
    out.print(Text(f"current: {_size(drift.current)}; reference: {_size(drift.reference)}", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(("", "reference", "current", "p", "verdict")):
        table.add_column(column, header_style="bold", justify="left" if i in (0, 4) else "right")
    for check in drift.checks:
        if check.left_out:
            continue
        of = f" ({printable(str(next(iter(check.details.values()))))})" if check.details else ""
        table.add_row(
            Text(check.title + of),
            value_text(check, check.reference, with_ends=True),
            value_text(check, check.current, with_ends=True),
            p_text(check.adjusted),
            Text(f"{MARKS[check.verdict]} {check.verdict}", style=STYLES[check.verdict]),
        )
    if table.row_count:
        out.print(table)
    for why, titles in reasons(drift).items():
        out.print(Text(f"not compared: {', '.join(titles)}: {printable(why)}", style="dim"))
    for side, words in _words(drift).items():
        out.print(Text.assemble((f"{side}: ", "bold"), ", ".join(map(printable, words))))
    if drift.verdict == "alarm" and drift.model:
        out.print(Text(f"label what is unlike, and train again{printable(how_to_train(drift))}"), soft_wrap=True)
    for note in drift.notes:
        out.print(Text(f"note: {printable(note)}", style="yellow"))
    out.print(
        Text(
            f"If nothing has changed, the chance of any alarm is {drift.false_alarms:.1%} at most. p-values are "
            "corrected for the number of checks; chance deals out whole articles.",
            style="dim",
        )
    )


def _words(drift: Drift) -> dict[str, list[str]]:
    sides = {"more of these words": 1, "fewer of these": -1}
    found = {
        name: [word.term for word in drift.words if word.weight * sign > 0][:N_WORDS] for name, sign in sides.items()
    }
    changed = drift.verdict in ("alarm", "notice")
    return {name: words for name, words in found.items() if words and changed}


def _size(about: About) -> str:
    articles = counted(about.n_articles, "article")
    return f"{counted(about.n_paragraphs, 'paragraph')} of {articles} ({printable(about.name)})"

"""`crosshead compare`: which differences between runs are real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable
from crosshead.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from crosshead.evaluation import Comparison, Interval
    from crosshead.reporting.compare_report import Against, Changed, Compared

STYLES = {"better": "bold green", "worse": "bold red", "may be chance": "bold", "not known": "bold"}
KIND_STYLES = {"lost": "red", "gained": "green", "other": "yellow"}


@command(
    "crosshead compare champion last",
    "crosshead compare 3f2a 9c01 b7e4 --html comparison.html",
    "crosshead compare models:/crosshead/1 models:/crosshead/2 --paragraphs 20",
)
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write it as Markdown, too.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it as a page, too.")
@click.option(
    "--paragraphs", type=click.IntRange(min=0), default=6, show_default=True, help="How many changed ones to show."
)
@click.option("--no-texts", is_flag=True, help="Leave the paragraphs' texts out; their table is then not needed.")
def compare(runs: tuple[str, ...], markdown: Path | None, html: Path | None, paragraphs: int, no_texts: bool) -> int:
    """Compare runs on the same held-out articles.

    The first RUN is the baseline. A RUN is an id or its first characters, a name, a version's number,
    models:/NAME/VERSION, `champion`, `last`, or a folder that holds predictions.parquet.
    """
    if len(runs) < 2:
        raise ConfigError(f"{len(runs)} run was named; name two at least, the first is the baseline")
    from crosshead.cli.output import console
    from crosshead.cli.pipeline import check_runs, import_training, load_settings

    check_runs(runs)
    stage = import_training("crosshead.stages.compare")
    compared: Compared = stage.run(load_settings(()), runs, with_texts=not no_texts)
    out = console()
    show_comparison(out, compared, n_paragraphs=paragraphs)
    stage.write_pages(compared, markdown=markdown, html=html)
    for path in (markdown, html):
        if path is not None:
            out.print(f"written: {path}", soft_wrap=True)
    return Exit.OK


def show_comparison(out: Console, compared: Compared, *, n_paragraphs: int) -> None:
    """Print the comparison."""
    from rich.text import Text

    from crosshead import measures
    from crosshead.reporting.compare_report import corrections, measured, sentences

    first, *told = sentences(compared)
    out.print(Text(f"{first} Baseline: {compared.baseline}. ↓ less is better", style="dim"))
    out.print(_scores(compared))
    out.print(Text(measures.explained(measured(compared)), style="dim"))
    for row, sentence in zip(compared.against, told, strict=True):
        out.print()
        out.print(Text(sentence, style=STYLES[row.verdict]))
        out.print(_differences(compared, row))
        _show_changed(out, row.changed, n_paragraphs)
    out.print()
    for note in compared.notes:
        out.print(Text(f"note: {note}", style="yellow"))
    out.print(Text(corrections(compared), style="dim"))


def _scores(compared: Compared) -> Table:
    from crosshead import measures
    from crosshead.reporting.compare_report import SETS

    table = _table("", *compared.names)
    for name in measures.NAMES:
        values = [scores.overall().get(name) for scores in compared.scores.values()]
        if any(values):
            table.add_row(measures.title(name), *map(_interval, values))
    if compared.sets:
        table.add_row(SETS, *(_interval(compared.sets[name]) for name in compared.names))
    return table


def _differences(compared: Compared, row: Against) -> Table:
    from rich.text import Text

    from crosshead import measures
    from crosshead.reporting.compare_report import SETS, SURE, p_text
    from crosshead.reporting.report_text import whole

    def p(name: str) -> Text:
        value = row.p_values[name]
        return Text(p_text(value), style="bold" if value is not None and value < SURE else "dim")

    table = _table(f"{row.name} − {compared.baseline}", "difference", "95 %", "p")
    for name, comparison in row.differences.overall.items():
        table.add_row(measures.title(name), *_difference(comparison), p(name))
    if row.sets is not None:
        table.add_row(SETS, *_difference(row.sets), p("set_accuracy"))
    only = f"{row.mcnemar.only_b} : {row.mcnemar.only_a}"
    table.add_row("right in one run only (McNemar)", whole(row.mcnemar.only_b - row.mcnemar.only_a), only, p("mcnemar"))
    for name in compared.section_types:
        table.add_row(f"F1 {name}", *_difference(row.differences.f1.get(name)), "")
    return table


def _show_changed(out: Console, changed: Sequence[Changed], n_shown: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from crosshead.reporting.compare_report import KINDS

    if not changed:
        out.print(Text("No paragraph changed sides.", style="dim"))
        return
    counts = {kind: sum(row.kind == kind for row in changed) for kind in KINDS}
    told = ", ".join(f"{counts[kind]} {words}" for kind, words in KINDS.items() if counts[kind])
    out.print(Text(f"{counted(len(changed), 'paragraph')} changed sides: {told}", style="bold"))
    for row in _some_of_each(changed, n_shown):
        out.print(
            Text.assemble(
                ("▌ ", KIND_STYLES[row.kind]),
                "truly ",
                (row.section_type, "bold"),
                f": before {row.before} {row.before_confidence:.0%}, now {row.after} {row.after_confidence:.0%}",
                (f"  {printable(row.paragraph_id)}", "dim"),
            )
        )
        if row.text is not None:
            out.print(Padding(Text(printable(row.text)), (0, 0, 0, 2)))
    if len(changed) > n_shown:
        out.print(
            Text(f"{counted(len(changed) - n_shown, 'more', 'more')}: --paragraphs N, or --html FILE", style="dim")
        )


def _some_of_each(changed: Sequence[Changed], n_shown: int) -> list[Changed]:
    """Choose so that each kind has its turn, the surest first."""
    from crosshead.reporting.compare_report import KINDS

    queues = [[row for row in changed if row.kind == kind] for kind in KINDS]
    chosen: list[Changed] = []
    while len(chosen) < min(n_shown, len(changed)):
        chosen += [queue.pop(0) for queue in queues if queue]
    kept = chosen[:n_shown]
    return [row for row in changed if row in kept]


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(printable(column), header_style="bold", justify="left" if i == 0 else "right")
    return table


def _interval(interval: Interval | None) -> Text:
    from rich.text import Text

    text = Text("–" if interval is None else f"{interval.value:.3f}")
    if interval is not None and interval.has_ends:
        text.append(f" {interval.low:.3f}–{interval.high:.3f}", style="dim")
    return text


def _difference(comparison: Comparison | None) -> tuple[str, Text]:
    from rich.text import Text

    from crosshead.reporting.report_text import signed

    if comparison is None:
        return "–", Text("")
    interval = comparison.difference
    if interval.low is None or interval.high is None:
        return signed(interval.value), Text("")
    return signed(interval.value), Text(f"{signed(interval.low)} to {signed(interval.high)}", style="dim")

"""`crosshead agreement`: how well annotators agree, and where they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.sitting import check_installed, open_project
from crosshead.cli.words import counted, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from crosshead.evaluation.bootstrap import Interval
    from crosshead.labelling.agreement import Agreement, Dispute, PairAgreement
    from crosshead.labelling.queue import QueueItem

N_SHOWN = 20


@command(
    "crosshead agreement",
    "crosshead agreement data/labels/anna.jsonl data/labels/ben.jsonl --texts queue.jsonl",
    "crosshead agreement --disputed disputed.jsonl --format json",
)
@click.argument("labels", metavar="[LABELS]...", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--texts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Queues or articles that were read; by default the project's articles.",
)
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--disputed", type=click.Path(path_type=Path), help="Write the disputed paragraphs as a queue, votes kept."
)
@click.option("--all", "everything", is_flag=True, help=f"List every disputed paragraph, not the first {N_SHOWN}.")
@click.option("--taxonomy", metavar="NAME", help="Section types of conf/taxonomy/NAME.yaml.")
def agreement(
    labels: tuple[Path, ...],
    texts: tuple[Path, ...],
    form: str,
    disputed: Path | None,
    everything: bool,
    taxonomy: str | None,
) -> int:
    """Measure how annotators agree; list what they dispute.

    LABELS are annotation files, label logs and Label Studio exports; by default the project's annotations and all logs
    in data/labels/. Coefficients are Cohen's kappa for each pair and Krippendorff's alpha for all, each with its 95 %
    interval from resampling articles.
    """
    check_installed("crosshead agreement", page=False)
    from crosshead.cli.output import console
    from crosshead.labelling.adjudication import texts_of, to_settle
    from crosshead.labelling.agreement import agree
    from crosshead.labelling.queue import read_queue, write_queue
    from crosshead.labelling.votes import read_all_votes

    project = open_project(taxonomy)
    votes = read_all_votes(labels or project.label_files())
    found = agree((vote.annotation for vote in votes), [d.name for d in project.section_types])
    known = texts_of(read_queue(texts or project.articles)) if found.disputes else {}
    if disputed is not None:
        write_queue(to_settle(found.disputes, known, again=True) if found.disputes else [], disputed)
    if form == "json":
        told = found.as_dict() | {"disputes": [_dispute(dispute, known) for dispute in found.disputes]}
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return Exit.OK
    out = console()
    _show(out, found)
    _show_disputes(out, found.disputes, known, len(found.disputes) if everything else N_SHOWN)
    return Exit.OK


def _dispute(dispute: Dispute, texts: Mapping[Any, QueueItem]) -> dict[str, Any]:
    item = texts.get(dispute.place)
    return {
        "article_id": dispute.article_id,
        "paragraph": dispute.paragraph,
        "text": item.text if item else None,
        "votes": dict(dispute.votes),
        "notes": dict(dispute.notes),
        "settled": dispute.settled,
    }


def _show(out: Console, found: Agreement) -> None:
    from rich.table import Table
    from rich.text import Text

    votes = ", ".join(f"{printable(who) or '(no name)'} {n:,}" for who, n in found.n_votes.items())
    shared = f"{counted(found.n_paragraphs, 'paragraph')} of {counted(found.n_articles, 'article')}"
    out.print(f"labels: {votes}")
    out.print(f"read by two or more: {shared}")
    out.print(Text.assemble("Krippendorff's alpha  ", (_value(found.alpha), "bold")))
    out.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("annotators", "paragraphs", "agree", "Cohen's kappa"):
        table.add_column(title, overflow="fold")
    for pair in found.pairs:
        table.add_row(_names(pair), f"{pair.n_paragraphs:,}", _value(pair.observed), Text(_value(pair.kappa), "bold"))
    out.print(table)
    if found.pairs:
        _show_section_types(out, found)
    for pair in found.pairs:
        _show_confusion(out, pair, found.section_types)


def _show_section_types(out: Console, found: Agreement) -> None:
    """Print the kappa of each section type; its name breaks between words only."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("kappa of each", overflow="fold")
    for name in found.section_types:
        _add_section_type(table, name)
    for pair in found.pairs:
        table.add_row(_names(pair), *(_value(pair.by_section_type[name], ends=False) for name in found.section_types))
    out.print()
    out.print(table)


def _add_section_type(table: Table, name: str) -> None:
    words = name.replace("_", " ").replace("-", " ")
    table.add_column(words, justify="right", min_width=max(map(len, words.split()), default=1))


def _show_confusion(out: Console, pair: PairAgreement, section_types: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    one, other = map(printable, pair.annotators)
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    table.add_column(f"{one} ↓   {other} →", style="dim")
    for name in section_types:
        _add_section_type(table, name)
    for i, name in enumerate(section_types):
        cells = (Text(f"{n:,}" if n else "·", "bold" if i == j else "") for j, n in enumerate(pair.confusion[i]))
        table.add_row(name, *cells)
    out.print()
    out.print(table)


def _show_disputes(out: Console, disputes: Sequence[Dispute], texts: Mapping[Any, QueueItem], n_shown: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if not disputes:
        out.print("\nnothing is disputed")
        return
    n_settled = sum(dispute.settled is not None for dispute in disputes)
    out.print(f"\n{counted(len(disputes), 'disputed paragraph')}, {n_settled} of them settled")
    for dispute in disputes[:n_shown]:
        votes = " · ".join(f"{printable(who)}: {name}" for who, name in dispute.votes.items())
        settled = f" → {dispute.settled}" if dispute.settled else ""
        out.print(Text.assemble(f"\n{printable(dispute.article_id)}#{dispute.paragraph}  ", (votes + settled, "bold")))
        item = texts.get(dispute.place)
        text = printable(item.text) if item else "(its text is in none of the files; name them with --texts)"
        out.print(Padding(Text(text, "" if item else "dim"), (0, 0, 0, 2)))
        for who, note in dispute.notes.items():
            out.print(Padding(Text(f"{printable(who)} notes: {printable(note)}", "italic"), (0, 0, 0, 2)))
    if len(disputes) > n_shown:
        out.print(f"\n… and {len(disputes) - n_shown} more: --all lists them, --disputed FILE writes them")
    if n_settled < len(disputes):
        out.print("\nnext: crosshead adjudicate --annotator NAME")


def _names(pair: PairAgreement) -> str:
    return " and ".join(printable(name) or "(no name)" for name in pair.annotators)


def _value(interval: Interval | None, *, ends: bool = True) -> str:
    if interval is None:
        return "–"
    return str(interval) if ends else f"{interval.value:.3f}"

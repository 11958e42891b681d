"""`crosshead label`: read paragraphs on a page of this machine, one key press a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.sitting import check_installed, open_project, page_options, sit
from crosshead.errors import DataError

if TYPE_CHECKING:
    from crosshead.labelling.queue import QueueItem


@command(
    "crosshead label queue.jsonl --annotator anna",
    "crosshead label queue.jsonl --annotator ben --second",
    "crosshead label articles/ --annotator anna --taxonomy reviews",
)
@click.argument("queue", metavar="QUEUE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--second", is_flag=True, help="Read again, blind, what others have labelled; their labels are not shown."
)
@click.option(
    "--labels",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Others' labels, for --second; by default the project's annotations and data/labels/.",
)
@page_options
def label(
    queue: tuple[Path, ...],
    second: bool,
    labels: tuple[Path, ...],
    annotator: str,
    log_file: Path | None,
    taxonomy: str | None,
    codebook: Path | None,
    port: int | None,
    opens: bool | None,
) -> int:
    """Label paragraphs on a page, one key press each.

    QUEUE is what `crosshead select` wrote, or articles, whose paragraphs are then read in order. Every label is on the
    disk before the page calls it saved. Who stops and comes back goes on where they were.
    """
    check_installed("crosshead label")
    from crosshead.labelling.log import LabelLog, check_annotator
    from crosshead.labelling.queue import read_queue
    from crosshead.labelling.session import Session

    check_annotator(annotator)
    if labels and not second:
        raise click.UsageError("--labels says whose paragraphs are read again; it goes with --second")
    project = open_project(taxonomy)
    items = read_queue(queue)
    log = LabelLog(log_file or project.log_path(annotator), annotator)
    if second:
        items = _read_by_others(items, labels or project.label_files(), annotator)
    session = Session(
        items,
        log,
        project.section_types,
        mode="second" if second else "label",
        name=", ".join(path.name for path in queue),
        codebook=project.codebook(codebook),
        next_command=project.next_command(items, log.path),
    )
    sit(session, port=port, opens=opens)
    return Exit.OK


def _read_by_others(items: Sequence[QueueItem], files: Sequence[Path], annotator: str) -> list[QueueItem]:
    """Keep the paragraphs that somebody else has labelled; which labels they gave goes no further."""
    from crosshead.labelling.agreement import N_DIGITS
    from crosshead.labelling.votes import read_votes

    votes = [vote.annotation for path in files for vote in read_votes(path)]
    read = {(a.article_id, a.paragraph, a.text_sha256[:N_DIGITS]) for a in votes if a.annotator != annotator}
    kept = [item for item in items if item.place in read]
    if not kept:
        raise DataError(
            f"nobody but {annotator!r} has labelled any of the {len(items)} paragraphs; leave out --second to be the "
            "first, or name the others' labels with --labels"
        )
    return kept

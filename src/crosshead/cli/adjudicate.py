"""`crosshead adjudicate`: settle the paragraphs whose annotators are divided."""

from __future__ import annotations

from pathlib import Path

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.sitting import check_installed, open_project, page_options, sit


@command(
    "crosshead adjudicate --annotator clara",
    "crosshead adjudicate data/labels/anna.jsonl data/labels/ben.jsonl --texts queue.jsonl --annotator clara",
)
@click.argument("labels", metavar="[LABELS]...", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--texts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Queues or articles that were read; by default the project's articles.",
)
@click.option("--again", is_flag=True, help="Ask also for what is settled already.")
@page_options
def adjudicate(
    labels: tuple[Path, ...],
    texts: tuple[Path, ...],
    again: bool,
    annotator: str,
    log_file: Path | None,
    taxonomy: str | None,
    codebook: Path | None,
    port: int | None,
    opens: bool | None,
) -> int:
    """Settle the paragraphs whose annotators are divided.

    LABELS are annotation files, label logs and Label Studio exports; by default the project's annotations and all logs
    in data/labels/. The page shows every vote. The settled label is one more annotation, of the source `adjudication`;
    the votes stay, and training goes by the settled label.
    """
    check_installed("crosshead adjudicate")
    from crosshead.labelling.adjudication import texts_of, to_settle
    from crosshead.labelling.agreement import disputes_of
    from crosshead.labelling.log import LabelLog, check_annotator
    from crosshead.labelling.queue import read_queue
    from crosshead.labelling.session import Session
    from crosshead.labelling.votes import read_all_votes

    check_annotator(annotator)
    project = open_project(taxonomy)
    votes = read_all_votes(labels or project.label_files())
    disputes = disputes_of(vote.annotation for vote in votes)
    items = to_settle(disputes, texts_of(read_queue(texts or project.articles) if disputes else []), again=again)
    log = LabelLog(log_file or project.log_path(annotator, ".adjudication"), annotator)
    session = Session(
        items,
        log,
        project.section_types,
        mode="adjudicate",
        name="disputed paragraphs",
        codebook=project.codebook(codebook),
        next_command=project.next_command(items, *labels, log.path),
    )
    sit(session, port=port, opens=opens)
    return Exit.OK

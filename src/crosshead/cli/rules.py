"""`crosshead rules`: what the taxonomy's text rules and headings find, and a tagger from their votes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.reading import inputs_argument, open_encoder_of, open_pool, overrides_option, vectors_of
from crosshead.cli.words import counted
from crosshead.cli.zero_shot import save_first, say_first

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from crosshead.labelling.pool import Pool
    from crosshead.labelling.weak_labels import LabelModel, SourceReport, Votes
    from crosshead.schema import Settings
    from crosshead.tagging.heads import LinearHead
    from crosshead.training.first_model import FirstModel


@command("crosshead rules", "crosshead rules archive/ --csv rules.csv", "crosshead rules --save models/rules")
@inputs_argument
@click.option("--csv", "csv_file", metavar="FILE", help="Write the table there, with intervals.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Train a tagger on what the votes and the annotations say together, and save it in this folder.",
)
@click.option("--headings/--no-headings", default=True, help="Whether headings vote beside the rules.")
@overrides_option
def rules(
    inputs: tuple[str, ...], csv_file: str | None, save: Path | None, headings: bool, overrides: tuple[str, ...]
) -> int:
    """Show what rules and headings find, and how far to believe each.

    The rules are the text_rules of the taxonomy. Coverage is the share of paragraphs that a rule votes on, conflicts
    the share of its votes that another contradicts, accuracy the share that the annotations confirm, and belief what
    the label model makes of it without looking at any annotation. INPUT is as for `crosshead tag`; by default the
    articles of the configuration.
    """
    from crosshead.cli.output import console
    from crosshead.cli.writers import opened
    from crosshead.labelling.weak_labels import cast_votes, fit_label_model, report_sources

    settings, pool = open_pool(inputs, overrides)
    votes = cast_votes(pool.texts, pool.by_heading, settings.taxonomy)
    votes = votes if headings else votes.without_headings()
    model = fit_label_model(votes)
    reports = report_sources(votes, model, pool.annotated, pool.article_ids, seed=settings.seed)
    out = console()
    show_sources(out, reports)
    show_totals(out, votes, model, pool)
    if csv_file is not None:
        with opened(csv_file) as stream:
            stream.write(_as_csv(reports).encode())
    if save is not None:
        trained, folder = _train(settings, pool, votes, save)
        if trained.scores is not None:
            told = f"macro-F1 {trained.scores.macro_f1}, accuracy {trained.scores.accuracy}"
            out.print(f"trained on the votes: {told}, on annotations of articles that it did not see")
        say_first(out, settings, trained, folder)
    return Exit.OK


def show_sources(out: Console, reports: Sequence[SourceReport]) -> None:
    """Print a row for each source that voted, by section type."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(("section type", "rule", "votes", "coverage", "conflicts", "belief", "accuracy")):
        table.add_column(column, header_style="bold", justify="left" if i < 2 else "right")
    before = ""
    for report in sorted(reports, key=lambda report: [r.section_type for r in reports].index(report.section_type)):
        if not report.n_votes:
            continue
        accuracy = Text("–")
        if report.accuracy is not None:
            accuracy = Text(f"{report.accuracy.value:.0%}")
            if report.accuracy.low is not None and report.accuracy.high is not None:
                accuracy.append(f" {report.accuracy.low:.0%}–{report.accuracy.high:.0%}", style="dim")
        table.add_row(
            report.section_type if report.section_type != before else "",
            report.name,
            f"{report.n_votes:,}",
            f"{report.coverage:.1%}",
            f"{report.conflicts:.0%}",
            f"{report.belief:.0%}",
            accuracy,
        )
        before = report.section_type
    out.print(table)
    if silent := [f"{report.name} ({report.section_type})" for report in reports if not report.n_votes]:
        out.print(f"no votes: {', '.join(silent)}", style="dim")
    out.print()


def show_totals(out: Console, votes: Votes, model: LabelModel, pool: Pool) -> None:
    """Print how much is covered and how often votes, counted or weighed, are right."""
    counts = votes.counts()
    contested = (counts > 0).sum(axis=1) > 1
    out.print(
        f"{votes.covered.mean():.0%} of {counted(len(pool), 'paragraph')} have a vote, {contested.mean():.0%} have "
        "votes for several section types"
    )
    checked = votes.covered & (pool.annotated >= 0)
    if checked.any():
        truth = pool.annotated[checked]
        by_count = (counts[checked].argmax(axis=1) == truth).mean()
        by_model = (model.log_proba(votes)[checked].argmax(axis=1) == truth).mean()
        out.print(
            f"of {counted(int(checked.sum()), 'annotated paragraph')} with a vote, {by_count:.0%} are right by "
            f"counting, {by_model:.0%} by the label model"
        )


def _train(settings: Settings, pool: Pool, votes: Votes, folder: Path) -> tuple[FirstModel, Path]:
    from crosshead.labelling.weak_labels import fit_label_model
    from crosshead.training.first_model import build, learn

    encoder, graph_dir = open_encoder_of(settings)
    vectors = vectors_of(pool, encoder)

    def guess(y: NDArray[np.int64]) -> LinearHead:
        log_proba = fit_label_model(votes, y).log_proba(votes)
        return learn(vectors, log_proba, y=y, among=votes.covered)

    model = build(
        guess,
        vectors,
        pool.annotated,
        pool.lengths,
        pool.article_ids,
        section_types=settings.taxonomy.section_types,
        encoder=encoder,
        name="rules",
        decoder_weight=settings.decoder.neighbour_weight,
        risk=settings.calibration.risk,
        seed=settings.seed,
    )
    return model, save_first(settings, model, folder, graph_dir)


def _as_csv(reports: Sequence[SourceReport]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(reports[0].as_dict()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.as_dict() for report in reports)
    return file.getvalue()

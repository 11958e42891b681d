"""`crosshead data import`, `merge` and `diff`: labels from everywhere into one file, and what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import CONTEXT, command
from crosshead.cli.sitting import check_installed, open_project
from crosshead.cli.words import counted, printable
from crosshead.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.articles import Article
    from crosshead.corpora.data_diff import DataDiff, LabelChange
    from crosshead.labelling.corrections import Placed
    from crosshead.labelling.votes import Merged, Vote

DIFFERENT = 1
N_SHOWN = 40

files_argument = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
names_option = click.option(
    "--name", "names", multiple=True, metavar="ID=NAME", help="Who annotator ID of Label Studio is; may be repeated."
)


@click.group(context_settings=CONTEXT)
def data() -> None:
    """Bring labels together; show what changed in a corpus."""


@command(
    "crosshead data import data/labels/anna.jsonl",
    "crosshead data import project-3-export.json --name 1=anna --name 2=ben",
    "crosshead data import corrections/*.csv --dry-run",
)
@files_argument
@names_option
@click.option("--annotator", default="", metavar="NAME", help="Who labelled, where a file does not say.")
@click.option("--into", type=click.Path(path_type=Path), help="Annotation file; the project's by default.")
@click.option("--replace", is_flag=True, help="Where an annotator labels a paragraph anew, let the new label win.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@click.option("--all", "everything", is_flag=True, help=f"List everything set aside, not the first {N_SHOWN}.")
@click.option("--taxonomy", metavar="NAME", help="Section types of conf/taxonomy/NAME.yaml.")
def import_(
    files: tuple[Path, ...],
    names: tuple[str, ...],
    annotator: str,
    into: Path | None,
    replace: bool,
    dry_run: bool,
    everything: bool,
    taxonomy: str | None,
) -> int:
    """Take labels into the project's annotations.

    FILE is a label log (.jsonl), a Label Studio export (.json, JSON or JSON-MIN) or an annotation file (.csv), such as
    corrections or a queue that was filled in. Labels are checked against the project's articles and section types; one
    that contradicts another of the same annotator is an error that names both. Those that are there change nothing.

    Corrections of the served page are taken in where a paragraph of the corpus has their text, the last of each reader.
    The others are named, counted, and left in their file: import it again when their article is in the corpus.
    """
    check_installed("crosshead data import", page=False)
    from crosshead.labelling.corrections import place
    from crosshead.labelling.votes import credit, merge, read_votes, take_into
    from crosshead.readers import read_articles

    project = open_project(taxonomy)
    target = into or project.annotations
    known_names = _read_names(names)
    new = credit([vote for file in files for vote in read_votes(file, known_names)], annotator)
    articles, section_types = list(read_articles(project.articles)), project.settings.taxonomy.section_types
    placed = place(new, articles, section_types)
    _check(placed.votes, articles, section_types)
    if dry_run:
        merged = merge(read_votes(target) if target.exists() else [], placed.votes, replace_known=replace)
    else:
        merged = take_into(target, placed.votes, replace_known=replace)
    _say(merged, target, written=not dry_run)
    _say_set_aside(placed, None if everything else N_SHOWN)
    return Exit.OK


@command("crosshead data merge anna.jsonl ben.jsonl export.json --output both.csv")
@files_argument
@names_option
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="A new annotation file.")
def merge(files: tuple[Path, ...], names: tuple[str, ...], output: Path) -> int:
    """Write the labels of several files into a new one.

    As `crosshead data import`, but without a project: nothing is checked against articles.
    """
    check_installed("crosshead data merge", page=False)
    from crosshead.labelling.votes import read_all_votes, take_into

    if output.exists():
        raise DataError(f"{output} is there already; name a new file, or use: crosshead data import --into {output}")
    _say(take_into(output, read_all_votes(files, _read_names(names))), output, written=True)
    return Exit.OK


@command("crosshead data diff", "crosshead data diff v1.0 HEAD", "crosshead data diff backup/data . --format json")
@click.argument("old", default="HEAD")
@click.argument("new", default=".")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--path", default="data", show_default=True, help="The corpus's folder in the project.")
@click.option("--all", "everything", is_flag=True, help=f"List every change, not the first {N_SHOWN} of a kind.")
def diff(old: str, new: str, form: str, path: str, everything: bool) -> int:
    """Show what changed between two versions of a corpus.

    OLD (HEAD by default) and NEW (this folder by default) are folders or git revisions: a project, its data folder, or
    a folder of articles. What DVC keeps of a revision is taken from DVC. Exit code 0 if nothing differs, 1 if something
    does, 2 and more on trouble.
    """
    from crosshead.cli.output import console
    from crosshead.corpora.data_diff import diff as compare
    from crosshead.corpora.data_diff import read_version
    from crosshead.loading import project_root

    root = project_root() or Path.cwd()
    here = str(root) if new == "." else new
    found = compare(read_version(old, root, path=path), read_version(here, root, path=path))
    if form == "json":
        click.echo(json.dumps({"different": bool(found), **found.as_dict()}, ensure_ascii=False, indent=2))
    else:
        _show(console(), found, None if everything else N_SHOWN)
    return DIFFERENT if found else Exit.OK


data.add_command(import_, "import")
data.add_command(merge)
data.add_command(diff)


def _read_names(given: Sequence[str]) -> dict[str, str]:
    names = {}
    for pair in given:
        number, equals, name = pair.partition("=")
        if not (number and equals and name):
            raise click.UsageError(f"--name is {pair!r}; write ID=NAME, such as 3=anna")
        names[number] = name
    return names


def _check(votes: Sequence[Vote], articles: Sequence[Article], section_types: Sequence[str]) -> None:
    """Check labels against the project; an error names the file, too."""
    from crosshead.corpora.annotations import check_annotations
    from crosshead.labelling.votes import check_votes, last_words

    votes = last_words(votes)
    check_votes(votes)
    try:
        check_annotations([vote.annotation for vote in votes], articles, section_types)
    except DataError:
        for vote in votes:
            try:
                check_annotations([vote.annotation], articles, section_types)
            except DataError as error:
                raise DataError(f"{vote.where} cannot be taken in: {error}") from error
        raise


def _say(merged: Merged, target: Path, *, written: bool) -> None:
    from crosshead.corpora.annotations import count_votes

    told = [f"{merged.n_added:,} added", f"{merged.n_known:,} there already"]
    if merged.n_replaced:
        told.append(f"{merged.n_replaced:,} replaced")
    if merged.n_overruled:
        told.append(f"{merged.n_overruled:,} overruled by a later correction of the same reader")
    disputed = len(count_votes(merged.annotations).disputed)
    click.echo(f"{'' if written else 'would be '}{', '.join(told)}: {target}, {len(merged.annotations):,} labels")
    if disputed:
        click.echo(f"a tie of votes and no label: {counted(disputed, 'paragraph')}; next: crosshead adjudicate")


def _say_set_aside(placed: Placed, n_shown: int | None) -> None:
    if placed.n_moved:
        click.echo(f"found by their text alone: {counted(placed.n_moved, 'correction')}")
    if not placed.set_aside:
        return
    click.echo(f"set aside, and left in their files: {counted(len(placed.set_aside), 'correction')}")
    for item in placed.set_aside[:n_shown]:
        given = item.vote.annotation
        click.echo(f"  {item.vote.where}: {printable(given.article_id)}#{given.paragraph}: {printable(item.reason)}")
    if n_shown is not None and len(placed.set_aside) > n_shown:
        click.echo(f"  … and {len(placed.set_aside) - n_shown:,} more; --all lists them")
    click.echo("import the file again when their articles are in the corpus")


def _show(out: Console, found: DataDiff, n_shown: int | None) -> None:
    from rich.text import Text

    for name, (before, after) in found.counts.items():
        change = f"  ({after - before:+,})" if before != after else ""
        out.print(f"{name:<11} {before:>8,} → {after:>8,}{change}")
    if not found:
        out.print("nothing differs")
        return
    for sign, style, articles in (("+", "green", found.added), ("-", "red", found.removed)):
        for article_id, n in list(articles.items())[:n_shown]:
            out.print(Text(f"{sign} {printable(article_id)}  {counted(n, 'paragraph')}", style))
        _say_more(out, len(articles), n_shown)
    for article in found.changed[:n_shown]:
        out.print(Text.assemble((f"~ {printable(article.article_id)}", "yellow"), f"  {', '.join(article.fields)}"))
        for paragraph in article.paragraphs:
            for sign, style, number, text in (
                ("-", "red", paragraph.old_paragraph, paragraph.old_text),
                ("+", "green", paragraph.new_paragraph, paragraph.new_text),
            ):
                if text is not None:
                    line = Text(f"    {sign} {number:>3}  {printable(text)}", style, no_wrap=True, overflow="ellipsis")
                    out.print(line)
    _say_more(out, len(found.changed), n_shown)
    _show_labels(out, "labels", found.labels, n_shown)
    _show_labels(out, "what the votes decide", found.decisions, n_shown)


def _show_labels(out: Console, title: str, changes: Sequence[LabelChange], n_shown: int | None) -> None:
    from rich.table import Table
    from rich.text import Text

    if not changes:
        return
    out.print(f"\n{title}: {len(changes):,} changed")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for change in changes[:n_shown]:
        values = Text.assemble((change.old or "–", "red"), " → ", (change.new or "–", "green"))
        place = f"{printable(change.article_id)}#{change.paragraph}"
        table.add_row(place, printable(change.annotator or ""), values, Text(printable(change.text), "dim"))
    out.print(table)
    _say_more(out, len(changes), n_shown)


def _say_more(out: Console, n: int, n_shown: int | None) -> None:
    if n_shown is not None and n > n_shown:
        out.print(f"  … and {n - n_shown:,} more; --all lists them", style="dim")

"""`crosshead suspects`: labels that are probably wrong, with what speaks against them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.queues import queue_items, with_suggestions, write_items
from crosshead.cli.reading import inputs_argument, open_encoder_of, open_pool, overrides_option
from crosshead.cli.words import counted, percent, printable
from crosshead.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from crosshead.labelling.label_noise import Suspects
    from crosshead.labelling.pool import Pool
    from crosshead.schema import Settings
    from crosshead.tagging.heads import Floats

FORMATS = ("table", "csv", "jsonl", "label-studio")
SOURCES = ("annotations", "headings")
N_SHOWN_CHARACTERS = 400
N_SIMILAR = 5


@command(
    "crosshead suspects",
    "crosshead suspects --labels headings --top 100 --format csv -o suspects.csv",
    "crosshead suspects --top 50 -o reread.jsonl   (a queue to read them again)",
)
@inputs_argument
@click.option(
    "--labels", type=click.Choice(SOURCES), default="annotations", show_default=True, help="Which labels to doubt."
)
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="How many to show.")
@click.option(
    "--format",
    "-f",
    "chosen",
    type=click.Choice(FORMATS),
    help="[default: by the ending of --output; table]",
)
@click.option("--output", "-o", metavar="FILE", help="Write here, whole or not at all.  [default: standard output]")
@click.option(
    "--clean",
    metavar="FILE",
    help="Write the labels that are not suspect as an annotation file, to train on: corpus.annotations=FILE.",
)
@overrides_option
def suspects(
    inputs: tuple[str, ...],
    labels: str,
    top: int,
    chosen: str | None,
    output: str | None,
    clean: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Show labels that are probably wrong, the most suspicious first.

    Models that never saw a paragraph's article say what its label should be; where they are sure of another one, the
    label is suspect. Shown are the label, what the models say, the other labels of the paragraph (heading or
    annotation), of its neighbours in the article and of the most similar paragraphs elsewhere. A queue (jsonl,
    label-studio) holds the same paragraphs to be read again, without the labels.
    """
    from crosshead.cli.output import console

    settings, pool = open_pool(inputs, overrides)
    y = pool.annotated if labels == "annotations" else pool.by_heading
    found = _find(settings, pool, y, labels)
    shown = found.suspects.order[:top]
    cases = _cases(settings.taxonomy.section_types, pool, found, shown, labels)
    kind = chosen or _by_ending(output)
    if kind == "table" and output in (None, "-"):
        _show(console(), cases)
    elif kind in ("table", "csv"):
        _write_csv(cases, output)
    else:
        items = queue_items(pool, found.rows[shown])
        items = with_suggestions(items, found.proba[shown], settings.taxonomy.section_types)
        scored = zip(items, cases, strict=True)
        items = [replace(item, strategy="suspects", score=round(1 - case.confidence, 6)) for item, case in scored]
        write_items(items, output, kind, settings.taxonomy.section_types)
    if clean is not None:
        _write_clean(settings.taxonomy.section_types, pool, found, labels, clean)
    n_suspects, n_labels = int(found.suspects.is_suspect.sum()), len(found.rows)
    click.echo(
        f"crosshead: {n_suspects:,} of {counted(n_labels, 'label')} are suspect ({n_suspects / n_labels:.1%}); "
        f"written: the {counted(len(cases), 'most suspicious label', 'most suspicious labels')}",
        err=True,
    )
    return Exit.OK


@dataclass(frozen=True)
class _Found:
    rows: NDArray[np.int64]
    """Which paragraphs of the pool are labelled."""
    y: NDArray[np.int64]
    proba: Floats
    suspects: Suspects
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One label in doubt, and what is around it; section types by name."""

    article_id: str
    paragraph: int
    given: str
    said: str
    """What models say that never saw the article."""
    probability: float
    """Of what they say."""
    confidence: float
    """Of the label as given."""
    is_suspect: bool
    other: str
    """The heading's section type for an annotation, the annotation for a heading's; empty where there is none."""
    before: str
    after: str
    similar: tuple[str, ...]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return a row of the CSV file."""
        return {
            "article_id": self.article_id,
            "paragraph": self.paragraph,
            "label": self.given,
            "models_say": self.said,
            "probability": round(self.probability, 4),
            "probability_of_label": round(self.confidence, 4),
            "suspect": self.is_suspect,
            "other_label": self.other,
            "label_before": self.before,
            "label_after": self.after,
            "labels_of_similar": " ".join(self.similar),
            "text": self.text,
        }


def _find(settings: Settings, pool: Pool, y: NDArray[np.int64], labels: str) -> _Found:
    """Train on the labels, fold by fold, and let confident learning judge them."""
    from crosshead.corpora.duplicates import group_articles
    from crosshead.corpora.splits import folds
    from crosshead.labelling.label_noise import find_suspects
    from crosshead.training.train import Paragraphs, train

    rows = (y >= 0).nonzero()[0]
    if not len(rows):
        raise DataError(
            f"no paragraph is labelled by {labels}; "
            + ("annotate some: crosshead label" if labels == "annotations" else "map headings in the taxonomy")
        )
    section_types = settings.taxonomy.section_types
    if len(set(y[rows].tolist())) < 2:
        raise DataError(
            f"the labels from {labels} name one section type only ({section_types[y[rows[0]]]}), so none of them can "
            "be doubted; label paragraphs of the others"
        )
    ids = [pool.article_ids[row] for row in rows]
    texts = [pool.texts[row] for row in rows]
    groups = group_articles(texts, ids, threshold=settings.corpus.duplicate_threshold).group_ids
    encoder, _ = open_encoder_of(settings)
    result = train(
        Paragraphs(texts, y[rows], list(Counter(ids).values()), ids),
        section_types=section_types,
        views=settings.view_specs(),
        encoder=encoder,
        folds=folds(groups, [section_types[label] for label in y[rows]], settings.folds, settings.seed).splits,
        decoder=settings.decoder.spec(),
        calibrate=True,
        risk=settings.calibration.risk,
    )
    vectors = encoder.encode(result.tagger.read(texts).texts).vectors
    return _Found(rows, y[rows], result.out_of_fold, find_suspects(y[rows], result.out_of_fold), vectors)


def _cases(
    section_types: Sequence[str], pool: Pool, found: _Found, shown: NDArray[np.int64], labels: str
) -> list[Case]:
    """Lay out what stands around each label that is shown, by its position among the labelled paragraphs."""
    from crosshead.labelling.label_noise import most_similar

    label_of = dict(zip(found.rows.tolist(), (section_types[label] for label in found.y), strict=True))
    others = pool.by_heading if labels == "annotations" else pool.annotated
    similar = most_similar(found.vectors, pool.article[found.rows], shown, N_SIMILAR)

    def beside(row: int, other: int) -> str:
        inside = 0 <= other < len(pool) and pool.article[other] == pool.article[row]
        return label_of.get(other, "") if inside else ""

    return [
        Case(
            article_id=pool.article_ids[row],
            paragraph=pool.paragraphs[row].index,
            given=label_of[row],
            said=section_types[int(found.proba[i].argmax())],
            probability=float(found.proba[i].max()),
            confidence=float(found.suspects.confidence[i]),
            is_suspect=bool(found.suspects.is_suspect[i]),
            other=section_types[others[row]] if others[row] >= 0 else "",
            before=beside(row, row - 1),
            after=beside(row, row + 1),
            similar=tuple(section_types[found.y[j]] for j in near if j >= 0),
            text=pool.texts[row],
        )
        for i, row, near in zip(shown, found.rows[shown].tolist(), similar, strict=True)
    ]


def _by_ending(output: str | None) -> str:
    from crosshead.cli.queues import queue_format

    return "table" if output in (None, "-") else queue_format(None, output)


def _show(out: Console, cases: Sequence[Case]) -> None:
    from rich.text import Text

    for number, case in enumerate(cases, 1):
        head = Text(f"{number}. {printable(case.article_id)}, paragraph {case.paragraph}: ", style="bold")
        head.append(case.given, style="red").append(f" {percent(case.confidence)} → ")
        head.append(case.said, style="green").append(f" {percent(case.probability)}")
        head.append("" if case.is_suspect else "   (not suspect)", style="dim")
        out.print(head)
        text = printable(case.text)
        out.print(text if len(text) <= N_SHOWN_CHARACTERS else f"{text[:N_SHOWN_CHARACTERS]}…")
        around = [
            f"before: {case.before or '–'}",
            f"after: {case.after or '–'}",
            f"similar: {', '.join(f'{name} {n}' for name, n in Counter(case.similar).most_common()) or '–'}",
        ]
        other = [f"other label: {case.other}"] if case.other else []
        out.print(Text(" · ".join([*other, *around]), style="dim"))
        out.print()


def _write_clean(section_types: Sequence[str], pool: Pool, found: _Found, labels: str, output: str) -> None:
    from crosshead.cli.writers import opened
    from crosshead.corpora.annotations import Annotation
    from crosshead.labelling.store import columns_for, to_csv, to_row
    from crosshead.text import text_digest

    kept = [
        Annotation(
            article_id=pool.article_ids[row],
            paragraph=pool.paragraphs[row].index,
            text_sha256=text_digest(pool.texts[row]),
            section_type=section_types[label],
            annotator=labels,
            extra={"source": "suspects"},
        )
        for row, label, is_suspect in zip(found.rows, found.y, found.suspects.is_suspect, strict=True)
        if not is_suspect
    ]
    with opened(output) as stream:
        stream.write(to_csv(map(to_row, kept), columns_for(())))


def _write_csv(cases: Sequence[Case], output: str | None) -> None:
    from crosshead.cli.writers import opened

    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(cases[0].as_dict()), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(case.as_dict() for case in cases)
    with opened(output) as stream:
        stream.write(file.getvalue().encode("utf-8", "replace"))

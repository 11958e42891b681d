"""Compare: runs on the same held-out paragraphs, from the predictions that they kept; no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table, write_file
from crosshead.errors import ConfigError, DataError
from crosshead.evaluation import (
    evaluate,
    holm,
    mcnemar,
    paired_differences,
    paired_set_accuracy,
    set_accuracy,
)
from crosshead.records.names import CHAMPION
from crosshead.records.predictions import Predictions, check_same_paragraphs, in_order_of
from crosshead.records.runs import FoundRun, finder_of
from crosshead.reporting.compare_report import Against, Changed, Compared, to_html, to_markdown
from crosshead.schema import Settings
from crosshead.text import text_digest

N_RESAMPLES = 2000


class Shown(NamedTuple):
    """What a reader sees of a paragraph."""

    text: str
    headings: tuple[str, ...]


@dataclass(frozen=True)
class Contender:
    """A run that takes part."""

    name: str
    predictions: Predictions
    facts: Mapping[str, str] = field(default_factory=dict)


def run(settings: Settings, references: Sequence[str], *, with_texts: bool = True) -> Compared:
    """Find the runs, read what they predicted, and compare them; the first is the baseline."""
    finder = finder_of(settings)
    contenders: dict[str, Contender] = {}
    for reference in references:
        found = finder.find(reference)
        name = found.shown if found.shown not in contenders else f"{found.shown} ({len(contenders) + 1})"
        contenders[name] = Contender(name, finder.predictions(found), _facts(found))
    _check_comparable(list(contenders.values()), references)
    first = next(iter(contenders.values())).predictions
    shown = read_texts(settings.prepared_dir, first) if with_texts else {}
    return compare(list(contenders.values()), shown, seed=settings.seed)


def _check_comparable(contenders: Sequence[Contender], references: Sequence[str]) -> None:
    """Refuse runs that were tested on different paragraphs, before their texts are looked for; say what can be done."""
    first, *others = contenders
    for reference, other in zip(references[1:], others, strict=True):
        try:
            check_same_paragraphs(first.predictions, other.predictions, (first.name, other.name))
        except DataError as error:
            if CHAMPION not in (references[0], reference):
                raise
            asked = reference if references[0] == CHAMPION else references[0]
            raise DataError(
                f"{error}. Or let the champion tag the held-out articles of {asked} now, those that it was not trained "
                f"on: crosshead promote {asked} --dry-run"
            ) from error


def write_pages(compared: Compared, *, markdown: Path | None = None, html: Path | None = None) -> None:
    """Write the comparison to files, each whole or not at all."""
    if markdown is not None:
        write_file(markdown, to_markdown(compared).encode("utf-8", "replace"))
    if html is not None:
        created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        write_file(html, to_html(compared, created).encode("utf-8", "replace"))


def compare(
    contenders: Sequence[Contender],
    shown: Mapping[str, Shown],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Compared:
    """Compare each run with the first, on paragraphs that all of them tagged.

    Parameters
    ----------
    contenders : sequence of Contender
        Two at least, each with a name of its own.
    shown : mapping of paragraph id to Shown
        Empty leaves texts out.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    DataError
        If they were tested on different paragraphs; the message says what differs.
    """
    if len(contenders) < 2:
        raise ConfigError(f"{len(contenders)} run was named; name two at least, the first is the baseline")
    first, *others = contenders
    aligned = {first.name: first.predictions}
    for other in others:
        check_same_paragraphs(first.predictions, other.predictions, (first.name, other.name))
        aligned[other.name] = in_order_of(first.predictions, other.predictions)
    articles = {name: predictions.of_articles() for name, predictions in aligned.items()}
    sets = {name: predictions.of_contrast_sets() for name, predictions in aligned.items()}
    base, base_sets = articles[first.name], sets[first.name]
    if not len(base):
        raise DataError(f"{first.name} was tested on no article, so there is nothing to compare on; evaluate it again")
    rows = [
        _against(other.name, base, articles[other.name], n_resamples, seed, (base_sets, sets[other.name]), shown)
        for other in others
    ]
    return Compared(
        names=tuple(aligned),
        scores={
            name: evaluate(
                p.y, p.model, p.article_ids, p.section_types, seed=seed, abstained=p.abstained, n_resamples=n_resamples
            )
            for name, p in articles.items()
        },
        sets={name: set_accuracy(p.y, p.answers, p.article_ids) for name, p in sets.items()} if len(base_sets) else {},
        against=tuple(_corrected(rows)),
        n_resamples=n_resamples,
        facts={contender.name: contender.facts for contender in contenders if contender.facts},
        notes=tuple(_notes(contenders)),
    )


def _against(
    name: str,
    base: Predictions,
    other: Predictions,
    n_resamples: int,
    seed: int,
    sets: tuple[Predictions, Predictions],
    shown: Mapping[str, Shown],
) -> Against:
    """Compare one run with the baseline; p-values are not corrected yet."""
    differences = paired_differences(
        base.y, base.model, other.model, base.article_ids, base.section_types, n_resamples=n_resamples, seed=seed
    )
    test = mcnemar(base.y, base.answers, other.answers)
    p_values = {metric: comparison.p_value for metric, comparison in differences.overall.items()}
    by_set = None
    if len(sets[0]):
        before, after = sets
        by_set = paired_set_accuracy(
            before.y, before.answers, after.answers, before.article_ids, n_resamples=n_resamples, seed=seed
        )
        p_values["set_accuracy"] = by_set.p_value
    return Against(
        name=name,
        differences=differences,
        p_values={**p_values, "mcnemar": test.p_value},
        mcnemar=test,
        sets=by_set,
        changed=tuple(changed_sides(base, other, shown)),
    )


def _corrected(rows: Sequence[Against]) -> Iterator[Against]:
    """Correct the p-values of each measure for the number of runs."""
    adjusted = {measure: holm([row.p_values[measure] for row in rows]) for measure in rows[0].p_values}
    for i, row in enumerate(rows):
        yield replace(row, p_values={measure: values[i] for measure, values in adjusted.items()})


def changed_sides(base: Predictions, other: Predictions, shown: Mapping[str, Shown]) -> list[Changed]:
    """List the paragraphs that two runs answered differently: those lost first, the surest first."""
    types, before, after = base.section_types, base.answers, other.answers
    changed = []
    for i in np.flatnonzero(before != after):
        known = shown.get(base.paragraph_ids[i])
        changed.append(
            Changed(
                paragraph_id=base.paragraph_ids[i],
                section_type=types[base.y[i]],
                before=types[before[i]],
                before_confidence=float(base.model[i, before[i]]),
                after=types[after[i]],
                after_confidence=float(other.model[i, after[i]]),
                text=known.text if known else None,
                headings=known.headings if known else (),
            )
        )
    order = {"lost": 0, "gained": 1, "other": 2}
    return sorted(changed, key=lambda row: (order[row.kind], -row.after_confidence))


def read_texts(prepared_dir: Path, predictions: Predictions) -> dict[str, Shown]:
    """Read the texts of predicted paragraphs from the paragraph table.

    Raises
    ------
    DataError
        If the table lacks a paragraph, or has another text under its id.
    """
    columns = labelled.columns_of(read_table(prepared_dir)["test"])
    rows = zip(columns["paragraph_id"], columns["text"], columns["headings"], strict=True)
    table = {id_: Shown(text, tuple(headings or ())) for id_, text, headings in rows}
    absent = [id_ for id_ in predictions.paragraph_ids if id_ not in table]
    changed = [
        id_
        for id_, digest in zip(predictions.paragraph_ids, predictions.text_digests, strict=True)
        if id_ in table and text_digest(table[id_].text) != digest
    ]
    for found, what in ((absent, "lacks"), (changed, "has another text for")):
        if found:
            raise DataError(
                f"the paragraph table in {prepared_dir} {what} {len(found):,} of the {len(predictions):,} paragraphs "
                f"that these runs were tested on, such as {found[0]!r}; prepare the corpus they used again, or leave "
                "the texts out: --no-texts"
            )
    return table


def _facts(found: FoundRun) -> dict[str, str]:
    facts = {"name": found.name, "run": found.run_id or "", "folder": str(found.folder or "")}
    return {name: value for name, value in facts.items() if value}


def _notes(contenders: Sequence[Contender]) -> Iterator[str]:
    digests = {contender.name: contender.predictions.dataset_digest[:12] for contender in contenders}
    if len(set(digests.values())) > 1:
        told = ", ".join(f"{name}: {digest}" for name, digest in digests.items())
        yield (
            "The runs were trained on different paragraph tables "
            f"({told}); the held-out paragraphs, their texts and their section types are the same."
        )
    first, *others = contenders
    for other in others:
        if np.array_equal(first.predictions.model, in_order_of(first.predictions, other.predictions).model):
            yield f"{other.name} predicts exactly what {first.name} predicts."

"""Queues as files: JSONL for `crosshead label`, CSV for a spreadsheet, tasks for Label Studio."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import click

from crosshead.cli.words import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosshead.labelling.pool import Pool
    from crosshead.labelling.queue import QueueItem

QUEUE_FORMATS = ("jsonl", "csv", "label-studio")
_BY_ENDING = {".jsonl": "jsonl", ".csv": "csv", ".json": "label-studio"}


def queue_items(pool: Pool, rows: Iterable[int]) -> list[QueueItem]:
    """Make items of some paragraphs, with what stands around them, in the given order."""
    from crosshead.labelling.queue import article_items

    wanted = [int(row) for row in rows]
    by_row: dict[int, QueueItem] = {}
    starts = {i: sum(pool.lengths[:i]) for i in {int(pool.article[row]) for row in wanted}}
    for number, start in starts.items():
        by_row.update(enumerate(article_items(pool.articles[number]), start))
    return [by_row[row] for row in wanted]


def queue_format(chosen: str | None, output: str | None) -> str:
    """Return the format that was chosen, else that of the file's ending, else JSONL."""
    ending = Path(output).suffix.lower() if output not in (None, "-") else ""
    return chosen or _BY_ENDING.get(ending, "jsonl")


def write_items(
    items: Sequence[QueueItem], output: str | None, chosen: str | None, section_types: Sequence[str]
) -> None:
    """Write a queue; beside one for Label Studio, its labelling interface."""
    from crosshead.cli.writers import opened

    kind = queue_format(chosen, output)
    content = {"jsonl": as_jsonl, "csv": as_csv, "label-studio": as_label_studio}[kind](items)
    with opened(output) as stream:
        stream.write(content.encode("utf-8", "replace"))
    if kind == "label-studio" and output not in (None, "-"):
        interface = Path(str(output)).with_suffix(".xml")
        with opened(str(interface)) as stream:
            stream.write(label_studio_interface(section_types).encode())
        click.echo(f"labelling interface for the project in Label Studio: {interface}", err=True)


def as_jsonl(items: Sequence[QueueItem]) -> str:
    """Write an object a line: what `crosshead label` reads."""
    return "".join(json.dumps(item.as_dict(), ensure_ascii=False) + "\n" for item in items)


def as_csv(items: Sequence[QueueItem]) -> str:
    """Write a table whose empty columns ``section_type`` and ``annotator``, filled in, make it an annotation file."""
    columns = ("article_id", "paragraph", "text_sha256", "section_type", "annotator")
    further = ("suggestion", "confidence", "strategy", "score", "headings", "before", "text", "after")
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [*columns, *further], restval="", lineterminator="\r\n")
    writer.writeheader()
    for item in items:
        told = item.as_dict()
        suggestion = told["suggestion"] or {"section_type": "", "confidence": ""}
        row = {name: told[name] for name in (*columns, *further) if name in told}
        row |= {"suggestion": suggestion["section_type"], "confidence": suggestion["confidence"]}
        writer.writerow(row | {"headings": " > ".join(item.headings)})
    return file.getvalue()


def as_label_studio(items: Sequence[QueueItem]) -> str:
    """Write tasks for Label Studio, each with the suggestion as a pre-annotation."""
    return json.dumps([_task(item) for item in items], ensure_ascii=False, indent=1) + "\n"


def _task(item: QueueItem) -> dict[str, Any]:
    data = item.as_dict()
    suggestion = data.pop("suggestion")
    data |= {"headings": " > ".join(item.headings), "title": item.title}
    data |= {"before": data["before"] or "", "after": data["after"] or ""}
    if suggestion is None:
        return {"data": data}
    choice = {"choices": [suggestion["section_type"]]}
    result = {"from_name": "section_type", "to_name": "text", "type": "choices", "value": choice}
    prediction = {"model_version": "crosshead", "score": suggestion["confidence"], "result": [result]}
    return {"data": data, "predictions": [prediction]}


def label_studio_interface(section_types: Sequence[str]) -> str:
    """Write the labelling interface that fits the tasks: context above and below, one choice, a note."""
    choices = "\n".join(
        f"    <Choice value={quoteattr(name)} hotkey={quoteattr(str(number))}/>"
        for number, name in enumerate(section_types, 1)
    )
    return f"""<View>
  <Header value="$title"/>
  <Header value="$headings" size="5"/>
  <Text name="before" value="$before"/>
  <Header value="Paragraph to label" size="4"/>
  <Text name="text" value="$text"/>
  <Choices name="section_type" toName="text" choice="single" required="true" showInLine="true">
{choices}
  </Choices>
  <TextArea name="note" toName="text" placeholder="note" maxSubmissions="1"/>
  <Text name="after" value="$after"/>
</View>
"""


def with_suggestions(
    items: Sequence[QueueItem], proba: NDArray[np.float64], section_types: Sequence[str]
) -> list[QueueItem]:
    """Add what a tagger says; rows of ``proba`` belong to the items."""
    from crosshead.labelling.queue import Suggestion

    suggested = []
    for item, row in zip(items, proba, strict=True):
        scores = {name: round(float(p), 6) for name, p in zip(section_types, row, strict=True)}
        best = section_types[int(row.argmax())]
        suggested.append(replace(item, suggestion=Suggestion(best, scores[best], scores)))
    return suggested


def say_queue(items: Sequence[QueueItem], output: str | None) -> None:
    """Say on stderr what was written, and what to type next."""
    n_articles = len({item.article_id for item in items})
    n_runs = sum(1 for _ in groupby(items, key=lambda item: item.article_id))
    told = f"{counted(len(items), 'paragraph')} of {counted(n_articles, 'article')}"
    click.echo(f"crosshead: {told}, {counted(n_runs, 'change')} of article while reading", err=True)
    if output not in (None, "-") and queue_format(None, output) == "jsonl":
        click.echo(f"next: crosshead label {output} --annotator NAME", err=True)

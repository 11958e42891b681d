"""The paragraph table: its columns, its rows, and its files.

The only module that knows the ``datasets`` library.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosshead import whole
from crosshead.corpora.annotations import Place, Verdicts
from crosshead.corpora.contrast_sets import ContrastParagraph
from crosshead.errors import DataError
from crosshead.taxonomy import HeadingMatch
from crosshead.text import counted

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

    from crosshead.articles import Article, Paragraph

SPLITS = ("train", "test")
SUMMARY = "corpus.json"
ARTICLE, CONTRAST_SET, SINGLE = "article", "contrast_set", "single"
"""Where a row comes from. A single paragraph belongs to nothing, and is only trained on."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled paragraph: the columns of the table.

    ``start`` and ``end`` are offsets into the article's source; a contrast or single paragraph is its own.
    """

    paragraph_id: str
    article_id: str
    paragraph: int
    text: str
    headings: tuple[str, ...]
    start: int
    end: int
    section_type: str
    label_source: str
    heading_section_type: str | None
    genre: str | None
    setting: str | None
    conflict: str | None
    date: str | None
    language: str | None
    origin: str
    group_id: str


_COLUMNS = tuple(field.name for field in fields(Row))


def article_rows(
    articles: Iterable[Article], verdicts: Verdicts, by_heading: Mapping[Place, HeadingMatch], labels: str
) -> list[Row]:
    """Make a row of every paragraph that has a label; ``labels`` is annotations, headings or both.

    With ``both``, an annotation wins over a heading, and a paragraph whose annotators are divided stays without a
    label. Every article is a group of its own here.
    """
    rows = []
    disputed = frozenset(verdicts.disputed)
    for article in articles:
        for paragraph in article.paragraphs:
            place = (article.article_id, paragraph.index)
            from_heading = by_heading[place].section_type if place in by_heading else None
            if labels == "headings":
                section_type, source = from_heading, "heading"
            else:
                section_type, source = verdicts.section_types.get(place), "annotation"
                if section_type is None and labels == "both" and place not in disputed:
                    section_type, source = from_heading, "heading"
            if section_type is not None:
                rows.append(_article_row(article, paragraph, section_type, source, from_heading))
    return rows


def contrast_rows(contrast_sets: Iterable[ContrastParagraph]) -> list[Row]:
    """Make a row of every contrast paragraph, those of one set together and in order."""
    order: dict[str, int] = {}
    for item in contrast_sets:
        order.setdefault(item.set_id, len(order))
    return [
        Row(
            paragraph_id=f"{item.set_id}#{item.paragraph}",
            article_id=item.set_id,
            paragraph=item.paragraph,
            text=item.text,
            headings=(),
            start=0,
            end=len(item.text),
            section_type=item.section_type,
            label_source="contrast",
            heading_section_type=None,
            genre=None,
            setting=_word(item.setting),
            conflict=_word(item.situation),
            date=None,
            language=None,
            origin=CONTRAST_SET,
            group_id=item.set_id,
        )
        for item in sorted(contrast_sets, key=lambda item: (order[item.set_id], item.paragraph))
    ]


def _article_row(
    article: Article, paragraph: Paragraph, section_type: str, label_source: str, from_heading: str | None
) -> Row:
    return Row(
        paragraph_id=f"{article.article_id}#{paragraph.index}",
        article_id=article.article_id,
        paragraph=paragraph.index,
        text=paragraph.text,
        headings=tuple(paragraph.headings),
        start=paragraph.start,
        end=paragraph.end,
        section_type=section_type,
        label_source=label_source,
        heading_section_type=from_heading,
        genre=_word(article.metadata.get("genre")),
        setting=_word(article.metadata.get("setting")),
        conflict=_word(article.metadata.get("conflict")),
        date=_word(article.metadata.get("date")),
        language=_word(article.metadata.get("language")),
        origin=ARTICLE,
        group_id=article.article_id,
    )


def features() -> Features:
    """Declare the table's columns for the ``datasets`` library."""
    from datasets import Features, List, Value

    kinds = {"paragraph": Value("int32"), "start": Value("int64"), "end": Value("int64")}
    kinds["headings"] = List(Value("string"))
    return Features({name: kinds.get(name, Value("string")) for name in _COLUMNS})


def make_table(rows: Mapping[str, Sequence[Row]]) -> DatasetDict:
    """Make a DatasetDict of the rows of each split."""
    _quiet_datasets()
    import pyarrow
    from datasets import Dataset, DatasetDict

    schema = features().arrow_schema
    return DatasetDict(
        {
            split: Dataset(
                pyarrow.table({name: [getattr(row, name) for row in rows[split]] for name in _COLUMNS}, schema=schema)
            )
            for split in SPLITS
        }
    )


def digest_rows(rows: Mapping[str, Sequence[Row]]) -> str:
    """Name the table by its content: the sha256 of every row of every split, in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split}\n".encode())
        for row in rows[split]:
            cells = {name: getattr(row, name) for name in _COLUMNS}  # dataclasses.asdict takes ten times as long
            line = json.dumps(cells, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            digest.update(f"{line}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def sources_told(summary: Mapping[str, Any]) -> str:
    """Say what a table was made of: articles, and contrast sets and single paragraphs where there are any."""
    told = [counted(summary["articles"], "article")]
    for name, one in (("contrast_sets", "contrast set"), ("single_paragraphs", "single paragraph")):
        if n := summary.get(name):
            told.append(counted(n, one))
    return ", ".join(told)


def write_table(table: DatasetDict, summary: Mapping[str, Any], folder: Path) -> None:
    """Write one parquet file a split, and ``corpus.json`` last, with the files' hashes.

    A folder whose writing was interrupted has no ``corpus.json`` or one that does not fit its files, and
    :func:`read_table` refuses it. The same table gives the same bytes.
    """
    hashes = {}
    for split in SPLITS:
        buffer = io.BytesIO()
        table[split].to_parquet(buffer)
        write_file(folder / f"{split}.parquet", buffer.getvalue())
        hashes[f"{split}.parquet"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    text = json.dumps({**summary, "files": hashes}, ensure_ascii=False, indent=2)
    write_file(folder / SUMMARY, f"{text}\n".encode())


def remove_summary(folder: Path) -> None:
    """Make a folder unreadable to :func:`read_table` until :func:`write_table` has finished."""
    whole.remove_leftovers(folder)
    try:
        (folder / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder / SUMMARY, error) from error


def read_summary(folder: Path) -> dict[str, Any]:
    """Read what :func:`write_table` recorded about the table in a folder."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no {SUMMARY}: no corpus was prepared here; run: crosshead prepare") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; run: crosshead prepare") from error
    if not isinstance(summary, dict) or not isinstance(summary.get("files"), dict):
        raise DataError(f"{path} names no files; run: crosshead prepare")
    return summary


def read_table(folder: Path) -> DatasetDict:
    """Read the splits that :func:`write_table` wrote, into memory.

    Raises
    ------
    DataError
        If a file is missing or is not the one that ``corpus.json`` was written for.
    """
    _quiet_datasets()
    import pyarrow.parquet
    from datasets import Dataset, DatasetDict

    hashes = read_summary(folder)["files"]
    table = {}
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; run: crosshead prepare") from error
        if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
            raise DataError(
                f"{path} is not the file that {SUMMARY} was written for, perhaps because preparing was interrupted; "
                "run: crosshead prepare"
            )
        table[split] = Dataset(pyarrow.parquet.read_table(io.BytesIO(content)))
    return DatasetDict(table)


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    try:
        whole.write(path, content, durable=False)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be written: {error.strerror}; make room there, or set another folder with prepared_dir"
    )


def _word(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _quiet_datasets() -> None:
    """Keep the library from drawing progress bars; nothing here needs the network, so it is not to look there."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    from datasets import disable_progress_bars

    disable_progress_bars()

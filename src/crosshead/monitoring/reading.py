"""What is compared, read: articles and feeds to be tagged now, tables of paragraphs, rows that were tagged before.

A row that holds a section type and a confidence was tagged before, and is taken as it is. Everything else is read as
`crosshead tag` reads it, and tagged. Of more articles than are asked for, each has the same chance to be drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from crosshead.errors import ArticleError, CrossheadError, DataError
from crosshead.feeds import reading
from crosshead.feeds.items import Item
from crosshead.monitoring.sample import Reservoir
from crosshead.readers.formats import ROW_FORMATS
from crosshead.readers.inputs import Found, InputFile, find_files
from crosshead.readers.parquet import arrow_errors, damaged_table
from crosshead.readers.records import raw_rows
from crosshead.tables import SCORE
from crosshead.tagging.tagger import clean

MANIFEST, PARTS, ERRORS = "manifest.json", "parts", "errors.jsonl"
"""Of a folder that `crosshead tag --output FOLDER` wrote."""
_PLACE = ("article_id", "file", "id", "line")
_COLUMNS = (*_PLACE, "paragraph", "text", "section_type", "confidence", "abstained", "truncated_tokens", "paragraphs")
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Paragraph:
    """One row; what it does not tell is None."""

    id: str
    text: str | None = None
    section_type: str | None = None
    confidence: float | None = None
    scores: Mapping[str, float] | None = None
    abstained: bool | None = None
    truncated_tokens: int | None = None
    truth: str | None = None
    learnt: bool = False


@dataclass(frozen=True)
class Article:
    """Paragraphs that stand together, all tagged before or none."""

    paragraphs: tuple[Paragraph, ...]

    @property
    def is_tagged(self) -> bool:
        """Whether the rows hold answers."""
        return self.paragraphs[0].section_type is not None


@dataclass
class Read:
    """What was found behind some names."""

    name: str
    articles: list[Article]
    n_seen: int
    n_failed: int = 0
    first_problem: str = ""
    digests: set[str] = field(default_factory=set)
    """Of the models that job folders say they were tagged with."""


def read(names: Sequence[str], what: str, *, max_articles: int, seed: int) -> Read:
    """Read one side.

    Parameters
    ----------
    what
        ``reference`` or ``current``, for messages.

    Raises
    ------
    DataError
        If nothing is there, or rows that were tagged before stand beside articles that were not.
    """
    kept = Reservoir(max_articles, seed)
    side = Read(_shown(names), [], 0)
    for file in _files(names, what, side):
        for article in _articles(file, side):
            kept.offer(lambda article=article: article)  # type: ignore[misc]
    side.articles, side.n_seen = kept.kept(), kept.n_seen
    if not side.articles:
        n = side.n_failed
        failed = f"; {n:,} input{'s' * (n != 1)} could not be read, the first: {side.first_problem}" if n else ""
        raise DataError(
            f"the {what} ({side.name}) holds no paragraph{failed}; name articles, a feed, or what `crosshead tag` wrote"
        )
    if len({article.is_tagged for article in side.articles}) > 1:
        raise DataError(
            f"the {what} ({side.name}) mixes rows that were tagged before with articles that were not; name one kind"
        )
    return side


def _shown(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _files(names: Sequence[str], what: str, side: Read) -> Iterator[InputFile]:
    if "-" in names:
        raise DataError(f"the {what} is '-', standard input; name files: both sides are read whole")
    for name in names:
        given = _of_job(Path(name), what, side) or [name]
        found = find_files(given)
        if found.problems:
            raise DataError(f"the {what} cannot be read: {found.problems[0]}")
        yield from found.files


def _of_job(folder: Path, what: str, side: Read) -> list[str] | None:
    """Return the parts of a folder that `crosshead tag` wrote, None for anything else."""
    if not (folder / MANIFEST).is_file() or not (folder / PARTS).is_dir():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        digest, finished = manifest["model"]["digest"], manifest["finished"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} of the {what} {folder.name!r} is damaged; tag into a new folder") from error
    if finished is None:
        raise DataError(
            f"the job in {folder.name!r} has not finished; let it, or go on with it: "
            f"crosshead tag … --output {folder.name} --resume"
        )
    side.digests.add(str(digest))
    errors = folder / ERRORS
    if errors.is_file():
        side.n_failed += sum(1 for line in errors.open("rb") if line.strip())
    return [str(path) for path in sorted((folder / PARTS).iterdir()) if not path.name.startswith(".")]


def _articles(file: InputFile, side: Read) -> Iterator[Article]:
    if file.format in ROW_FORMATS and file.path is not None and _is_tagged(file):
        yield from _tagged_articles(file, side)
        return
    for chunk in reading.read(Found([file])):
        for item in chunk:
            try:
                yield _untagged(item)
            except DataError as error:
                side.n_failed += 1
                side.first_problem = side.first_problem or f"{item.name}: {error}"


def _untagged(item: Item) -> Article:
    if item.error:
        raise ArticleError(item.error)
    if not item.paragraphs:
        raise ArticleError("it holds no paragraph")
    texts = clean(item.paragraphs)
    name = item.article.article_id if item.article else item.name
    return Article(tuple(Paragraph(f"{name}#{i}", text) for i, text in enumerate(texts)))


# -- rows that were tagged before --------------------------------------------------------------------------------------


def _rows(file: InputFile) -> Iterator[tuple[str, Any]]:
    assert file.path is not None
    with file.path.open("rb") as stream:
        yield from _parquet_rows(stream) if file.format == "parquet" else raw_rows(stream, file.format)


def _parquet_rows(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Read the columns that matter, of however many rows, with or without text."""
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(stream)
        columns = [name for name in table.schema_arrow.names if name in _COLUMNS or name.startswith(SCORE)]
        number = 0
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except arrow_errors() as error:
        raise damaged_table("Parquet", error) from error


def _is_tagged(file: InputFile) -> bool:
    """Go by the first row that could be tagged."""
    try:
        for _, row in _rows(file):
            if isinstance(row, Mapping) and not row.get("error"):
                return bool(list(_tagged(row)))
    except ArticleError:
        return False  # reading it as articles says what is wrong
    return False


def _tagged(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tagged paragraphs of a row: itself, or those of its list."""
    paragraphs = row.get("paragraphs")
    listed = paragraphs if isinstance(paragraphs, list) else [row]
    for entry in listed:
        if isinstance(entry, Mapping) and entry.get("section_type") and entry.get("confidence") is not None:
            yield entry


def _tagged_articles(file: InputFile, side: Read) -> Iterator[Article]:
    """Put rows of one article, which stand together, together."""
    before: tuple[Any, ...] | None = None
    rows: list[Paragraph] = []
    try:
        for where, row in _rows(file):
            entries = list(_tagged(row)) if isinstance(row, Mapping) else []
            if not entries:
                side.n_failed += 1
                problem = row if isinstance(row, ArticleError) else "a row without a section type"
                side.first_problem = side.first_problem or f"{file.place}, {where}: {problem}"
                continue
            own = None if row.get("article_id") in (None, "") else (row.get("file"), row["article_id"])
            if rows and (own is None or own != before or "paragraphs" in row):
                yield Article(tuple(rows))
                rows = []
            before = own
            name = next((str(row[key]) for key in _PLACE if row.get(key) not in (None, "")), where)
            rows += [_paragraph(entry, f"{name}#{entry.get('paragraph', entry.get('index', i))}", where, file.place)
                     for i, entry in enumerate(entries)]  # fmt: skip
    except ArticleError as error:
        raise DataError(f"{file.place}: {error}") from error
    if rows:
        yield Article(tuple(rows))


def _paragraph(entry: Mapping[str, Any], name: str, where: str, place: str) -> Paragraph:
    try:
        text = entry.get("text")
        scores = entry.get("scores") or {
            key.removeprefix(SCORE): value for key, value in entry.items() if str(key).startswith(SCORE)
        }
        truncated = entry.get("truncated_tokens")
        abstained = entry.get("abstained")
        return Paragraph(
            name,
            None if text in (None, "") else clean([str(text)])[0],
            str(entry["section_type"]),
            float(entry["confidence"]),
            {str(key): float(value) for key, value in dict(scores).items()} or None,
            None if abstained is None else str(abstained).lower() in ("true", "1"),
            None if truncated is None else int(truncated),
        )
    except (ValueError, TypeError, CrossheadError) as error:
        raise DataError(
            f"{place}, {where}: a tagged row holds what `crosshead tag` does not write ({type(error).__name__}); "
            "tag again, or leave the row out"
        ) from error


# -- the project's own table -------------------------------------------------------------------------------------------


def read_prepared(prepared_dir: Path, *, max_articles: int, seed: int) -> Read:
    """Read the articles of the paragraph table: those that were trained on, and those that were held out."""
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table

    table = read_table(prepared_dir)
    kept = Reservoir(max_articles, seed)
    for split in ("test", "train"):
        columns = labelled.columns_of(table[split])
        columns = labelled.take(columns, labelled.rows_where(columns, "origin", "article"))
        start = 0
        for n in labelled.article_lengths(columns):
            rows = range(start, start + n)
            start += n
            paragraphs = tuple(
                Paragraph(
                    columns["paragraph_id"][i],
                    clean([columns["text"][i]])[0],
                    truth=columns["section_type"][i],
                    learnt=split == "train",
                )
                for i in rows
            )
            kept.offer(lambda paragraphs=paragraphs: Article(paragraphs))  # type: ignore[misc]
    return Read("what the model was trained on", kept.kept(), kept.n_seen)


def mark_learnt(side: Read, learnt: set[str]) -> Read:
    """Mark the paragraphs whose text the model was trained on; ``learnt`` holds normalised texts."""
    articles = [
        Article(tuple(replace(p, learnt=p.learnt or p.text in learnt) for p in article.paragraphs))
        for article in side.articles
    ]
    return replace(side, articles=articles)

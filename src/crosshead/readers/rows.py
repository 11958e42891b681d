"""Rows of a table → articles. A row is one of three kinds, told by its columns.

=====================================  ============================================================
columns                                the row is
=====================================  ============================================================
``paragraphs`` (a list of texts)       an article that is already cut
``paragraph`` (a number) and ``text``  one paragraph of the article ``article_id``
``text``                               a whole document, read as ``format`` says (default ``auto``)
=====================================  ============================================================

``article_id`` (or ``id``), ``title`` and, for paragraphs, ``headings`` are understood; other columns become metadata.
The ``section_type`` of an article's single paragraphs become its metadata ``section_types``, a list with one entry for
each, null where there is none: the column that an article which is already cut may have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from crosshead.articles import GIVEN, Article
from crosshead.errors import ArticleError
from crosshead.readers.blocks import clean_source, plain_value
from crosshead.readers.formats import read_article

Row = Mapping[str, object]
# Where something stands in its file, and what it is: an article, or why there is none.
Placed = tuple[str, Article | ArticleError]

_WANTED = (
    "a row holds 'text' (a whole document), or 'paragraphs' (a list of texts), "
    "or 'article_id', 'paragraph' and 'text' (one paragraph)"
)
_OWNERS = ("article_id", "id", "paragraph", "paragraphs")
_UNDERSTOOD = {"article_id", "id", "title", "format", "text", "paragraph", "paragraphs", "headings"}


@dataclass(frozen=True, slots=True)
class _ParagraphRow:
    where: str
    index: int
    text: str
    headings: tuple[str, ...]
    title: str
    metadata: Mapping[str, object]


def check_columns(names: Iterable[str]) -> None:
    """Raise ArticleError, once for the whole table, if its columns are ambiguous or hold no text."""
    told = list(names)
    twice = sorted({name for name in told if told.count(name) > 1})
    if twice:
        raise ArticleError(f"it names the columns {twice!r} more than once; rename the columns")
    if not {"text", "paragraphs"} & set(told):
        raise ArticleError(f"its columns are {told!r}; {_WANTED}; rename the columns")


def row_owner(row: object) -> tuple[str, bool]:
    """Return the id of the article that a row says it belongs to, and whether it is one paragraph of that.

    The id is empty for a row that names none or cannot be read.
    """
    if not isinstance(row, Mapping):
        return "", False
    told: Row = {name: row[name] for name in _OWNERS if row.get(name) not in (None, "")}
    try:
        return _article_id(told), "paragraph" in told and "paragraphs" not in told
    except ArticleError:
        return "", False


class RowReader:
    """Read rows one by one; rows of single paragraphs are kept until ``finish`` puts them together.

    Parameters
    ----------
    default_id : callable
        Names an article that has no id, given the place of its row.
    """

    def __init__(self, default_id: Callable[[str], str]) -> None:
        self._default_id = default_id
        self._grouped: dict[str, dict[int, _ParagraphRow]] = {}
        self.n_rows = 0

    def read(self, where: str, row: object) -> Iterator[Placed]:
        """Yield the article of the row, or its error, or nothing if the row waits for others."""
        self.n_rows += 1
        try:
            article = self._read(where, row)
        except ArticleError as error:
            yield where, error
        else:
            if article is not None:
                yield where, article

    def fail(self, where: str, error: ArticleError) -> Placed:
        """Count a row that could not even be taken apart."""
        self.n_rows += 1
        return where, error

    def finish(self) -> Iterator[Placed]:
        """Yield the articles that were given paragraph by paragraph, in the order of their first rows."""
        for article_id, rows in self._grouped.items():
            first = next(iter(rows.values())).where
            try:
                yield first, _join(article_id, [rows[index] for index in sorted(rows)])
            except ArticleError as error:
                yield first, error
        if not self.n_rows:
            yield "", ArticleError(f"it holds no rows; {_WANTED}")

    def _read(self, where: str, row: object) -> Article | None:
        if not isinstance(row, Mapping):
            raise ArticleError(f"a row is {_kind(row)}; {_WANTED}")
        told: Row = {str(name): value for name, value in row.items() if value is not None and value != ""}
        article_id = _article_id(told)
        title = _text_field(told, "title")
        metadata = {name: plain_value(value) for name, value in told.items() if name not in _UNDERSTOOD}
        if "paragraphs" in told:
            return Article.from_texts(
                _texts(told["paragraphs"]),
                article_id=article_id or self._default_id(where),
                title=title,
                metadata=metadata,
            )
        text = _required_text(told)
        if "paragraph" in told:
            self._keep(article_id, _ParagraphRow(where, _index(told), text, _headings(told), title, metadata))
            return None
        return read_article(
            text,
            format=_text_field(told, "format") or "auto",
            article_id=article_id or self._default_id(where),
            title=title,
            metadata=metadata,
        )

    def _keep(self, article_id: str, row: _ParagraphRow) -> None:
        if not article_id:
            raise ArticleError("a row of one paragraph has no 'article_id'; say which article it belongs to")
        rows = self._grouped.setdefault(article_id, {})
        if row.index in rows:
            raise ArticleError(
                f"paragraph {row.index} of article {article_id!r} was already given in {rows[row.index].where}; "
                "keep one of the two"
            )
        rows[row.index] = row


def _join(article_id: str, rows: list[_ParagraphRow]) -> Article:
    indexes = [row.index for row in rows]
    if indexes != list(range(len(rows))):
        gap = next(position for position, index in enumerate(indexes) if position != index)
        raise ArticleError(
            f"article {article_id!r} has {len(rows)} paragraphs but none with number {gap}; "
            "number them from 0 without a gap"
        )
    shared = {
        name: value for name, value in rows[0].metadata.items() if all(row.metadata.get(name) == value for row in rows)
    }
    labels = [row.metadata.get("section_type") for row in rows]
    if any(label is not None for label in labels):
        shared[GIVEN] = labels
    return Article.from_texts(
        [row.text for row in rows],
        article_id=article_id,
        title=next((row.title for row in rows if row.title), ""),
        headings=[row.headings for row in rows],
        metadata=shared,
    )


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.40}"


def _article_id(row: Row) -> str:
    told = row.get("article_id", row.get("id", ""))
    if not isinstance(told, str | int) or isinstance(told, bool):
        raise ArticleError(f"'article_id' is {_kind(told)}; it must be text or a whole number")
    return str(told).strip()


def _text_field(row: Row, name: str) -> str:
    told = row.get(name, "")
    if not isinstance(told, str):
        raise ArticleError(f"{name!r} is {_kind(told)}; it must be text")
    return told.strip()


def _required_text(row: Row) -> str:
    if "text" not in row:
        raise ArticleError(f"a row has the fields {sorted(row)!r}; {_WANTED}")
    told = row["text"]
    if not isinstance(told, str):
        raise ArticleError(f"'text' is {_kind(told)}; it must be text")
    return clean_source(told)


def _texts(told: object) -> list[str]:
    if not isinstance(told, list) or not told:
        raise ArticleError(f"'paragraphs' is {_kind(told)}; it must be a list of at least one text")
    for position, text in enumerate(told):
        if not isinstance(text, str):
            raise ArticleError(f"paragraph {position} is {_kind(text)}; it must be text")
        if not text.strip():
            raise ArticleError(f"paragraph {position} is empty; give it text or take it out")
    return [clean_source(text, is_cut=True) for text in told]


def _index(row: Row) -> int:
    told = row["paragraph"]
    if isinstance(told, str) and re.fullmatch(r"\s*\d{1,9}\s*", told):
        told = int(told)
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    if not isinstance(told, int) or isinstance(told, bool) or told < 0:
        raise ArticleError(f"'paragraph' is {_kind(told)}; it must be a whole number from 0")
    return told


def _headings(row: Row) -> tuple[str, ...]:
    """Take a list of headings, a list written as JSON in one cell, or one heading."""
    told = row.get("headings", [])
    if isinstance(told, str) and told.startswith("["):
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            told = [told]
    if isinstance(told, str):
        told = [told]
    if not isinstance(told, list) or not all(isinstance(heading, str) for heading in told):
        raise ArticleError(f"'headings' is {_kind(told)}; it must be a list of texts, outermost first")
    return tuple(told)

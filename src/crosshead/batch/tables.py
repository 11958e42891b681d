"""Tables → rows: from their beginning, or, where the format allows it, from near any row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, TypeVar

from crosshead.batch.inputs import ARROW, Source
from crosshead.batch.stores import is_remote, open_file
from crosshead.errors import ArticleError, CrossheadError
from crosshead.readers.parquet import (
    MAX_ROW_BYTES,
    Row,
    arrow_errors,
    batches_of,
    damaged_table,
    open_parquet,
    row_bytes,
    rows_of,
)
from crosshead.readers.records import raw_rows
from crosshead.readers.rows import RowReader, check_columns, row_owner

_BUFFER = 1024**2
_BATCH_ROWS = 512
_COLUMNS = ("article_id", "id", "title", "format", "text", "paragraph", "paragraphs", "headings")
_OWNERS = ("article_id", "id", "paragraph")
_T = TypeVar("_T")


def owners_of(source: Source) -> Iterator[tuple[str, bool, int]]:
    """Yield of each row the article that it belongs to, whether it is one paragraph of it, and about how long it is.

    Raises
    ------
    ArticleError
        If the source cannot be read, or not to its end.
    """
    if source.format == "parquet":
        yield from _owners_in_parquet(source)
        return
    n_rows = 0
    for _, row in rows_from(source, 0)[1]:
        n_rows += 1
        size = (
            sum(len(value) for value in row.values() if isinstance(value, str | list)) if isinstance(row, dict) else 0
        )
        yield *row_owner(row), size
    if not n_rows:
        raise _no_rows()


def _owners_in_parquet(source: Source) -> Iterator[tuple[str, bool, int]]:
    with open_file(source.place) as stream:
        table = open_parquet(stream, buffer_size=_BUFFER)
        if not table.metadata.num_rows:
            raise _no_rows()
        columns = _columns(table.schema_arrow.names)
        # A row that has 'paragraphs' is an article whatever else it has, and those are long to read.
        owners = columns if {"paragraph", "paragraphs"} <= set(columns) else [n for n in columns if n in _OWNERS]
        for batch in _told(batches_of(table, columns)):
            # What a file unpacks to is not told by its size: one text may be that of many rows.
            sizes = row_bytes(batch)
            rows = _told(rows_of(batch.select(owners))) if owners else repeat(None, batch.num_rows)
            for row, size in zip(rows, sizes.tolist(), strict=True):
                yield *row_owner(row), 0 if size > MAX_ROW_BYTES else size


def _columns(names: Sequence[str]) -> list[str]:
    return [name for name in _COLUMNS if name in names]


def _no_rows() -> ArticleError:
    """Take the words from the place that has them."""
    ((_, error),) = RowReader(str).finish()
    assert isinstance(error, ArticleError)
    return error


def rows_from(source: Source, start: int) -> tuple[int, Iterator[tuple[str, Any]]]:
    """Open a table at row ``start`` or before it; return the number of the first row that is given, and the rows."""
    if source.format == "parquet":
        return _parquet_from(source, start)
    if source.format == ARROW:
        return 0, _arrow_rows(source)
    return 0, _text_rows(source)


def _text_rows(source: Source) -> Iterator[tuple[str, Any]]:
    with open_file(source.place) as stream:
        yield from raw_rows(stream, source.format)


def _parquet_from(source: Source, start: int) -> tuple[int, Iterator[tuple[str, Any]]]:
    stream = open_file(source.place)
    table = open_parquet(stream, buffer_size=_BUFFER)
    first = group = 0
    while group < table.num_row_groups - 1 and first + table.metadata.row_group(group).num_rows <= start:
        first += table.metadata.row_group(group).num_rows
        group += 1
    batches = batches_of(table, _columns(table.schema_arrow.names), group)

    def rows() -> Iterator[tuple[str, Any]]:
        with stream:
            for n, row in enumerate(_rows(batches), start=first + 1):
                yield f"row {n}", row

    return first, rows()


def _arrow_rows(source: Source) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa

    try:
        file = open_file(source.place) if is_remote(source.place) else pa.memory_map(source.place)
        batches = pa.ipc.open_stream(file)
        names = batches.schema.names
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Arrow", error) from error
    with file:
        check_columns(names)
        columns = _columns(names)
        for number, row in enumerate(_rows(_cut(batch.select(columns) for batch in batches)), start=1):
            yield f"row {number}", row


def _cut(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        for first in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(first, _BATCH_ROWS)


def _rows(batches: Iterable[Any]) -> Iterator[Row]:
    for batch in _told(batches):
        yield from _told(rows_of(batch))


def _told(found: Iterable[_T]) -> Iterator[_T]:
    """Say of what is damaged that it is."""
    try:
        yield from found
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Parquet or Arrow", error) from error

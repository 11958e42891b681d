"""Tables → rows: from their beginning, or, where the format allows it, from near any row."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from crosshead.batch.inputs import ARROW, Source
from crosshead.batch.stores import is_remote, open_file
from crosshead.errors import ArticleError, CrossheadError
from crosshead.readers.records import arrow_errors, damaged_table, raw_rows
from crosshead.readers.rows import RowReader, check_columns, row_owner

_BUFFER = 1024**2
_BATCH_ROWS = 512
_COLUMNS = ("article_id", "id", "title", "format", "text", "paragraph", "paragraphs", "headings")
_OWNERS = ("article_id", "id", "paragraph")


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
        table = _parquet(stream)
        about = table.metadata
        if not about.num_rows:
            raise _no_rows()
        n_bytes = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) // about.num_rows
        names = set(table.schema_arrow.names)
        # A row that has 'paragraphs' is an article whatever else it has, and those are long to read.
        wanted = _COLUMNS if {"paragraph", "paragraphs"} <= names else _OWNERS
        columns = [name for name in wanted if name in names]
        if not columns:
            yield from (("", False, n_bytes) for _ in range(about.num_rows))
            return
        for row in _batches(table.iter_batches(batch_size=_BATCH_ROWS, columns=columns)):
            yield *row_owner(row), n_bytes


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
    table = _parquet(stream)
    first = group = 0
    while group < table.num_row_groups - 1 and first + table.metadata.row_group(group).num_rows <= start:
        first += table.metadata.row_group(group).num_rows
        group += 1
    columns = [name for name in _COLUMNS if name in table.schema_arrow.names]
    # Group by group: how much of a damaged one can be read must not depend on where the reading began.
    batches = (
        batch
        for which in range(group, table.num_row_groups)
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[which], columns=columns)
    )

    def rows() -> Iterator[tuple[str, Any]]:
        with stream:
            for n, row in enumerate(_batches(batches), start=first + 1):
                yield f"row {n}", row

    return first, rows()


def _parquet(stream: io.BufferedReader) -> Any:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)  # row groups may be of any size
        names = table.schema_arrow.names
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Parquet", error) from error
    check_columns(names)
    return table


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
        columns = [name for name in _COLUMNS if name in names]
        for number, row in enumerate(_batches(batch.select(columns) for batch in batches), start=1):
            yield f"row {number}", row


def _batches(batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    try:
        for batch in batches:
            for first in range(0, batch.num_rows, _BATCH_ROWS):
                yield from batch.slice(first, _BATCH_ROWS).to_pylist()
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Parquet or Arrow", error) from error

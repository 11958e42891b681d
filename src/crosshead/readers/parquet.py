"""Parquet and Arrow → rows, in memory that depends on how long a row may be and not on what a file unpacks to.

A text that stands in a file once, and is said to be that of many rows, is kept once until a row is read: texts come as
numbers of entries in a dictionary. How long a row would be is counted before it is made, and a row that is too long is
an error in its place.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crosshead.errors import ArticleError, CrossheadError
from crosshead.readers.blocks import MAX_ARTICLE_BYTES
from crosshead.readers.rows import check_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ROW_BYTES = MAX_ARTICLE_BYTES
"""As of a line of JSONL or CSV."""
_BATCH_ROWS = 512
_LONG_BATCH_ROWS = 16
"""Of a group of rows that is larger than a batch should be: what is long may stand together in it."""
_BATCH_BYTES = 8 * 1024**2
_BATCH_VALUES = 1024**2
_LARGE_COLUMN_BYTES = 64 * 1024**2
_LARGEST_RATIO = 256
"""Of unpacked bytes to packed ones in a large column: text gives 20 at most. A page of it is unpacked as a whole."""
_VALUE_BYTES = 8
"""What a value counts that is no text, and each text besides its length."""

Row = dict[str, Any] | ArticleError


def open_parquet(stream: io.BufferedReader, *, buffer_size: int = 0) -> Any:
    """Open a file whose texts are to be read as entries of a dictionary.

    Raises
    ------
    ArticleError
        If it is damaged, or has not the columns of articles.
    """
    import pyarrow.parquet as pq

    try:
        about = pq.ParquetFile(stream)
        texts = [
            column.path
            for column in map(about.schema.column, range(len(about.schema)))
            if column.physical_type == "BYTE_ARRAY"
        ]
        table = pq.ParquetFile(
            stream, metadata=about.metadata, read_dictionary=texts, buffer_size=buffer_size, pre_buffer=False
        )
        names = table.schema_arrow.names
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Parquet", error) from error
    check_columns(names)
    return table


def batches_of(table: Any, columns: Sequence[str] | None = None, first_group: int = 0) -> Iterator[Any]:
    """Yield batches of rows from a group on.

    Group by group: how much of a damaged one can be read must not depend on where the reading began.

    Raises
    ------
    ArticleError
        If a group claims more values than its rows can hold, or unpacks as no text does.
    """
    for which in range(first_group, table.num_row_groups):
        group = table.metadata.row_group(which)
        chunks = [group.column(i) for i in range(group.num_columns)]
        wanted = [chunk for chunk in chunks if columns is None or chunk.path_in_schema.partition(".")[0] in columns]
        n_rows = _rows_at_once(max(group.num_rows, 1), wanted)
        yield from table.iter_batches(batch_size=n_rows, row_groups=[which], columns=columns)


def _rows_at_once(n_rows: int, chunks: Sequence[Any]) -> int:
    n_values = int(sum(chunk.num_values for chunk in chunks))
    n_bytes = int(sum(chunk.total_uncompressed_size for chunk in chunks))
    for chunk in chunks:
        packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
        if unpacked > _LARGE_COLUMN_BYTES and unpacked > _LARGEST_RATIO * packed:
            raise ArticleError(
                f"it unpacks {unpacked:,} bytes from {packed:,}, as no text does; if it is all right, write it again "
                "with fewer rows in a group, or as JSONL"
            )
    if n_values > n_rows * MAX_ROW_BYTES:
        raise ArticleError(
            f"it holds {n_values:,} values in {n_rows:,} rows that stand together, more than rows may hold; cut the "
            "articles"
        )
    if n_bytes <= _BATCH_BYTES and n_values <= _BATCH_VALUES:
        return _BATCH_ROWS
    fitting = min(_BATCH_BYTES * n_rows // max(n_bytes, 1), _BATCH_VALUES * n_rows // max(n_values, 1))
    return max(1, min(_LONG_BATCH_ROWS, fitting))


def rows_of(batch: Any) -> Iterator[Row]:
    """Yield the rows of a batch, few at a time where they are long; an error in the place of one that is too long."""
    sizes = row_bytes(batch)
    start, n_rows = 0, batch.num_rows
    while start < n_rows:
        if sizes[start] > MAX_ROW_BYTES:
            yield ArticleError(
                f"the row is longer than {MAX_ROW_BYTES} bytes ({sizes[start]:,}), the most that is read; cut the "
                "article"
            )
            start += 1
            continue
        end, n_bytes = start, 0
        while end < n_rows and (n_bytes := n_bytes + int(sizes[end])) <= _BATCH_BYTES:
            end += 1
        yield from batch.slice(start, end - start).to_pylist()
        start = end


def row_bytes(batch: Any) -> NDArray[np.int64]:
    """Count how many bytes each row of a batch would be; no row is made for it."""
    import numpy as np

    total = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        total += _sizes(column)
    return total


def _sizes(array: Any) -> NDArray[np.int64]:
    """Count the bytes of each value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, found = array.type, np.full(len(array), _VALUE_BYTES, dtype=np.int64)
    if pa.types.is_dictionary(kind):
        known = np.append(_sizes(array.dictionary), 0)  # the last for nulls
        found += known[pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)]
    elif isinstance(array, pa.StringArray | pa.LargeStringArray | pa.BinaryArray | pa.LargeBinaryArray):
        found += pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False)
    elif isinstance(array, pa.ListArray | pa.LargeListArray | pa.MapArray):
        parts = (array.keys, array.items) if isinstance(array, pa.MapArray) else (array.values,)
        offsets = array.offsets.to_numpy()
        for part in parts:
            ends = np.append(0, np.cumsum(_sizes(part)))
            found += ends[offsets[1:]] - ends[offsets[:-1]]
    elif isinstance(array, pa.FixedSizeListArray):
        inside = _sizes(array.values)[array.offset * kind.list_size :][: len(array) * kind.list_size]
        found += inside.reshape(len(array), kind.list_size).sum(axis=1)
    elif isinstance(array, pa.StructArray):
        for part in array.flatten():
            found += _sizes(part)
    elif len(array):
        found += array.nbytes // len(array)
    return found


def arrow_errors() -> tuple[type[Exception], ...]:
    """Return what reading a damaged table raises; Python's own for texts that are no UTF-8 and days it cannot count."""
    import pyarrow as pa

    return pa.ArrowException, OSError, ValueError, OverflowError, LookupError


def damaged_table(kind: str, error: Exception) -> ArticleError:
    """Say what to do about one of ``arrow_errors``."""
    reason = str(error).partition("\n")[0]
    return ArticleError(f"it is not a whole {kind} file ({reason:.200}); write it again")

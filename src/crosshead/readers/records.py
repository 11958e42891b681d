"""Tables of articles: JSONL, JSON, CSV and Parquet, read row by row.

A bad row is given as its error in the place of its article, and the rest goes on. Lines longer than
``MAX_LINE_BYTES`` are such errors; they are passed over without being held in memory.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from crosshead.errors import ArticleError, CrossheadError
from crosshead.readers.blocks import MAX_ARTICLE_BYTES
from crosshead.readers.encodings import (
    GZIP_ERRORS,
    byte_order_encoding,
    damaged_gzip,
    decode,
    guess_encoding,
    read_limited,
    refuse_binary,
    unpack,
)
from crosshead.readers.parquet import arrow_errors, batches_of, damaged_table, open_parquet, rows_of
from crosshead.readers.rows import Placed, RowReader, check_columns

MAX_LINE_BYTES = MAX_ARTICLE_BYTES
# A JSON document is held in memory as a whole; for more there are the other formats.
MAX_JSON_BYTES = 256 * 1024**2
_CHUNK_BYTES = 256 * 1024


def read_rows(stream: io.BufferedReader, format: str, default_id: str) -> Iterator[Placed]:
    """Yield the place and the article, or the error, of each row of one file.

    Parameters
    ----------
    stream : buffered binary file
        For Parquet it must be seekable.
    format : {'jsonl', 'json', 'csv', 'parquet'}
    default_id : str
        Articles without an id are named ``<default_id>:<number of the line or row>``.

    Raises
    ------
    ArticleError
        If nothing of the file can be read.
    """
    reader = RowReader(lambda where: f"{default_id}:{where.split()[-1]}")
    yield from _READERS[format](stream, reader)
    yield from reader.finish()


def raw_rows(stream: io.BufferedReader, format: str) -> Iterator[tuple[str, Any]]:
    """Yield the place of each row and what stands in it, by column, or the ArticleError that it gives.

    Raises
    ------
    ArticleError
        If nothing of the file can be read.
    """
    yield from _READERS[format](stream, _Raw())


class _Raw:
    """Stands where a RowReader does, and gives rows as they are."""

    def read(self, where: str, row: object) -> Iterator[tuple[str, Any]]:
        yield where, row

    def fail(self, where: str, error: ArticleError) -> tuple[str, Any]:
        return where, error


def _read_jsonl(stream: io.BufferedReader, reader: RowReader | _Raw) -> Iterator[Placed]:
    lines = _Lines(stream)
    while (line := _next_line(lines)) is not None:
        where = f"line {lines.number}"
        if isinstance(line, ArticleError):
            yield reader.fail(where, line)
        elif line.strip():
            try:
                row = _load_json(line)
            except ArticleError as error:
                yield reader.fail(where, error)
            else:
                yield from reader.read(where, row)


def _next_line(lines: _Lines) -> str | ArticleError | None:
    try:
        return next(lines, None)
    except ArticleError as error:
        return error


def _read_json(stream: io.BufferedReader, reader: RowReader | _Raw) -> Iterator[Placed]:
    rows = _load_json(decode(read_limited(stream, MAX_JSON_BYTES)).text)
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        yield from reader.read(f"row {number}", row)


def _load_json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ArticleError("its JSON is nested too deeply; a row is a flat object") from error
    except ValueError as error:
        raise ArticleError(f"it is not valid JSON ({error}); write one object a line for jsonl") from error


def _read_csv(stream: io.BufferedReader, reader: RowReader | _Raw) -> Iterator[Placed]:
    # The module's only limit is one for the whole process; it is raised, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = _Lines(stream)
    header = next(lines, None)
    if header is None:  # a byte order mark and nothing else
        return
    rows = csv.reader(chain([header], lines), delimiter=_delimiter(header), strict=True)
    names = _next_row(rows) or []
    if isinstance(names, ArticleError):
        raise names
    names = [name.strip() for name in names]
    check_columns(names)
    while True:
        where = f"line {lines.number + 1}"
        row = _next_row(rows)
        if row is None:
            return
        if isinstance(row, ArticleError):
            yield reader.fail(where, row)
        elif row:
            yield from _read_csv_row(where, names, row, reader)


def _read_csv_row(where: str, names: list[str], row: list[str], reader: RowReader | _Raw) -> Iterator[Placed]:
    if len(row) != len(names):
        problem = f"it has {len(row)} fields but the header names {len(names)}"
        yield reader.fail(where, ArticleError(f"{problem}; quote fields that hold the delimiter"))
        return
    fields: dict[str, object] = dict(zip(names, row, strict=True))
    if told := fields.get("paragraphs"):
        try:
            fields["paragraphs"] = _load_json(str(told))
        except ArticleError:
            problem = "'paragraphs' is not a JSON list"
            yield reader.fail(where, ArticleError(f"{problem}; in CSV give one paragraph a row"))
            return
    yield from reader.read(where, fields)


def _next_row(rows: Iterator[list[str]]) -> list[str] | ArticleError | None:
    try:
        return next(rows, None)
    except ArticleError as error:
        return error
    except csv.Error as error:
        return ArticleError(f"it is not valid CSV ({error}); quote the field and double the quotes inside it")


def _delimiter(header: str) -> str:
    """Take the commonest of comma, semicolon and tab in the header line."""
    return max(",;\t", key=header.count)


def _read_parquet(stream: io.BufferedReader, reader: RowReader | _Raw) -> Iterator[Placed]:
    table = open_parquet(stream)
    number = 0
    try:
        for batch in batches_of(table):
            for row in rows_of(batch):
                number += 1
                where = f"row {number}"
                if isinstance(row, ArticleError):
                    yield reader.fail(where, row)
                else:
                    yield from reader.read(where, row)
    except CrossheadError:
        raise
    except arrow_errors() as error:
        raise damaged_table("Parquet", error) from error


_READERS = {"jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv, "parquet": _read_parquet}


class _Lines:
    """The lines of a stream as text, each told apart before it is decoded, so that a bad one spoils no other.

    An iterator that goes on after it raised ArticleError, which a generator could not. ``number`` is that of the
    line read last.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        chunks = _chunks(stream)
        head = next(chunks, b"")
        refuse_binary(head)
        self.number = 0
        self._encoding = _line_encoding(head)
        chunks = chain([head], chunks)
        if self._encoding in ("utf-16", "utf-32"):
            chunks = _recoded(chunks, self._encoding)
            self._encoding = "utf-8"
        if b"\n" not in head and b"\r" in head:
            chunks = (chunk.replace(b"\r", b"\n") for chunk in chunks)
        self._lines = _split_lines(chunks)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if line is None:
            raise ArticleError(
                f"the line is longer than {MAX_LINE_BYTES} bytes, the most that is read; cut the article"
            )
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise ArticleError(
                f"byte {byte:#04x} at position {error.start} of the line is not {self._encoding}; save it as UTF-8"
            ) from error


def _line_encoding(head: bytes) -> str:
    marked = byte_order_encoding(head)
    if marked is not None:
        return marked.removesuffix("-sig")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return guess_encoding(head) or "utf-8"
    return "utf-8"


def _chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    unpacked = unpack(stream)
    try:
        yield from iter(partial(unpacked.read, _CHUNK_BYTES), b"")
    except GZIP_ERRORS as error:
        raise damaged_gzip(error) from error


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", errors="replace")


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    r"""Yield lines with their ``\n``; None for a line above the limit, of which no more than the limit is held."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        for line in _at_newlines(chunk):
            size += len(line)
            if size <= MAX_LINE_BYTES:
                held.append(line)
            if line.endswith(b"\n"):
                yield b"".join(held) if size <= MAX_LINE_BYTES else None
                held, size = [], 0
    if size:
        yield b"".join(held) if size <= MAX_LINE_BYTES else None


def _at_newlines(chunk: bytes) -> Iterator[bytes]:
    r"""Split at ``\n`` only: ``bytes.splitlines`` takes ``\r`` for a line end as well."""
    *whole, rest = chunk.split(b"\n")
    yield from (line + b"\n" for line in whole)
    if rest:
        yield rest

"""Sources → units of work. Where one unit ends and the next begins is decided by the inputs alone."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from crosshead.batch.inputs import DOCUMENTS, Source, examine
from crosshead.batch.reading import lines_of, whole_items
from crosshead.batch.stores import open_file
from crosshead.batch.tables import owners_of
from crosshead.errors import ArticleError, DataError
from crosshead.readers.encodings import GZIP_ERRORS, damaged_gzip, unpack

ROWS_PER_PART = 10_000
BYTES_PER_PART = 16 * 1024**2
"""A part also ends where so much was read: rows may be long, and a part is held in memory."""


@dataclass(frozen=True)
class Segment:
    """Records that stand together in one source: lines, rows, or the one document that it is."""

    source: Source
    start: int
    """Counts records from 0."""
    count: int
    offset: int = 0
    """Of JSONL: the byte, unpacked, at which the first line begins."""
    problem: str = ""
    """In place of records: why there are none, or no more."""


@dataclass(frozen=True)
class Unit:
    """What gives one part file."""

    number: int
    segments: tuple[Segment, ...]
    n_records: int
    n_bytes: int


@dataclass(frozen=True)
class Plan:
    """All that a job has to do."""

    sources: tuple[Source, ...]
    units: tuple[Unit, ...]

    @property
    def n_records(self) -> int:
        """Count lines, rows and documents."""
        return sum(unit.n_records for unit in self.units)


def make_plan(
    sources: Sequence[Source],
    *,
    rows_per_part: int = ROWS_PER_PART,
    bytes_per_part: int = BYTES_PER_PART,
    advance: Callable[[int], None] = lambda n_bytes: None,
) -> Plan:
    """Read every source once, hash it, and cut what is in it into units.

    Raises
    ------
    DataError
        If there is nothing to tag.
    """
    cutter = _Cutter(rows_per_part, bytes_per_part)
    examined = []
    for given in sources:
        source = _cut(examine(given, advance), cutter)
        examined.append(source)
    if not examined:
        raise DataError("there is nothing to tag; name files, folders or patterns that hold articles or rows")
    return Plan(tuple(examined), cutter.finish())


@dataclass
class _Cutter:
    """Fills units with records; a unit is closed before the record that would make it too large."""

    max_records: int
    max_bytes: int
    units: list[Unit] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)
    _n_records: int = 0
    _n_bytes: int = 0

    def add(self, source: Source, start: int, count: int, n_bytes: int, offset: int = 0) -> None:
        """Add records that must not be parted."""
        if self._n_records + count > self.max_records or self._n_bytes + n_bytes > self.max_bytes:
            self._close()
        last = self._segments[-1] if self._segments else None
        if last is not None and last.source is source and not last.problem:
            self._segments[-1] = replace(last, count=last.count + count)
        else:
            self._segments.append(Segment(source, start, count, offset))
        self._n_records += count
        self._n_bytes += n_bytes

    def fail(self, source: Source, start: int, problem: str) -> None:
        """Add the reason why there is nothing, or nothing more, to read."""
        if self._n_records + 1 > self.max_records:
            self._close()
        self._segments.append(Segment(source, start, 0, problem=problem))
        self._n_records += 1

    def finish(self) -> tuple[Unit, ...]:
        """Close the last unit and return all."""
        self._close()
        return tuple(self.units)

    def _close(self) -> None:
        if self._segments:
            self.units.append(Unit(len(self.units), tuple(self._segments), self._n_records, self._n_bytes))
        self._segments, self._n_records, self._n_bytes = [], 0, 0


def _cut(source: Source, cutter: _Cutter) -> Source:
    """Cut one source; return it with what was learned about it."""
    if source.problem:
        cutter.fail(source, 0, source.problem)
    elif source.format in DOCUMENTS:
        cutter.add(source, 0, 1, source.size)
    elif source.format == "jsonl":
        _cut_lines(source, cutter)
    else:
        source = _cut_rows(source, cutter)
    return source


def _cut_lines(source: Source, cutter: _Cutter) -> None:
    start = offset = 0
    try:
        with open_file(source.place) as stream:
            for _, n_bytes in lines_of(unpack(stream), 0):
                cutter.add(source, start, 1, n_bytes, offset)
                start += 1
                offset += n_bytes
    except GZIP_ERRORS as error:
        cutter.fail(source, start, str(damaged_gzip(error)))


def _cut_rows(source: Source, cutter: _Cutter) -> Source:
    groups = _Groups()
    problem = ""
    try:
        for article_id, is_paragraph, n_bytes in owners_of(source):
            groups.add(article_id, is_paragraph, n_bytes)
    except ArticleError as error:
        problem = str(error)
    if groups.are_scattered():
        source = replace(source, is_whole=True)
        for n, _ in enumerate(whole_items(source)):
            cutter.add(source, n, 1, source.size // (groups.n_rows or 1))
        return source
    start = 0
    for count, n_bytes in groups:
        cutter.add(source, start, count, n_bytes)
        start += count
    if problem:
        cutter.fail(source, start, problem)
    return source


class _Groups:
    """How many rows each article has that stand one below the other, and whether an article has others elsewhere."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._counts, self._bytes, self._names = array("Q"), array("Q"), array("Q")
        self._open = ""

    def add(self, article_id: str, is_paragraph: bool, n_bytes: int) -> None:
        self.n_rows += 1
        if is_paragraph and article_id and article_id == self._open:
            self._counts[-1] += 1
            self._bytes[-1] += n_bytes
            return
        self._open = article_id if is_paragraph else ""
        self._counts.append(1)
        self._bytes.append(n_bytes)
        if article_id:  # eight bytes, not the name: there may be many millions
            name = blake2b(article_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self._names.append(int.from_bytes(name, "little"))

    def are_scattered(self) -> bool:
        names = np.frombuffer(self._names, dtype=np.uint64) if self._names else np.zeros(0, dtype=np.uint64)
        ordered = np.sort(names)
        return bool((ordered[1:] == ordered[:-1]).any())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._counts, self._bytes, strict=True)

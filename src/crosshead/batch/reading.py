"""A unit of work → items: the same that `crosshead tag` reads, from any place in the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from crosshead.articles import Article
from crosshead.batch.inputs import DOCUMENTS, Source
from crosshead.batch.stores import open_file, stamp
from crosshead.batch.tables import rows_from
from crosshead.errors import ArticleError, DataError
from crosshead.feeds.items import Item
from crosshead.feeds.jsonl import parse
from crosshead.feeds.reading import item_of
from crosshead.limits import MAX_INPUT_BYTES
from crosshead.readers.blocks import MAX_ARTICLE_BYTES
from crosshead.readers.encodings import GZIP_MAGIC, ZSTD_MAGIC, decode, read_limited, unpack
from crosshead.readers.formats import read_article
from crosshead.readers.inputs import why
from crosshead.readers.rows import RowReader, row_owner

if TYPE_CHECKING:
    from crosshead.batch.plan import Segment, Unit

_PIECE = 1024**2


class Reader:
    """Reads units. It holds the last source open, so units in order are read in one go, packed files too."""

    def __init__(self) -> None:
        self._cursor: _Cursor | None = None

    def read(self, unit: Unit) -> Iterator[Item]:
        """Yield the items of a unit.

        Raises
        ------
        DataError
            If an input is not what it was when the job was planned.
        """
        for segment in unit.segments:
            if segment.problem:
                yield Item(file=segment.source.place, error=segment.problem)
                continue
            try:
                yield from self._read(segment)
            except OSError as error:
                raise DataError(
                    f"{segment.source.place} was there when the job began, but now {why(error)}; "
                    "when it is there again, go on with --resume"
                ) from error

    def close(self) -> None:
        """Let go of the source that is open."""
        if self._cursor is not None:
            self._cursor.records.close()
            self._cursor = None

    def _read(self, segment: Segment) -> Iterator[Item]:
        source = segment.source
        if source.format in DOCUMENTS:
            _check_unchanged(source)
            yield _document(source)
            return
        cursor = self._at(segment)
        if damage := cursor.damage():
            self.close()
            yield Item(file=source.place, error=damage)
            return
        records = islice(cursor.records, segment.count)
        items: Iterable[Item]
        if source.is_whole:
            items = records
        elif source.format == "jsonl":
            numbered = enumerate(records, start=segment.start + 1)
            items = (parse(line, n, source.place) for n, (line, _) in numbered)
        else:
            items = _items_of_rows(source, records)
        n_before = cursor.n_given
        yield from items
        if cursor.damage():  # told in the place of its row
            self.close()
        elif cursor.n_given - n_before != segment.count:
            raise _changed(source)

    def _at(self, segment: Segment) -> _Cursor:
        """Take the open source on to where the segment begins, or open it there."""
        cursor = self._cursor
        if cursor is None or not cursor.reaches(segment):
            self.close()
            _check_unchanged(segment.source)
            cursor = self._cursor = _Cursor.open(segment)
        cursor.skip_to(segment.start)
        return cursor


class _Cursor:
    """An open source, and how many of its records were given."""

    def __init__(self, source: Source, start: int, records: Iterator[Any], *, can_seek: bool = False) -> None:
        self.source = source
        self._start = start
        self._can_seek = can_seek
        self.n_given = 0
        self._damage = ""
        self.records = self._counted(records)

    @classmethod
    def open(cls, segment: Segment) -> _Cursor:
        source, start = segment.source, segment.start
        if source.is_whole:
            return cls(source, 0, whole_items(source))
        if source.format == "jsonl":
            return cls._open_lines(segment)
        first, rows = rows_from(source, start)
        return cls(source, first, rows)

    @classmethod
    def _open_lines(cls, segment: Segment) -> _Cursor:
        stream = open_file(segment.source.place)
        if stream.peek(4).startswith((GZIP_MAGIC, ZSTD_MAGIC)):
            return cls(segment.source, 0, _closing(stream, lines_of(unpack(stream))))
        stream.seek(segment.offset)
        return cls(segment.source, segment.start, _closing(stream, lines_of(stream)), can_seek=True)

    def reaches(self, segment: Segment) -> bool:
        """Whether the segment lies ahead, and reading on is better than opening the source again."""
        if self.source != segment.source:
            return False
        return self.position == segment.start or (self.position < segment.start and not self._can_seek)

    @property
    def position(self) -> int:
        return self._start + self.n_given

    def damage(self) -> str:
        """Say why no more can be read, where the looking at the source did not come across it; else nothing."""
        return self._damage

    def skip_to(self, position: int) -> None:
        for _ in islice(self.records, position - self.position):
            pass

    def _counted(self, records: Iterator[Any]) -> Any:
        try:
            for record in records:
                self.n_given += 1
                yield record
        except ArticleError as error:
            self._damage = str(error)
            yield "", error


def _check_unchanged(source: Source) -> None:
    if stamp(source.place) != source.stamp:
        raise _changed(source)


def _changed(source: Source) -> DataError:
    return DataError(
        f"{source.place} was changed while the job ran, so parts of it would not fit together; "
        "tag it again into a new folder"
    )


def lines_of(stream: BinaryIO, max_bytes: int = MAX_INPUT_BYTES) -> Iterator[tuple[bytes | None, int]]:
    r"""Yield each line without its ``\n``, or None where it is longer than ``max_bytes``, and how long it is with it.

    No more than ``max_bytes`` of a line is held.
    """
    while piece := stream.readline(_PIECE):
        held, size = [piece], len(piece)
        while not piece.endswith(b"\n") and (piece := stream.readline(_PIECE)):
            size += len(piece)
            if size <= max_bytes + 1:
                held.append(piece)
            else:
                held.clear()
        yield _line(held, max_bytes), size


def _closing(stream: BinaryIO, records: Iterator[Any]) -> Iterator[Any]:
    """Close the stream with the records; what unpacks it would leave it open."""
    with stream:
        yield from records


def _line(held: list[bytes], max_bytes: int) -> bytes | None:
    line = b"".join(held).removesuffix(b"\n")
    return None if not held or len(line) > max_bytes else line


def _document(source: Source) -> Item:
    try:
        with open_file(source.place) as stream:
            decoded = decode(read_limited(stream, MAX_ARTICLE_BYTES))
        article = read_article(
            decoded.text, format=source.format, article_id=source.stem, metadata={"encoding": decoded.encoding}
        )
    except ArticleError as error:
        return Item(file=source.place, error=str(error))
    return item_of(source.place, source.article_id, article)


def _items_of_rows(source: Source, rows: Iterable[tuple[str, Any]]) -> Iterator[Item]:
    """Read rows; those of single paragraphs are put together with the ones below that belong to the same article."""
    open_id = ""
    reader = _row_reader(source)
    for where, row in rows:
        article_id, is_paragraph = row_owner(row)
        if open_id and not (is_paragraph and article_id == open_id):
            yield from _finish(source, reader)
        if not (is_paragraph and article_id == open_id):
            reader = _row_reader(source)
        open_id = article_id if is_paragraph else ""
        for place, given in _read_row(reader, where, row):
            yield _item(source, place, given)
    if open_id:
        yield from _finish(source, reader)


def _finish(source: Source, reader: RowReader) -> Iterator[Item]:
    for place, given in reader.finish():
        yield _item(source, place, given)


def _row_reader(source: Source) -> RowReader:
    return RowReader(lambda where: f"{source.stem}:{where.split()[-1]}")


def _read_row(reader: RowReader, where: str, row: Any) -> Iterator[tuple[str, Article | ArticleError]]:
    if isinstance(row, ArticleError):
        yield reader.fail(where, row)
    else:
        yield from reader.read(where, row)


def _item(source: Source, where: str, given: Article | ArticleError) -> Item:
    line = int(where.split()[-1]) if where else None
    if isinstance(given, ArticleError):
        return Item(file=source.place, line=line, error=str(given))
    return item_of(source.place, source.article_id, given, line)


def whole_items(source: Source) -> Iterator[Item]:
    """Read all rows of a source and then put together the articles whose rows stand apart, as `crosshead tag` does.

    All such rows are held in memory.
    """
    reader = _row_reader(source)
    places: dict[str, str] = {}

    def placed() -> Iterator[tuple[str, Article | ArticleError]]:
        try:
            for where, row in rows_from(source, 0)[1]:
                yield from _read_row(reader, where, row)
        except ArticleError as error:
            yield "", error
        yield from reader.finish()

    for where, given in placed():
        if isinstance(given, Article):
            first = places.setdefault(given.article_id, where)
            if first is not where:
                given = ArticleError(
                    f"article id {given.article_id!r} stands twice: in {source.place}, {first} and in "
                    f"{source.place}, {where}; give every article an id of its own"
                )
        yield _item(source, where, given)

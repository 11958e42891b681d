"""Annotations appended one by one, durably, in the format that `crosshead prepare` reads.

The file is a CSV file with the columns of :data:`crosshead.corpora.annotations.COLUMNS` and then ``time``, ``source``,
``note`` and ``key``. ``key`` says which request wrote a row (its digest), so that a client may send a request again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from crosshead.corpora.annotations import COLUMNS, Annotation, read_annotations
from crosshead.errors import DataError
from crosshead.labelling.durable import LineFile, write_durably
from crosshead.text import text_digest

EXTRA_COLUMNS = ("time", "source", "note")
KEY = "key"
_KEY_DIGEST = re.compile("[0-9a-f]{16}")
_IDENTITY = ("article_id", "paragraph", "text_sha256", "section_type", "annotator")


class KeyUsedError(DataError):
    """A request's key that belongs to another annotation."""


def now() -> str:
    """Write the present moment in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def append(path: Path, annotation: Annotation, key: str) -> bool:
    """Append an annotation; when this returns, it is on the disk.

    Parameters
    ----------
    path : Path
        Made if it is not there; one without the further columns is given them.
    annotation : Annotation
        ``extra`` may hold ``time``, ``source`` and ``note``; the present moment is the default of ``time``.
    key : str
        Names the request. The same key appends once, however often it is sent.

    Returns
    -------
    bool
        False if the key is in the file already.

    Raises
    ------
    DataError
        If the key belongs to another annotation, or the file cannot be written; it then holds nothing of this one.
    """
    return AnnotationFile(path).append(annotation, key)


class AnnotationFile:
    """An annotation file that is appended to again and again; what others append meanwhile is seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = LineFile(path, self._is_whole)
        self._columns: tuple[str, ...] = ()
        self._by_key: dict[str, tuple[str, ...]] = {}

    def append(self, annotation: Annotation, key: str) -> bool:
        """Append an annotation as `append` does."""
        if not key:
            raise DataError("the key of an annotation is empty; give every request one of its own, such as a UUID")
        row = to_row(annotation) | {KEY: text_digest(key)}
        row["time"] = row["time"] or now()
        with self._lines.locked():
            self._catch_up()
            identity = tuple(row[name] for name in _IDENTITY)
            known = self._by_key.get(row[KEY])
            if known is not None and known != identity:
                raise KeyUsedError(
                    f"the key of this annotation (paragraph {annotation.paragraph} of {annotation.article_id!r}) was "
                    f"used for paragraph {known[1]} of {known[0]!r} already; give every request a key of its own"
                )
            if known is None:
                self._lines.append(_csv_line([row.get(column, "") for column in self._columns]))
                self._read_new()
            return known is None

    def _catch_up(self) -> None:
        self._lines.mend()
        header = read_header(self.path)
        if header[-1:] != (KEY,) or not {*COLUMNS, *EXTRA_COLUMNS} <= set(header):
            header = self._give_columns(header)
        if self._lines.was_replaced():
            self._columns = header
            self._by_key.clear()
        self._read_new()

    def _read_new(self) -> None:
        text = b"\n".join(self._lines.read_new()).decode("utf-8-sig", "replace")
        for cells in csv.reader(io.StringIO(text, newline="")):
            row = dict(zip(self._columns, cells, strict=False))
            if _KEY_DIGEST.fullmatch(row.get(KEY, "")):
                self._by_key[row[KEY]] = tuple(row[name] for name in _IDENTITY)

    def _give_columns(self, header: Sequence[str]) -> tuple[str, ...]:
        wanted = (*(name for name in header if name != KEY), *_missing((*COLUMNS, *EXTRA_COLUMNS), header), KEY)
        rows = [to_row(annotation) for annotation in read_annotations(self.path)] if header else []
        write_durably(self.path, to_csv(rows, wanted))
        return wanted

    def _is_whole(self, tail: bytes) -> bool:
        """Tell a last row that somebody saved without a line end from one whose writing was cut short.

        The key stands last and has a fixed length, so a row of ours that lost its end is seen.
        """
        header = read_header(self.path)
        try:
            (cells,) = csv.reader([tail.decode("utf-8-sig")], strict=True)
        except (csv.Error, UnicodeDecodeError, ValueError):
            return False
        if len(cells) != len(header):
            return False
        return tuple(cells) == header or header[-1] != KEY or not cells[-1] or bool(_KEY_DIGEST.fullmatch(cells[-1]))


def to_row(annotation: Annotation) -> dict[str, str]:
    """Return an annotation as the cells of a row; a note becomes one line."""
    cells = {
        **{name: str(value) for name, value in annotation.extra.items()},
        "article_id": annotation.article_id,
        "paragraph": str(annotation.paragraph),
        "text_sha256": annotation.text_sha256,
        "section_type": annotation.section_type,
        "annotator": annotation.annotator,
    }
    cells = {name: " ".join(value.split()) for name, value in cells.items()}
    return {**dict.fromkeys(EXTRA_COLUMNS, ""), **cells}


def to_csv(rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> bytes:
    """Write rows below a header."""
    lines = [_csv_line(columns), *(_csv_line([row.get(column, "") for column in columns]) for row in rows)]
    return b"".join(line + b"\n" for line in lines)


def columns_for(header: Sequence[str]) -> tuple[str, ...]:
    """Return a header with the columns that every annotation has, those that are there in their order."""
    return (*header, *_missing((*COLUMNS, *EXTRA_COLUMNS), header))


def _missing(wanted: Iterable[str], header: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wanted if name not in header)


def read_header(path: Path) -> tuple[str, ...]:
    """Return the names of a file's columns; none where there is no file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(next(csv.reader(file), ()))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"annotations {path} cannot be read: {error}; name another file") from error


def _csv_line(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")

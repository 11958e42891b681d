"""Answers as JSONL, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from crosshead import whole
from crosshead.cli.words import percent
from crosshead.feeds.items import Answer
from crosshead.feeds.jsonl import as_record, dumps

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".md": "markdown", ".txt": "table"}
"""Formats by the ending of an output file."""


class Writer(Protocol):
    """Writes answers as they come."""

    def write(self, answers: Sequence[Answer]) -> None:
        """Write some answers and let whoever reads them have them."""
        ...

    def close(self) -> None:
        """Write what ends the output."""
        ...


def as_article(answer: Answer) -> dict[str, Any]:
    """Return the object that answers an article read from a document; offsets count characters of its text."""
    item, article = answer.item, answer.item.article
    if answer.error or article is None:
        return {"error": answer.error, "file": item.file}
    paragraphs = [
        {
            "index": paragraph.index,
            "headings": list(paragraph.headings),
            "start": paragraph.start,
            "end": paragraph.end,
            "text": paragraph.text,
            **tag.as_dict(),
        }
        for paragraph, tag in zip(article.paragraphs, answer.tags, strict=True)
    ]
    return {
        "article_id": article.article_id,
        "title": article.title,
        "file": item.file,
        "left_out": dict(article.left_out),
        "paragraphs": paragraphs,
    }


def as_object(answer: Answer, *, with_file: bool) -> dict[str, Any]:
    """Return the JSON object that answers one input."""
    return as_record(answer, with_file=with_file) if answer.item.line is not None else as_article(answer)


class JsonLines:
    """One line an input."""

    def __init__(self, stream: BinaryIO, *, with_file: bool) -> None:
        self._stream = stream
        self._with_file = with_file

    def write(self, answers: Sequence[Answer]) -> None:
        """Write a line each."""
        lines = (dumps(as_object(answer, with_file=self._with_file)) + "\n" for answer in answers)
        self._stream.write("".join(lines).encode())
        self._stream.flush()

    def close(self) -> None:
        """Write nothing more."""


class Json:
    """One list, written as it grows."""

    def __init__(self, stream: BinaryIO, *, with_file: bool) -> None:
        self._stream = stream
        self._with_file = with_file
        self._before = "[\n"

    def write(self, answers: Sequence[Answer]) -> None:
        """Write an entry each."""
        for answer in answers:
            text = dumps(as_object(answer, with_file=self._with_file), indent=2)
            self._stream.write((self._before + text).encode())
            self._before = ",\n"
        self._stream.flush()

    def close(self) -> None:
        """Close the list."""
        self._stream.write(b"[]\n" if self._before == "[\n" else b"\n]\n")
        self._stream.flush()


class Csv:
    """One row a paragraph; an input that could not be tagged is a row with nothing but its error."""

    _FIXED = (
        "file",
        "line",
        "article_id",
        "id",
        "paragraph",
        "headings",
        "section_type",
        "confidence",
        "abstained",
        "truncated_tokens",
        "out_of_distribution",
    )

    def __init__(self, stream: BinaryIO, section_types: Sequence[str]) -> None:
        self._stream = stream
        self._columns = [*self._FIXED, *(f"score_{name}" for name in section_types), "text", "error"]
        self._write_rows([dict(zip(self._columns, self._columns, strict=True))])

    def write(self, answers: Sequence[Answer]) -> None:
        """Write the rows of each answer."""
        self._write_rows([row for answer in answers for row in self._rows(answer)])

    def close(self) -> None:
        """Write nothing more."""

    def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        buffer = io.StringIO(newline="")
        csv.DictWriter(buffer, self._columns, restval="", lineterminator="\r\n").writerows(rows)
        self._stream.write(buffer.getvalue().encode("utf-8", "backslashreplace"))
        self._stream.flush()

    def _rows(self, answer: Answer) -> Iterator[dict[str, Any]]:
        item = answer.item
        common = {"file": item.file, "line": "" if item.line is None else item.line, **item.echo}
        if item.article is not None:
            common["article_id"] = item.article.article_id
        if answer.error:
            yield {**common, "error": answer.error}
            return
        for i, (text, tag) in enumerate(zip(item.paragraphs, answer.tags, strict=True)):
            given = tag.as_dict()
            scores = {f"score_{name}": score for name, score in given.pop("scores").items()}
            headings = " > ".join(item.article.paragraphs[i].headings) if item.article is not None else ""
            yield {**common, "paragraph": i, "headings": headings, **given, **scores, "text": text}


class Markdown:
    """Each article again, with a label before each paragraph."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._before = ""

    def write(self, answers: Sequence[Answer]) -> None:
        """Write each article."""
        for answer in answers:
            text = self._before + "\n\n".join(_markdown_blocks(answer)) + "\n"
            self._stream.write(text.encode("utf-8", "replace"))
            self._before = "\n"
        self._stream.flush()

    def close(self) -> None:
        """Write nothing more."""


def _markdown_blocks(answer: Answer) -> Iterator[str]:
    item = answer.item
    title = item.article.title if item.article is not None else str(item.echo.get("article_id") or "")
    if answer.error:
        yield f"> {item.name}: {answer.error}"
        return
    if title:
        yield f"# {' '.join(title.split())}"
    above: tuple[str, ...] = ()
    for i, (text, tag) in enumerate(zip(item.paragraphs, answer.tags, strict=True)):
        headings = item.article.paragraphs[i].headings if item.article is not None else ()
        for level, heading in new_headings(above, headings):
            yield f"{'#' * min(level + 2, 6)} {heading}"
        above = headings
        unsure = "not sure: " if tag.abstained else ""
        yield f"**[{unsure}{tag.section_type} {percent(tag.confidence)}]** {text}"


def new_headings(above: Sequence[str], headings: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the level (from 0) and text of the headings that stand between two paragraphs, as far as is known."""
    same = 0
    while same < min(len(above), len(headings)) and above[same] == headings[same]:
        same += 1
    yield from enumerate(headings[same:], start=same)


@contextmanager
def opened(output: str | None) -> Iterator[BinaryIO]:
    """Open standard output, or a file that appears whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written; it names the file.
    """
    if output is None or output == "-":
        with _named("standard output"):
            yield sys.stdout.buffer
        return
    target = Path(os.path.realpath(output))
    if target.exists() and not target.is_file():  # a pipe or a device: nothing to replace
        with _named(str(target)), target.open("wb") as stream:
            yield stream
        return
    if not target.parent.is_dir():  # more often misspelt than meant
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target))
    with whole.new_file(target) as stream:
        yield stream


@contextmanager
def _named(target: str) -> Iterator[None]:
    """Let an error without a name speak of what was asked for."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = error.filename or target
        raise


MAKERS: dict[str, Callable[[BinaryIO, Sequence[str], bool], Writer]] = {
    "jsonl": lambda stream, section_types, with_file: JsonLines(stream, with_file=with_file),
    "json": lambda stream, section_types, with_file: Json(stream, with_file=with_file),
    "csv": lambda stream, section_types, with_file: Csv(stream, section_types),
    "markdown": lambda stream, section_types, with_file: Markdown(stream),
}
"""Writers by format; `table` is made by its own module, which needs rich."""

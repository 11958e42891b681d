"""The JSONL contract: one line out for each line in, in order, nothing lost.

``{"id": "7", "text": "…"}`` is a text on its own; ``{"article_id": "a", "paragraphs": ["…", "…"]}`` is an article whose
paragraphs inform each other. ``id`` and ``article_id`` come back as they were given; other keys are ignored.
"""

from __future__ import annotations

import json
import select
from collections.abc import Iterator
from typing import Any, BinaryIO

from crosshead.feeds.items import Answer, Item
from crosshead.limits import MAX_INPUT_BYTES, MAX_PARAGRAPHS

LINES_PER_CHUNK = 512
BYTES_PER_CHUNK = 1024**2
_BLOCK = 64 * 1024
_ECHOED = ("id", "article_id")


def read_items(stream: BinaryIO, file: str, *, max_bytes: int = MAX_INPUT_BYTES) -> Iterator[list[Item]]:
    """Read a stream of JSONL in chunks; a line that cannot be used becomes an item with its error.

    A chunk ends where the stream has nothing more to give at the moment, so a feed gets its answers at once.
    """
    n_read = 0
    for lines in _arrived(stream, max_bytes):
        yield [parse(line, n, file, max_bytes=max_bytes) for n, line in enumerate(lines, start=n_read + 1)]
        n_read += len(lines)


class Cutter:
    """Cuts blocks of bytes into lines, holding at most ``max_bytes`` of one."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._too_long = False

    def feed(self, block: bytes) -> Iterator[bytes | None]:
        """Yield the lines that ``block`` completes; None stands for one that is too long."""
        *complete, rest = block.split(b"\n")
        for piece in complete:
            self._hold(piece)
            yield self._finish()
        self._hold(rest)

    def close(self) -> Iterator[bytes | None]:
        """Yield the last line if no newline ends it."""
        if self._held or self._too_long:
            yield self._finish()

    def _hold(self, piece: bytes) -> None:
        if self._too_long or len(self._held) + len(piece) > self._max_bytes:
            self._too_long = True
            self._held.clear()
        else:
            self._held += piece

    def _finish(self) -> bytes | None:
        line = None if self._too_long else bytes(self._held)
        self._held.clear()
        self._too_long = False
        return line


def _arrived(stream: BinaryIO, max_bytes: int) -> Iterator[list[bytes | None]]:
    cutter = Cutter(max_bytes)
    lines: list[bytes | None] = []
    n_bytes = 0
    while block := _read(stream):
        for line in cutter.feed(block):
            lines.append(line)
            n_bytes += len(line or b"")
            if len(lines) >= LINES_PER_CHUNK or n_bytes >= BYTES_PER_CHUNK:
                yield lines
                lines, n_bytes = [], 0
        if lines and not _more_waits(stream):
            yield lines
            lines, n_bytes = [], 0
    lines.extend(cutter.close())
    if lines:
        yield lines


def _read(stream: BinaryIO) -> bytes:
    """Read what is there, waiting only if nothing is."""
    read = getattr(stream, "read1", stream.read)
    block: bytes = read(_BLOCK)
    return block


def _more_waits(stream: BinaryIO) -> bool:
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError, TypeError):  # no descriptor, as of bytes in memory: it never lets us wait
        return True


class _Refused(ValueError):
    """A line that breaks the contract."""


def parse(line: bytes | None, n: int, file: str, *, max_bytes: int = MAX_INPUT_BYTES) -> Item:
    """Read one line; None stands for one that was too long to be kept."""
    echo: dict[str, Any] = {}
    try:
        record = _object(line, n, max_bytes)
        echo.update(_echo(record))
        paragraphs, is_article = _texts(record)
    except _Refused as refusal:
        return Item(file=file, line=n, echo=echo, error=str(refusal))
    return Item(paragraphs, is_article, file, n, echo)


def _object(line: bytes | None, n: int, max_bytes: int) -> dict[str, Any]:
    if line is None:
        raise _Refused(f"the line is longer than {max_bytes:,} bytes; split it")
    try:
        text = line.decode("utf-8-sig" if n == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _Refused(f"the line is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from error
    if not text.strip():
        raise _Refused("the line is empty")
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _Refused(f"the line is not JSON: {error.msg} (character {error.pos + 1})") from error
    except RecursionError as error:
        raise _Refused("the line is nested too deeply") from error
    except _Refused:
        raise
    except ValueError as error:
        raise _Refused("the line holds a number with too many digits") from error
    if not isinstance(record, dict):
        raise _Refused(f'the line is {_kind(record)}; give an object such as {{"text": "…"}}')
    return record


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"the line is not JSON: {name} is no JSON number")


def _echo(record: dict[str, Any]) -> dict[str, Any]:
    echo = {key: record[key] for key in _ECHOED if key in record}
    for key, value in echo.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise _Refused(f"{key} is {_kind(value)}; give a string or a number")
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            raise _Refused(f"{key} is a number too large to be given back")
    return echo


def _texts(record: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    if "text" in record and "paragraphs" in record:
        raise _Refused("the line has both text and paragraphs; give one of them")
    if "text" in record:
        return (_text(record["text"], "text"),), False
    if "paragraphs" not in record:
        raise _Refused("the line has neither text nor paragraphs")
    paragraphs = record["paragraphs"]
    if not isinstance(paragraphs, list):
        raise _Refused(f"paragraphs is {_kind(paragraphs)}; give a list of strings")
    if len(paragraphs) > MAX_PARAGRAPHS:
        raise _Refused(f"paragraphs holds {len(paragraphs):,} texts; at most {MAX_PARAGRAPHS:,} are allowed; split it")
    return tuple(_text(text, f"paragraph {i}") for i, text in enumerate(paragraphs)), True


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _Refused(f"{what} is {_kind(value)}; give a string")
    if not value.strip():
        raise _Refused(f"{what} is empty; give at least one word")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Refused(
            f"{what} holds half of a surrogate pair (character {error.start + 1}), which is no text"
        ) from error
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def as_record(answer: Answer, *, with_file: bool = False) -> dict[str, Any]:
    """Return the line that answers a line."""
    item = answer.item
    place = {"file": item.file} if with_file else {}
    if answer.error:
        return {**item.echo, "error": answer.error, "line": item.line, **place}
    tags = [tag.as_dict() for tag in answer.tags]
    return {**item.echo, "paragraphs": tags} if item.is_article else {**item.echo, **tags[0]}


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write JSON that is valid UTF-8 and holds no character that some readers take for the end of a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, indent=indent)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")

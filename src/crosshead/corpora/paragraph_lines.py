"""JSONL files of labelled paragraphs that belong to no article: what contrast sets and single paragraphs share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead.errors import DataError


@dataclass(frozen=True, slots=True)
class Line:
    """The object on one line of a file."""

    where: str
    """Names the line in errors."""
    number: int
    row: dict[str, Any]

    def need(self, key: str, kind: type[str] | type[int]) -> Any:
        """Return the value of a key that must be there and of this kind."""
        value = self.row.get(key)
        if not isinstance(value, kind):
            raise DataError(f"{self.where} has {value!r:.80} for {key!r}; it must be {kind.__name__}")
        return value

    def may(self, key: str) -> str | None:
        """Return the string of a key that may be null or missing."""
        return None if self.row.get(key) is None else self.need(key, str)

    def text(self) -> str:
        """Return the paragraph's text, which must hold something."""
        text: str = self.need("text", str)
        if not text.strip():
            raise DataError(f"{self.where} has an empty text; write one or remove the line")
        return text


def read_lines(path: Path, what: str, *, setting: str, keys: str) -> Iterator[Line]:
    """Read the objects of a JSONL file; lines without anything are passed over.

    Parameters
    ----------
    path : Path
    what : str
        What the file holds, as errors call it, such as ``contrast sets``.
    setting : str
        The setting that names the file.
    keys : str
        What an object holds, for the error where there is none.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no object; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would cut a text at U+2028
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror}; set {setting}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{what} {path} are not in UTF-8: {error}; save the file again as that") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"line {number} of {what} {path}"
            yield Line(where, number, _parse(line, where, keys))


def check_section_type(name: str, section_types: Collection[str], where: str) -> None:
    """Refuse a label that the taxonomy lacks."""
    if name not in section_types:
        raise DataError(f"{where} has the section type {name!r}; allowed: {', '.join(section_types)}")


def _parse(line: str, where: str, keys: str) -> dict[str, Any]:
    try:
        row: Any = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} holds half of a surrogate pair, which is no text; write the character out") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}; it must be an object with {keys}")
    return row

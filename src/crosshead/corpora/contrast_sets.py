"""Contrast sets: one situation told several times, so that only reading tells the section types apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead.errors import DataError


@dataclass(frozen=True, slots=True)
class ContrastParagraph:
    """One paragraph of a contrast set; it belongs to no article."""

    set_id: str
    paragraph: int
    text: str
    section_type: str
    situation: str | None = None
    setting: str | None = None
    line: int = 0


def read_contrast_sets(path: Path) -> list[ContrastParagraph]:
    """Read a JSONL file with ``set_id``, ``paragraph``, ``text`` and ``section_type`` on every line.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no contrast paragraph; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"contrast sets {path} cannot be read: {error.strerror}; set corpus.contrast_sets") from error
    except UnicodeDecodeError as error:
        raise DataError(f"contrast sets {path} are not in UTF-8: {error}; save the file again as that") from error
    return [_parse(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]


def check_contrast_sets(
    contrast_sets: Sequence[ContrastParagraph], article_ids: Sequence[str], section_types: Sequence[str]
) -> None:
    """Refuse sets with an unknown label, a paragraph told twice, or the name of an article."""
    taken = set(article_ids)
    seen: dict[tuple[str, int], int] = {}
    for row in contrast_sets:
        where = f"line {row.line} of the contrast sets (paragraph {row.paragraph} of {row.set_id!r})"
        if row.section_type not in section_types:
            raise DataError(f"{where} has the section type {row.section_type!r}; allowed: {', '.join(section_types)}")
        if row.set_id in taken:
            raise DataError(f"{where} has the name of an article; rename the set, ids must differ")
        first = seen.setdefault((row.set_id, row.paragraph), row.line)
        if first != row.line:
            raise DataError(f"{where} is already on line {first}; number the paragraphs of a set")


def _parse(line: str, number: int, path: Path) -> ContrastParagraph:
    where = f"line {number} of contrast sets {path}"
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}; it must be an object with set_id, paragraph, text …")
    for key, kind in (("set_id", str), ("paragraph", int), ("text", str), ("section_type", str)):
        if not isinstance(row.get(key), kind):
            raise DataError(f"{where} has {row.get(key)!r:.80} for {key!r}; it must be {kind.__name__}")
    if not row["text"].strip():
        raise DataError(f"{where} has an empty text; write one or remove the line")
    return ContrastParagraph(
        set_id=row["set_id"],
        paragraph=row["paragraph"],
        text=row["text"],
        section_type=row["section_type"],
        situation=row.get("situation"),
        setting=row.get("setting"),
        line=number,
    )

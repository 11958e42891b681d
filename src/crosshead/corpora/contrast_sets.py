"""Contrast sets: one situation told several times, so that only reading tells the section types apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosshead.corpora.paragraph_lines import Line, check_section_type, read_lines
from crosshead.errors import DataError

WHAT = "contrast sets"


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
    lines = read_lines(path, WHAT, setting="corpus.contrast_sets", keys="set_id, paragraph, text …")
    return [_parse(line) for line in lines]


def check_contrast_sets(
    contrast_sets: Sequence[ContrastParagraph], article_ids: Sequence[str], section_types: Sequence[str]
) -> None:
    """Refuse sets with an unknown label, a paragraph told twice, or the name of an article."""
    taken = set(article_ids)
    seen: dict[tuple[str, int], int] = {}
    for row in contrast_sets:
        where = f"line {row.line} of the contrast sets (paragraph {row.paragraph} of {row.set_id!r})"
        check_section_type(row.section_type, section_types, where)
        if row.set_id in taken:
            raise DataError(f"{where} has the name of an article; rename the set, ids must differ")
        first = seen.setdefault((row.set_id, row.paragraph), row.line)
        if first != row.line:
            raise DataError(f"{where} is already on line {first}; number the paragraphs of a set")


def _parse(line: Line) -> ContrastParagraph:
    return ContrastParagraph(
        set_id=line.need("set_id", str),
        paragraph=line.need("paragraph", int),
        text=line.text(),
        section_type=line.need("section_type", str),
        situation=line.row.get("situation"),
        setting=line.row.get("setting"),
        line=line.number,
    )

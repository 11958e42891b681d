"""Plain text → Article.

What is a paragraph
    Lines between empty lines. Where such a stretch is not one wrapped paragraph but one paragraph a line, each
    line is a paragraph: its lines are longer than anybody wraps them (median above ``MAX_WRAPPED_CHARS``), or
    there are three or more and each ends like a sentence.
What is a heading
    A short line in capitals; and a short line without the marks that end a sentence, standing alone, with a
    paragraph after it. A run of more than three such lines is a list of names, not headings.
What is the title
    The first line of the text, if it is a heading.

Every letter of the text is in a paragraph or in a heading; nothing is left out but rows of ornaments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from statistics import median

from crosshead.articles import Article
from crosshead.readers.blocks import (
    HEADING,
    PARAGRAPH,
    Block,
    assemble,
    clean_source,
    has_words,
    line_spans,
    trim,
)
from crosshead.readers.headings import ends_sentence, is_caps_heading, is_short_line

MAX_WRAPPED_CHARS = 120
MIN_SENTENCE_LINES = 3
MAX_HEADINGS_IN_A_ROW = 3


def read_plain(
    source: str, *, article_id: str = "", title: str = "", metadata: Mapping[str, object] | None = None
) -> Article:
    """Read one document of plain text; the heuristics are those of the module.

    Raises
    ------
    ArticleError
        If there is no text, or no paragraph.
    """
    source = clean_source(source)
    blocks = _blocks(source)
    return assemble(source, blocks, article_id=article_id, title=title, metadata=metadata or {})


def lines_are_paragraphs(lines: list[str]) -> bool:
    """Whether lines without an empty line between them are one paragraph each, rather than one wrapped one."""
    if len(lines) < 2:
        return False
    told = [line for line in lines if not is_caps_heading(line) and not is_short_line(line)]
    if told and median(map(len, told)) > MAX_WRAPPED_CHARS:
        return True
    return len(told) >= MIN_SENTENCE_LINES and all(map(ends_sentence, told))


def _blocks(source: str) -> Iterator[Block]:
    units = [unit for chunk in _chunks(source) for unit in _units(source, chunk)]
    is_heading = _find_headings([source[start:end] for start, end in units])
    for position, (start, end) in enumerate(units):
        if is_heading[position]:
            yield Block(HEADING, text=" ".join(source[start:end].split()).rstrip(":"), level=2 if position else 1)
        else:
            yield Block(PARAGRAPH, start, end) if has_words(source[start:end]) else Block("ornament")


def _chunks(source: str) -> Iterator[list[tuple[int, int]]]:
    """Yield the lines between empty lines, each as its trimmed span."""
    spans = (trim(source, start, end) for start, end in line_spans(source))
    for is_text, lines in groupby(spans, key=lambda span: span[0] < span[1]):
        if is_text:
            yield list(lines)


def _units(source: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut lines that stand together into paragraphs, headings in capitals first."""
    if lines_are_paragraphs([source[start:end] for start, end in lines]):
        return lines
    n_caps = 0
    while n_caps < len(lines) - 1 and is_caps_heading(source[slice(*lines[n_caps])]):
        n_caps += 1
    return [*lines[:n_caps], (lines[n_caps][0], lines[-1][1])]


def _find_headings(units: list[str]) -> list[bool]:
    is_heading = [is_caps_heading(unit) for unit in units]
    looks = ["\n" not in unit and (caps or is_short_line(unit)) for unit, caps in zip(units, is_heading, strict=True)]
    position = 0
    for looks_alike, run in groupby(looks):
        n_lines = len(list(run))
        after = position + n_lines
        if looks_alike and n_lines <= MAX_HEADINGS_IN_A_ROW and after < len(units):
            is_heading[position:after] = [True] * n_lines
        position = after
    return is_heading

"""A tree of elements → headings, paragraphs and what is left out; for trafilatura's trees and for plain HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from crosshead.readers.blocks import HEADING, LINE_HEADING_LEVEL, PARAGRAPH, has_words
from crosshead.readers.headings import is_caps_heading, is_short
from crosshead.readers.plain import lines_are_paragraphs

_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LEFT_OUT = {
    "blockquote": "quote",
    "code": "code",
    "dl": "list",
    "list": "list",
    "ol": "list",
    "pre": "code",
    "quote": "quote",
    "table": "table",
    "ul": "list",
}
_BREAKS = {"br", "lb"}
_BOLD = {"b", "strong"}
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "data", "del", "dfn", "em", "font", "graphic"),
    *("hi", "i", "img", "ins", "kbd", "mark", "nobr", "q", "ref", "s", "samp", "small", "span", "strike"),
    *("strong", "sub", "sup", "time", "tt", "u", "var", "wbr", *_BREAKS),
}
_SKIPPED = {
    *("aside", "audio", "button", "canvas", "dialog", "figcaption", "figure", "footer", "form", "head", "iframe"),
    *("input", "label", "map", "math", "menu", "nav", "noscript", "object", "option", "picture", "script"),
    *("select", "style", "svg", "template", "textarea", "video"),
}
_BOLD_STYLE = re.compile(r"font-weight\s*:\s*(?:bold|[6-9]00)", re.IGNORECASE)
_HAS_BLOCKS = "boolean(.//p | .//div | .//section | .//ul | .//ol | .//table | .//h1 | .//h2 | .//h3 | .//h4)"
# A table is for layout if it has one cell only, or one that holds paragraphs in the plural or a heading.
_CELL = "*[self::td or self::cell]"
_IS_LAYOUT = (
    f"boolean(count(.//{_CELL}) = 1 or .//{_CELL}[count(.//p) > 1 or .//h1 or .//h2 or .//h3 or .//h4 or .//head])"
)

# A stretch of inline text, and whether it is bold; "\n" is a line break in the page.
Run = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Piece:
    """A heading, a paragraph or a kind that is left out, with its text."""

    kind: str
    text: str
    level: int = 0


def find_pieces(tree: Any) -> list[Piece]:
    """List the pieces of a tree in the order of the document."""
    return list(_walk(tree))


def _walk(element: Any) -> Iterator[Piece]:
    """Go through a container: its blocks one by one, and the loose text between them as paragraphs."""
    bold = _is_bold(element)
    loose: list[Run] = [(_flat(element.text), bold)]
    for child in element:
        tag = _tag(child)
        in_line = tag in _INLINE and not child.xpath(_HAS_BLOCKS)
        if in_line or (tag == "code" and any(text.strip() for text, _ in loose)):
            loose += _runs(child, bold=bold)
        elif tag and tag not in _SKIPPED:
            yield from _paragraphs(loose)
            loose = []
            yield from _block(child, tag)
        loose.append((_flat(child.tail), bold))
    yield from _paragraphs(loose)


def _tag(element: Any) -> str:
    """Name the element; a heading of trafilatura has the tag that HTML uses for metadata, and ``rend="h2"``."""
    if not isinstance(element.tag, str):
        return ""  # a comment
    is_heading = element.tag == "head" and element.get("rend")
    return str(element.get("rend")) if is_heading else element.tag


def _is_bold(element: Any) -> bool:
    if element.tag == "hi":
        return bool(element.get("rend") == "#b")
    return element.tag in _BOLD or bool(_BOLD_STYLE.search(element.get("style") or ""))


def _block(element: Any, tag: str) -> Iterator[Piece]:
    if tag in _HEADING_LEVELS:
        if text := _words(element):
            yield Piece(HEADING, text, _HEADING_LEVELS[tag])
    elif tag == "table" and element.xpath(_IS_LAYOUT):
        yield from _walk(element)  # the page is laid out in a table, the article stands in a cell
    elif tag in _LEFT_OUT:
        if text := _words(element):
            yield Piece(_LEFT_OUT[tag], text)
    else:
        yield from _walk(element)


def _runs(element: Any, *, bold: bool) -> Iterator[Run]:
    tag = _tag(element)
    if tag in _BREAKS:
        yield "\n", bold
    if tag in _SKIPPED or not tag:
        return
    if tag not in _INLINE:
        yield " ", bold
    bold = bold or _is_bold(element)
    yield _flat(element.text), bold
    for child in element:
        yield from _runs(child, bold=bold)
        yield _flat(child.tail), bold


def _paragraphs(runs: Iterable[Run]) -> Iterator[Piece]:
    """Cut loose text at its line breaks, as plain text is cut; lines of bold or capitals are headings."""
    lines = list(_lines(runs))
    for is_text, chunk in groupby(lines, key=lambda line: bool(line[0])):
        if is_text:
            yield from _chunk_pieces(list(chunk))


def _lines(runs: Iterable[Run]) -> Iterator[Run]:
    texts: list[str] = []
    bold = True
    for text, is_bold in (*runs, ("\n", False)):
        if text == "\n":
            yield " ".join("".join(texts).split()), bold
            texts, bold = [], True
        else:
            texts.append(text)
            bold = bold and (is_bold or not text.strip())


def _chunk_pieces(lines: list[Run]) -> Iterator[Piece]:
    texts = [text for text, _ in lines]
    if not lines_are_paragraphs(texts):
        n_headings = next((n for n, line in enumerate(lines) if not _is_heading(line)), len(lines))
        lines = [*lines[:n_headings], ("\n".join(texts[n_headings:]), False)]
    for text, bold in lines:
        if _is_heading((text, bold)):
            yield Piece(HEADING, text.rstrip(": "), LINE_HEADING_LEVEL)
        elif text:
            yield Piece(PARAGRAPH if has_words(text) else "ornament", text)


def _is_heading(line: Run) -> bool:
    text, bold = line
    return (bold and has_words(text) and is_short(text)) or is_caps_heading(text)


def _flat(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "")


def _words(element: Any) -> str:
    return " ".join("".join(text for text, _ in _runs(element, bold=False)).split())

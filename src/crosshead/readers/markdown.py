"""Markdown → Article: CommonMark with tables, its blocks cut out of the source by their line numbers.

Headings are ATX and setext headings, lines of nothing but bold text, and short lines in capitals; the last two
also when they are the first line of a paragraph. Lists, quotes, tables, code, HTML, footnotes, link definitions,
lone images and rows of ornaments are left out with a count. Markup inside a paragraph stays as it is, and a
wrapped paragraph keeps its line ends, so that the text is exactly a slice of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from crosshead.articles import Article
from crosshead.readers.blocks import (
    HEADING,
    LINE_HEADING_LEVEL,
    PARAGRAPH,
    Block,
    assemble,
    clean_source,
    has_words,
    line_spans,
    trim,
)
from crosshead.readers.frontmatter import read_front_matter
from crosshead.readers.headings import MAX_HEADING_CHARS, bold_heading, is_caps_heading, is_short

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_LEFT_OUT = {
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "blockquote_open": "quote",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "html_block": "html",
}
_FOOTNOTE = re.compile(r"\[\^[^\]\n]{1,60}\]:")
_LINK_DEFINITION = re.compile(r"""\[[^\]\n]{1,200}\]:\s*(?:<[^>\n]*>|\S*[/.#@]\S*)(?:\s+["'(].*)?""")
_IMAGES = re.compile(
    r"(?:\s|!\[[^\[\]\n]{0,500}\]\([^()\n]{0,5000}\)|\[!\[[^\[\]\n]{0,500}\]\([^()\n]{0,5000}\)\]\([^()\n]{0,5000}\))+"
)
_MARKUP = re.compile(r"[\\`*_<>&!\[\]~\n]")


def read_markdown(
    source: str, *, article_id: str = "", title: str = "", metadata: Mapping[str, object] | None = None
) -> Article:
    """Read one Markdown document.

    The title is ``title``, else that of the front matter, else the first heading of level 1 that stands before
    any paragraph.

    Raises
    ------
    ArticleError
        If there is no text, or no paragraph.
    """
    source = clean_source(source)
    fields, body_start = read_front_matter(source)
    told = fields.get("title")
    title = title or (told.strip() if isinstance(told, str) else "")
    return assemble(
        source,
        _blocks(source, body_start),
        article_id=article_id,
        title=title,
        metadata={**fields, **(metadata or {})},
    )


@cache
def _block_parser() -> MarkdownIt:
    """Find blocks only: the inline rules are not needed, and link definitions must not vanish uncounted."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table").disable("reference")
    parser.core.ruler.enableOnly(["block"])
    return parser


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _blocks(source: str, body_start: int) -> Iterator[Block]:
    starts = [start for start, _ in line_spans(source, body_start)]
    starts.append(len(source))
    tokens = _block_parser().parse(source[body_start:])
    for position, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        first, last = token.map
        start, end = starts[first], starts[min(last, len(starts) - 1)]
        if token.type in _LEFT_OUT:
            yield Block(_LEFT_OUT[token.type])
        elif token.type == "paragraph_open":
            yield from _paragraph_blocks(source, start, end)
        elif token.type == "heading_open":
            yield from _heading_blocks(source, token, tokens[position + 1].content, start, starts[last - 1])


def _heading_blocks(source: str, token: Token, content: str, start: int, underline: int) -> Iterator[Block]:
    """Yield the heading, or the paragraph where a rule of dashes happens to stand right below prose."""
    is_setext = token.markup in ("=", "-")
    if is_setext and ("\n" in content or len(content) > MAX_HEADING_CHARS or not is_short(content)):
        yield from _paragraph_blocks(source, start, underline)
    elif text := _plain(content):
        yield Block(HEADING, text=text, level=int(token.tag[1]))


def _paragraph_blocks(source: str, start: int, end: int) -> Iterator[Block]:
    """Split off headings from the first lines, then say what the rest is."""
    start, end = trim(source, start, end)
    while start < end:
        stop = source.find("\n", start, end)
        line_end = end if stop < 0 else stop
        heading = _line_heading(source[start:line_end])
        # A phrase in bold that a wrapped sentence goes on from is no heading.
        if heading is None or source[line_end:end].lstrip()[:1].islower():
            break
        yield Block(HEADING, text=heading, level=LINE_HEADING_LEVEL)
        start, end = trim(source, line_end, end)
    if start < end:
        yield _text_block(source, start, end)


def _line_heading(line: str) -> str | None:
    bold = bold_heading(line)
    if bold is not None:
        return _plain(bold) or None
    return _plain(line.strip()) if is_caps_heading(line) else None


def _text_block(source: str, start: int, end: int) -> Block:
    text = source[start:end]
    if _FOOTNOTE.match(text):
        return Block("footnote")
    if text.startswith("[") and all(map(_LINK_DEFINITION.fullmatch, map(str.strip, text.split("\n")))):
        return Block("link_definition")
    if text.startswith(("![", "[![")) and _IMAGES.fullmatch(text):
        return Block("image")
    return Block(PARAGRAPH, start, end) if has_words(text) else Block("ornament")


def _plain(markup: str) -> str:
    """Take the markup from a heading; its words stay."""
    if _MARKUP.search(markup):
        tokens = _inline_parser().parseInline(markup)[0].children or []
        markup = "".join(map(_words, tokens))
    return " ".join(markup.split())


def _words(token: Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return token.content if token.type in ("text", "code_inline", "image", "text_special") else ""

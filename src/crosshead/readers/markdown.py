"""Markdown → Article: CommonMark with tables, its blocks cut out of the source by their line numbers.

Headings are ATX and setext headings, lines of nothing but bold text, and short lines in capitals; the last two
also when they are the first line of a paragraph. Numbered paragraphs, as in resolutions and reports, are read as
paragraphs, the number included: items set apart by empty lines, of ``MIN_NUMBERED_WORDS`` words on average.
Other lists, quotes, tables, code, HTML, footnotes, link definitions, lone images and rows of ornaments are left
out with a count. Markup inside a paragraph stays as it is, and a wrapped paragraph keeps its line ends, so that
the text is exactly a slice of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from crosshead.articles import Article
from crosshead.errors import ArticleError
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
# The parser is Python and keeps an object a block; a book has a tenth of these lines.
MAX_LINES = 100_000
MIN_NUMBERED_WORDS = 20
_IN_ITEM = 2  # how deep the paragraphs of a list's items are
_FOOTNOTE = re.compile(r"\[\^[^\]\n]{1,60}\]:")
_LINK_DEFINITION = re.compile(r"""\[[^\]\n]{1,200}\]:\s*(<[^>\n]*>|\S++)(?:\s+["'(].*)?""")
_NEXT_WORD = re.compile(r"\s*(\S)")
_MAX_MARKED_CHARS = 1000
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
        If there is no text, too much of it, or no paragraph.
    """
    source = clean_source(source)
    n_lines = source.count("\n") + 1
    if n_lines > MAX_LINES:
        raise ArticleError(
            f"the Markdown has {n_lines} lines; at most {MAX_LINES} are read as one article; cut it, or read it as text"
        )
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
    depth = 0
    for position, token in enumerate(tokens):
        if token.type == "ordered_list_open" and not token.level and _is_numbered_prose(tokens, position):
            depth = _IN_ITEM
        elif token.type == "ordered_list_close" and not token.level:
            depth = 0
        elif token.level == depth and token.nesting >= 0 and token.map is not None:
            first, last = token.map
            start, end = starts[first], starts[min(last, len(starts) - 1)]
            if token.type in _LEFT_OUT:
                yield Block(_LEFT_OUT[token.type])
            elif token.type == "paragraph_open":
                yield from _paragraph_blocks(source, start, end)
            elif token.type == "heading_open":
                yield from _heading_blocks(source, token, tokens[position + 1].content, start, starts[last - 1])


def _is_numbered_prose(tokens: list[Token], opened: int) -> bool:
    """Whether a list is numbered paragraphs, as in resolutions and reports: set apart, and of running text."""
    closed = next(
        place
        for place in range(opened, len(tokens))
        if tokens[place].type == "ordered_list_close" and not tokens[place].level
    )
    inside = tokens[opened:closed]
    n_items = sum(token.type == "list_item_open" and token.level == 1 for token in inside)
    is_tight = any(token.type == "paragraph_open" and token.hidden for token in inside)
    n_words = sum(len(token.content.split()) for token in inside if token.type == "inline")
    return (n_items == 1 or not is_tight) and n_words >= MIN_NUMBERED_WORDS * n_items


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
        below = _NEXT_WORD.match(source, line_end, end)
        # A phrase in bold that a wrapped sentence goes on from is no heading.
        if heading is None or (below and below[1].islower()):
            break
        yield Block(HEADING, text=heading, level=LINE_HEADING_LEVEL)
        start = below.start(1) if below else end
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
    if text.startswith("[") and all(map(_is_link_definition, text.split("\n"))):
        return Block("link_definition")
    if text.startswith(("![", "[![")) and _IMAGES.fullmatch(text):
        return Block("image")
    return Block(PARAGRAPH, start, end) if has_words(text) else Block("ornament")


def _is_link_definition(line: str) -> bool:
    """Whether a line names a place; "[Smith]: Yes." is what Smith said."""
    found = _LINK_DEFINITION.fullmatch(line.strip())
    return found is not None and (found[1].startswith("<") or any(mark in found[1][:-1] for mark in "/.#@"))


def _plain(markup: str) -> str:
    """Take the markup from a heading; its words stay."""
    if len(markup) <= _MAX_MARKED_CHARS and _MARKUP.search(markup):
        tokens = _inline_parser().parseInline(markup)[0].children or []
        markup = "".join(map(_words, tokens))
    return " ".join(markup.split())


def _words(token: Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return token.content if token.type in ("text", "code_inline", "image", "text_special") else ""

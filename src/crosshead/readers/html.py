"""HTML → Article: trafilatura finds the article in the page, its tree of blocks becomes the article.

The tree is taken rather than trafilatura's Markdown, which escapes characters, does not mark quotes, and would
have to be parsed again. ``Article.source`` is the extracted text, laid out like Markdown: headings with ``#``,
quotes with ``>``. Where trafilatura finds nothing (fragments, a few short lines), every heading and paragraph
of the document is taken. Headings that an extraction lost are put back in front of the paragraph they stood above.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from crosshead.articles import PARAGRAPH_GAP, Article
from crosshead.errors import ArticleError
from crosshead.readers.blocks import (
    HEADING,
    LINE_HEADING_LEVEL,
    PARAGRAPH,
    Block,
    assemble,
    clean_source,
    same_words,
)
from crosshead.readers.htmltree import Piece, find_pieces

MAX_HTML_CHARS = 5_000_000
# A long page has some thousands; the time to extract grows with them.
MAX_ELEMENTS = 100_000
# Parsing takes time with the square of the attributes of one tag; nobody writes a tag this long.
MAX_TAG_CHARS = 50_000

_DATA_URI = re.compile(r"data:[^\s\"'<>]{200,}")
_TAG = re.compile(r"""<[a-zA-Z](?:[^"'<>]++|"[^"]*+"|'[^']*+')*+""")
_DOCUMENT = re.compile(r"<(?:html|body|head|!doctype)\b", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]{0,200}\?>")
_FIELDS = {"title": "title", "author": "author", "date": "date", "sitename": "site", "url": "url"}
_MARKS = {"quote": "> ", "list": "- ", "code": "    "}


def read_html(
    source: str, *, article_id: str = "", title: str = "", metadata: Mapping[str, object] | None = None
) -> Article:
    """Read one HTML document or fragment. Nothing is fetched.

    Raises
    ------
    ArticleError
        If the document is too large, cannot be parsed, or holds no paragraph.
    """
    markup = _check(clean_source(source))
    try:
        tree = _parse(markup)
        pieces, fields = _extract(tree)
        told = title or _find_title(tree, pieces, fields.pop("title", ""))
    except RecursionError as error:
        raise ArticleError("the HTML nests its elements too deeply to be read; simplify it") from error
    text, blocks = _lay_out(pieces)
    return assemble(text, blocks, article_id=article_id, title=told, metadata={**fields, **(metadata or {})})


def _check(markup: str) -> str:
    markup = _XML_DECLARATION.sub("", _DATA_URI.sub("data:,", markup), count=1)
    if len(markup) > MAX_HTML_CHARS:
        raise ArticleError(
            f"the HTML has {len(markup)} characters, embedded data not counted; at most {MAX_HTML_CHARS} are "
            "read; cut the page into articles or save it as text"
        )
    longest = max((found.end() - found.start() for found in _TAG.finditer(markup)), default=0)
    if longest > MAX_TAG_CHARS:
        raise ArticleError(
            f"the HTML has a tag of {longest} characters; at most {MAX_TAG_CHARS} are read; clean it first"
        )
    if not _DOCUMENT.search(markup):
        markup = f"<html><body><article>{markup}</article></body></html>"
    return markup


def _parse(markup: str) -> Any:
    import trafilatura

    # Its warnings name nothing that a user could act on, and would be the only lines on stderr.
    for name in ("trafilatura", "htmldate", "courlan"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tree = trafilatura.load_html(markup)
    if tree is None:
        raise ArticleError("the HTML cannot be parsed; save the page again, or give its text")
    n_elements = int(tree.xpath("count(.//*)"))
    if n_elements > MAX_ELEMENTS:
        raise ArticleError(
            f"the HTML has {n_elements} elements; at most {MAX_ELEMENTS} are read; cut the page into articles"
        )
    return tree


def _extract(tree: Any) -> tuple[list[Piece], dict[str, str]]:
    whole = find_pieces(tree)
    document = _run_trafilatura(tree)
    language = (tree.get("lang") or "").split("-")[0].strip().lower()
    fields = {"language": language} if language.isalpha() else {}
    if document is None:
        return whole, fields
    told = ((name, getattr(document, attribute)) for attribute, name in _FIELDS.items())
    fields |= {name: " ".join(value.split()) for name, value in told if isinstance(value, str) and value.strip()}
    found = find_pieces(document.body)
    if not any(piece.kind == PARAGRAPH for piece in found) or _runs_together(found, whole):
        return whole, fields
    return _restore_headings(_mark_headings(found, whole), whole), fields


def _run_trafilatura(tree: Any) -> Any:
    from trafilatura import bare_extraction

    try:
        return bare_extraction(
            tree,
            include_comments=False,
            include_formatting=True,
            include_tables=True,
            with_metadata=True,
            date_extraction_params={"original_date": True, "extensive_search": False},
        )
    except RecursionError:
        raise
    except Exception:
        # Odd markup breaks it in many ways; the document's own headings and paragraphs are still there.
        return None


def _runs_together(found: list[Piece], whole: list[Piece]) -> bool:
    """Whether extraction made one paragraph of several pieces, as trafilatura's last resort does with short pages."""
    texts = {_words(piece) for piece in whole}
    for piece in found:
        words = _words(piece)
        if (
            piece.kind == PARAGRAPH
            and words not in texts
            and sum(len(t) for t in texts if t and t in words) >= len(words)
        ):
            return True
    return False


def _mark_headings(found: list[Piece], whole: list[Piece]) -> list[Piece]:
    """Make headings of the paragraphs that the page shows as headings: extraction forgets some bold type."""
    texts = {_key(piece) for piece in whole if piece.kind == PARAGRAPH}
    headings = {PARAGRAPH + _words(piece): piece for piece in whole if piece.kind == HEADING}
    return [piece if _key(piece) in texts else headings.get(_key(piece), piece) for piece in found]


def _restore_headings(found: list[Piece], whole: list[Piece]) -> list[Piece]:
    """Put back each heading that stood right above a paragraph that was kept."""
    kept = {_key(piece) for piece in found}
    missing: dict[str, list[Piece]] = {}
    above: list[Piece] = []
    for piece in whole:
        if piece.kind == HEADING:
            above.append(piece)
            continue
        if piece.kind == PARAGRAPH and _key(piece) in kept:
            missing.setdefault(_key(piece), [heading for heading in above if _key(heading) not in kept])
        above = []
    restored: list[Piece] = []
    for piece in found:
        if piece.kind == PARAGRAPH:
            restored += missing.pop(_key(piece), [])
        restored.append(piece)
    return restored


def _key(piece: Piece) -> str:
    return piece.kind + _words(piece)


def _words(piece: Piece) -> str:
    return "".join(piece.text.split()).rstrip(":")


def _find_title(tree: Any, pieces: list[Piece], told: str) -> str:
    """Prefer the first heading where it is part of the page's title; trust no title that nobody gave.

    trafilatura falls back to the first heading of any level, which in a fragment is the heading of a section.
    """
    has_title = tree.xpath("boolean(.//head/title[normalize-space()] | .//meta[@property='og:title'] | .//h1)")
    if not has_title:
        return ""
    first = pieces[0].text if pieces and pieces[0].kind == HEADING and pieces[0].level == 1 else ""
    inside = bool(first) and first.casefold() in told.casefold()
    return first if inside and not same_words(first, told) else told


def _lay_out(pieces: list[Piece]) -> tuple[str, list[Block]]:
    parts: list[str] = []
    blocks: list[Block] = []
    position = 0
    for piece in pieces:
        mark = "#" * min(piece.level, LINE_HEADING_LEVEL - 1) + " " if piece.kind == HEADING else ""
        mark = mark or _MARKS.get(piece.kind, "")
        start = position + len(mark)
        blocks.append(Block(piece.kind, start, start + len(piece.text), text=piece.text, level=piece.level))
        parts.append(mark + piece.text)
        position = start + len(piece.text) + len(PARAGRAPH_GAP)
    return PARAGRAPH_GAP.join(parts), blocks

"""The rules of labelling as HTML that may stand in a page: markup only, never what a file brings of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosshead.errors import DataError
from crosshead.taxonomy import SectionType

N_COLOURS = 8
"""Of the page; the ninth section type has the first one's again."""
N_KEYS = 10
"""1 to 9 and 0; section types after the tenth have none."""
_CODE = re.compile(r"[^\W\d_]{1,2}")


def read_codebook(path: Path, section_types: Sequence[SectionType], *, only_if_it_fits: bool = False) -> str | None:
    """Render a codebook in Markdown; names of section types, written as code, become their marks.

    Parameters
    ----------
    path : Path
    section_types : sequence of SectionType
    only_if_it_fits : bool, default=False
        Return None where it does not name every section type: it is about another taxonomy then.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"codebook {path} cannot be read: {error.strerror}; name another with --codebook") from error
    except UnicodeDecodeError as error:
        raise DataError(f"codebook {path} is not in UTF-8: {error}; save it again as that") from error
    if only_if_it_fits and not all(f"`{definition.name}`" in text for definition in section_types):
        return None
    return render(text, section_types)


def render(text: str, section_types: Sequence[SectionType]) -> str:
    """Render Markdown; HTML in it is shown as text, links to scripts are not made.

    Where a table gives every section type a code of one or two letters, the codes look like keys and are none: the
    page's own keys stand in their place, in the table and in the rules.
    """
    from markdown_it import MarkdownIt

    number = {definition.name: i for i, definition in enumerate(section_types)}

    def code(tokens: Sequence[Any], index: int, *_: Any) -> str:
        content = tokens[index].content
        shown = html.escape(content)
        return _chip(shown, number[content]) if content in number else f"<code>{shown}</code>"

    def heading(tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        level = min(6, int(token.tag[1]) + 1)  # the page's own title is the first
        return f"</h{level}>\n" if token.nesting < 0 else f"<h{level}>"

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    codes = _codes(markdown.parse(text), number)
    one_of = re.compile(rf"(?<![\w'’&.-])({'|'.join(map(re.escape, codes))})(?![\w'’-]|\.\w)") if codes else None

    def plain(tokens: Sequence[Any], index: int, *_: Any) -> str:
        shown = html.escape(tokens[index].content)
        return one_of.sub(lambda found: _key(codes[found[1]], section_types), shown) if one_of else shown

    markdown.add_render_rule("code_inline", lambda _self, *arguments: code(*arguments))
    markdown.add_render_rule("text", lambda _self, *arguments: plain(*arguments))
    for rule in ("heading_open", "heading_close"):
        markdown.add_render_rule(rule, lambda _self, *arguments: heading(*arguments[:4]))
    rendered: str = markdown.render(text)
    return rendered


def _codes(tokens: Sequence[Any], number: Mapping[str, int]) -> dict[str, int]:
    """Find the codes that tables give the section types; empty unless every section type has its own and a key."""
    rows: list[list[str]] = [[]]
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token.content)
    codes: dict[str, int] = {}
    for cells in rows[1:]:
        named = [number[cell.strip("`")] for cell in cells if cell.startswith("`") and cell.strip("`") in number]
        short = [cell for cell in cells if _CODE.fullmatch(cell)]
        if len(named) == len(short) == 1:
            codes[short[0]] = named[0]
    return codes if sorted(codes.values()) == list(range(min(len(number), N_KEYS))) else {}


def _key(number: int, section_types: Sequence[SectionType]) -> str:
    name = html.escape(_words(section_types[number].name), quote=True)
    return f'<kbd class="type-{number % N_COLOURS}" title="{name}">{(number + 1) % N_KEYS}</kbd>'


def describe(section_types: Sequence[SectionType]) -> str:
    """Write the taxonomy's own descriptions, where there is no codebook."""
    entries = (
        f"<dt>{_chip(html.escape(definition.name), i)}</dt><dd>{html.escape(definition.description)}</dd>"
        for i, definition in enumerate(section_types)
    )
    return f"<h2>Section types</h2>\n<dl>{''.join(entries)}</dl>"


def _chip(shown: str, number: int) -> str:
    return f'<span class="chip type-{number % N_COLOURS}">{_words(shown)}</span>'


def _words(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ")
    return f"{words[:1].upper()}{words[1:]}"

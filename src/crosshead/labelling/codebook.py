"""The rules of labelling as HTML that may stand in a page: markup only, never what a file brings of its own."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosshead.errors import DataError
from crosshead.taxonomy import SectionType

N_COLOURS = 8
"""Of the page; the ninth section type has the first one's again."""


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
    """Render Markdown; HTML in it is shown as text, links to scripts are not made."""
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
    markdown.add_render_rule("code_inline", lambda _self, *arguments: code(*arguments))
    for rule in ("heading_open", "heading_close"):
        markdown.add_render_rule(rule, lambda _self, *arguments: heading(*arguments[:4]))
    rendered: str = markdown.render(text)
    return rendered


def describe(section_types: Sequence[SectionType]) -> str:
    """Write the taxonomy's own descriptions, where there is no codebook."""
    entries = (
        f"<dt>{_chip(html.escape(definition.name), i)}</dt><dd>{html.escape(definition.description)}</dd>"
        for i, definition in enumerate(section_types)
    )
    return f"<h2>Section types</h2>\n<dl>{''.join(entries)}</dl>"


def _chip(shown: str, number: int) -> str:
    words = shown.replace("_", " ").replace("-", " ")
    return f'<span class="chip type-{number % N_COLOURS}">{words[:1].upper()}{words[1:]}</span>'

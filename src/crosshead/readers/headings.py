"""Lines that are headings by their looks: bold, in capitals, or short and alone."""

from __future__ import annotations

import re

MAX_HEADING_CHARS = 100
MAX_HEADING_WORDS = 14
# A line that ends like a sentence is a heading only up to this length: "Background." is, a bold sentence is not.
MAX_CLOSED_WORDS = 4
MAX_SHORT_LINE_CHARS = 80
MAX_SHORT_LINE_WORDS = 10
MIN_CAPS_LETTERS = 4

_BOLD = re.compile(r"(\*{2,3}|_{2,3})(?=\S)((?:(?!\1).)+)(?<=\S)\1\s?:?")
_CLOSERS = "\"'”’»)]*_ "


def bold_heading(line: str) -> str | None:
    """Give the text of a line that is nothing but bold Markdown and short, else None.

    Examples
    --------
    >>> bold_heading("**Regional impact:**")
    'Regional impact'
    >>> bold_heading("**Regional impact** is growing")
    """
    line = line.strip()
    found = _BOLD.fullmatch(line) if len(line) <= MAX_HEADING_CHARS + 8 else None
    return found[2].strip().rstrip(":").rstrip() or None if found and is_short(found[2]) else None


def is_caps_heading(line: str) -> bool:
    """Whether a line is short and every letter of it that has a case is a capital.

    Examples
    --------
    >>> is_caps_heading("THE WIDER REGION")
    True
    >>> is_caps_heading("UN")
    False
    """
    line = line.strip()
    if not (line.isupper() and is_short(line) and line[0].isalnum()):
        return False
    return sum(map(str.isalpha, line)) >= MIN_CAPS_LETTERS


def is_short_line(line: str) -> bool:
    """Whether a line of plain text looks like a heading: short, begins like one, ends unlike a sentence.

    A colon at the end is allowed up to three words. Whether the line stands alone and before a paragraph is for
    the caller to see.
    """
    line = line.strip()
    n_words = len(line.split())
    if not line or len(line) > MAX_SHORT_LINE_CHARS or n_words > MAX_SHORT_LINE_WORDS:
        return False
    if not line[0].isalnum() or line[0].islower():
        return False
    last = line.rstrip(_CLOSERS)[-1:]
    return last.isalnum() or last in "%)" or (last == ":" and n_words <= 3)


def is_short(text: str) -> bool:
    """Whether a text is as short as a heading and, beyond four words, does not end like a sentence."""
    n_words = len(text.split())
    if len(text) > MAX_HEADING_CHARS or not 0 < n_words <= MAX_HEADING_WORDS:
        return False
    return n_words <= MAX_CLOSED_WORDS or not ends_sentence(text, ".!,;…")


def ends_sentence(text: str, marks: str = ".!?…:;。！？؟") -> bool:
    """Whether a text ends in one of ``marks``, quotation marks and brackets after it not counted."""
    bare = text.rstrip(_CLOSERS)
    return bool(bare) and bare[-1] in marks

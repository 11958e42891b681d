"""What the generated pages have in common: text, tables, the frame of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- Written by docs/make_reference.py from the code; change it there. -->"


def plain(text: str) -> str:
    """Return text with what Markdown would take for markup made harmless."""
    return re.sub(r"([<*|])", r"\\\1", " ".join(text.replace("``", "`").split()))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Write a table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def page(title: str, *parts: str) -> str:
    """Put a page together."""
    return "\n\n".join([f"# {title}", MARK, *(part.strip("\n") for part in parts if part.strip())]) + "\n"

"""Text on a terminal."""

from __future__ import annotations

import unicodedata

from crosshead.text import counted as counted


def printable(text: str) -> str:
    """Make a text of unknown origin safe to show: one line, no control characters, no escape sequences."""
    if text.isprintable():
        return text
    return " ".join("".join(map(_shown, text)).split())


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # Direction marks, joiners and the like have no width of their own.
    return "" if unicodedata.category(character) == "Cf" else " "


def percent(share: float) -> str:
    """Write ``91%``; certainty is never claimed: ``>99%``."""
    return ">99%" if share >= 0.995 else f"{share:.0%}"

"""The one cleaning step in front of every encoder and every TF-IDF view.

It is applied inside training and inside the tagger, never by a reader, so that a text gets the same answer whichever
door it came through.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_CHARACTERS = 200_000
"""Longest text that is tagged as one paragraph; far above any paragraph that people write."""

# Zero-width characters, direction marks and control characters carry no words. Tab, newline and the like become spaces.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\x00-\x08\x0e-\x1b\x7f]")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_EMPHASIS = re.compile(
    r"(?<![\w*])(\*{1,3})(?=\S)([^*]+?)(?<=\S)\1(?![\w*])|(?<![\w_])(_{1,3})(?=\S)([^_]+?)(?<=\S)\3(?![\w_])"
)
_CODE = re.compile(r"`([^`]*)`")
_SPACE = re.compile(r"\s+")
_MARKUP = re.compile(r"[\[*_`]")

_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Gen|Lt|Col|Maj|Capt|Sgt|Brig|Adm|Cpl|Sen|Rep|Gov|St|Mt|No|Nos|vs|approx|ca|cf|al|Art|Fig|Vol|pp"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|e\.g|i\.e|etc|Inc|Ltd|Co|Corp)|\b[A-Z])\.$"
)
# The look behind lets a run of dots be tried from its first only; else a long one takes quadratic time.
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-ÞА-Я])")
_SHORTEST_SENTENCE = 20  # characters; shorter pieces are joined to what stands before them
_LONGEST_ABBREVIATION = 16  # characters, with room to spare

# People's text never comes near these. Without them a text of 200,000 characters can hold a server up for minutes.
_MOST_PASSES = 20
_MARKS = re.compile(r"[\[\]()*_`]")
_MOST_COMBINING = 30  # as in the stream-safe text format of Unicode's annex 15
_HIDDEN_COMBINING = "\u0f73\u0f75\u0f81"  # count as letters, and decompose into combining marks
_LONG = 2000  # characters; sorting the combining marks of shorter texts takes no time


def normalise(text: str) -> str:
    """Reduce a text to its words: NFC, no invisible characters, no inline Markdown, single spaces.

    Idempotent: ``normalise(normalise(text)) == normalise(text)``. Markup that is nested deeper than anybody writes
    loses its marks, and of a run of combining marks the first thirty are kept: time grows with the length alone.
    """
    if _is_plain(text):
        return " ".join(text.split())
    n_passes = 0
    while True:
        n_passes += 1
        if n_passes > _MOST_PASSES:
            text = _MARKS.sub("", text)
        cleaned = _INVISIBLE.sub("", unicodedata.normalize("NFC", _thinned(text)))
        cleaned = _LINK.sub(r"\1", cleaned)
        cleaned = _EMPHASIS.sub(lambda m: m[2] or m[4], cleaned)
        cleaned = _CODE.sub(r"\1", cleaned)
        cleaned = _SPACE.sub(" ", cleaned).strip()
        if cleaned == text:
            return cleaned
        text = cleaned


def _is_plain(text: str) -> bool:
    """Say if only white space is to be cleaned: so it is with most texts, and seeing it takes a tenth of the time."""
    if not text.isprintable() or _MARKUP.search(text):
        return False
    return text.isascii() or (len(text) < _LONG and unicodedata.is_normalized("NFC", text))


def _thinned(text: str) -> str:
    """Cut runs of combining marks short, which Unicode's normal form sorts in quadratic time."""
    if len(text) < _LONG or text.isascii():
        return text
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) or character in _HIDDEN_COMBINING else 0
        if run <= _MOST_COMBINING:
            kept.append(character)
    return "".join(kept)


def sentences(text: str) -> list[str]:
    """Split a normalised text into sentences; at least one for any text that is not empty."""
    return [text[start:end] for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Find where sentences begin and end, without the white space around them; the text may be as people wrote it."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        end = match.start() + len(match[0].rstrip())
        if _ABBREVIATION.search(text, max(start, end - _LONGEST_ABBREVIATION), end):
            continue
        spans.append(_trimmed(text, start, match.end()))
        start = match.end()
    if text[start:].strip():
        spans.append(_trimmed(text, start, len(text)))
    return _join_short(spans)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _join_short(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and min(end - start, joined[-1][1] - joined[-1][0]) < _SHORTEST_SENTENCE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def text_digest(text: str) -> str:
    """Name a text by its content: the first 16 hex digits of the sha256 of its UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def counted(n: int, one: str, many: str = "") -> str:
    """Write ``1 article``, ``1,234 articles``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"

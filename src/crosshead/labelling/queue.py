"""Paragraphs that wait to be read, with what stands around them: a queue file, or every paragraph of some articles.

A queue is JSONL, an object a line::

    {"article_id": "a", "paragraph": 3, "text": "…", "text_sha256": "91bf…", "headings": ["Front"], "before": "…",
     "after": "…", "suggestion": {"section_type": "other", "confidence": 0.7, "scores": {…}}, "strategy": "…",
     "score": 0.4}

``before`` and ``after`` are the neighbouring paragraphs, one text or several, null at an end of the article.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from crosshead.articles import PARAGRAPH_GAP, Article
from crosshead.errors import DataError
from crosshead.labelling.durable import write_durably
from crosshead.readers import read_articles
from crosshead.text import MAX_CHARACTERS, text_digest

N_NEIGHBOURS = 2
"""Paragraphs shown on each side where the whole article is at hand."""
_SIGN = '"text_sha256"'


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a tagger says of a paragraph."""

    section_type: str
    confidence: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"section_type": self.section_type, "confidence": self.confidence, "scores": dict(self.scores)}


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A paragraph to read.

    ``begins_section`` says that the headings stand right above it. ``votes`` are labels that annotators gave it
    already, ``notes`` what they remarked, both by annotator; only adjudication shows them.
    """

    article_id: str
    paragraph: int
    text: str
    text_sha256: str
    title: str = ""
    headings: tuple[str, ...] = ()
    begins_section: bool = False
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    suggestion: Suggestion | None = None
    strategy: str = ""
    score: float | None = None
    votes: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, int, str]:
        """The article, the paragraph and its text's digest."""
        return self.article_id, self.paragraph, self.text_sha256

    def as_dict(self) -> dict[str, Any]:
        """Return the object of a queue's line."""
        told: dict[str, Any] = {
            "article_id": self.article_id,
            "paragraph": self.paragraph,
            "text": self.text,
            "text_sha256": self.text_sha256,
            "headings": list(self.headings),
            "before": PARAGRAPH_GAP.join(self.before) or None,
            "after": PARAGRAPH_GAP.join(self.after) or None,
            "suggestion": self.suggestion.as_dict() if self.suggestion else None,
            "strategy": self.strategy,
            "score": self.score,
        }
        further = {
            "title": self.title,
            "begins_section": self.begins_section,
            "votes": dict(self.votes),
            "notes": dict(self.notes),
        }
        return told | {name: value for name, value in further.items() if value}


def read_queue(paths: Sequence[Path]) -> list[QueueItem]:
    """Read queues and articles, in the order in which they are named.

    Raises
    ------
    DataError
        If something cannot be read, a line is no paragraph, a text is not the one that its digest names, or a
        paragraph stands twice.
    """
    items: list[QueueItem] = []
    for is_queue, group in groupby(paths, _is_queue):
        if is_queue:
            items += [item for path in group for item in _read_lines(path)]
        else:
            items += [item for article in read_articles(list(group)) for item in article_items(article)]
    _check_twice(items)
    return items


def article_items(article: Article) -> Iterator[QueueItem]:
    """Make every paragraph of an article an item, with its neighbours."""
    texts, above = article.texts, [paragraph.headings for paragraph in article.paragraphs]
    for paragraph in article.paragraphs:
        i = paragraph.index
        yield QueueItem(
            article_id=article.article_id,
            paragraph=i,
            text=paragraph.text,
            text_sha256=text_digest(paragraph.text),
            title=article.title,
            headings=paragraph.headings,
            begins_section=bool(paragraph.headings) and (i == 0 or above[i - 1] != paragraph.headings),
            before=texts[max(0, i - N_NEIGHBOURS) : i],
            after=texts[i + 1 : i + 1 + N_NEIGHBOURS],
        )


def write_queue(items: Iterable[QueueItem], path: Path) -> None:
    """Write a queue as a whole or not at all."""
    lines = [json.dumps(item.as_dict(), ensure_ascii=False) + "\n" for item in items]
    write_durably(path, "".join(lines).encode("utf-8", "replace"))


def _is_queue(path: Path) -> bool:
    """Tell a queue from a table of articles by its first line."""
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return _SIGN in next((line for line in file if line.strip()), "")
    except OSError as error:
        raise DataError(f"queue {path} cannot be read: {error.strerror}; check the path") from error


def _read_lines(path: Path) -> Iterator[QueueItem]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield parse_item(line, f"line {number} of queue {path}")
    except OSError as error:
        raise DataError(f"queue {path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"queue {path} is not in UTF-8: {error}; write it again: crosshead select") from error


def parse_item(line: str, where: str) -> QueueItem:
    """Read one line of a queue; ``where`` names it in errors."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({error}); write the queue again: crosshead select") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}; it must be an object with article_id, paragraph, text …")
    for name, kind in (("article_id", str), ("paragraph", int), ("text", str), ("text_sha256", str)):
        if not isinstance(row.get(name), kind) or isinstance(row[name], bool):
            raise DataError(f"{where} has {row.get(name)!r:.80} for {name!r}; it must be {kind.__name__}")
    digest = text_digest(row["text"])
    if row["text_sha256"][: len(digest)].lower() != digest:
        raise DataError(
            f"{where} has a text with sha256 {digest!r} but says {row['text_sha256'][: len(digest)]!r}; a label would "
            "not fit its paragraph: write the queue again from the articles"
        )
    if not 0 < len(row["text"].strip()) <= MAX_CHARACTERS:
        raise DataError(f"{where} has a text of {len(row['text']):,} characters; allowed are 1 to {MAX_CHARACTERS:,}")
    return QueueItem(
        article_id=row["article_id"],
        paragraph=row["paragraph"],
        text=row["text"],
        text_sha256=digest,
        title=_optional(row, "title", str, where) or "",
        headings=tuple(_texts(row, "headings", where)),
        begins_section=bool(_optional(row, "begins_section", bool, where)),
        before=tuple(_texts(row, "before", where)),
        after=tuple(_texts(row, "after", where)),
        suggestion=_suggestion(_optional(row, "suggestion", dict, where), where),
        strategy=_optional(row, "strategy", str, where) or "",
        score=_optional(row, "score", float, where),
        votes=_words(row, "votes", where),
        notes=_words(row, "notes", where),
    )


def _texts(row: Mapping[str, Any], name: str, where: str) -> list[str]:
    value = row.get(name)
    texts = [] if value is None else value.split(PARAGRAPH_GAP) if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where} has {value!r:.80} for {name!r}; it must be a text or a list of texts")
    return [text for text in texts if text.strip()]


def _optional(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = row.get(name)
    if kind is float and value is not None and _is_number(value):
        value = float(value)
    if value is not None and not isinstance(value, kind):
        raise DataError(f"{where} has {value!r:.80} for {name!r}; it must be {kind.__name__} or null")
    return value


def _suggestion(row: Mapping[str, Any] | None, where: str) -> Suggestion | None:
    if row is None:
        return None
    name, confidence, scores = row.get("section_type"), row.get("confidence"), row.get("scores") or {}
    numbers = [confidence, *(scores.values() if isinstance(scores, dict) else [None])]
    if not isinstance(name, str) or not all(map(_is_number, numbers)):
        raise DataError(
            f"{where} has the suggestion {row!r:.80}; it must hold section_type (a name), confidence and scores "
            "(numbers)"
        )
    return Suggestion(name, float(row["confidence"]), {str(key): float(value) for key, value in scores.items()})


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float holds: JSON has longer ones."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def _words(row: Mapping[str, Any], name: str, where: str) -> Mapping[str, str]:
    found = _optional(row, name, dict, where) or {}
    if not all(isinstance(value, str) for value in found.values()):
        raise DataError(f"{where} has {found!r:.80} for {name!r}; it must hold a text for each annotator")
    return dict(found)


def _check_twice(items: Sequence[QueueItem]) -> None:
    seen: dict[tuple[str, int], int] = {}
    for number, item in enumerate(items, 1):
        first = seen.setdefault((item.article_id, item.paragraph), number)
        if first != number:
            raise DataError(
                f"paragraph {item.paragraph} of {item.article_id!r} waits twice, as number {first} and {number}; "
                "name each queue or article once"
            )

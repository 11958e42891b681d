"""What is tagged, one thing at a time: a text on its own, or an article; and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosshead.errors import BundleError, CrossheadError, EncoderError

if TYPE_CHECKING:
    from crosshead.articles import Article
    from crosshead.tagging.tagger import Tag, Tagger

# Not the fault of one input: going on would only say the same of every other one.
_FATAL = (EncoderError, BundleError, OSError, MemoryError)


@dataclass(frozen=True)
class Item:
    """A text on its own, or the paragraphs of an article; or the reason why neither could be read."""

    paragraphs: tuple[str, ...] = ()
    is_article: bool = True
    file: str = ""
    line: int | None = None
    """Line of a JSONL file, counted from 1; None for an article that was read from a document."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """``id`` and ``article_id`` of a JSONL line, as they were given."""
    article: Article | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """Name the input in a message."""
        file = "standard input" if self.file == "-" else self.file
        return file if self.line is None else f"{file}, line {self.line}"


@dataclass(frozen=True)
class Answer:
    """The tags of an item's paragraphs, or why there are none."""

    item: Item
    tags: tuple[Tag, ...] = ()
    error: str = ""


def answer(tagger: Tagger, items: Sequence[Item]) -> list[Answer]:
    """Tag items together, in order; one that cannot be tagged spoils no other.

    Raises
    ------
    EncoderError, BundleError
        If nothing can be tagged, whatever the input.
    """
    answers: dict[int, Answer] = {i: Answer(item, error=item.error) for i, item in enumerate(items) if item.error}
    good = [i for i in range(len(items)) if i not in answers]

    def settle(which: Sequence[int]) -> None:
        if not which:
            return
        try:
            tags = tagger.tag_articles([items[i].paragraphs for i in which])
        except _FATAL:
            raise
        except Exception as error:
            if len(which) == 1:
                answers[which[0]] = Answer(items[which[0]], error=_reason(error))
                return
            half = len(which) // 2
            settle(which[:half])
            settle(which[half:])
        else:
            answers.update((i, Answer(items[i], tuple(found))) for i, found in zip(which, tags, strict=True))

    settle(good)
    return [answers[i] for i in range(len(items))]


def _reason(error: Exception) -> str:
    """Say why, without the text: other people's exceptions may quote it."""
    return str(error) if isinstance(error, CrossheadError) else f"it cannot be tagged ({type(error).__name__})"

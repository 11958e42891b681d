"""What a document is cut into before it is an article, shared by the readers of single documents."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from crosshead.articles import Article, Paragraph
from crosshead.errors import ArticleError
from crosshead.readers.encodings import SAMPLE_BYTES, has_many_controls

MAX_ARTICLE_BYTES = 8 * 1024**2
HEADING = "heading"
PARAGRAPH = "paragraph"
# Lines of bold or of capitals stand below every numbered heading, and beside each other.
LINE_HEADING_LEVEL = 7

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of source: a heading (``text``, ``level``), a paragraph, or a kind of thing to leave out."""

    kind: str
    start: int = 0
    end: int = 0
    text: str = ""
    level: int = 0


def clean_source(source: str, *, is_cut: bool = False) -> str:
    r"""Make line ends ``\n``, drop a byte order mark, put U+FFFD for lone surrogates; refuse what is no text.

    Parameters
    ----------
    is_cut : bool, default=False
        Whether somebody cut the article and says that this is a paragraph: then one sign is enough.
    """
    if len(source) > MAX_ARTICLE_BYTES:
        raise ArticleError(
            f"the article has {len(source)} characters; at most {MAX_ARTICLE_BYTES} are read as one article; "
            "cut it into articles, or give it as a file of rows (jsonl, csv, parquet)"
        )
    if "\0" in source:
        raise ArticleError("the article holds NUL characters, so it is not text; convert it to text first")
    if not is_cut and has_many_controls(source[:SAMPLE_BYTES].encode("utf-8", "surrogatepass")):
        raise ArticleError("the article holds many control characters, so it is not text; convert it to text first")
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not (source.strip() if is_cut else has_words(source)):
        raise ArticleError("the article holds no text; give at least one paragraph")
    return _LONE_SURROGATE.sub("\ufffd", source)


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit: a row of stars or dashes is no paragraph."""
    return any(map(str.isalnum, text))


def trim(source: str, start: int, end: int) -> tuple[int, int]:
    """Move both ends inwards past white space."""
    text = source[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def line_spans(source: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where each line begins and ends, its line end not counted."""
    while start < len(source):
        stop = source.find("\n", start)
        stop = len(source) if stop < 0 else stop
        yield start, stop
        start = stop + 1


def plain_value(value: object) -> object:
    """Make a value fit for JSON: dates, decimals and bytes become text, NaN becomes None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    return str(value)


def same_words(one: str, other: str) -> bool:
    """Whether two headings differ at most in case and white space."""
    return one.casefold().split() == other.casefold().split()


def assemble(
    source: str, blocks: Iterable[Block], *, article_id: str, title: str, metadata: Mapping[str, object]
) -> Article:
    """Give each paragraph its index and its path of headings.

    Without ``title``, the first heading of level 1 is the title if no paragraph stands before it. The first
    heading is no part of any path if it repeats the title.
    """
    paragraphs: list[Paragraph] = []
    left_out: Counter[str] = Counter()
    path: list[tuple[int, str]] = []
    n_headings = 0
    for block in blocks:
        if block.kind == PARAGRAPH:
            headings = tuple(text for _, text in path)
            text = source[block.start : block.end]
            paragraphs.append(Paragraph(text, len(paragraphs), headings, block.start, block.end))
        elif block.kind == HEADING:
            n_headings += 1
            if not title and block.level == 1 and not paragraphs:
                title = block.text
            elif n_headings > 1 or paragraphs or not same_words(block.text, title):
                path = [entry for entry in path if entry[0] < block.level]
                path.append((block.level, block.text))
        else:
            left_out[block.kind] += 1
    return Article(article_id, title, tuple(paragraphs), source, dict(metadata), dict(left_out))

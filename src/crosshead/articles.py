"""Articles and their paragraphs: what every reader gives and everything else takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crosshead.errors import ArticleError

GIVEN = "section_types"
"""Metadata of an article whose table names the section type of each paragraph."""
PARAGRAPH_GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph and the place where it stands.

    Parameters
    ----------
    text : str
        Exactly as it stands in the article's source, without white space around it.
    index : int
        Counts paragraphs from 0; headings are not counted.
    headings : tuple of str
        The headings above it, outermost first, their markup removed; the article's title is not among them.
    start, end : int
        ``article.source[start:end] == text``, in characters.
    """

    text: str
    index: int
    headings: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Article:
    r"""Paragraphs in order, with the text that they were cut from.

    Parameters
    ----------
    article_id : str
        Empty where nobody gave one.
    title : str
        Empty where none was found.
    paragraphs : tuple of Paragraph
        At least one.
    source : str
        The decoded text with line ends made ``\n``; for HTML, the extracted text.
    metadata : mapping
        Front matter, further columns of a row, or what a web page says about itself.
    left_out : mapping of str to int
        How many blocks were not read as paragraphs, by kind: ``{"table": 1, "code": 2}``.

    Raises
    ------
    ArticleError
        If there is no paragraph, or a paragraph is not the slice of ``source`` that it claims to be.

    Examples
    --------
    >>> article = Article.from_texts(["Shells fell at dawn.", "Envoys met in Geneva."], article_id="a")
    >>> second = article.paragraphs[1]
    >>> article.source[second.start : second.end]
    'Envoys met in Geneva.'
    """

    article_id: str
    title: str
    paragraphs: tuple[Paragraph, ...]
    source: str = field(repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.paragraphs:
            raise ArticleError(
                f"{self._name()} holds no paragraph, {self._left_out_in_words()}; "
                "a paragraph is running text outside headings, lists, quotes, tables and code"
            )
        reached = 0
        for position, paragraph in enumerate(self.paragraphs):
            self._check(paragraph, position, reached)
            reached = paragraph.end

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        *,
        article_id: str = "",
        title: str = "",
        headings: Sequence[Sequence[str]] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Article:
        """Make an article of paragraphs that are already apart; its source joins them with an empty line."""
        paragraphs: list[Paragraph] = []
        start = 0
        for index, given in enumerate(texts):
            text = given.strip()
            if not text:
                raise ArticleError(f"paragraph {index} of article {article_id!r} is empty; give it text or take it out")
            path = tuple(headings[index]) if headings is not None else ()
            paragraphs.append(Paragraph(text, index, path, start, start + len(text)))
            start += len(text) + len(PARAGRAPH_GAP)
        source = PARAGRAPH_GAP.join(paragraph.text for paragraph in paragraphs)
        return cls(article_id, title, tuple(paragraphs), source, dict(metadata or {}))

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each paragraph."""
        return tuple(paragraph.text for paragraph in self.paragraphs)

    def _name(self) -> str:
        return f"article {self.article_id!r}" if self.article_id else "the article"

    def _left_out_in_words(self) -> str:
        counted = ", ".join(f"{kind} {count}" for kind, count in sorted(self.left_out.items()))
        return f"left out were: {counted}" if counted else "and nothing was left out"

    def _check(self, paragraph: Paragraph, position: int, reached: int) -> None:
        text, start, end = paragraph.text, paragraph.start, paragraph.end
        if paragraph.index != position:
            raise ArticleError(
                f"paragraph {position} of {self._name()} has index {paragraph.index}; "
                "indexes count from 0 without a gap"
            )
        if not reached <= start < end or self.source[start:end] != text or text != text.strip():
            raise ArticleError(
                f"paragraph {position} of {self._name()} has offsets {start}:{end}, which do not give its text; "
                "source[start:end] must equal text, in order, without white space around it"
            )

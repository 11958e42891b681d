"""Labels that people gave to paragraphs: reading them, checking them against the articles, and counting votes."""

from __future__ import annotations

import csv
import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crosshead.articles import GIVEN
from crosshead.errors import DataError
from crosshead.text import text_digest

if TYPE_CHECKING:
    from crosshead.articles import Article

COLUMNS = ("article_id", "paragraph", "text_sha256", "section_type", "annotator")
_REQUIRED = COLUMNS[:4]

ADJUDICATION = "adjudication"
"""The ``source`` of a label that settles a paragraph whose annotators are divided; their votes stay beside it."""
CORRECTION = "served page"
"""The ``source`` of a label that a reader of the served page gave; the last that they gave a paragraph counts."""

GIVEN_BY = "corpus.labels=given"
"""The ``annotator`` of a label that the articles' own table names; no line of a file says it."""

Place = tuple[str, int]
"""An article_id and the number of a paragraph in it, from 0."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One person's label for one paragraph.

    ``text_sha256`` begins with the first 16 hex digits of the sha256 of the paragraph's UTF-8 text, so that a label
    cannot slip to another paragraph when the article is edited. ``extra`` keeps the other columns of the file.
    """

    article_id: str
    paragraph: int
    text_sha256: str
    section_type: str
    annotator: str = ""
    line: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdicts:
    """What the annotators decided together.

    ``disputed`` are the paragraphs whose votes tie. They get no label: whichever of two annotators stands first in a
    file is not the better reader.
    """

    section_types: Mapping[Place, str]
    disputed: tuple[Place, ...] = ()


def read_annotations(path: Path) -> list[Annotation]:
    """Read a CSV file with the columns of :data:`COLUMNS`; ``annotator`` may be missing, further columns are kept.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or holds a row that is no annotation; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(csv.DictReader(file), path))
    except OSError as error:
        raise DataError(f"annotations {path} cannot be read: {error.strerror}; set corpus.annotations") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"annotations {path} are no CSV file in UTF-8: {error}; save the file again as that") from error


def given_annotations(articles: Iterable[Article]) -> list[Annotation]:
    """Take the section types that the articles' own table names, in their metadata, as annotations.

    Raises
    ------
    DataError
        If an article has not one entry for each paragraph, a section type or null.
    """
    found = []
    for article in articles:
        given = article.metadata.get(GIVEN)
        if given is None:
            continue
        n = len(article.paragraphs)
        if not isinstance(given, list) or not all(entry is None or isinstance(entry, str) for entry in given):
            raise DataError(
                f"article {article.article_id!r} has section_types {given!r:.60}; give a list of section types, one "
                "for each paragraph, null where it has none"
            )
        if len(given) != n:
            raise DataError(
                f"article {article.article_id!r} has {len(given)} section type{'' if len(given) == 1 else 's'} for "
                f"{n} paragraph{'' if n == 1 else 's'}; give one for each paragraph, null where it has none"
            )
        found += [
            Annotation(article.article_id, paragraph.index, text_digest(paragraph.text), entry, GIVEN_BY)
            for paragraph, entry in zip(article.paragraphs, given, strict=True)
            if entry
        ]
    return found


def check_annotations(
    annotations: Sequence[Annotation], articles: Sequence[Article], section_types: Sequence[str]
) -> None:
    """Refuse annotations that do not fit the articles or contradict themselves.

    Raises
    ------
    DataError
        If a label is no section type, an article or paragraph does not exist, a paragraph has another text than the
        one that was annotated, or one annotator gave one paragraph two labels.
    """
    by_id = {article.article_id: article for article in articles}
    for annotation in annotations:
        if annotation.section_type not in section_types:
            raise DataError(
                f"{_name(annotation)} has the section type {annotation.section_type!r}; allowed: "
                f"{', '.join(section_types)}{_nearest(annotation.section_type, section_types)}"
            )
        article = by_id.get(annotation.article_id)
        if article is None:
            raise DataError(
                f"{_name(annotation)} is about an article that is not in the corpus of {len(by_id)} articles"
                f"{_nearest(annotation.article_id, list(by_id))}; add the article to corpus.articles or remove the row"
            )
        _check_text(annotation, article, articles)
    _check_contradictions(annotations)


def is_settlement(annotation: Annotation) -> bool:
    """Say whether a label settles a paragraph, whatever its votes are."""
    return annotation.extra.get("source") == ADJUDICATION


def is_correction(annotation: Annotation) -> bool:
    """Say whether a label was given on the served page, where readers change their minds."""
    return annotation.extra.get("source") == CORRECTION


def count_votes(annotations: Iterable[Annotation]) -> Verdicts:
    """Decide each paragraph by its adjudication, else by the majority of its annotators; a tie decides nothing."""
    votes: dict[Place, dict[str, str]] = defaultdict(dict)
    settled: dict[Place, dict[str, str]] = defaultdict(dict)
    for annotation in annotations:
        heard = settled if is_settlement(annotation) else votes
        heard[annotation.article_id, annotation.paragraph][annotation.annotator] = annotation.section_type
    decided: dict[Place, str] = {}
    disputed: list[Place] = []
    for place, by_annotator in {**votes, **settled}.items():
        (section_type, n_votes), *others = Counter(by_annotator.values()).most_common()
        if others and others[0][1] == n_votes:
            disputed.append(place)
        else:
            decided[place] = section_type
    return Verdicts(decided, tuple(disputed))


def _rows(reader: csv.DictReader[str], path: Path) -> Iterator[Annotation]:
    missing = [column for column in _REQUIRED if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"annotations {path} lack the column {missing[0]!r}; the first line is {reader.fieldnames!r} but must name "
            f"{', '.join(COLUMNS)}, separated by commas"
        )
    for row in reader:
        cells = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        try:
            paragraph = int(cells["paragraph"])
        except ValueError as error:
            raise DataError(
                f"line {reader.line_num} of annotations {path} has the paragraph {cells['paragraph']!r}; it must be a "
                "number, counted from 0 without headings"
            ) from error
        yield Annotation(
            article_id=cells["article_id"],
            paragraph=paragraph,
            text_sha256=cells["text_sha256"].lower(),
            section_type=cells["section_type"],
            annotator=cells.get("annotator", ""),
            line=reader.line_num,
            extra={key: value for key, value in cells.items() if key not in COLUMNS},
        )


def _check_text(annotation: Annotation, article: Article, articles: Sequence[Article]) -> None:
    n_paragraphs = len(article.paragraphs)
    if not 0 <= annotation.paragraph < n_paragraphs:
        raise DataError(
            f"{_name(annotation)} does not exist: the article has {n_paragraphs} paragraphs, 0 to {n_paragraphs - 1}"
            f"{_where_now(annotation, article, articles)}"
        )
    digest = text_digest(article.paragraphs[annotation.paragraph].text)
    if annotation.text_sha256[: len(digest)] != digest:
        raise DataError(
            f"{_name(annotation)} was given to a text with sha256 {annotation.text_sha256[: len(digest)]!r}, but the "
            f"paragraph's text now has {digest!r}{_where_now(annotation, article, articles)}"
        )


def _where_now(annotation: Annotation, article: Article, articles: Sequence[Article]) -> str:
    for candidate in (article, *articles):
        for paragraph in candidate.paragraphs:
            digest = text_digest(paragraph.text)
            if annotation.text_sha256[: len(digest)] == digest:
                return f"; the annotated text is now paragraph {paragraph.index} of {candidate.article_id!r}"
    return "; no paragraph of the corpus has the annotated text any more: annotate it again, or restore the article"


def _check_contradictions(annotations: Iterable[Annotation]) -> None:
    given: dict[tuple[str, int, str], Annotation] = {}
    for annotation in annotations:
        who = "the adjudication" if is_settlement(annotation) else f"annotator {annotation.annotator!r}"
        first = given.setdefault((annotation.article_id, annotation.paragraph, who), annotation)
        if first.section_type != annotation.section_type:
            raise DataError(
                f"{who} labels paragraph {annotation.paragraph} of "
                f"{annotation.article_id!r} {first.section_type!r} on line {first.line} and "
                f"{annotation.section_type!r} on line {annotation.line}; keep one of the two"
            )


def _name(annotation: Annotation) -> str:
    if annotation.annotator == GIVEN_BY:
        return f"the label that its table gives to paragraph {annotation.paragraph} of {annotation.article_id!r}"
    return f"the annotation on line {annotation.line} (paragraph {annotation.paragraph} of {annotation.article_id!r})"


def _nearest(word: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

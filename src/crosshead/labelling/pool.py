"""All paragraphs at hand, read or not: what zero-shot, rules, selection and the search for wrong labels work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora.annotations import Annotation, Place, count_votes
from crosshead.corpora.heading_labels import label_by_headings
from crosshead.errors import DataError
from crosshead.labelling.weak_labels import UNKNOWN
from crosshead.readers.files import read_articles
from crosshead.readers.inputs import Unreadable, below
from crosshead.text import text_digest

if TYPE_CHECKING:
    from crosshead.articles import Article, Paragraph
    from crosshead.schema import Settings
    from crosshead.taxonomy import Taxonomy


@dataclass(frozen=True)
class Pool:
    """Paragraphs of articles in order, with what is known of each; section types by their position in the taxonomy."""

    articles: tuple[Article, ...]
    by_heading: NDArray[np.int64]
    """What the heading above stands for, or `UNKNOWN`."""
    annotated: NDArray[np.int64]
    """What its annotators decided, or `UNKNOWN`: nobody read it, or they are divided."""
    read: NDArray[np.bool_]
    """Whether anybody has labelled it."""
    unreadable: tuple[Unreadable, ...] = ()

    @cached_property
    def paragraphs(self) -> list[Paragraph]:
        """Every paragraph."""
        return [paragraph for article in self.articles for paragraph in article.paragraphs]

    @cached_property
    def texts(self) -> list[str]:
        """The text of every paragraph, as written."""
        return [paragraph.text for paragraph in self.paragraphs]

    @cached_property
    def lengths(self) -> list[int]:
        """How many paragraphs each article has."""
        return [len(article.paragraphs) for article in self.articles]

    @cached_property
    def article(self) -> NDArray[np.int64]:
        """The number of each paragraph's article."""
        return np.repeat(np.arange(len(self.articles)), self.lengths)

    @cached_property
    def article_ids(self) -> list[str]:
        """The id of each paragraph's article."""
        return [article.article_id for article in self.articles for _ in article.paragraphs]

    def __len__(self) -> int:
        """Count the paragraphs."""
        return len(self.read)


def make_pool(articles: Sequence[Article], annotations: Sequence[Annotation], taxonomy: Taxonomy) -> Pool:
    """Lay out paragraphs with their labels.

    An annotation belongs to the paragraph that it names if the text is the same; one for a text that has moved still
    marks every paragraph of that text as read, but labels none.

    Raises
    ------
    DataError
        If there is no article, or an annotation has a label that is no section type.
    """
    number = {name: position for position, name in enumerate(taxonomy.section_types)}
    digests = {
        (article.article_id, paragraph.index): text_digest(paragraph.text)
        for article in articles
        for paragraph in article.paragraphs
    }
    if not digests:
        raise DataError("there is no article; name files, folders or patterns that hold some")
    verdicts = count_votes(_about(annotations, digests)).section_types
    if unknown := sorted(set(verdicts.values()) - set(number)):
        raise DataError(
            f"the annotations hold the section type {unknown[0]!r}; allowed: {', '.join(number)}; correct the file, or "
            "choose the taxonomy that it was annotated with"
        )
    headings = label_by_headings(articles, taxonomy)
    by_heading = [headings[place].section_type if place in headings else None for place in digests]
    seen = {annotation.text_sha256[:16] for annotation in annotations}
    return Pool(
        articles=tuple(articles),
        by_heading=np.array([UNKNOWN if name is None else number[name] for name in by_heading], dtype=np.int64),
        annotated=np.array([number.get(verdicts.get(place, ""), UNKNOWN) for place in digests], dtype=np.int64),
        read=np.array([digest in seen for digest in digests.values()], dtype=bool),
    )


def read_pool(settings: Settings, inputs: Sequence[str] = (), annotations: Sequence[Annotation] = ()) -> Pool:
    """Read articles, by default those of the configuration, and lay them out by its taxonomy.

    Raises
    ------
    ArticleError
        If something cannot be read and ``settings.on_unreadable`` is ``stop``.
    """
    given = list(inputs) or [below(settings.root, name) for name in settings.corpus.articles]
    stream = read_articles(given, on_error="collect" if settings.on_unreadable == "skip" else "raise")
    pool = make_pool(stream.read_all(), annotations, settings.taxonomy)
    return replace(pool, unreadable=tuple(stream.unreadable))


def _about(annotations: Sequence[Annotation], digests: dict[Place, str]) -> list[Annotation]:
    """Keep the annotations whose paragraph is here and has the annotated text."""
    return [
        annotation
        for annotation in annotations
        if digests.get((annotation.article_id, annotation.paragraph)) == annotation.text_sha256[:16]
    ]

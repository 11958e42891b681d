"""Corrections of the served page, brought to the paragraphs of the corpus.

The page tags whatever is put into it, so its corrections are about articles of the corpus under their name, about the
same articles pasted under another, and about articles that no corpus holds. Their file stays as it is; what fits is
taken into the annotations, the rest is named and waits there until its article comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation, Place, is_correction
from crosshead.labelling.votes import Vote
from crosshead.text import text_digest

N_PLACES = 3
"""So many paragraphs with the same text are named; there may be hundreds."""


@dataclass(frozen=True)
class SetAside:
    """A correction that cannot be taken in, and why."""

    vote: Vote
    reason: str


@dataclass(frozen=True)
class Placed:
    """What became of some votes."""

    votes: Sequence[Vote]
    """In their order: those that are no corrections as they were, corrections at paragraphs of the corpus."""
    set_aside: Sequence[SetAside]
    n_moved: int
    """Corrections that stand at another place than where they were made: the text is that paragraph's alone."""


def place(votes: Iterable[Vote], articles: Iterable[Article], section_types: Sequence[str]) -> Placed:
    """Find the paragraphs that corrections are about; what is no correction is let through.

    A correction belongs to the paragraph that it names if that has the text it was given to, else to the only
    paragraph of the corpus that has this text.
    """
    places = _places_by_text(articles)
    placed: list[Vote] = []
    set_aside: list[SetAside] = []
    n_moved = 0
    for vote in votes:
        if not is_correction(vote.annotation):
            placed.append(vote)
            continue
        reason, found = _find(vote.annotation, places, section_types)
        if found is None:
            set_aside.append(SetAside(vote, reason))
            continue
        article_id, paragraph = found
        n_moved += found != (vote.annotation.article_id, vote.annotation.paragraph)
        annotation = replace(vote.annotation, article_id=article_id, paragraph=paragraph)
        placed.append(replace(vote, annotation=annotation))
    return Placed(placed, set_aside, n_moved)


def _places_by_text(articles: Iterable[Article]) -> dict[str, list[Place]]:
    places: dict[str, list[Place]] = defaultdict(list)
    for article in articles:
        for paragraph in article.paragraphs:
            places[text_digest(paragraph.text)].append((article.article_id, paragraph.index))
    return places


def _find(
    annotation: Annotation, places: Mapping[str, Sequence[Place]], section_types: Sequence[str]
) -> tuple[str, Place | None]:
    if annotation.section_type not in section_types:
        return f"the section type {annotation.section_type!r} is none of {', '.join(section_types)}", None
    n_digits = len(text_digest(""))
    found = places.get(annotation.text_sha256[:n_digits], ())
    named = (annotation.article_id, annotation.paragraph)
    if named in found:
        return "", named
    if len(found) == 1:
        return "", found[0]
    if not found:
        return "no paragraph of the corpus has its text", None
    shown = ", ".join(f"{article_id}#{paragraph}" for article_id, paragraph in found[:N_PLACES])
    more = f" and {len(found) - N_PLACES} more" if len(found) > N_PLACES else ""
    return f"{len(found)} paragraphs of the corpus have its text: {shown}{more}", None

"""Divided votes → paragraphs to settle, with everything that was said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from crosshead.errors import DataError
from crosshead.labelling.agreement import Dispute
from crosshead.labelling.queue import QueueItem


def texts_of(items: Iterable[QueueItem]) -> dict[tuple[str, int, str], QueueItem]:
    """Find paragraphs by article, number and text."""
    return {item.place: item for item in items}


def to_settle(
    disputes: Sequence[Dispute], texts: Mapping[tuple[str, int, str], QueueItem], *, again: bool = False
) -> list[QueueItem]:
    """Make a queue of the disputes that nobody settled, each with its votes and notes.

    Parameters
    ----------
    disputes : sequence of Dispute
    texts : mapping
        Paragraphs by place, as `texts_of` gives them.
    again : bool, default=False
        Take those that are settled, too.

    Raises
    ------
    DataError
        If there is nothing to settle, or the text of a dispute is not at hand.
    """
    waiting = [dispute for dispute in disputes if again or dispute.settled is None]
    if not waiting:
        n_settled = len(disputes)
        raise DataError(
            "there is nothing to settle: "
            + (f"all {n_settled} disputes are settled; look at them again with --again" if n_settled else "all agree")
        )
    return [
        replace(_text(dispute, texts), suggestion=None, votes=dispute.votes, notes=dispute.notes) for dispute in waiting
    ]


def _text(dispute: Dispute, texts: Mapping[tuple[str, int, str], QueueItem]) -> QueueItem:
    found = texts.get(dispute.place)
    if found is None:
        raise DataError(
            f"the text of paragraph {dispute.paragraph} of {dispute.article_id!r} (sha256 {dispute.text_sha256!r}) is "
            "in none of the files; name the queue or the articles that were read with --texts"
        )
    return found

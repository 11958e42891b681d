"""The rows of a paragraph table as training and evaluation take them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora.corpus import ARTICLE, SINGLE
from crosshead.corpora.splits import Folds, folds
from crosshead.encoders.tuned import Tuned
from crosshead.errors import DataError
from crosshead.text import normalise
from crosshead.training.train import Paragraphs

Columns = Mapping[str, Sequence[Any]]


def columns_of(dataset: Any) -> dict[str, list[Any]]:
    """Return the columns of a ``datasets.Dataset`` as lists."""
    columns: dict[str, list[Any]] = dataset.to_dict()
    return columns


def take(columns: Columns, rows: NDArray[np.int64] | Sequence[int]) -> dict[str, list[Any]]:
    """Return some rows of all columns, in the given order."""
    return {name: [values[i] for i in rows] for name, values in columns.items()}


def rows_where(columns: Columns, name: str, value: Any) -> NDArray[np.int64]:
    """Return the numbers of the rows whose column has this value."""
    return np.flatnonzero(np.array([entry == value for entry in columns[name]], dtype=bool))


def to_paragraphs(columns: Columns, section_types: Sequence[str]) -> Paragraphs:
    """Encode section types in taxonomy order and count the paragraphs of each article.

    The paragraphs of a contrast set are no article: each counts as one of its own, and so does a single paragraph.

    Raises
    ------
    DataError
        If a section type is not in the taxonomy.
    """
    number = {name: i for i, name in enumerate(section_types)}
    if unknown := sorted(set(columns["section_type"]) - set(number)):
        raise DataError(
            f"the paragraph table has section types {unknown} that the taxonomy lacks; allowed are "
            f"{list(section_types)}; prepare it again with this taxonomy: crosshead prepare"
        )
    y = np.array([number[name] for name in columns["section_type"]], dtype=np.int64)
    is_single = np.array([origin == SINGLE for origin in columns["origin"]], dtype=bool)
    return Paragraphs(list(columns["text"]), y, article_lengths(columns), list(columns["article_id"]), is_single)


def folds_of(columns: Columns, n_folds: int, seed: int, tuned: Tuned | None = None) -> Folds:
    """Cut training rows into folds; those that a fine-tuned encoder has seen are learned from in every fold.

    Its vectors of them hold their labels already, so nothing honest could be measured on them.

    Parameters
    ----------
    tuned
        What the encoder has seen; None where it was not fine-tuned here.

    Raises
    ------
    DataError
        If the encoder has seen every article of a section type.
    """
    if tuned is None:
        return folds(columns["group_id"], columns["section_type"], n_folds, seed)
    unseen = ~tuned.has_seen([normalise(text) for text in columns["text"]])
    ids = np.asarray(columns["group_id"])
    unseen &= ~np.isin(ids, ids[~unseen])  # an article that was seen in part is not new
    if not unseen.any():
        raise DataError(
            "the encoder was fine-tuned on every training article, so none is left to measure and to calibrate on; "
            "fine-tune it again with the present table: crosshead finetune"
        )
    cut = folds(ids.tolist(), columns["section_type"], n_folds, seed, testable=unseen)
    told = (
        f"the encoder was fine-tuned on {int((~unseen).sum()):,} of the {len(unseen):,} training paragraphs; "
        f"cross-validation and calibration use the other {int(unseen.sum()):,}"
    )
    return Folds(cut.splits, "; ".join(filter(None, (told, cut.warning))))


def refuse_seen(columns: Columns, tuned: Tuned | None) -> None:
    """Refuse to test on paragraphs that a fine-tuned encoder has learned from.

    Raises
    ------
    DataError
        If it has seen some of these.
    """
    if tuned is None:
        return
    n_seen = int(tuned.has_seen([normalise(text) for text in columns["text"]]).sum())
    if n_seen:
        raise DataError(
            f"{n_seen:,} of {len(columns['text']):,} held-out paragraphs are among those that the encoder was "
            "fine-tuned on, so their scores would mean nothing: the articles were split another way then (seed, "
            "corpus, test_share); fine-tune it again with the present split: crosshead finetune"
        )


def article_lengths(columns: Columns) -> list[int]:
    """Count the paragraphs of each article in order; contrast and single paragraphs count one by one."""
    lengths: list[int] = []
    before = None
    for article_id, origin in zip(columns["article_id"], columns["origin"], strict=True):
        if origin == ARTICLE and article_id == before:
            lengths[-1] += 1
        else:
            lengths.append(1)
        before = article_id if origin == ARTICLE else None
    return lengths


def as_articles(columns: Columns) -> list[list[str]]:
    """Return the texts of each article in order."""
    ends = np.cumsum([0, *article_lengths(columns)])
    texts = list(columns["text"])
    return [texts[start:end] for start, end in itertools.pairwise(ends)]

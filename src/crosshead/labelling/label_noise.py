"""Which labels are probably wrong: confident learning on answers of models that never saw the label's article.

The only module that knows cleanlab. experiments/label_noise measures it with planted errors and on headings.

References
----------
Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70,
doi:10.1613/jair.1.12125.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import DataError, MissingExtraError
from crosshead.evaluation.inputs import checked_pair, same_length
from crosshead.tagging.heads import Floats

TREATMENTS = ("keep", "remove", "weigh")


@dataclass(frozen=True)
class Suspects:
    """Labels by how much speaks against them."""

    order: NDArray[np.int64]
    """All rows, the most suspicious first."""
    confidence: Floats
    """The probability of each row's own label."""
    is_suspect: NDArray[np.bool_]
    """Rows that confident learning takes for wrong, given how often each section type is mistaken for each other."""

    @property
    def found(self) -> NDArray[np.int64]:
        """The suspects alone, the most suspicious first."""
        return self.order[self.is_suspect[self.order]]


def find_suspects(y: NDArray[np.int64], proba: Floats) -> Suspects:
    """Rank labels by what out-of-fold probabilities say of them.

    Parameters
    ----------
    y
        The labels as given, by their column.
    proba
        What models say that never saw the label, nor another one of its article.

    Raises
    ------
    MissingExtraError
        If cleanlab is not installed.
    DataError
        If labels and probabilities do not fit, or the labels name one section type only.
    """
    codes, checked = checked_pair(y, proba)
    present = np.unique(codes)
    if len(present) < 2:
        raise DataError(
            f"the {len(codes)} labels name one section type only, so nothing can be told apart from it; label more"
        )
    confidence = checked[np.arange(len(codes)), codes]
    return Suspects(np.argsort(confidence, kind="stable"), confidence, _confident_learning(codes, checked, present))


def _confident_learning(codes: NDArray[np.intp], proba: Floats, present: NDArray[np.intp]) -> NDArray[np.bool_]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("the search for wrong labels", "labels") from error
    # Section types without a label have no rate of mistakes.
    seen = proba[:, present] + 1e-9
    with warnings.catch_warnings():
        # It warns of section types with few labels, in which it finds less; that is as it should be.
        warnings.simplefilter("ignore", UserWarning)
        found = find_label_issues(
            np.searchsorted(present, codes), seen / seen.sum(axis=1, keepdims=True), filter_by="both", n_jobs=1
        )
    return np.asarray(found, dtype=bool)


def training_weights(suspects: Suspects, treatment: str) -> Floats:
    """Say how much each row should count in training.

    Parameters
    ----------
    treatment : {"keep", "remove", "weigh"}
        *remove* leaves suspects out; *weigh* lets every row count as much as its label is probable.

    Raises
    ------
    DataError
        If the treatment is unknown.
    """
    if treatment == "keep":
        return np.ones(len(suspects.order))
    if treatment == "remove":
        return (~suspects.is_suspect).astype(np.float64)
    if treatment == "weigh":
        return suspects.confidence.copy()
    raise DataError(f"treatment is {treatment!r}; it is one of {', '.join(TREATMENTS)}")


def most_similar(
    vectors: NDArray[np.float32], article: NDArray[np.int64], rows: NDArray[np.int64], n: int = 5
) -> NDArray[np.int64]:
    """Find the paragraphs of other articles that are most similar to each of ``rows``, the nearest first.

    Returns
    -------
    array of shape (n_rows, n), fewer columns where there are not that many; -1 fills a row that has fewer
    """
    same_length(vectors=vectors, article=article)
    similarity = vectors[rows] @ vectors.T
    similarity[article[rows][:, None] == article[None, :]] = -np.inf
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :n]
    return np.where(np.isfinite(np.take_along_axis(similarity, nearest, axis=1)), nearest, -1)

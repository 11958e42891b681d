"""Checks on what the measures are given; everything behind them works on arrays of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
Labels = Sequence[str] | Sequence[int] | NDArray[Any]
"""Section types by name, or by their column in the probabilities."""

SUM_TOLERANCE = 1e-3


def checked_proba(y_proba: ArrayLike, n_section_types: int | None = None) -> FloatArray:
    """Return probabilities as float64 of shape (n_paragraphs, n_section_types).

    Raises
    ------
    DataError : if the shape is wrong, a value is not a probability, or a row does not sum to 1 within 0.001.
    """
    proba = np.asarray(y_proba, dtype=np.float64)
    if proba.ndim != 2 or 0 in proba.shape or n_section_types not in (None, proba.shape[1]):
        wanted = "at least one column" if n_section_types is None else f"{n_section_types} columns"
        raise DataError(
            f"y_proba has the shape {proba.shape}; it needs one row for each of at least one paragraph "
            f"and {wanted}, one for each section type"
        )
    wrong = ~((proba >= 0) & (proba <= 1 + SUM_TOLERANCE)).all(axis=1)
    wrong |= ~(np.abs(proba.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"y_proba, row {row} is {proba[row].tolist()}, which is not a set of probabilities; each must lie "
            f"between 0 and 1 and each row must sum to 1 ({int(wrong.sum())} of {len(proba)} rows do not)"
        )
    return proba


def checked_codes(
    y: Labels, n_section_types: int, section_types: Sequence[str] | None = None, *, what: str = "y_true"
) -> IntArray:
    """Return the column of each section type.

    Raises
    ------
    DataError : for a name that is not in ``section_types``, a name without ``section_types``, a column that
        does not exist.
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise DataError(f"{what} has the shape {labels.shape}; it needs one section type for each paragraph")
    if labels.dtype.kind in "iu":
        return _columns(labels, n_section_types, what)
    if section_types is None:
        raise DataError(
            f"{what} holds {labels.dtype} values but no section_types say which columns they stand for; "
            "give section_types, or column numbers"
        )
    column = {name: i for i, name in enumerate(section_types)}
    codes = [column.get(label, -1) for label in labels.tolist()]
    if -1 in codes:
        unknown = labels.tolist()[codes.index(-1)]
        near = get_close_matches(str(unknown), list(section_types), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{what} holds {unknown!r}; the section types are {', '.join(section_types)}{hint}")
    return np.asarray(codes, dtype=np.intp)


def _columns(labels: NDArray[Any], n_section_types: int, what: str) -> IntArray:
    wrong = (labels < 0) | (labels >= n_section_types)
    if wrong.any():
        raise DataError(
            f"{what} holds the column {int(labels[wrong][0])}, but y_proba has the columns 0 to {n_section_types - 1}"
        )
    return labels.astype(np.intp)


def same_length(**columns: Any) -> None:
    """Refuse columns of different lengths, naming each.

    Raises
    ------
    DataError : if the lengths differ.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(f"the columns have different lengths ({found}); each needs one entry for each paragraph")


def groups(ids: Iterable[Any], *, what: str = "article_ids") -> tuple[IntArray, int]:
    """Give each row the number of its article (or set), and tell how many there are; ids are numbered in order.

    The order of the ids, not of the rows, decides, so shuffling the rows changes no interval.

    Raises
    ------
    DataError : if an id is missing.
    """
    names = list(ids)
    if any(name is None or name != name for name in names):
        raise DataError(f"{what} has an empty entry; a row without one can't be resampled with its fellows, so name it")
    unique, numbers = np.unique(np.asarray([str(name) for name in names]), return_inverse=True)
    return numbers.astype(np.intp), len(unique)


def checked_pair(
    y_true: Labels, y_proba: ArrayLike, section_types: Sequence[str] | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the true columns and the probabilities, checked together."""
    proba = checked_proba(y_proba, None if section_types is None else len(section_types))
    codes = checked_codes(y_true, proba.shape[1], section_types)
    same_length(y_true=codes, y_proba=proba)
    return codes, proba

"""Which article belongs to which side, drawn again and again: tests that hold whatever the articles are like.

If nothing has changed, any split of all the articles into sides of these sizes was as likely as the one at hand. So the
share of splits whose difference is as large as the one seen is an exact p-value, with no assumption on paragraphs,
which within an article are anything but independent.

References
----------
Pesarin and Salmaso (2010), Permutation Tests for Complex Data, doi:10.1002/9780470689516.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.heads import Floats

N_DRAWS = 4999
N_DRAWS_OF_FITS = 1999
"""Where each draw costs a fit."""
_CELLS_AT_ONCE = 2_000_000

Masks = NDArray[np.bool_]


def masks(n_articles: int, n_current: int, n_draws: int, seed: int) -> Iterator[Masks]:
    """Yield, some at a time, which articles count as current in each draw; shape (n, n_articles)."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // n_articles)
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        order = rng.random((n, n_articles)).argpartition(n_current - 1, axis=1)[:, :n_current]
        mask = np.zeros((n, n_articles), dtype=bool)
        np.put_along_axis(mask, order, True, axis=1)
        yield mask


def masks_within(strata: NDArray[np.int64], is_current: Masks, n_draws: int, seed: int) -> Iterator[Masks]:
    """As `masks`, but each stratum of articles keeps its number of current ones."""
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    step = max(1, _CELLS_AT_ONCE // len(strata))
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        mask = np.zeros((n, len(strata)), dtype=bool)
        for place in places:
            n_current = int(is_current[place].sum())
            if n_current:
                order = rng.random((n, len(place))).argpartition(n_current - 1, axis=1)[:, :n_current]
                np.put_along_axis(mask, place[order], True, axis=1)
        yield mask


def p_value(observed: float, drawn: Floats) -> float:
    """Share of draws, the observed one among them, that are as large; never 0."""
    # Sums in another order differ in their last bits: a draw that equals the observed one must count.
    return float((1 + (drawn >= observed - 1e-9).sum()) / (1 + len(drawn)))


def share_gaps(sums: Floats, is_current: NDArray[np.bool_]) -> Floats:
    """Differences of shares, current minus reference.

    Parameters
    ----------
    sums : array of shape (n_articles, 1 + n_shares)
        Paragraphs of each article, and how many of them have each property.
    is_current : array of shape (n_draws, n_articles)

    Returns
    -------
    array of shape (n_draws, n_shares)
    """
    current = is_current.astype(np.float64) @ sums
    reference = sums.sum(axis=0) - current
    gaps: Floats = current[:, 1:] / current[:, :1] - reference[:, 1:] / reference[:, :1]
    return gaps


def compare_shares(
    reference: Floats,
    current: Floats,
    scale: Floats | float = 1.0,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> tuple[Floats, float]:
    """Test whether shares differ: the largest scaled gap against that of redrawn sides.

    Parameters
    ----------
    reference, current : array of shape (n_articles, 1 + n_shares)
        As in `share_gaps`.
    scale : array of shape (n_shares,) or number
        What each gap is divided by; it may depend on both sides together only.

    Returns
    -------
    gaps, p-value
    """
    sums = np.concatenate([reference, current])
    n_current = len(current)
    seen = np.zeros((1, len(sums)), dtype=bool)
    seen[0, len(reference) :] = True
    gaps = share_gaps(sums, seen)[0]
    drawn = [np.abs(share_gaps(sums, mask) / scale).max(axis=1) for mask in masks(len(sums), n_current, n_draws, seed)]
    return gaps, p_value(float(np.abs(gaps / scale).max()), np.concatenate(drawn))


def compare_statistic(
    statistic: Callable[[Masks], Floats], is_current: Masks, *, n_draws: int = N_DRAWS_OF_FITS, seed: int = 0
) -> tuple[float, float]:
    """Test whatever ``statistic`` says of sides; return its value for the sides at hand and the p-value."""
    observed = float(statistic(is_current[None])[0])
    drawn = [statistic(mask) for mask in masks(len(is_current), int(is_current.sum()), n_draws, seed)]
    return observed, p_value(observed, np.concatenate(drawn))


def article_sums(article: NDArray[np.int64], properties: NDArray[np.bool_] | Floats) -> Floats:
    """Count each article's paragraphs, and sum each of their properties; shape (n_articles, 1 + n_properties)."""
    values = np.asarray(properties, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    sums = np.zeros((int(article.max()) + 1, 1 + values.shape[1]))
    np.add.at(sums, article, np.column_stack([np.ones(len(values)), values]))
    return sums

"""Article-safe splits: groups of articles stay whole, and every section type is on both sides where it can be."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import ConfigError, DataError

Rows = NDArray[np.int64]

_N_DRAWS = 200
_N_SEEDS = 10


@dataclass(frozen=True)
class TestSplit:
    """Which rows are held out, and what could not be done as asked."""

    is_test: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    __test__ = False  # pytest would take the class for a test


class Folds(NamedTuple):
    """Row numbers of each fold's two parts, and what could not be done as asked."""

    splits: list[tuple[Rows, Rows]]
    warning: str | None = None


def split_test(
    group_ids: Sequence[str], y: Sequence[str], *, strata: Sequence[str], test_share: float, seed: int
) -> TestSplit:
    """Hold out whole groups, so that every stratum gives about the same share.

    Of many random draws of groups the best balanced is taken. Every section type keeps two groups for training, because
    cross-validation needs them; one with only two groups is therefore not tested, and a note says so.

    Parameters
    ----------
    group_ids, y, strata
        The group, section type and stratum (section type, origin, setting …) of every row.
    test_share : float
        Share of the rows to hold out.
    seed : int

    Raises
    ------
    DataError
        If a section type has only one group, or there are too few groups to hold any out.
    """
    if not 0 < test_share < 1:
        raise ConfigError(f"corpus.test_share is {test_share!r}; it must lie between 0 and 1, such as 0.15")
    names, group = np.unique(np.asarray(group_ids), return_inverse=True)
    _check_groups(names, group, y)
    has_type = np.minimum(_counts(group, y), 1)
    best = _best_draw(_counts(group, strata), has_type, test_share, np.random.default_rng(seed))
    if best is None:
        raise DataError(
            f"the corpus has {len(names)} groups of articles, too few to hold any out: at least 2 groups of every "
            "section type must stay for training; add articles that have several section types"
        )
    is_test = np.isin(group, best)
    labels = np.asarray(y)
    notes = [
        f"section type {name!r} stands in {len(np.unique(group[labels == name]))} groups of articles, none of them in "
        "the test split: it is trained but not tested; label more articles with it"
        for name in sorted(set(y) - set(labels[is_test].tolist()))
    ]
    return TestSplit(is_test, tuple(notes))


def split_given(article_ids: Sequence[str], test_ids: Collection[str]) -> TestSplit:
    """Hold out the articles that were chosen beforehand.

    Raises
    ------
    DataError
        If one side is empty.
    """
    is_test = np.isin(np.asarray(article_ids), list(test_ids))
    if not is_test.any():
        raise DataError(
            f"none of {len(is_test)} labelled paragraphs is of corpus.test_articles, so nothing is left to test on; "
            "name articles with labels there, or null to hold out a share of all"
        )
    if is_test.all():
        raise DataError(
            f"all {len(is_test)} labelled paragraphs are of corpus.test_articles, so nothing is left to train on; name "
            "other articles with labels in corpus.articles"
        )
    return TestSplit(is_test)


def check_apart(article_ids: Sequence[str], test_ids: Sequence[str]) -> None:
    """Refuse articles that are named both to train on and to hold out.

    Raises
    ------
    DataError
        Naming one.
    """
    both = sorted(set(article_ids) & set(test_ids))
    if both:
        several = (
            f"{len(both)} articles, such as {both[0]!r}, stand" if len(both) > 1 else f"article {both[0]!r} stands"
        )
        raise DataError(
            f"{several} both in corpus.articles and in corpus.test_articles; what is tested must not be trained on, so "
            "leave it out of one of them, or give another article_id if it is another article"
        )


def folds(
    group_ids: Sequence[str],
    y: Sequence[str] | NDArray[np.generic],
    n_folds: int,
    seed: int,
    *,
    testable: NDArray[np.bool_] | None = None,
) -> Folds:
    """Cut rows into stratified folds that keep groups whole, with every section type in every training part.

    Where the number of folds cannot be had, the next smaller that can is taken, at last one fold a group, and
    ``warning`` says so. Each row is tested in exactly one fold.

    Parameters
    ----------
    testable
        Rows that may be tested, groups whole; the others are trained on in every fold. None for all.

    Raises
    ------
    DataError
        If a section type has only one group: the fold that tests it could not train it.
    """
    if n_folds < 2:
        raise ConfigError(f"the number of folds is {n_folds!r}; it must be at least 2")
    if testable is not None and not testable.all():
        rows = np.flatnonzero(testable)
        cut = folds(np.asarray(group_ids)[rows].tolist(), np.asarray(y)[rows], n_folds, seed)
        tests = [rows[test] for _, test in cut.splits]
        return Folds([(np.setdiff1d(np.arange(len(testable)), test), test) for test in tests], cut.warning)
    names, group = np.unique(np.asarray(group_ids), return_inverse=True)
    labels = np.asarray(y)
    _check_groups(names, group, labels)
    largest = min(n_folds, len(names), int(np.unique(labels, return_counts=True)[1].max()))
    for n_tried in range(largest, 1, -1):
        for attempt in range(_N_SEEDS):
            splits = _stratified(group, labels, n_tried, seed + attempt)
            if _trains_every_type(splits, labels):
                return Folds(splits, _fewer(n_tried, n_folds, len(names)))
    # One fold a group always trains every section type, since each has two groups.
    every_row = np.arange(len(group))
    splits = [(every_row[group != number], every_row[group == number]) for number in range(len(names))]
    return Folds(splits, _fewer(len(names), n_folds, len(names)))


def _check_groups(names: NDArray[np.str_], group: NDArray[np.intp], y: Sequence[str] | NDArray[np.generic]) -> None:
    labels = np.asarray(y)
    for label in np.unique(labels):
        of_label = np.unique(group[labels == label])
        if len(of_label) < 2:
            raise DataError(
                f"section type {str(label)!r} stands in one group of articles only ({str(names[of_label[0]])!r}), so "
                "it cannot be both learned and checked; label more articles with it, or merge it with another section "
                "type. Articles that repeat one another's paragraphs count as one group"
            )


def _counts(group: NDArray[np.intp], labels: Sequence[str]) -> NDArray[np.int64]:
    """Count rows by group and label."""
    names, code = np.unique(np.asarray(labels), return_inverse=True)
    table = np.zeros((int(group.max()) + 1, len(names)), dtype=np.int64)
    np.add.at(table, (group, code), 1)
    return table


def _best_draw(
    rows: NDArray[np.int64], has_type: NDArray[np.int64], test_share: float, rng: np.random.Generator
) -> NDArray[np.intp] | None:
    """Draw orders of the groups, and take of each the beginning that misses the share least over all strata.

    The best of them is the one that leaves fewest section types untested, then the one that misses least.
    """
    n_may_leave = has_type.sum(axis=0) - 2
    wanted = test_share * rows.sum(axis=0)
    best: tuple[int, float] | None = None
    chosen: NDArray[np.intp] | None = None
    for _ in range(_N_DRAWS):
        order = rng.permutation(len(rows))
        order = order[(np.cumsum(has_type[order], axis=0) <= n_may_leave).all(axis=1)]
        if not len(order):
            continue
        miss = ((np.cumsum(rows[order], axis=0) - wanted) ** 2 / np.maximum(wanted, 1)).sum(axis=1)
        position = int(miss.argmin())
        n_untested = (has_type[order[: position + 1]].sum(axis=0) == 0).sum()
        score = (int(n_untested), float(miss[position]))
        if best is None or score < best:
            best, chosen = score, order[: position + 1]
    return chosen


def _stratified(group: NDArray[np.intp], y: NDArray[np.generic], n_folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    from sklearn.model_selection import StratifiedGroupKFold  # one second to import

    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It warns of section types with fewer rows than folds; whether each is trained is checked below instead.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros(len(y)), y, group))


def _trains_every_type(splits: list[tuple[Rows, Rows]], y: NDArray[np.generic]) -> bool:
    n_types = len(np.unique(y))
    return all(len(test) and len(np.unique(y[train])) == n_types for train, test in splits)


def _fewer(n_folds: int, n_wanted: int, n_groups: int) -> str | None:
    if n_folds == n_wanted:
        return None
    return (
        f"cross-validation uses {n_folds} folds instead of {n_wanted}: there are {n_groups} groups of articles, and "
        "every fold must train every section type; label more articles to have more folds"
    )

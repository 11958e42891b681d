"""How well annotators agree, beyond chance, and where they do not.

Everything is counted article by article, so that intervals come from resampling whole articles: the paragraphs of one
article are not independent readings.

References
----------
Cohen, J. (1960), A coefficient of agreement for nominal scales, doi:10.1177/001316446002000104.
Krippendorff, K. (2011), Computing Krippendorff's alpha-reliability,
https://repository.upenn.edu/asc_papers/43 (nominal data, any number of annotators, votes may be missing).
Cicchetti, D. V. and Feinstein, A. R. (1990), High agreement but low kappa: II, doi:10.1016/0895-4356(90)90159-M
(agreement by section type).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora.annotations import Annotation, is_settlement
from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums

N_DIGITS = 16
"""Of a text's digest; annotations may carry more."""
FloatArray = NDArray[np.float64]
Place = tuple[str, int, str]


@dataclass(frozen=True)
class PairAgreement:
    """What two annotators said of the paragraphs that both read.

    ``confusion[i, j]`` counts the paragraphs that the first gave section type i and the second j. ``kappa`` is None
    where both gave one and the same section type to everything: there was nothing to agree about.
    """

    annotators: tuple[str, str]
    n_articles: int
    confusion: NDArray[np.int64]
    observed: Interval
    kappa: Interval | None
    by_section_type: Mapping[str, Interval | None]

    @property
    def n_paragraphs(self) -> int:
        """How many paragraphs both read."""
        return int(self.confusion.sum())


@dataclass(frozen=True)
class Dispute:
    """A paragraph whose annotators are divided; ``settled`` is what an adjudication made of it."""

    article_id: str
    paragraph: int
    text_sha256: str
    votes: Mapping[str, str]
    notes: Mapping[str, str]
    settled: str | None = None

    @property
    def place(self) -> Place:
        """The article, the paragraph and its text's digest."""
        return self.article_id, self.paragraph, self.text_sha256


@dataclass(frozen=True)
class Agreement:
    """The agreement of all annotators.

    ``alpha`` is over every paragraph that two or more read; None where they used one section type only.
    """

    section_types: tuple[str, ...]
    n_votes: Mapping[str, int]
    n_paragraphs: int
    n_articles: int
    alpha: Interval | None
    pairs: Sequence[PairAgreement]
    disputes: Sequence[Dispute]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "section_types": list(self.section_types),
            "annotators": dict(self.n_votes),
            "paragraphs": self.n_paragraphs,
            "articles": self.n_articles,
            "alpha": self.alpha and self.alpha.as_dict(),
            "pairs": [
                {
                    "annotators": list(pair.annotators),
                    "paragraphs": pair.n_paragraphs,
                    "articles": pair.n_articles,
                    "observed": pair.observed.as_dict(),
                    "kappa": pair.kappa and pair.kappa.as_dict(),
                    "by_section_type": {name: v and v.as_dict() for name, v in pair.by_section_type.items()},
                    "confusion": pair.confusion.tolist(),
                }
                for pair in self.pairs
            ],
        }


def agree(
    annotations: Iterable[Annotation], section_types: Sequence[str], *, n_resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Compare annotators; adjudications are no votes, but settle what they are about.

    Parameters
    ----------
    annotations : iterable of Annotation
        Two labels of one annotator for one paragraph count as the last.
    section_types : sequence of str
        In the order of the tables.
    n_resamples : int, default=1000
        Resamples of articles behind each interval; fewer than five articles give no interval.

    Raises
    ------
    DataError
        If a label is none of the section types, or no paragraph was read by two annotators.
    """
    votes, notes, settled = _collect(annotations)
    _check_types(votes, section_types)
    number = {name: i for i, name in enumerate(section_types)}
    shared = {place: by for place, by in votes.items() if len(by) > 1}
    n_votes = _count(votes)
    if not shared:
        raise DataError(
            f"no paragraph was read by two annotators (there are {', '.join(map(repr, n_votes)) or 'none'}); let "
            "somebody read some of them again: crosshead label QUEUE --annotator NAME --second"
        )
    numbered = {place: {who: number[name] for who, name in by.items()} for place, by in shared.items()}
    n_types = len(section_types)
    coincidences = _by_article(numbered, lambda by: _coincidences(list(by.values()), n_types), n_types)
    pairs = [
        _compare(one, other, numbered, section_types, n_resamples, seed)
        for one, other in combinations(n_votes, 2)
        if any(one in by and other in by for by in numbered.values())
    ]
    return Agreement(
        section_types=tuple(section_types),
        n_votes=n_votes,
        n_paragraphs=len(shared),
        n_articles=len(coincidences),
        alpha=_measure(krippendorff_alpha, coincidences, n_resamples, seed),
        pairs=pairs,
        disputes=find_disputes(votes, notes, settled),
    )


def find_disputes(
    votes: Mapping[Place, Mapping[str, str]],
    notes: Mapping[Place, Mapping[str, str]],
    settled: Mapping[Place, str],
) -> list[Dispute]:
    """List the paragraphs whose annotators are divided, in the order of the votes, an article's together."""
    divided = [place for place, by in votes.items() if len(set(by.values())) > 1]
    order: dict[str, int] = {}
    for article_id, _, _ in divided:
        order.setdefault(article_id, len(order))
    return [
        Dispute(*place, votes=dict(votes[place]), notes=dict(notes.get(place, {})), settled=settled.get(place))
        for place in sorted(divided, key=lambda place: (order[place[0]], place[1]))
    ]


def disputes_of(annotations: Iterable[Annotation]) -> list[Dispute]:
    """List the paragraphs whose annotators are divided."""
    return find_disputes(*_collect(annotations))


def cohen_kappa(confusion: FloatArray) -> FloatArray:
    """Cohen's kappa of tables of counts; ``nan`` where chance alone would agree on everything.

    Parameters
    ----------
    confusion : array of shape (..., n_section_types, n_section_types)
    """
    n = confusion.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(confusion, axis1=-2, axis2=-1) / n
        expected = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1) / n**2
        kappa: FloatArray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa


def krippendorff_alpha(coincidences: FloatArray) -> FloatArray:
    """Krippendorff's alpha for nominal data, of tables of coincidences; ``nan`` where one section type is all there is.

    Parameters
    ----------
    coincidences : array of shape (..., n_section_types, n_section_types)
        Sums of what `coincidence_table` gives for each paragraph.
    """
    by_type = coincidences.sum(axis=-1)
    n = by_type.sum(axis=-1)
    disagreeing = n - np.trace(coincidences, axis1=-2, axis2=-1)
    expected = n**2 - (by_type**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha: FloatArray = np.where(expected > 0, 1 - (n - 1) * disagreeing / expected, np.nan)
    return alpha


def _coincidences(votes: Sequence[int], n_types: int) -> FloatArray:
    """Count the ordered pairs of votes for one paragraph, each weighing 1 / (votes - 1)."""
    counts = np.bincount(votes, minlength=n_types).astype(np.float64)
    return (np.outer(counts, counts) - np.diag(counts)) / (len(votes) - 1)


def coincidence_table(votes: Iterable[Sequence[int]], n_types: int) -> FloatArray:
    """Add up the coincidences of paragraphs; those with fewer than two votes say nothing.

    Examples
    --------
    >>> coincidence_table([[0, 0], [0, 1]], 2).tolist()
    [[2.0, 1.0], [1.0, 0.0]]
    """
    tables = [_coincidences(given, n_types) for given in votes if len(given) > 1]
    return np.sum(tables, axis=0) if tables else np.zeros((n_types, n_types))


def _collect(
    annotations: Iterable[Annotation],
) -> tuple[dict[Place, dict[str, str]], dict[Place, dict[str, str]], dict[Place, str]]:
    votes: dict[Place, dict[str, str]] = defaultdict(dict)
    notes: dict[Place, dict[str, str]] = defaultdict(dict)
    settled: dict[Place, str] = {}
    for annotation in annotations:
        place = annotation.article_id, annotation.paragraph, annotation.text_sha256[:N_DIGITS]
        if is_settlement(annotation):
            settled[place] = annotation.section_type
            continue
        votes[place][annotation.annotator] = annotation.section_type
        if note := annotation.extra.get("note"):
            notes[place][annotation.annotator] = note
    return dict(votes), dict(notes), settled


def _check_types(votes: Mapping[Place, Mapping[str, str]], section_types: Sequence[str]) -> None:
    for (article_id, paragraph, _), by in votes.items():
        for annotator, name in by.items():
            if name not in section_types:
                raise DataError(
                    f"annotator {annotator!r} labels paragraph {paragraph} of {article_id!r} {name!r}, which is no "
                    f"section type; allowed: {', '.join(section_types)}"
                )


def _count(votes: Mapping[Place, Mapping[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for by in votes.values():
        for annotator in by:
            counts[annotator] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _by_article(
    votes: Mapping[Place, Mapping[str, int]], table: Callable[[Mapping[str, int]], FloatArray | None], n_types: int
) -> FloatArray:
    """Add up the tables of each article's paragraphs: shape (n_articles, n_types, n_types)."""
    sums: dict[str, FloatArray] = {}
    for (article_id, _, _), by in votes.items():
        found = table(by)
        if found is not None:
            sums[article_id] = sums.get(article_id, 0) + found
    return np.array(list(sums.values())).reshape(-1, n_types, n_types)


def _compare(
    one: str,
    other: str,
    votes: Mapping[Place, Mapping[str, int]],
    section_types: Sequence[str],
    n_resamples: int,
    seed: int,
) -> PairAgreement:
    n_types = len(section_types)

    def table(by: Mapping[str, int]) -> FloatArray | None:
        if one not in by or other not in by:
            return None
        found = np.zeros((n_types, n_types))
        found[by[one], by[other]] = 1
        return found

    tables = _by_article(votes, table, n_types)
    observed = _measure(_observed, tables, n_resamples, seed)
    assert observed is not None
    return PairAgreement(
        annotators=(one, other),
        n_articles=len(tables),
        confusion=tables.sum(axis=0).astype(np.int64),
        observed=observed,
        kappa=_measure(cohen_kappa, tables, n_resamples, seed),
        by_section_type={
            name: _measure(partial(_specific, i=i), tables, n_resamples, seed) for i, name in enumerate(section_types)
        },
    )


def _observed(confusion: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        share: FloatArray = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))
    return share


def _specific(confusion: FloatArray, i: int) -> FloatArray:
    """Of the votes for a section type, the share that the other annotator shares."""
    given = confusion[..., i, :].sum(axis=-1) + confusion[..., :, i].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        share: FloatArray = 2 * confusion[..., i, i] / given
    return share


def _measure(
    measure: Callable[[FloatArray], FloatArray], tables: FloatArray, n_resamples: int, seed: int
) -> Interval | None:
    """Apply a measure to the sum of all articles' tables, and to resamples of articles."""
    n_articles, n_types = len(tables), tables.shape[-1]
    sums = resampled_sums(tables.reshape(n_articles, -1), n_resamples, seed).reshape(-1, n_types, n_types)
    return percentile_interval(float(measure(tables.sum(axis=0))), measure(sums))

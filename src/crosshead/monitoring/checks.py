"""What is compared, each by itself: shares, distributions, vectors, the corrected mixture.

Checks on what the model says leave out paragraphs that it was trained on, because of these it is surer than of any
others; checks on the texts alone keep them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.bootstrap import MIN_ARTICLES, Interval, percentile_interval, resampled_sums
from crosshead.monitoring.label_shift import LabelShift, bbse_shares
from crosshead.monitoring.resampling import (
    N_DRAWS,
    N_DRAWS_OF_FITS,
    article_sums,
    compare_shares,
    compare_statistic,
)
from crosshead.monitoring.results import Check, ClassShare
from crosshead.monitoring.sample import Sample
from crosshead.monitoring.two_sample import TwoSample, two_sample_test
from crosshead.tagging.heads import Floats

N_RESAMPLES = 500
N_EDGES = 40
"""Places at which two distributions are compared."""
N_LANGUAGES = 12
N_CHECKS = 9
FEW = f"at least {MIN_ARTICLES} articles are needed on each side"
NO_TEXT = "rows without text"


@dataclass(frozen=True)
class Draws:
    """How often sides are redrawn, and with which seed."""

    shares: int = N_DRAWS
    fits: int = N_DRAWS_OF_FITS
    resamples: int = N_RESAMPLES
    """For intervals; 0 for none."""
    seed: int = 0

    @classmethod
    def enough_for(cls, false_alarms: float, seed: int = 0) -> Draws:
        """Choose so many that the smallest p-value, corrected for all checks, is well below ``false_alarms``."""
        least = int(2 * N_CHECKS / false_alarms)
        return cls(max(N_DRAWS, least), max(N_DRAWS_OF_FITS, least), seed=seed)


def check_classes(reference: Sample, current: Sample, section_types: Sequence[str], draws: Draws) -> Check:
    """Compare how often each section type is answered."""
    empty = Check("class_shares", "Section types answered", "share of the section type that changed most", matters=0.05)
    sides = reference.unlearnt, current.unlearnt
    why = _why_not(sides, lambda side: side.answers, "rows without answers")
    if why:
        return _left_out(empty, why)
    one_hot = [np.eye(len(section_types))[side.answers] for side in sides]
    sums = [article_sums(side.article, rows) for side, rows in zip(sides, one_hot, strict=True)]
    gaps, p = _shares_test(sums, draws, scaled=True)
    most = int(np.abs(gaps).argmax())
    return _with_shares(empty, sums, most, gaps, p, draws, details={"section_type": section_types[most]})


@dataclass(frozen=True)
class Mixture:
    """The shares of section types on both sides, corrected for the tagger's mistakes."""

    reference: list[Interval]
    current: list[Interval]
    p_value: float


def correct_mixture(reference: Sample, current: Sample, draws: Draws, prior: Floats | None) -> Mixture | str:
    """Correct the shares of both sides, and test whether they differ; or say why not."""
    sides = reference.unlearnt, current.unlearnt
    why = _why_not(sides, lambda side: side.proba, "rows without the probability of every section type")
    if why:
        return why
    proba = np.concatenate([np.asarray(side.proba) for side in sides])
    article, is_current = together(sides)
    shift = LabelShift(proba, article, is_current, prior=prior)
    _, p = compare_statistic(shift.largest_gaps, is_current, n_draws=draws.fits, seed=draws.seed)
    return Mixture(*shift.intervals(draws.resamples, draws.seed), p)


def check_mixture(mixture: Mixture | str, section_types: Sequence[str]) -> Check:
    """Compare the shares of section types, corrected for the tagger's mistakes."""
    empty = Check(
        "corrected_shares", "Section types, corrected", "share of the section type that changed most", matters=0.05
    )
    if isinstance(mixture, str):
        return _left_out(empty, mixture)
    gaps = [abs(b.value - a.value) for a, b in zip(mixture.reference, mixture.current, strict=True)]
    most = int(np.argmax(gaps))
    details = {"section_type": section_types[most]}
    return _found(empty, mixture.reference[most], mixture.current[most], gaps[most], mixture.p_value, details=details)


def class_shares(
    reference: Sample, current: Sample, section_types: Sequence[str], draws: Draws, mixture: Mixture | str
) -> list[ClassShare]:
    """Tell each section type's share as answered, and corrected where there are probabilities."""
    sides = reference.unlearnt, current.unlearnt
    if any(side.answers is None or not len(side) for side in sides):
        return []
    sums = [article_sums(side.article, np.eye(len(section_types))[side.answers]) for side in sides]
    before, now = (_intervals(each, draws) for each in sums)
    solved = _solved(sides[0], sides[1], len(section_types))
    return [
        ClassShare(
            name,
            before[i],
            now[i],
            None if isinstance(mixture, str) else mixture.reference[i],
            None if isinstance(mixture, str) else mixture.current[i],
            None if solved is None else float(solved[i]),
        )
        for i, name in enumerate(section_types)
    ]


def _solved(reference: Sample, current: Sample, n_section_types: int) -> Floats | None:
    if reference.truth is None or reference.answers is None or current.answers is None:
        return None
    known = reference.truth >= 0
    return bbse_shares(reference.truth[known], reference.answers[known], current.answers, n_section_types)


def together(sides: tuple[Sample, Sample]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give the articles of both sides numbers, reference first; say of each whether it is current."""
    n_reference, n_current = (side.n_articles for side in sides)
    article = np.concatenate([sides[0].article, sides[1].article + n_reference])
    return article, np.arange(n_reference + n_current) >= n_reference


def check_confidence(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare how sure the model is."""
    empty = Check("confidence", "Confidence", "mean probability of the answer", "number", matters=0.1)
    sides = reference.unlearnt, current.unlearnt
    return _distribution(empty, sides, lambda side: side.confidence, "rows without confidence", draws)


def check_abstention(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare how often the model is not sure."""
    empty = Check("abstention", "Not sure", "share of paragraphs that the model is not sure of", matters=0.05)
    sides = reference.unlearnt, current.unlearnt
    return _share(empty, sides, lambda side: side.abstained, "rows that do not say if the model was sure", draws)


def check_truncation(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare how often the end of a paragraph is not read."""
    empty = Check("truncation", "End not read", "share of paragraphs longer than the encoder reads", matters=0.02)
    return _share(empty, (reference, current), lambda side: side.truncated, "rows without truncated_tokens", draws)


def check_length(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare how many words paragraphs have."""
    empty = Check("length", "Length", "mean number of words in a paragraph", "number", matters=0.1)
    return _distribution(empty, (reference, current), lambda side: side.n_words, NO_TEXT, draws)


def check_unknown_words(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare how many words the model has no weight for."""
    about = "mean share of a paragraph's words that the model has no weight for"
    empty = Check("unknown_words", "Unknown words", about, matters=0.1)
    sides = reference.unlearnt, current.unlearnt
    missing = "rows without text, or the model no view on words"
    return _distribution(empty, sides, lambda side: side.unknown, missing, draws)


def check_language(reference: Sample, current: Sample, draws: Draws) -> Check:
    """Compare the languages that paragraphs are in."""
    empty = Check("language", "Language", "share of paragraphs in the reference's main language", matters=0.02)
    sides = reference, current
    why = _why_not(sides, lambda side: side.languages, NO_TEXT)
    if why:
        return _left_out(empty, why)
    found = [np.array(side.languages) for side in sides]
    names = [name for name, _ in Counter(np.concatenate(found).tolist()).most_common(N_LANGUAGES)]
    sums = [
        article_sums(side.article, of[:, None] == np.array(names)[None]) for side, of in zip(sides, found, strict=True)
    ]
    gaps, p = _shares_test(sums, draws, scaled=False)
    main = names.index(Counter(found[0].tolist()).most_common(1)[0][0])
    largest = float(np.abs(gaps).max())
    return _with_shares(empty, sums, main, gaps, p, draws, details={"language": names[main]}, change=largest)


def check_vectors(reference: Sample, current: Sample, draws: Draws) -> tuple[Check, TwoSample | None]:
    """Ask a classifier to tell the sides apart by their vectors."""
    empty = Check(
        "embedding", "Embedding", "how well a classifier tells articles of both sides apart (AUROC; 0.5 is guessing)",
        "number", matters=0.05,
    )  # fmt: skip
    sides = reference, current
    why = _why_not(sides, lambda side: side.vectors, "rows without text, or a model without an encoder")
    if why:
        return _left_out(empty, why), None
    vectors = np.concatenate([np.asarray(side.vectors) for side in sides])
    article, is_current = together(sides)
    test = two_sample_test(
        vectors, article, is_current, n_draws=draws.fits, n_resamples=draws.resamples, seed=draws.seed
    )
    change = max(0.0, test.auroc.value - 0.5)
    return _found(empty, None, test.auroc, change, test.p_value), test


# -- what the checks share ---------------------------------------------------------------------------------------------


def _why_not(sides: tuple[Sample, Sample], column: Callable[[Sample], object], missing: str) -> str:
    """Say why two sides cannot be compared; empty if they can."""
    for which, side in zip(("reference", "current"), sides, strict=True):
        if not len(side):
            return f"the model was trained on every paragraph of the {which}"
        if column(side) is None:
            return f"the {which} has {missing}"
        if side.n_articles < MIN_ARTICLES:
            return f"the {which} has {side.n_articles} article{'s' * (side.n_articles != 1)}; {FEW}"
    return ""


def _left_out(empty: Check, why: str) -> Check:
    return replace(empty, left_out=why)


def _share(
    empty: Check,
    sides: tuple[Sample, Sample],
    column: Callable[[Sample], NDArray[np.bool_] | None],
    missing: str,
    draws: Draws,
) -> Check:
    why = _why_not(sides, column, missing)
    if why:
        return _left_out(empty, why)
    sums = [article_sums(side.article, np.asarray(column(side))) for side in sides]
    gaps, p = _shares_test(sums, draws, scaled=False)
    return _with_shares(empty, sums, 0, gaps, p, draws)


def _distribution(
    empty: Check,
    sides: tuple[Sample, Sample],
    column: Callable[[Sample], Floats | None],
    missing: str,
    draws: Draws,
) -> Check:
    """Compare two distributions by their largest gap; the values shown are means."""
    why = _why_not(sides, column, missing)
    if why:
        return _left_out(empty, why)
    values = [np.asarray(column(side)) for side in sides]
    edges = np.unique(np.quantile(np.concatenate(values), np.linspace(0, 1, N_EDGES + 1)[1:-1]))
    below = [article_sums(side.article, v[:, None] <= edges[None]) for side, v in zip(sides, values, strict=True)]
    gaps, p = _shares_test(below, draws, scaled=False)
    means = [_intervals(article_sums(side.article, v), draws)[0] for side, v in zip(sides, values, strict=True)]
    told = replace(empty, gap="the distributions lie up to {} apart")
    return _found(told, means[0], means[1], float(np.abs(gaps).max()), p)


def _shares_test(sums: Sequence[Floats], draws: Draws, *, scaled: bool) -> tuple[Floats, float]:
    """Test shares; scaled by what chance moves each of them where they are many of different size."""
    scale: Floats | float = 1.0
    if scaled:
        both = np.concatenate(list(sums)).sum(axis=0)
        share = both[1:] / both[0]
        scale = np.sqrt(np.maximum(share * (1 - share), 1e-6))
    return compare_shares(sums[0], sums[1], scale, n_draws=draws.shares, seed=draws.seed)


def _with_shares(
    empty: Check,
    sums: Sequence[Floats],
    which: int,
    gaps: Floats,
    p: float,
    draws: Draws,
    *,
    details: dict[str, str] | None = None,
    change: float | None = None,
) -> Check:
    intervals = [_intervals(each[:, [0, 1 + which]], draws)[0] for each in sums]
    return _found(
        empty, intervals[0], intervals[1], float(abs(gaps[which]) if change is None else change), p, details=details
    )


def _found(
    empty: Check,
    reference: Interval | None,
    current: Interval,
    change: float,
    p: float,
    details: dict[str, str] | None = None,
) -> Check:
    return replace(empty, reference=reference, current=current, change=change, p_value=p, details=details or {})


def _intervals(sums: Floats, draws: Draws) -> list[Interval]:
    """Return each share, or mean, with its interval from drawing articles with replacement."""
    drawn = resampled_sums(sums, draws.resamples, draws.seed)
    totals = sums.sum(axis=0)
    values = totals[1:] / totals[0]
    return [
        percentile_interval(float(value), drawn[:, 1 + i] / drawn[:, 0]) or Interval(float(value))
        for i, value in enumerate(values)
    ]

"""Weak supervision: rules and headings vote on paragraphs that nobody has read, and a label model weighs the votes.

A source (a text rule of the taxonomy, or the headings that stand for a section type) votes for one section type or
says nothing. How far to believe it is learned from how the sources agree, and from labelled paragraphs where there
are any.

References
----------
Dawid and Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm,
doi:10.2307/2346806. Ratner et al. (2017), Snorkel: rapid training data creation with weak supervision,
doi:10.14778/3157794.3157797 (votes that may be withheld).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import ConfigError, DataError
from crosshead.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from crosshead.evaluation.inputs import groups, same_length
from crosshead.tagging.heads import Floats, log_softmax
from crosshead.taxonomy import Taxonomy, TextRule, compile_pattern, fold_heading

UNKNOWN = -1
"""Stands for the section type of a paragraph that has no label."""
HEADING = "heading"
_BELIEVED = 0.7  # how often a source is taken to be right before anything is known of it
_STRENGTH = 100.0  # paragraphs on which it is taken to have voted as often as it does, and as rightly as believed
_BORROWED = 2.0  # votes that even a source without any is given, so that one vote does not decide about it
_MAX_STEPS, _SETTLED = 200, 1e-4


@dataclass(frozen=True, slots=True)
class Source:
    """Something that votes for one section type."""

    section_type: int
    """Its position in the taxonomy."""
    name: str
    """The name of the rule, or ``heading``."""


@dataclass(frozen=True)
class Votes:
    """Who voted on what."""

    section_types: tuple[str, ...]
    sources: tuple[Source, ...]
    cast: NDArray[np.bool_]
    """Shape (n_paragraphs, n_sources)."""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Paragraphs with a vote at least."""
        return np.asarray(self.cast.any(axis=1))

    def counts(self) -> NDArray[np.int64]:
        """Votes for each section type, shape (n_paragraphs, n_section_types)."""
        counts = np.zeros((len(self.cast), len(self.section_types)), dtype=np.int64)
        for column, source in enumerate(self.sources):
            counts[:, source.section_type] += self.cast[:, column]
        return counts

    def without_headings(self) -> Votes:
        """Return the same votes with the headings silent."""
        heard = np.array([source.name != HEADING for source in self.sources], dtype=bool)
        return replace(self, cast=self.cast & heard)


def cast_votes(texts: Sequence[str], by_heading: NDArray[np.int64], taxonomy: Taxonomy) -> Votes:
    """Let the taxonomy's text rules, and the headings, vote on every paragraph.

    Parameters
    ----------
    texts
        The paragraphs.
    by_heading
        The section type that the heading above each stands for, or `UNKNOWN`.
    taxonomy
        Each of its text rules is a source, and so are the headings of each section type.

    Raises
    ------
    ConfigError
        If the taxonomy has no text rule and no heading stands for anything: nobody would vote.
    """
    same_length(texts=texts, by_heading=by_heading)
    rules = [
        (Source(position, rule.name), _Matcher(rule))
        for position, definition in enumerate(taxonomy.definitions)
        for rule in definition.text_rules
    ]
    if not rules and not (by_heading >= 0).any():
        raise ConfigError(
            f"taxonomy {taxonomy.name!r} has no text_rules, and no heading stands for a section type, so nothing can "
            "vote; give its section types text_rules: a name and phrases"
        )
    headings = [Source(position, HEADING) for position in range(len(taxonomy.section_types))]
    cast = np.zeros((len(texts), len(rules) + len(headings)), dtype=bool)
    for row, text in enumerate(texts):
        folded = f" {fold_heading(text)} "
        written = unicodedata.normalize("NFC", text)
        cast[row, : len(rules)] = [matcher.finds(folded, written) for _, matcher in rules]
    for source in headings:
        cast[:, len(rules) + source.section_type] = by_heading == source.section_type
    return Votes(taxonomy.section_types, (*(source for source, _ in rules), *headings), cast)


class _Matcher:
    """A text rule made ready for searching."""

    def __init__(self, rule: TextRule) -> None:
        self._phrases = [
            f" {fold_heading(phrase)}{'' if phrase.rstrip().endswith('*') else ' '}" for phrase in rule.phrases
        ]
        self._patterns: list[re.Pattern[str]] = [
            compile_pattern(pattern, f"pattern {pattern!r} of text rule {rule.name!r}", "paragraph")
            for pattern in rule.patterns
        ]

    def finds(self, folded: str, written: str) -> bool:
        return any(phrase in folded for phrase in self._phrases) or any(p.search(written) for p in self._patterns)


@dataclass(frozen=True)
class LabelModel:
    """What votes are worth.

    ``belief[s, k]`` is the probability of section type k where source s alone has voted, all types being equally
    frequent; shape (n_sources, n_section_types).
    """

    belief: Floats

    def log_proba(self, votes: Votes) -> Floats:
        """Log-probabilities of each paragraph's section types; even where nobody voted."""
        return log_softmax(votes.cast.astype(np.float64) @ np.log(self.belief))


def fit_label_model(votes: Votes, y: NDArray[np.int64] | None = None) -> LabelModel:
    """Learn what each source's vote is worth, by expectation–maximisation.

    The unknown section types and the sources' rates of voting for each are estimated in turn, beginning with the
    counts of votes. Sources count as independent given the section type, which rules with words in common are not:
    the probabilities are surer than they should be, their order is what to use. A source is believed to be right seven
    times of ten until its votes say otherwise.

    Parameters
    ----------
    votes
        Of the paragraphs to learn from, best all there are.
    y : optional
        Their section types where they are known, else `UNKNOWN`. Known ones are believed.

    Raises
    ------
    DataError
        If nobody voted on any paragraph.
    """
    known = np.full(len(votes.cast), UNKNOWN) if y is None else np.asarray(y)
    same_length(votes=votes.cast, y=known)
    if not votes.covered.any():
        raise DataError(
            f"none of {len(votes.cast)} paragraphs has a vote: no text rule matches and no heading stands for a "
            "section type; add rules to the taxonomy, or bring paragraphs of its subject"
        )
    n_types = len(votes.section_types)
    cast = votes.cast.astype(np.float64)
    given = known >= 0
    prior = np.full((len(votes.sources), n_types), (1 - _BELIEVED) / (n_types - 1))
    prior[np.arange(len(votes.sources)), [source.section_type for source in votes.sources]] = _BELIEVED
    prior *= (n_types * _STRENGTH * cast.mean(axis=0) + _BORROWED)[:, None]
    share = votes.counts() + 1 / n_types
    share /= share.sum(axis=1, keepdims=True)
    for _ in range(_MAX_STEPS):
        share[given] = np.eye(n_types)[known[given]]
        rate = (cast.T @ share + prior) / (share.sum(axis=0) + _STRENGTH)
        belief = rate / rate.sum(axis=1, keepdims=True)
        before, share = share, np.exp(log_softmax(cast @ np.log(belief)))
        if np.abs(share - before)[~given].max(initial=0.0) < _SETTLED:
            break
    return LabelModel(belief)


@dataclass(frozen=True)
class SourceReport:
    """One source, and how it did."""

    section_type: str
    name: str
    n_votes: int
    coverage: float
    """Share of all paragraphs that it votes on."""
    conflicts: float
    """Share of its votes that another source contradicts."""
    n_checked: int
    """Votes on paragraphs whose section type is known."""
    accuracy: Interval | None
    """Share of these that are right; None where none is known."""
    belief: float
    """Share that are right in the label model's estimate."""

    def as_dict(self) -> dict[str, Any]:
        """Return a mapping for JSON and CSV."""
        low, high = (self.accuracy.low, self.accuracy.high) if self.accuracy else (None, None)
        return {
            "section_type": self.section_type,
            "source": self.name,
            "n_votes": self.n_votes,
            "coverage": round(self.coverage, 4),
            "conflicts": round(self.conflicts, 4),
            "n_checked": self.n_checked,
            "accuracy": None if self.accuracy is None else round(self.accuracy.value, 4),
            "accuracy_low": None if low is None else round(low, 4),
            "accuracy_high": None if high is None else round(high, 4),
            "belief": round(self.belief, 4),
        }


def report_sources(
    votes: Votes, model: LabelModel, y: NDArray[np.int64], article_ids: Sequence[Any], *, seed: int = 0
) -> list[SourceReport]:
    """Say of every source how often it votes, is contradicted and is right, with a 95 % interval over articles."""
    article, n_articles = groups(article_ids)
    same_length(votes=votes.cast, y=y, article_ids=article)
    counts = votes.counts()
    reports = []
    for column, source in enumerate(votes.sources):
        voted = votes.cast[:, column]
        contradicted = counts.sum(axis=1) > counts[:, source.section_type]
        checked = voted & (y >= 0)
        n_votes = int(voted.sum())
        reports.append(
            SourceReport(
                section_type=votes.section_types[source.section_type],
                name=source.name,
                n_votes=n_votes,
                coverage=float(voted.mean()),
                conflicts=float(contradicted[voted].mean()) if n_votes else 0.0,
                n_checked=int(checked.sum()),
                accuracy=_accuracy(y[checked] == source.section_type, article[checked], n_articles, seed),
                belief=float(model.belief[column, source.section_type]),
            )
        )
    return reports


def _accuracy(right: NDArray[np.bool_], article: NDArray[np.intp], n_articles: int, seed: int) -> Interval | None:
    if not len(right):
        return None
    sums = np.column_stack(
        [np.bincount(article, weights=right, minlength=n_articles), np.bincount(article, minlength=n_articles)]
    ).astype(np.float64)
    sums = sums[sums[:, 1] > 0]
    drawn = resampled_sums(sums, 500, seed)
    return percentile_interval(float(right.mean()), drawn[:, 0] / drawn[:, 1])

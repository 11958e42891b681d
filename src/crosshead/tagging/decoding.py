"""Neighbouring paragraphs inform each other: forward–backward over the paragraphs of one article.

Two decoders, one interface. `Transitions` knows that section types come in runs: how much more often one follows
another than chance would have it is learned from the training articles and enters with a weight. `Chain` is a
linear-chain conditional random field: it learns besides what the answers for the paragraphs before and after, for the
article as a whole, and the place in the article say of a section type.

Both take log-probabilities of paragraphs looked at one by one and give a probability for each paragraph, so the best
type and its confidence come from the same numbers. A paragraph on its own is left as it is; so is everything with
weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.heads import Floats, log_softmax

Kind = Literal["neighbours", "sequence"]
Lengths = Sequence[int] | NDArray[np.int64]

_N_BELLS = 7
"""Bell-shaped functions that divide an article between them: what stands where in it."""


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder as the configuration asks for it."""

    kind: Kind = "neighbours"
    weight: float = 0.0
    """How much the other paragraphs of an article count, 0 to 1."""
    l2: float = 1e-3
    """Of a sequence: how strongly large weights are held back."""


class Decoder(Protocol):
    """What every decoder can do."""

    kind: ClassVar[Kind]

    @property
    def spec(self) -> DecoderSpec:
        """How it was asked for."""
        ...

    def decode_all(self, log_proba: Floats, lengths: Lengths) -> Floats:
        """Decode several articles, ``lengths`` paragraphs each in order: each as if it were alone."""
        ...

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays that make up the decoder, by name."""
        ...

    def muted(self) -> Self:
        """Return the same with weight 0."""
        ...


@dataclass(frozen=True)
class Transitions:
    """How strongly one section type calls for another beside it.

    ``log_ratio[i, j]`` is the logarithm of P(j follows i) / P(j), shape (n_section_types, n_section_types).
    """

    log_ratio: NDArray[np.float64]
    weight: float
    kind: ClassVar[Kind] = "neighbours"

    @classmethod
    def fit(cls, sequences: Sequence[NDArray[np.int64]], n_section_types: int, weight: float) -> Transitions:
        """Count neighbours in articles of encoded section types; one is added to every count."""
        counts = np.ones((n_section_types, n_section_types))
        for sequence in sequences:
            np.add.at(counts, (sequence[:-1], sequence[1:]), 1.0)
        following = counts / counts.sum(axis=1, keepdims=True)
        overall = counts.sum(axis=0) / counts.sum()
        return cls(np.log(following / overall), weight)

    @property
    def spec(self) -> DecoderSpec:
        """How it was asked for."""
        return DecoderSpec(self.kind, self.weight)

    def decode(self, log_proba: Floats) -> Floats:
        """Log-probabilities of each paragraph of one article given all its paragraphs, shape as the input."""
        return self.decode_all(log_proba, [len(log_proba)])

    def decode_all(self, log_proba: Floats, lengths: Lengths) -> Floats:
        """Decode several articles, ``lengths`` paragraphs each in order; equal to `decode` on each, but in one pass."""
        if self.weight == 0:
            return log_softmax(log_proba)
        return forward_backward(log_proba, self.weight * self.log_ratio, lengths)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return ``log_ratio``."""
        return {"log_ratio": self.log_ratio}

    def muted(self) -> Transitions:
        """Return the same with weight 0."""
        return Transitions(self.log_ratio, 0.0)


@dataclass(frozen=True)
class Chain:
    """A linear-chain conditional random field over the answers for the paragraphs of an article.

    References
    ----------
    Lafferty, McCallum, Pereira (2001), Conditional Random Fields, ICML; Cohen and Carvalho (2005), Stacked Sequential
    Learning, IJCAI.
    """

    coef: NDArray[np.float64]
    """Of what `context` sees, shape (n_features, n_section_types)."""
    step: NDArray[np.float64]
    """``step[i, j]``: how well section type j follows i."""
    weight: float = 1.0
    """How far from a paragraph's own answer towards the article's, 0 to 1, in log-probabilities."""
    l2: float = 1e-3
    """What it was fitted with."""
    kind: ClassVar[Kind] = "sequence"

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        n_types = len(self.step)
        if self.step.shape != (n_types, n_types) or self.coef.shape != (n_features(n_types), n_types):
            raise ValueError(
                f"a sequence got step {self.step.shape} and coef {self.coef.shape}; for {n_types} section types "
                f"allowed are ({n_types}, {n_types}) and ({n_features(n_types)}, {n_types}); train again"
            )

    @property
    def spec(self) -> DecoderSpec:
        """How it was asked for."""
        return DecoderSpec(self.kind, self.weight, self.l2)

    def decode_all(self, log_proba: Floats, lengths: Lengths) -> Floats:
        """Decode several articles, ``lengths`` paragraphs each in order; an article of one paragraph stays as it is."""
        own = log_softmax(log_proba)
        n = np.asarray(lengths, dtype=np.int64)
        if self.weight == 0 or n.max(initial=0) < 2:
            return own
        # Not a BLAS product: its last bits depend on how many rows stand beside a row.
        emissions = np.einsum("nd,dk->nk", context(own, n), self.coef)
        informed = forward_backward(emissions, self.step, n)
        mixed = log_softmax((1.0 - self.weight) * own + self.weight * informed)
        return np.where(np.repeat(n > 1, n)[:, None], mixed, own)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return ``coef`` and ``step``."""
        return {"coef": self.coef, "step": self.step}

    def muted(self) -> Chain:
        """Return the same with weight 0."""
        return Chain(self.coef, self.step, 0.0, self.l2)


def context(log_proba: Floats, lengths: Lengths) -> Floats:
    """Lay out what a sequence sees of each paragraph, shape (n_paragraphs, n_features).

    The answers for the paragraph itself, for the two before and the two after it, and their mean over the article, each
    relative to the paragraph's mean over section types; the place in the article; and 1.
    """
    n = np.asarray(lengths, dtype=np.int64)
    centred = log_proba - log_proba.mean(axis=1, keepdims=True)
    starts = np.cumsum(n) - n
    index = np.arange(len(centred)) - np.repeat(starts, n)
    length = np.repeat(n, n)
    beside = [_shifted(centred, index, length, by) for by in (-2, -1, 1, 2)]
    return np.hstack([centred, *beside, _article_means(centred, n), places(index, length), np.ones((len(centred), 1))])


def places(index: NDArray[np.int64], length: NDArray[np.int64]) -> Floats:
    """Describe the places of paragraphs, given their numbers and the lengths of their articles.

    Where between beginning and end, softly; whether among the first three or the last two; how long the article is.
    """
    share = (index + 0.5) / np.maximum(length, 1)
    bells = [np.exp(-(((share - centre) / 0.15) ** 2)) for centre in np.linspace(0.0, 1.0, _N_BELLS)]
    ends = [index == 0, index == 1, index == 2, index == length - 1, index == length - 2]
    return np.column_stack([share, *bells, *ends, np.log(np.maximum(length, 1)) / 3.0])


def n_features(n_section_types: int) -> int:
    """Count the columns of `context`."""
    return int(context(np.zeros((1, n_section_types)), [1]).shape[1])


def _shifted(rows: Floats, index: NDArray[np.int64], length: NDArray[np.int64], by: int) -> Floats:
    """Rows so many places further on in the same article; zeros beyond its ends."""
    inside = (index + by >= 0) & (index + by < length)
    result = np.zeros_like(rows)
    result[inside] = rows[np.flatnonzero(inside) + by]
    return result


def _article_means(rows: Floats, lengths: NDArray[np.int64]) -> Floats:
    filled = lengths[lengths > 0]
    if not len(filled):
        return np.zeros_like(rows)
    totals = np.add.reduceat(rows, np.cumsum(filled) - filled)
    return np.repeat(totals / filled[:, None], filled, axis=0)


def forward_backward(emissions: Floats, step: Floats, lengths: Lengths) -> Floats:
    """Log-probabilities of each paragraph given all paragraphs of its article; articles do not touch each other."""
    n = np.asarray(lengths, dtype=np.int64)
    if n.max(initial=0) < 2:
        return log_softmax(emissions)
    first = np.cumsum(n) - n
    forward, backward = emissions.copy(), np.zeros_like(emissions)
    for i in range(1, int(n.max())):
        rows = first[n > i] + i
        forward[rows] += _log_sum(forward[rows - 1][:, :, None] + step, axis=1)
    for i in range(int(n.max()) - 2, -1, -1):
        rows = first[n > i + 1] + i
        backward[rows] = _log_sum(step + (emissions[rows + 1] + backward[rows + 1])[:, None, :], axis=2)
    return log_softmax(forward + backward)


def _log_sum(values: Floats, axis: int) -> Floats:
    top = values.max(axis=axis, keepdims=True)
    total: Floats = np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis)
    return total

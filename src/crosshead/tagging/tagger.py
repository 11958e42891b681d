"""The tagger: paragraphs in, section types with probabilities out. The same object in training, CLI, API and batch.

It needs numpy and an encoder, nothing else. A text is normalised, looked at by one or more *views* (its vector, its
sentences' vectors, its TF-IDF terms), the views' log-probabilities are blended, a temperature makes them mean what
they say, and paragraphs of one article inform their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import DataError
from crosshead.tagging.calibration import apply_temperature
from crosshead.tagging.decoding import Decoder
from crosshead.tagging.heads import ConstantHead, Floats, Head, LinearHead, log_softmax
from crosshead.tagging.novelty import Novelty
from crosshead.tagging.tfidf import Tfidf
from crosshead.text import MAX_CHARACTERS, normalise, sentences


@dataclass(frozen=True)
class Encoded:
    """Vectors of texts and how long the texts were."""

    vectors: NDArray[np.float32]
    """Unit length, shape (n_texts, n_dimensions)."""
    n_tokens: NDArray[np.int64]
    """Tokens of each whole text, before anything was cut off, special tokens included."""


class Encoder(Protocol):
    """Texts to vectors."""

    fingerprint: str
    n_dimensions: int
    max_tokens: int

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode normalised texts; equal texts give equal vectors whatever stands beside them."""
        ...


@dataclass
class Inputs:
    """Normalised paragraphs with what the views need of them, computed once."""

    texts: list[str]
    vectors: NDArray[np.float32] | None = None
    n_truncated: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    sentence_vectors: NDArray[np.float32] | None = None
    sentence_owner: NDArray[np.int64] | None = None


class View(Protocol):
    """One look at a paragraph."""

    kind: ClassVar[str]
    name: str
    weight: float
    head: Any

    def log_proba(self, inputs: Inputs) -> Floats:
        """Log-probabilities (n_paragraphs, n_section_types)."""
        ...


@dataclass(frozen=True)
class ParagraphView:
    """The vector of the whole paragraph."""

    name: str
    weight: float
    head: Head
    kind: ClassVar[str] = "paragraph"

    def log_proba(self, inputs: Inputs) -> Floats:
        """Log-probabilities (n_paragraphs, n_section_types)."""
        assert inputs.vectors is not None
        return self.head.log_proba(inputs.vectors)


@dataclass(frozen=True)
class SentenceView:
    """The vectors of the paragraph's sentences; their log-probabilities are averaged."""

    name: str
    weight: float
    head: Head
    kind: ClassVar[str] = "sentence"

    def log_proba(self, inputs: Inputs) -> Floats:
        """Log-probabilities (n_paragraphs, n_section_types)."""
        assert inputs.sentence_vectors is not None
        assert inputs.sentence_owner is not None
        return average_by_owner(self.head.log_proba(inputs.sentence_vectors), inputs.sentence_owner, len(inputs.texts))


@dataclass(frozen=True)
class TfidfView:
    """The words of the paragraph."""

    name: str
    weight: float
    head: LinearHead | ConstantHead
    tfidf: Tfidf
    kind: ClassVar[str] = "tfidf"

    def log_proba(self, inputs: Inputs) -> Floats:
        """Log-probabilities (n_paragraphs, n_section_types)."""
        if isinstance(self.head, ConstantHead):
            return self.head.log_proba(np.empty((len(inputs.texts), 0)))
        return self.head.from_scores(self.tfidf.scores(inputs.texts, self.head.coef))


AnyView = ParagraphView | SentenceView | TfidfView


def average_by_owner(log_proba: Floats, owner: NDArray[np.int64], n_owners: int) -> Floats:
    """Average rows that belong to the same owner and normalise; ``owner`` holds a row's owner, 0 to n_owners - 1."""
    totals = np.zeros((n_owners, log_proba.shape[1]))
    np.add.at(totals, owner, log_proba)
    return log_softmax(totals / np.bincount(owner, minlength=n_owners)[:, None])


@dataclass(frozen=True)
class Tag:
    """The answer for one paragraph."""

    section_type: str
    """The most probable section type, also when ``abstained``."""
    confidence: float
    """Calibrated probability of ``section_type``."""
    scores: dict[str, float]
    """Calibrated probability of every section type, in taxonomy order."""
    abstained: bool
    """True where the confidence is too low for the risk that the model promises: "not sure"."""
    truncated_tokens: int
    """Tokens that the encoder did not see because the paragraph is longer than its window."""
    label_set: tuple[str, ...] = ()
    """Section types that hold the true one as often as the model promises; empty where it promises nothing."""
    out_of_distribution: bool | None = None
    """True where the text is of another kind than that of training; None where the model cannot tell."""

    def as_dict(self) -> dict[str, Any]:
        """Return what is written as JSONL; probabilities with six decimals."""
        told = {} if self.out_of_distribution is None else {"out_of_distribution": self.out_of_distribution}
        return {
            "section_type": self.section_type,
            "confidence": round(self.confidence, 6),
            "scores": {name: round(score, 6) for name, score in self.scores.items()},
            "abstained": self.abstained,
            "truncated_tokens": self.truncated_tokens,
            **told,
        }


@dataclass(frozen=True)
class Looked:
    """Paragraphs looked at one by one, before neighbours inform each other."""

    log_proba: Floats
    """Calibrated, shape (n_paragraphs, n_section_types)."""
    n_truncated: NDArray[np.int64]
    out_of_distribution: NDArray[np.bool_] | None = None
    """None where the model cannot tell."""

    def __len__(self) -> int:
        """Count the paragraphs."""
        return len(self.n_truncated)

    def part(self, start: int, end: int) -> Looked:
        """Return some paragraphs."""
        beyond = None if self.out_of_distribution is None else self.out_of_distribution[start:end]
        return Looked(self.log_proba[start:end], self.n_truncated[start:end], beyond)

    @classmethod
    def join(cls, parts: Sequence[Looked]) -> Looked:
        """Put parts together again; a part without paragraphs says nothing of whether the model can tell."""
        beyond = [part.out_of_distribution for part in parts if part.out_of_distribution is not None]
        return cls(
            np.concatenate([part.log_proba for part in parts]),
            np.concatenate([part.n_truncated for part in parts]),
            np.concatenate(beyond) if beyond else None,
        )


def read_inputs(texts: Sequence[str], encoder: Encoder | None, *, with_sentences: bool) -> Inputs:
    """Normalise texts and encode what the views will look at, in one pass over the encoder."""
    cleaned = clean(texts)
    inputs = Inputs(cleaned, n_truncated=np.zeros(len(cleaned), dtype=np.int64))
    if encoder is None:
        return inputs
    split = [sentences(text) for text in cleaned] if with_sentences else []
    encoded = encoder.encode([*cleaned, *(piece for pieces in split for piece in pieces)])
    inputs.vectors = encoded.vectors[: len(cleaned)]
    inputs.n_truncated = np.maximum(encoded.n_tokens[: len(cleaned)] - encoder.max_tokens, 0)
    if with_sentences:
        inputs.sentence_vectors = encoded.vectors[len(cleaned) :]
        inputs.sentence_owner = np.repeat(np.arange(len(cleaned)), [len(pieces) for pieces in split])
    return inputs


def clean(texts: Sequence[str], name: Callable[[int], str] = "paragraph {}".format) -> list[str]:
    """Normalise texts; ``name`` names one in a message.

    Raises
    ------
    DataError
        If one is no string, holds no text, or is longer than ``text.MAX_CHARACTERS``.
    """
    cleaned = [normalise(_checked(text, i, name)) for i, text in enumerate(texts)]
    for i, text in enumerate(cleaned):
        if not text:
            raise DataError(f"{name(i)} holds no text; leave it out or give it at least one word")
    return cleaned


def _checked(text: str, i: int, name: Callable[[int], str]) -> str:
    if not isinstance(text, str):
        raise DataError(f"{name(i)} is {type(text).__name__}, not text; give a string")
    if len(text) > MAX_CHARACTERS:
        raise DataError(
            f"{name(i)} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are tagged as one paragraph; split it"
        )
    return text


def blend(views: Sequence[AnyView], inputs: Inputs) -> Floats:
    """Weighted mean of the views' log-probabilities, normalised."""
    total = sum(view.weight for view in views)
    return log_softmax(np.sum([view.weight / total * view.log_proba(inputs) for view in views], axis=0))


@dataclass(frozen=True)
class Tagger:
    """Tags paragraphs with section types."""

    section_types: tuple[str, ...]
    views: tuple[AnyView, ...]
    encoder: Encoder | None
    temperature: float
    transitions: Decoder
    threshold: float
    """Confidence below which a paragraph is ``abstained``."""
    risk: float
    """Share of mistakes among paragraphs that are not abstained that ``threshold`` was chosen for."""
    name: str = "crosshead"
    version: str = ""
    conformal_quantile: float | None = None
    """1 − probability down to which a section type belongs to ``label_set``; None where nothing is promised."""
    conformal_alpha: float = 0.1
    """Share of label sets that may miss the true section type that ``conformal_quantile`` was chosen for."""
    novelty: Novelty | None = None
    """What tells text of another kind; None where the model cannot tell."""

    def tag_article(self, paragraphs: Sequence[str]) -> list[Tag]:
        """Tag the paragraphs of one article; neighbours inform each other."""
        return self.tag_articles([paragraphs])[0]

    def tag_texts(self, texts: Sequence[str]) -> list[Tag]:
        """Tag texts that have nothing to do with each other."""
        return [tags[0] for tags in self.tag_articles([[text] for text in texts])]

    def tag_articles(self, articles: Sequence[Sequence[str]]) -> list[list[Tag]]:
        """Tag the paragraphs of several articles, encoding all of them together.

        Raises
        ------
        DataError
            If a paragraph is no string, holds no text, or is longer than ``text.MAX_CHARACTERS``.
        """
        looked = self.look([text for article in articles for text in article])
        return self.conclude(looked, [len(article) for article in articles])

    def look(self, texts: Sequence[str]) -> Looked:
        """Look at paragraphs one by one.

        What comes of a paragraph does not depend on those beside it, so batches may be cut anywhere.

        Raises
        ------
        DataError
            As `tag_articles` does.
        """
        return self.look_at(self.read(texts))

    def look_at(self, inputs: Inputs) -> Looked:
        """Look at inputs that were read before."""
        if not inputs.texts:
            return Looked(np.zeros((0, len(self.section_types))), inputs.n_truncated)
        log_proba = apply_temperature(blend(self.views, inputs), self.temperature)
        if self.novelty is None or inputs.vectors is None:
            return Looked(log_proba, inputs.n_truncated)
        return Looked(log_proba, inputs.n_truncated, self.novelty.is_beyond(inputs.vectors))

    def conclude(self, looked: Looked, lengths: Sequence[int]) -> list[list[Tag]]:
        """Let neighbours inform each other and decide; ``lengths`` counts the paragraphs of each article in order."""
        proba = self.decode(looked, lengths)
        tags = self._tags(proba, looked)
        ends = np.cumsum([0, *lengths])
        return [tags[ends[i] : ends[i + 1]] for i in range(len(lengths))]

    def decode(self, looked: Looked, lengths: Sequence[int]) -> Floats:
        """Probabilities (n_paragraphs, n_section_types) after neighbours informed each other."""
        if not len(looked):
            return np.zeros((0, len(self.section_types)))
        proba: Floats = np.exp(self.transitions.decode_all(looked.log_proba, lengths))
        return proba

    def predict_proba(self, articles: Sequence[Sequence[str]]) -> Floats:
        """Probabilities (n_paragraphs, n_section_types) of the paragraphs of all articles in order."""
        inputs = self.read([text for article in articles for text in article])
        return self.predict_proba_of(inputs, [len(article) for article in articles])

    def read(self, texts: Sequence[str]) -> Inputs:
        """Prepare texts for this tagger's views."""
        kinds = {view.kind for view in self.views}
        encoder = self.encoder if kinds & {"paragraph", "sentence"} else None
        return read_inputs(texts, encoder, with_sentences="sentence" in kinds)

    def predict_proba_of(self, inputs: Inputs, lengths: Sequence[int]) -> Floats:
        """Probabilities of inputs that were read before; ``lengths`` counts the paragraphs of each article in order."""
        return self.decode(self.look_at(inputs), lengths)

    def _tags(self, proba: Floats, looked: Looked) -> list[Tag]:
        best = proba.argmax(axis=1)
        abstained = proba[np.arange(len(proba)), best] < self.threshold
        columns = (
            proba.tolist(),
            best.tolist(),
            abstained.tolist(),
            looked.n_truncated.tolist(),
            self._label_sets(proba, best),
            [None] * len(proba) if looked.out_of_distribution is None else looked.out_of_distribution.tolist(),
        )
        return [
            Tag(
                section_type=self.section_types[winner],
                confidence=scores[winner],
                scores=dict(zip(self.section_types, scores, strict=True)),
                abstained=unsure,
                truncated_tokens=cut,
                label_set=label_set,
                out_of_distribution=beyond,
            )
            for scores, winner, unsure, cut, label_set, beyond in zip(*columns, strict=True)
        ]

    def _label_sets(self, proba: Floats, best: NDArray[np.int64]) -> list[tuple[str, ...]]:
        """As ``evaluation.label_sets``, but the best section type belongs to its set in any case."""
        if self.conformal_quantile is None:
            return [()] * len(proba)
        within = 1 - proba <= self.conformal_quantile
        within[np.arange(len(proba)), best] = True
        return [
            tuple(name for name, is_within in zip(self.section_types, row, strict=True) if is_within)
            for row in within.tolist()
        ]

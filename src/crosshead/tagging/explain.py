"""Why a paragraph got its section type: what happens to the answer where a sentence or a word is left out.

An *effect* is a real difference, not an estimate: the log-odds of the decided section type with the whole paragraph,
minus the log-odds without the part, by the same tagger and beside the same neighbours. A positive effect spoke for
the section type, a negative one against it. Effects of parts do not add up to the whole: parts that say the same
thing stand in for each other.

What leaves no text at all (a paragraph of one sentence, without it) is compared with a paragraph that says nothing,
so that its neighbours alone decide.

References
----------
Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, section 4.2 (occlusion),
doi:10.1007/978-3-319-10590-1_53. Li, Monroe and Jurafsky (2016), Understanding neural networks through representation
erasure, arXiv:1612.08220 (the same for words).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crosshead.errors import DataError
from crosshead.tagging.heads import Floats, LinearHead
from crosshead.tagging.tagger import Looked, Tag, Tagger, TfidfView
from crosshead.tagging.tfidf import terms
from crosshead.text import normalise, sentence_spans

MAX_CHARACTERS = 20_000
"""Longest paragraph that is explained; every part of it costs a look at the rest."""
MAX_SENTENCES = 64
"""Sentences of a paragraph with more are taken several together."""
MAX_WORDS = 32
"""Words that are left out one by one: those that the words' view gives most weight, then the longest."""
MAX_ROWS = 20_000
"""Paragraphs that are decoded together, copies of the article one below the other."""
_WORD = re.compile(r"\w\w+")

Span = tuple[int, int]


@dataclass(frozen=True)
class Effect:
    """A part of the paragraph and what it did to the decision."""

    text: str
    start: int
    end: int
    """``paragraph[start:end] == text``."""
    effect: float
    """Log-odds of the decided section type with the part, minus those without it."""


@dataclass(frozen=True)
class Explanation:
    """What the tagger decided and which parts moved it."""

    tag: Tag
    sentences: tuple[Effect, ...]
    """In the order of the paragraph."""
    words: tuple[Effect, ...]
    """The strongest first."""


@dataclass(frozen=True)
class Question:
    """What has to be looked at for an explanation: neighbours and paragraph, then the paragraph without each part."""

    paragraph: str
    position: int
    """Of the paragraph among its neighbours."""
    n_article: int
    texts: tuple[str, ...]
    sentences: tuple[tuple[Span, int | None], ...]
    """Each part with the place in ``texts`` of what is left without it, or None if nothing is left."""
    words: tuple[tuple[Span, int | None], ...]


def explain(tagger: Tagger, paragraph: str, before: Sequence[str] = (), after: Sequence[str] = ()) -> Explanation:
    """Explain the section type of a paragraph that stands between others.

    Raises
    ------
    DataError
        If a text cannot be tagged, or the paragraph is longer than ``MAX_CHARACTERS``.
    """
    question = ask(tagger, paragraph, before, after)
    return answer(tagger, question, tagger.look(question.texts))


def ask(tagger: Tagger, paragraph: str, before: Sequence[str] = (), after: Sequence[str] = ()) -> Question:
    """Say what has to be looked at, for callers that look in batches of their own; `answer` does the rest."""
    if len(paragraph) > MAX_CHARACTERS:
        raise DataError(
            f"the paragraph has {len(paragraph):,} characters; at most {MAX_CHARACTERS:,} are explained; split it"
        )
    texts = [*before, paragraph, *after]
    n_article = len(texts)

    def without(span: Span) -> int | None:
        rest = paragraph[: span[0]] + " " + paragraph[span[1] :]
        if not normalise(rest):
            return None
        texts.append(rest)
        return len(texts) - 1

    parts = _grouped(sentence_spans(paragraph), MAX_SENTENCES)
    sentences = tuple((span, without(span)) for span in parts)
    words = tuple((span, without(span)) for span in _candidates(tagger, paragraph))
    return Question(paragraph, len(before), n_article, tuple(texts), sentences, words)


def answer(tagger: Tagger, question: Question, looked: Looked) -> Explanation:
    """Explain from what the tagger saw in ``question.texts``."""
    article = looked.part(0, question.n_article)
    tag = tagger.conclude(article, [question.n_article])[0][question.position]
    decided = tagger.section_types.index(tag.section_type)
    variants = [question.position, *(row for _, row in (*question.sentences, *question.words))]
    decoded = _in_article(tagger, article, question.position, looked.log_proba, variants)
    log_odds = {row: _log_odds(rows, decided) for row, rows in zip(variants, decoded, strict=True)}
    whole = log_odds[question.position]

    def effects(parts: Iterable[tuple[Span, int | None]]) -> list[Effect]:
        return [Effect(question.paragraph[start:end], start, end, whole - log_odds[row]) for (start, end), row in parts]

    words = sorted(effects(question.words), key=lambda word: (-abs(word.effect), word.start))
    return Explanation(tag, tuple(effects(question.sentences)), tuple(words))


def _in_article(
    tagger: Tagger, article: Looked, position: int, log_proba: Floats, variants: Sequence[int | None]
) -> Floats:
    """Log-probabilities of each variant of a paragraph in its place; None stands for a paragraph that says nothing."""
    n = len(article)
    size = max(1, MAX_ROWS // n)
    decoded = []
    for start in range(0, len(variants), size):
        some = variants[start : start + size]
        rows = np.tile(article.log_proba, (len(some), 1))
        for i, variant in enumerate(some):
            rows[i * n + position] = 0.0 if variant is None else log_proba[variant]
        several = Looked(rows, np.tile(article.n_truncated, len(some)))
        decoded.append(np.log(tagger.decode(several, [n] * len(some))[position::n]))
    return np.concatenate(decoded)


def _log_odds(log_proba: Floats, decided: int) -> float:
    others = np.delete(log_proba, decided)
    if not others.size:
        return 0.0
    top = others.max()
    return float(log_proba[decided] - top - np.log(np.exp(others - top).sum()))


def _grouped(spans: list[Span], most: int) -> list[Span]:
    size = -(-len(spans) // most) or 1
    groups = [spans[i : i + size] for i in range(0, len(spans), size)]
    return [(group[0][0], group[-1][1]) for group in groups]


def _candidates(tagger: Tagger, paragraph: str) -> list[Span]:
    found = [match.span() for match in _WORD.finditer(paragraph)]
    weights = _weights(tagger, paragraph)

    def rank(span: Span) -> tuple[float, int, int]:
        word = paragraph[span[0] : span[1]].lower()
        return -weights.get(word, 0.0), span[0] - span[1], span[0]

    return sorted(sorted(found, key=rank)[:MAX_WORDS])


def _weights(tagger: Tagger, paragraph: str) -> dict[str, float]:
    """How far the words' views let each word push any section type; a run of words counts for each of its words."""
    cleaned = normalise(paragraph)
    pushes: defaultdict[str, float] = defaultdict(float)
    for view in tagger.views:
        if not (isinstance(view, TfidfView) and isinstance(view.head, LinearHead)):
            continue
        known = {view.tfidf.vocabulary[t]: t for t in terms(cleaned, view.tfidf.n_max) if t in view.tfidf.vocabulary}
        columns, values = view.tfidf.weights(cleaned)
        coef = view.head.coef[:, columns]
        push = np.abs(coef - coef.mean(axis=0)).max(axis=0) * values * view.weight
        for column, amount in zip(columns, push, strict=True):
            for word in set(known[int(column)].split()):
                pushes[word] += float(amount)
    return pushes

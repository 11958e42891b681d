"""Distil a tagger into a fast one: token vectors and words, whose heads learn the teacher's probabilities.

A probability says more than a label: how sure the teacher is, and of what else. What the teacher says of paragraphs
that it was trained on is too sure of itself, so of these it is asked again with copies of its classifiers that were
fitted on other articles; and the label, where there is one, counts as well.

References
----------
Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, arXiv:1503.02531.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from crosshead.evaluation.conformal import conformal_quantile
from crosshead.evaluation.scores import evaluate
from crosshead.evaluation.selective import abstention_threshold
from crosshead.tagging.heads import Floats, LinearHead, log_softmax
from crosshead.tagging.tagger import AnyView, Encoder, Inputs, ParagraphView, Tagger, TfidfView, read_inputs
from crosshead.tagging.tfidf import Tfidf
from crosshead.training.train import CONFORMAL_ALPHA, Folds, Paragraphs, at_own_temperature, calibrate_blend, train
from crosshead.training.views import Features, ViewSpec, features, fit_tfidf

BELIEF_IN_LABELS = 0.5
"""How much a label counts; the teacher's probabilities are the rest."""
WORDS, VECTOR = "words", "paragraph"
STRENGTHS: Mapping[str, tuple[float, ...]] = {WORDS: (0.01, 0.03), VECTOR: (0.03,)}
"""How strongly coefficients are held near zero: what cross-validation chooses from."""
VECTOR_WEIGHTS = (0.0, 0.1, 0.2)
"""Weight of the vector in the blend: what cross-validation chooses from."""
MOST_TERMS = 200_000
_MAX_STEPS = 200

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Student:
    """A distilled tagger, and how it was chosen."""

    tagger: Tagger
    """Its encoder is None where the words alone did best."""
    out_of_fold: Floats
    """Of the labelled paragraphs, by students that never saw their article."""
    chosen: Mapping[str, float]
    tried: Mapping[str, float]
    """Cross-validated macro-F1 of everything that was tried."""


def unseen_proba(
    teacher: Tagger, estimators: Mapping[str, Any], paragraphs: Paragraphs, folds: Folds, report: Report
) -> Floats:
    """Say what the teacher would say of its training paragraphs had it not seen their articles.

    Parameters
    ----------
    estimators
        The scikit-learn object of each view, copies of which are fitted; where one is missing, the teacher answers
        as it is.
    """
    if any(view.name not in estimators for view in teacher.views):
        return teacher.predict_proba(paragraphs.articles)
    specs = [
        ViewSpec(
            view.name,
            view.kind,  # type: ignore[arg-type]
            estimators[view.name],
            view.weight,
            view.tfidf.n_max if isinstance(view, TfidfView) else 1,
        )
        for view in teacher.views
    ]
    again = train(
        paragraphs,
        section_types=teacher.section_types,
        views=specs,
        encoder=teacher.encoder,
        folds=folds,
        decoder=teacher.transitions.spec,
        calibrate=True,
        risk=teacher.risk,
        report=lambda what, done, total: report("asking the teacher", done, total),
    )
    return again.out_of_fold


def targets_of(y: NDArray[np.int64], proba: Floats) -> Floats:
    """Mix the labels with what the teacher says of the same paragraphs."""
    return BELIEF_IN_LABELS * np.eye(proba.shape[1])[y] + (1 - BELIEF_IN_LABELS) * proba


def distil(
    teacher: Tagger,
    paragraphs: Paragraphs,
    targets: Floats,
    *,
    encoder: Encoder | None,
    folds: Folds,
    unlabelled: Sequence[str] = (),
    unlabelled_targets: Floats | None = None,
    seed: int = 0,
    report: Report = lambda what, done, total: None,
) -> Student:
    """Teach a static encoder's head and a head of words, choose by cross-validation, and fit on everything.

    Parameters
    ----------
    targets
        What to learn of each labelled paragraph, shape (n_paragraphs, n_section_types).
    encoder
        The static one; None for words alone.
    folds
        (training rows, test rows) of the labelled paragraphs, articles whole.
    unlabelled
        Paragraphs more, which every fold learns from; ``unlabelled_targets`` are the teacher's probabilities.
    """
    texts = [*paragraphs.texts, *unlabelled]
    inputs = read_inputs(texts, encoder, with_sentences=False)
    wanted = targets if unlabelled_targets is None else np.concatenate([targets, unlabelled_targets])
    more = np.arange(len(paragraphs.texts), len(texts))
    learners: list[_Words | _Vector] = [_Words(inputs), *([_Vector(inputs)] if encoder is not None else [])]
    jobs = [(learner, strength) for learner in learners for strength in STRENGTHS[learner.name]]
    scored: dict[tuple[str, float], Floats] = {}
    with threadpool_limits(1):
        for done, (learner, strength) in enumerate(jobs):
            report("fitting", done, len(jobs))
            rows = np.zeros_like(targets)
            for learned, asked in folds:
                rows[asked] = learner.answer(np.concatenate([learned, more]), asked, wanted, strength)
            scored[learner.name, strength] = rows
    choice, tried = _choose(scored, paragraphs, seed)
    with threadpool_limits(1):
        fitted = {
            learner.name: learner.view(wanted, choice[learner.name])
            for learner in learners
            if choice.get(f"{learner.name}_weight", 0.0) > 0
        }
    report("fitting", len(jobs), len(jobs))
    kept = {name: scored[name, choice[name]] for name in fitted}
    return _conclude(teacher, paragraphs, fitted, kept, choice, tried, encoder, folds)


def _choose(
    scored: Mapping[tuple[str, float], Floats], paragraphs: Paragraphs, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Try every blend of words and vector on the cross-validated rows."""
    own = {key: at_own_temperature(rows, paragraphs.y)[1] for key, rows in scored.items()}
    tried: dict[str, float] = {}
    best: dict[str, float] = {}
    for (name, strength), words in own.items():
        if name != WORDS:
            continue
        vectors = [(held, rows) for (other, held), rows in own.items() if other == VECTOR]
        blends = [(0.0, 0.0, words)] + [
            (held, weight, log_softmax((1 - weight) * words + weight * rows))
            for held, rows in vectors
            for weight in VECTOR_WEIGHTS
            if weight > 0
        ]
        for held, weight, rows in blends:
            macro_f1 = _macro_f1(paragraphs, rows, seed)
            tried[f"words held by {strength:g}, vector by {held:g} with weight {weight:g}"] = macro_f1
            if macro_f1 > best.get("macro_f1", -1.0):
                best = {"macro_f1": macro_f1, WORDS: strength, "words_weight": 1 - weight}
                best |= {VECTOR: held, "paragraph_weight": weight}
    return best, tried


def _macro_f1(paragraphs: Paragraphs, rows: Floats, seed: int) -> float:
    names = [str(i) for i in range(rows.shape[1])]
    scores = evaluate(paragraphs.y, np.exp(rows), paragraphs.article_ids, names, n_resamples=0, seed=seed)
    return scores.macro_f1.value


def _conclude(
    teacher: Tagger,
    paragraphs: Paragraphs,
    views: Mapping[str, AnyView],
    out_of_fold: Mapping[str, Floats],
    choice: Mapping[str, float],
    tried: Mapping[str, float],
    encoder: Encoder | None,
    folds: Folds,
) -> Student:
    """Calibrate as training does: on the labelled rows, by students that never saw their article."""
    own = {name: at_own_temperature(rows, paragraphs.y) for name, rows in out_of_fold.items()}
    weights = {name: choice[f"{name}_weight"] for name in views}
    temperature, transitions, proba = calibrate_blend(
        {name: rows for name, (_, rows) in own.items()},
        weights,
        paragraphs.y,
        paragraphs.lengths,
        decoder=teacher.transitions.spec,
        held_out=[asked for _, asked in folds],
        calibrate=True,
    )
    judged, told = paragraphs.take(paragraphs.judged), proba[paragraphs.judged]
    tagger = Tagger(
        section_types=teacher.section_types,
        views=tuple(_scaled(view, own[name][0], weights[name]) for name, view in views.items()),
        encoder=encoder if VECTOR in views else None,
        temperature=temperature,
        transitions=transitions,
        threshold=abstention_threshold(judged.y, told, risk=teacher.risk, article_ids=judged.article_ids),
        risk=teacher.risk,
        name="distilled",
        conformal_quantile=conformal_quantile(judged.y, told, CONFORMAL_ALPHA),
        conformal_alpha=CONFORMAL_ALPHA,
    )
    return Student(tagger, proba, choice, tried)


def _scaled(view: AnyView, temperature: float, weight: float) -> AnyView:
    head = view.head
    assert isinstance(head, LinearHead)
    cooled = LinearHead((head.coef / temperature).astype(np.float32), (head.intercept / temperature).astype(np.float32))
    return replace(view, head=cooled, weight=weight)


class _Vector:
    """Learns from the vectors of a static encoder."""

    name = VECTOR

    def __init__(self, inputs: Inputs) -> None:
        assert inputs.vectors is not None
        self._X = inputs.vectors

    def answer(self, learned: NDArray[np.int64], asked: NDArray[np.int64], targets: Floats, strength: float) -> Floats:
        """Fit on some rows and answer for others."""
        return fit_soft(self._X[learned], targets[learned], strength).log_proba(self._X[asked])

    def view(self, targets: Floats, strength: float) -> AnyView:
        """Fit on everything."""
        return ParagraphView(self.name, 1.0, fit_soft(self._X, targets, strength))


class _Words:
    """Learns from words and pairs of words."""

    name = WORDS
    _N_MAX, _MIN_DF = 2, 2

    def __init__(self, inputs: Inputs) -> None:
        spec = ViewSpec(self.name, "tfidf", LogisticRegression(), n_max=self._N_MAX)
        self._features: Features = features(spec, inputs)
        self._texts = inputs.texts

    def _fit(self, rows: NDArray[np.int64], targets: Floats, strength: float) -> tuple[Tfidf, LinearHead]:
        counts = self._features.X[rows]
        common = np.sort(np.bincount(counts.indices))[::-1]
        min_df = max(self._MIN_DF, int(common[MOST_TERMS]) + 1 if len(common) > MOST_TERMS else 0)
        columns, transformer = fit_tfidf(counts, min_df)
        vocabulary = {self._features.terms[column]: i for i, column in enumerate(columns)}
        tfidf = Tfidf(vocabulary, transformer.idf_.astype(np.float32), self._N_MAX)
        return tfidf, fit_soft(transformer.transform(counts[:, columns]), targets[rows], strength)

    def answer(self, learned: NDArray[np.int64], asked: NDArray[np.int64], targets: Floats, strength: float) -> Floats:
        """Fit on some rows and answer for others, as the tagger will."""
        tfidf, head = self._fit(learned, targets, strength)
        return head.from_scores(tfidf.scores([self._texts[row] for row in asked], head.coef))

    def view(self, targets: Floats, strength: float) -> AnyView:
        """Fit on everything."""
        tfidf, head = self._fit(np.arange(len(targets)), targets, strength)
        return TfidfView(self.name, 1.0, head, tfidf)


def fit_soft(X: Any, targets: Floats, strength: float) -> LinearHead:
    """Fit a multinomial logistic regression to probabilities instead of labels.

    Minimises the summed cross-entropy plus ``strength / 2`` times the squared coefficients; with targets of zeros and
    ones that is scikit-learn's ``LogisticRegression(C=1 / strength)``.
    """
    (n_rows, n_features), n_types = X.shape, targets.shape[1]
    X = X.astype(np.float64)
    transposed = X.T.tocsr() if hasattr(X, "tocsr") else X.T

    def loss(flat: Floats) -> tuple[float, Floats]:
        coef, intercept = flat[:-n_types].reshape(n_features, n_types), flat[-n_types:]
        log_proba = log_softmax(X @ coef + intercept)
        wrong = np.exp(log_proba) * targets.sum(axis=1, keepdims=True) - targets
        value = -(targets * log_proba).sum() + strength / 2 * (coef**2).sum()
        slope = np.concatenate([(transposed @ wrong + strength * coef).ravel(), wrong.sum(axis=0)])
        return value / n_rows, slope / n_rows

    start = np.zeros((n_features + 1) * n_types)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS, "gtol": 1e-6}).x
    coef = np.ascontiguousarray(found[:-n_types].reshape(n_features, n_types).T, dtype=np.float32)
    return LinearHead(coef, found[-n_types:].astype(np.float32))


@dataclass(frozen=True)
class Speed:
    """How fast a tagger tags paragraphs one by one."""

    per_s: float
    cpu_us: float
    """Processor time for a paragraph, in microseconds: the figure that a busy machine spoils least."""


def measure_speed(tagger: Tagger, texts: Sequence[str], *, at_least_s: float, at_most: int = 100_000) -> Speed:
    """Time the whole way from texts to tags, no text twice: words are turned round, which changes no length."""
    tagger.tag_texts(texts[:64])  # everything is loaded
    n_done, turned = 0, 0
    spent = spent_cpu = 0.0
    while spent < at_least_s and n_done < at_most:
        turned += 1
        fresh = [_turn(text, turned) for text in texts]
        started, cpu = time.perf_counter(), time.process_time()
        for first in range(0, len(fresh), 512):
            tagger.tag_texts(fresh[first : first + 512])
        spent, spent_cpu = spent + time.perf_counter() - started, spent_cpu + time.process_time() - cpu
        n_done += len(fresh)
    return Speed(n_done / spent, spent_cpu / n_done * 1e6)


def _turn(text: str, n: int) -> str:
    words = text.split()
    cut = n % max(len(words), 1)
    return " ".join([*words[cut:], *words[:cut]])

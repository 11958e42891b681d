"""Fit views: scikit-learn classifiers on what each view sees, turned into plain arrays at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from crosshead.errors import ConfigError
from crosshead.tagging.heads import ConstantHead, Floats, Head, LinearHead, NeighboursHead
from crosshead.tagging.tagger import AnyView, Inputs, ParagraphView, SentenceView, TfidfView, average_by_owner
from crosshead.tagging.tfidf import Tfidf, count_terms

Kind = Literal["paragraph", "sentence", "tfidf"]
_IMPOSSIBLE = -30.0
"""Logit of a section type that the classifier never saw."""


@dataclass(frozen=True)
class ViewSpec:
    """One view as the configuration asks for it."""

    name: str
    kind: Kind
    classifier: ClassifierMixin
    weight: float = 1.0
    n_max: int = 2
    min_df: int = 2


@dataclass
class Features:
    """What one view sees of a set of paragraphs; rows of ``X`` belong to ``owner``'s paragraph."""

    spec: ViewSpec
    X: Any
    owner: NDArray[np.int64]
    n_paragraphs: int
    terms: list[str] = field(default_factory=list)

    def rows_of(self, paragraphs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of ``X`` that belong to these paragraphs."""
        wanted = np.zeros(self.n_paragraphs, dtype=bool)
        wanted[paragraphs] = True
        return np.flatnonzero(wanted[self.owner])


@dataclass(frozen=True)
class FittedView:
    """A view ready to tag, with the scikit-learn object that it came from."""

    view: AnyView
    estimator: ClassifierMixin


def features(spec: ViewSpec, inputs: Inputs) -> Features:
    """Build what a view sees, once for all folds."""
    n = len(inputs.texts)
    if spec.kind == "paragraph":
        return Features(spec, inputs.vectors, np.arange(n), n)
    if spec.kind == "sentence":
        assert inputs.sentence_owner is not None
        return Features(spec, inputs.sentence_vectors, inputs.sentence_owner, n)
    # A term of too few paragraphs is one of too few in any fold.
    counted = count_terms(inputs.texts, spec.n_max, spec.min_df)
    entries = (counted.counts.astype(np.float64), (counted.rows, counted.columns))
    counts = sp.csr_matrix(entries, shape=(n, len(counted.terms)))
    counts.sort_indices()
    return Features(spec, counts, np.arange(n), n, counted.terms)


@dataclass(frozen=True)
class Design:
    """What one view shows of a split: rows to learn from with their section types, and rows to answer for."""

    spec: ViewSpec
    X: Any
    targets: NDArray[np.int64]
    asked: Any
    owner: NDArray[np.int64]
    """Which of the asked paragraphs each row of ``asked`` belongs to."""
    n_asked: int


def design(feats: Features, y: NDArray[np.int64], learned: NDArray[np.int64], asked: NDArray[np.int64]) -> Design:
    """Lay out what a view sees for learning from some paragraphs and answering for others.

    Nothing here depends on the classifier or the view's weight, so a search lays out once and fits many times.
    """
    rows, asked_rows = feats.rows_of(learned), feats.rows_of(asked)
    X, other = feats.X[rows], feats.X[asked_rows]
    if feats.spec.kind == "tfidf":
        columns, transformer = fit_tfidf(X, feats.spec.min_df)
        X = transformer.transform(X[:, columns])
        other = _weigh(other[:, columns], transformer.idf_.astype(np.float32))
    position = np.full(feats.n_paragraphs, -1)
    position[asked] = np.arange(len(asked))
    return Design(feats.spec, X, y[feats.owner[rows]], other, position[feats.owner[asked_rows]], len(asked))


def answer(laid_out: Design, classifier: ClassifierMixin, n_section_types: int) -> tuple[Head, Floats]:
    """Fit a classifier on a design; return its head and the log-probabilities of the asked paragraphs.

    They equal what the view that `fit` makes of the same paragraphs says of them.
    """
    estimator = _fitted(classifier, laid_out.X, laid_out.targets)
    head = _head_of(laid_out.spec, estimator, n_section_types)
    if laid_out.spec.kind == "tfidf" and isinstance(head, LinearHead):
        return head, head.from_scores(laid_out.asked @ head.coef.T.astype(np.float64))
    raw = head.log_proba(laid_out.asked)
    if laid_out.spec.kind == "sentence":
        raw = average_by_owner(raw, laid_out.owner, laid_out.n_asked)
    return head, raw


def fit(feats: Features, y: NDArray[np.int64], paragraphs: NDArray[np.int64], n_section_types: int) -> FittedView:
    """Fit one view on these paragraphs; ``y`` holds the section type of every paragraph, encoded in taxonomy order."""
    rows = feats.rows_of(paragraphs)
    targets = y[feats.owner[rows]]
    spec = feats.spec
    if spec.kind != "tfidf":
        estimator = _fitted(spec.classifier, feats.X[rows], targets)
        kind = ParagraphView if spec.kind == "paragraph" else SentenceView
        return FittedView(kind(spec.name, spec.weight, _head_of(spec, estimator, n_section_types)), estimator)
    columns, transformer = fit_tfidf(feats.X[rows], spec.min_df)
    estimator = _fitted(spec.classifier, transformer.transform(feats.X[rows][:, columns]), targets)
    head = _head_of(spec, estimator, n_section_types)
    assert isinstance(head, LinearHead | ConstantHead)
    vocabulary = {feats.terms[column]: i for i, column in enumerate(columns)}
    tfidf = Tfidf(vocabulary, transformer.idf_.astype(np.float32), spec.n_max)
    return FittedView(TfidfView(spec.name, spec.weight, head, tfidf), estimator)


def _fitted(classifier: ClassifierMixin, X: Any, targets: NDArray[np.int64]) -> ClassifierMixin:
    """Fit a copy of a classifier, to the same bits whatever else is being fitted."""
    estimator = clone(classifier)
    with _LIBLINEAR.use(alone=_draws(estimator, X)) if _is_liblinear(estimator) else nullcontext():
        return estimator.fit(X, targets)


def _is_liblinear(estimator: ClassifierMixin) -> bool:
    return isinstance(estimator, LinearSVC) or getattr(estimator, "solver", None) == "liblinear"


def _draws(estimator: ClassifierMixin, X: Any) -> bool:
    """Say if liblinear draws random numbers: it does for the dual problem, not for the primal one."""
    if not isinstance(estimator, LinearSVC) or estimator.loss != "squared_hinge":
        return True
    return estimator.dual is True or (estimator.dual == "auto" and X.shape[0] < X.shape[1])


class _Turns:
    """Lets many use something together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_users = 0

    @contextmanager
    def use(self, *, alone: bool) -> Iterator[None]:
        """Wait until nobody else uses it, or, where ``alone`` is false, nobody uses it alone."""
        with self._changed:
            self._changed.wait_for(lambda: self._n_users == 0 or (self._n_users > 0 and not alone))
            self._n_users = -1 if alone else self._n_users + 1
        try:
            yield
        finally:
            with self._changed:
                self._n_users = 0 if alone else self._n_users - 1
                self._changed.notify_all()


_LIBLINEAR = _Turns()
"""liblinear has one random generator a process, and every fit seeds it: a fit that draws numbers must be alone."""


def _head_of(spec: ViewSpec, estimator: ClassifierMixin, n_section_types: int) -> Head:
    """Turn a fitted classifier into the head of a view, which for TF-IDF terms must be linear or constant."""
    if spec.kind != "tfidf":
        return to_head(estimator, n_section_types)
    head = None if isinstance(estimator, KNeighborsClassifier) else to_head(estimator, n_section_types)
    if not isinstance(head, LinearHead | ConstantHead):
        raise ConfigError(
            f"view {spec.name!r} got classifier {type(estimator).__name__}; allowed on TF-IDF terms are "
            f"linear classifiers (logreg, linear_svm) and majority; set views.{spec.name}.classifier or views=embedding"
        )
    return head


def fit_tfidf(counts: Any, min_df: int) -> tuple[NDArray[np.int64], TfidfTransformer]:
    """Keep terms of at least ``min_df`` paragraphs of these rows, as TfidfVectorizer fitted on them alone would."""
    document_frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    columns = np.flatnonzero(document_frequency >= min_df)
    if not len(columns):
        raise ConfigError(
            f"no term stands in {min_df} training paragraphs; lower the view's min_df or bring more articles"
        )
    return columns, TfidfTransformer(sublinear_tf=True).fit(counts[:, columns])


def _weigh(counts: Any, idf: NDArray[np.float32]) -> Any:
    weighted = counts.copy()
    weighted.data = (1.0 + np.log(weighted.data)) * idf[weighted.indices]
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
    return sp.diags(1.0 / np.where(norms > 0, norms, 1.0)) @ weighted


def to_head(estimator: ClassifierMixin, n_section_types: int) -> Head:
    """Write a fitted scikit-learn classifier as plain arrays; margins stand for logits until `with_temperature`.

    ``estimator.classes_`` may lack section types; they get a probability near zero.

    Raises
    ------
    ConfigError
        If the classifier is of a kind that no head can stand for.
    """
    classes = np.asarray(estimator.classes_)
    if isinstance(estimator, DummyClassifier):
        prior = np.full(n_section_types, 1e-3)
        prior[classes] += estimator.class_prior_
        return ConstantHead(np.log(prior / prior.sum()))
    if isinstance(estimator, KNeighborsClassifier):
        return _neighbours(estimator, n_section_types)
    if not hasattr(estimator, "coef_"):
        raise ConfigError(
            f"classifier {type(estimator).__name__} cannot be saved for tagging; allowed are linear classifiers with "
            "coef_ (LogisticRegression, LinearSVC, SGDClassifier, RidgeClassifier, LinearDiscriminantAnalysis), "
            "KNeighborsClassifier and DummyClassifier"
        )
    coef, intercept = np.asarray(estimator.coef_), np.asarray(estimator.intercept_)
    if len(classes) == 2 and len(coef) == 1:
        coef, intercept = np.vstack([0 * coef, coef]), np.array([0.0, float(intercept[0])])
    full_coef = np.zeros((n_section_types, coef.shape[1]), dtype=np.float32)
    full_intercept = np.full(n_section_types, _IMPOSSIBLE, dtype=np.float32)
    full_coef[classes], full_intercept[classes] = coef, intercept
    return LinearHead(full_coef, full_intercept)


def with_temperature(fitted: FittedView, temperature: float) -> FittedView:
    """Divide a linear view's logits by a temperature; other heads have none.

    Margins of a linear SVM become log-probabilities that way, and every view speaks at its true strength in the blend.
    """
    head = fitted.view.head
    if not isinstance(head, LinearHead):
        return fitted
    scaled = LinearHead((head.coef / temperature).astype(np.float32), (head.intercept / temperature).astype(np.float32))
    return replace(fitted, view=replace(fitted.view, head=scaled))


def _neighbours(estimator: KNeighborsClassifier, n_section_types: int) -> NeighboursHead:
    if estimator.weights != "uniform" or estimator.effective_metric_ not in ("euclidean", "cosine"):
        raise ConfigError(
            f"KNeighborsClassifier got weights={estimator.weights!r}, metric={estimator.effective_metric_!r}; "
            "allowed are weights='uniform' with metric 'cosine' or 'euclidean' (vectors have unit length)"
        )
    labels = np.asarray(estimator.classes_)[np.asarray(estimator._y)]
    return NeighboursHead(
        np.asarray(estimator._fit_X, dtype=np.float32),
        labels.astype(np.int32),
        np.array([min(estimator.n_neighbors, len(labels))], dtype=np.int32),
        np.array([n_section_types], dtype=np.int32),
    )


def uses_encoder(specs: Sequence[ViewSpec]) -> bool:
    """Whether any view looks at vectors."""
    return any(spec.kind != "tfidf" for spec in specs)

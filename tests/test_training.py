from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

import tiny
from crosshead.encoders.graph import GraphEncoder
from crosshead.errors import ConfigError, DataError
from crosshead.evaluation.conformal import conformal_quantile
from crosshead.evaluation.selective import ABSTAIN_ALWAYS, abstention_threshold
from crosshead.tagging.calibration import apply_temperature
from crosshead.tagging.decoding import DecoderSpec
from crosshead.tagging.tagger import read_inputs
from crosshead.training import views
from crosshead.training.train import CONFORMAL_ALPHA, Paragraphs, TrainResult, train


@pytest.fixture(scope="module")
def inputs(tiny_graph: Path):
    return read_inputs(tiny.training_rows()[0], GraphEncoder(tiny_graph), with_sentences=True)


@pytest.fixture(scope="module")
def result(tiny_graph: Path) -> TrainResult:
    return tiny.build_tagger(tiny_graph)


@pytest.mark.parametrize("kind", ["paragraph", "sentence", "tfidf"])
@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(C=3),
        LinearSVC(random_state=0),
        RidgeClassifier(),
        SGDClassifier(random_state=0),
        DummyClassifier(),
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_head_agrees_with_its_scikit_learn_classifier(kind, classifier, inputs) -> None:
    y = tiny.training_rows()[1]
    feats = views.features(views.ViewSpec("v", kind, classifier, min_df=1), inputs)
    rows = np.arange(len(y))
    fitted = views.fit(feats, y, rows, 4)
    ours = views.answer(views.design(feats, y, rows, rows), classifier, 4)[1]
    np.testing.assert_allclose(np.exp(ours).sum(axis=1), 1.0)
    np.testing.assert_allclose(ours, fitted.view.log_proba(inputs), atol=1e-6)
    if kind == "paragraph":
        assert (ours.argmax(axis=1) == fitted.estimator.predict(feats.X)).all()
    if kind == "paragraph" and isinstance(classifier, LogisticRegression):
        np.testing.assert_allclose(np.exp(ours), fitted.estimator.predict_proba(feats.X), atol=1e-5)


@pytest.mark.parametrize("kind", ["paragraph", "sentence", "tfidf"])
def test_a_temperature_folded_into_a_view_is_a_temperature(kind, inputs) -> None:
    y = tiny.training_rows()[1]
    feats = views.features(views.ViewSpec("v", kind, LogisticRegression(), min_df=1), inputs)
    fitted = views.fit(feats, y, np.arange(len(y)), 4)
    plain, scaled = fitted.view.log_proba(inputs), views.with_temperature(fitted, 1.7).view.log_proba(inputs)
    np.testing.assert_allclose(scaled, apply_temperature(plain, 1.7), atol=1e-5)


def test_neighbours_agree_with_scikit_learn(inputs) -> None:
    y = tiny.training_rows()[1]
    spec = views.ViewSpec("v", "paragraph", KNeighborsClassifier(3, metric="cosine"))
    feats = views.features(spec, inputs)
    fitted = views.fit(feats, y, np.arange(len(y)), 4)
    rows = np.arange(len(y))
    proba = np.exp(views.answer(views.design(feats, y, rows, rows), spec.classifier, 4)[1])
    np.testing.assert_allclose(proba, (fitted.estimator.predict_proba(feats.X) * 3 + 0.125) / 3.5, atol=1e-6)


def test_a_section_type_missing_in_training_gets_almost_nothing(inputs) -> None:
    y = tiny.training_rows()[1]
    rows = np.flatnonzero(y != 3)
    feats = views.features(views.ViewSpec("v", "paragraph", LogisticRegression()), inputs)
    assert np.exp(views.fit(feats, y, rows, 4).view.log_proba(inputs))[:, 3].max() < 1e-6


def test_two_section_types_work(inputs) -> None:
    y = (tiny.training_rows()[1] == 0).astype(int)
    feats = views.features(views.ViewSpec("v", "paragraph", LogisticRegression()), inputs)
    fitted = views.fit(feats, y, np.arange(len(y)), 2)
    np.testing.assert_allclose(
        np.exp(fitted.view.log_proba(inputs)), fitted.estimator.predict_proba(inputs.vectors), atol=1e-5
    )


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (RandomForestClassifier(3), "RandomForestClassifier cannot be saved for tagging"),
        (KNeighborsClassifier(3, metric="manhattan"), "metric='manhattan'; allowed are"),
        (KNeighborsClassifier(3, weights="distance"), "weights='distance'"),
    ],
)
def test_classifiers_that_no_head_can_stand_for_are_refused(classifier, message, inputs) -> None:
    feats = views.features(views.ViewSpec("v", "paragraph", classifier), inputs)
    with pytest.raises(ConfigError, match=message):
        views.fit(feats, tiny.training_rows()[1], np.arange(12), 4)


@pytest.mark.parametrize("n_features", [20, 200], ids=["primal", "dual"])
def test_fits_at_once_are_the_fits_one_after_the_other(n_features: int) -> None:
    """liblinear draws from one generator a process; fits in threads must not disturb each other."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, n_features)), rng.integers(0, 4, 120)
    spec = views.ViewSpec("v", "paragraph", LinearSVC(C=10, random_state=0, tol=1e-12, max_iter=20))
    feats = views.Features(spec, X, np.arange(120), 120)
    others = views.Features(spec, rng.normal(size=(120, 20)), np.arange(120), 120)
    rows = np.arange(120)

    def coef(i: int) -> np.ndarray:
        return np.asarray(views.fit(others if i % 3 == 0 else feats, y, rows, 4).view.head.coef)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # wanted: it never ends by itself, so every draw counts
        alone = [coef(i) for i in range(3)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(coef, range(60)))
    for i, found in enumerate(together):
        assert np.array_equal(found, alone[0 if i % 3 == 0 else 1])


def test_neighbours_on_words_are_refused(inputs) -> None:
    feats = views.features(views.ViewSpec("v", "tfidf", KNeighborsClassifier(3, metric="cosine"), min_df=1), inputs)
    with pytest.raises(ConfigError, match="allowed on TF-IDF terms are linear classifiers"):
        views.fit(feats, tiny.training_rows()[1], np.arange(12), 4)


def test_no_frequent_term_is_said(inputs) -> None:
    feats = views.features(views.ViewSpec("v", "tfidf", LogisticRegression(), min_df=13), inputs)
    with pytest.raises(ConfigError, match="no term stands in 13 training paragraphs"):
        views.fit(feats, tiny.training_rows()[1], np.arange(12), 4)


def test_out_of_fold_rows_come_from_models_that_never_saw_them(tiny_graph: Path) -> None:
    """Shuffle the section types of one fold's rows: its own out-of-fold rows must not change."""
    texts, y, lengths, ids = tiny.training_rows()
    rows = np.arange(3)
    folds = [(np.arange(3, 12), rows), (rows, np.arange(3, 12))]
    settings = {
        "section_types": tiny.SECTION_TYPES,
        "views": [views.ViewSpec("v", "paragraph", LogisticRegression())],
        "encoder": GraphEncoder(tiny_graph),
        "folds": folds,
        "decoder": DecoderSpec(),
        "calibrate": False,
        "risk": 0.9,
    }
    changed = y.copy()
    changed[:3] = [3, 2, 1]
    before = train(Paragraphs(texts, y, lengths, ids), **settings).out_of_fold
    after = train(Paragraphs(texts, changed, lengths, ids), **settings).out_of_fold
    np.testing.assert_allclose(before[:3], after[:3])
    assert not np.allclose(before[3:], after[3:])


def test_training_twice_gives_the_same_bits(tiny_graph: Path, result: TrainResult) -> None:
    again = tiny.build_tagger(tiny_graph)
    assert (again.out_of_fold == result.out_of_fold).all()
    texts = [tiny.training_rows()[0]]
    assert (again.tagger.predict_proba(texts) == result.tagger.predict_proba(texts)).all()


def test_what_is_done_meanwhile_is_done_once_and_its_failure_is_not_hidden() -> None:
    texts, y, lengths, ids = tiny.training_rows()
    settings = {
        "section_types": tiny.SECTION_TYPES,
        "views": [views.ViewSpec("v", "tfidf", LogisticRegression(), min_df=1)],
        "encoder": None,
        "folds": [(np.arange(3, 12), np.arange(3)), (np.arange(3), np.arange(3, 12))],
        "decoder": DecoderSpec(),
        "calibrate": False,
        "risk": 0.9,
    }
    calls: list[str] = []
    train(Paragraphs(texts, y, lengths, ids), **settings, meanwhile=lambda: calls.append("called"))
    assert calls == ["called"]
    with pytest.raises(ZeroDivisionError):
        train(Paragraphs(texts, y, lengths, ids), **settings, meanwhile=lambda: 1 / 0)


def test_fits_that_wait_are_called_off_when_training_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, y, lengths, ids = tiny.training_rows()
    begun, failed = threading.Event(), threading.Event()
    fits: list[int] = []

    class Slow(LogisticRegression):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            fits.append(len(y))
            begun.set()
            assert failed.wait(30)
            return super().fit(X, y, sample_weight)

    def fail() -> None:
        assert begun.wait(30)
        threading.Timer(0.2, failed.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr("crosshead.training.train.n_cores", lambda: 1)
    folds = [(np.arange(3, 12), np.arange(3)), (np.arange(3), np.arange(3, 12))] * 3
    with pytest.raises(KeyboardInterrupt):
        train(
            Paragraphs(texts, y, lengths, ids),
            section_types=tiny.SECTION_TYPES,
            views=[views.ViewSpec("v", "tfidf", Slow(), min_df=1)],
            encoder=None,
            folds=folds,
            decoder=DecoderSpec(),
            calibrate=False,
            risk=0.9,
            meanwhile=fail,
        )
    assert len(fits) == 1


def test_a_risk_that_cannot_be_kept_abstains_always_and_says_so(tiny_graph: Path) -> None:
    texts, y, lengths, ids = tiny.training_rows()
    result = train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=[views.ViewSpec("v", "paragraph", DummyClassifier())],
        encoder=GraphEncoder(tiny_graph),
        folds=[(np.arange(6, 12), np.arange(6)), (np.arange(6), np.arange(6, 12))],
        decoder=DecoderSpec(weight=0.0),
        calibrate=True,
        risk=0.01,
    )
    assert result.tagger.threshold == ABSTAIN_ALWAYS
    assert "every paragraph will be marked as not sure" in result.warnings[0]
    assert all(tag.abstained and tag.section_type in tiny.SECTION_TYPES for tag in result.tagger.tag_texts(texts))


def trained_with(graph: Path, decoder: DecoderSpec) -> TrainResult:
    texts, y, lengths, ids = tiny.training_rows()
    article = np.repeat(np.arange(len(lengths)), lengths)
    return train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=[views.ViewSpec("v", "paragraph", LogisticRegression(C=10))],
        encoder=GraphEncoder(graph),
        folds=[(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))],
        decoder=decoder,
        calibrate=True,
        risk=0.9,
    )


def test_a_sequence_changes_articles_and_leaves_paragraphs_on_their_own(tiny_graph: Path) -> None:
    sequence = trained_with(tiny_graph, DecoderSpec("sequence", 1.0, 0.01))
    alone = trained_with(tiny_graph, DecoderSpec())
    assert sequence.tagger.transitions.spec == DecoderSpec("sequence", 1.0, 0.01)
    assert not np.allclose(sequence.out_of_fold, alone.out_of_fold)
    texts, _, lengths, _ = tiny.training_rows()
    single = [[text] for text in texts]
    assert np.array_equal(sequence.tagger.predict_proba(single), alone.tagger.predict_proba(single))
    ends = np.cumsum([0, *lengths])
    articles = [texts[ends[i] : ends[i + 1]] for i in range(len(lengths))]
    together = sequence.tagger.tag_articles(articles)
    assert together == [sequence.tagger.tag_article(article) for article in articles]
    assert together != alone.tagger.tag_articles(articles)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="1 texts, 2 section types and articles of 2 paragraphs do not fit"):
        Paragraphs(["a"], np.array([0, 1]), [2], ["x"])


class TestTagger:
    def test_scores_are_probabilities_of_every_section_type(self, result: TrainResult) -> None:
        for tag in result.tagger.tag_texts(tiny.training_rows()[0]):
            assert list(tag.scores) == list(tiny.SECTION_TYPES)
            assert sum(tag.scores.values()) == pytest.approx(1.0)
            assert tag.confidence == max(tag.scores.values()) == tag.scores[tag.section_type]
            assert tag.abstained == (tag.confidence < result.tagger.threshold)

    def test_neighbours_in_the_call_change_nothing(self, result: TrainResult) -> None:
        texts = tiny.training_rows()[0]
        together = result.tagger.tag_texts(texts)
        assert together == [result.tagger.tag_texts([text])[0] for text in texts]
        assert result.tagger.tag_articles([texts[:3], texts[3:]]) == [
            result.tagger.tag_article(texts[:3]),
            result.tagger.tag_article(texts[3:]),
        ]

    def test_markup_and_line_breaks_change_nothing(self, result: TrainResult) -> None:
        plain = "Shells fell on the railway yard until noon."
        marked = "**Shells** fell on\nthe [railway yard](https://example.org)  until noon."
        assert result.tagger.tag_texts([plain]) == result.tagger.tag_texts([marked])

    def test_truncation_is_counted(self, result: TrainResult) -> None:
        long = "garrison " * 100
        assert result.tagger.tag_texts([long])[0].truncated_tokens == 100 + 2 - 64
        assert result.tagger.tag_texts(["garrison"])[0].truncated_tokens == 0

    def test_nothing_gives_nothing(self, result: TrainResult) -> None:
        assert result.tagger.tag_texts([]) == []
        assert result.tagger.tag_articles([[], []]) == [[], []]
        assert result.tagger.predict_proba([]).shape == (0, 4)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "paragraph 1 holds no text"),
            ("\u200b \n", "paragraph 1 holds no text"),
            ("x" * 200_001, "has 200,001 characters; at most 200,000"),
            (7, "paragraph 1 is int, not text"),
        ],
    )
    def test_bad_paragraphs_are_named(self, text, message, result: TrainResult) -> None:
        with pytest.raises(DataError, match=message):
            result.tagger.tag_article(["Guns.", text])


def test_the_learning_curve_ends_at_what_cross_validation_measured(tiny_graph: Path) -> None:
    texts, y, lengths, ids = tiny.training_rows()
    texts, y = texts * 2, np.concatenate([y, y])
    lengths, ids = lengths * 2, [*ids, *(f"{name} again" for name in ids)]
    article = np.repeat(np.arange(len(lengths)), lengths)
    folds = [(np.flatnonzero(article % 2 == i), np.flatnonzero(article % 2 != i)) for i in range(2)]
    result = train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=[views.ViewSpec("v", "tfidf", LogisticRegression(), min_df=1)],
        encoder=None,
        folds=folds,
        decoder=DecoderSpec(weight=0.0),
        calibrate=True,
        risk=0.9,
        curve_shares=[0.05, 0.5, 0.9],
    )
    assert [point.n_articles for point in result.curve] == sorted(point.n_articles for point in result.curve)
    assert result.curve[-1].n_articles == 4
    assert (result.curve[-1].proba == result.out_of_fold[result.curve[-1].rows]).all()
    assert len(result.curve) < 4  # a share without every section type is left out
    for point in result.curve:
        np.testing.assert_allclose(point.proba.sum(axis=1), 1.0)


def trained_with_singles(risk: float, curve_shares: Sequence[float] = ()) -> tuple[TrainResult, Paragraphs]:
    texts, y, lengths, ids = tiny.training_rows()
    n_types = len(tiny.SECTION_TYPES)
    one_each = [int(np.flatnonzero(y == label)[0]) for label in range(n_types)] * 2
    texts, y = [*texts, *(f"{texts[row]} Again." for row in one_each)], np.concatenate([y, y[one_each]])
    n_articles, n_rows = len(lengths), len(y)
    lengths, ids = [*lengths, *[1] * len(one_each)], [*ids, *(f"s{n}" for n in range(len(one_each)))]
    half = np.concatenate([np.repeat(np.arange(n_articles), lengths[:n_articles]) % 2, np.arange(2).repeat(n_types)])
    paragraphs = Paragraphs(texts, y, lengths, ids, np.arange(n_rows) >= n_rows - len(one_each))
    result = train(
        paragraphs,
        section_types=tiny.SECTION_TYPES,
        views=[views.ViewSpec("v", "tfidf", LogisticRegression(), min_df=1)],
        encoder=None,
        folds=[(np.flatnonzero(half == i), np.flatnonzero(half != i)) for i in range(2)],
        decoder=DecoderSpec(weight=0.0),
        calibrate=True,
        risk=risk,
        curve_shares=curve_shares,
    )
    return result, paragraphs


def test_single_paragraphs_are_in_every_part_of_the_curve_and_not_counted() -> None:
    result, paragraphs = trained_with_singles(0.9, [0.05, 0.5])
    n_articles = len(set(paragraphs.article_ids)) - int(paragraphs.is_single.sum())  # type: ignore[union-attr]
    assert len(result.curve) == 3  # one article has not every section type; with them, every part has
    assert [point.n_articles for point in result.curve] == [1, n_articles // 4, n_articles // 2]
    assert len(result.curve[0].rows) == len(paragraphs.y)  # they are tested as well


def test_confidences_are_chosen_on_articles_and_not_on_single_paragraphs() -> None:
    result, paragraphs = trained_with_singles(0.4)
    rows, proba = paragraphs.judged, result.out_of_fold
    own = paragraphs.take(rows)
    assert 0 < len(rows) < len(paragraphs.y)
    assert result.tagger.threshold == abstention_threshold(own.y, proba[rows], risk=0.4, article_ids=own.article_ids)
    assert result.tagger.conformal_quantile == conformal_quantile(own.y, proba[rows], CONFORMAL_ALPHA)
    assert result.tagger.conformal_quantile != conformal_quantile(paragraphs.y, proba, CONFORMAL_ALPHA)
    alone = replace(paragraphs, is_single=np.ones(len(paragraphs.y), dtype=bool))
    assert alone.judged.tolist() == list(range(len(paragraphs.y)))

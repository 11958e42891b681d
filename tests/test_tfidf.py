from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

import tiny
from crosshead.tfidf import Tfidf, terms


def _both(n_max: int) -> tuple[TfidfVectorizer, Tfidf]:
    texts = tiny.training_rows()[0]
    vectorizer = TfidfVectorizer(ngram_range=(1, n_max), sublinear_tf=True).fit(texts)
    return vectorizer, Tfidf(vectorizer.vocabulary_, vectorizer.idf_.astype(np.float32), n_max)


@given(st.lists(st.sampled_from(" ".join(tiny.training_rows()[0]).split()), max_size=40), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_weights_equal_scikit_learns(words: list[str], n_max: int) -> None:
    vectorizer, ours = _both(n_max)
    text = " ".join(words)
    columns, values = ours.weights(text)
    row = np.zeros(len(vectorizer.vocabulary_))
    row[columns] = values
    np.testing.assert_allclose(row, vectorizer.transform([text]).toarray()[0], atol=1e-6)


@given(st.text(max_size=80))
def test_terms_equal_scikit_learns_analyzer(text: str) -> None:
    assert sorted(terms(text, 2)) == sorted(TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()(text))


def test_scores_are_the_dot_product() -> None:
    vectorizer, ours = _both(2)
    coef = np.random.default_rng(0).normal(size=(4, len(vectorizer.vocabulary_))).astype(np.float32)
    texts = tiny.training_rows()[0]
    np.testing.assert_allclose(ours.scores(texts, coef), vectorizer.transform(texts) @ coef.T, atol=1e-5)


def test_a_text_without_known_terms_scores_zero() -> None:
    _, ours = _both(1)
    assert not ours.scores(["xyzzy"], np.ones((4, len(ours.vocabulary)), np.float32)).any()

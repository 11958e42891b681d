from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

import tiny
from crosshead.tagging.tfidf import Tfidf, count_terms, terms
from crosshead.text import normalise


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


@given(
    st.lists(st.lists(st.sampled_from([*" ".join(tiny.training_rows()[0]).split(), "xyzzy", "a"]), max_size=25)),
    st.integers(1, 4),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_scores_equal_the_weights_and_depend_on_their_text_alone(
    rows: list[list[str]], n_max: int, data: st.DataObject
) -> None:
    _, ours = _both(n_max)
    coef = np.random.default_rng(n_max).normal(size=(3, len(ours.vocabulary))).astype(np.float32)
    texts = [" ".join(row) for row in rows]
    scores = ours.scores(texts, coef)
    for text, row in zip(texts, scores, strict=True):
        columns, values = ours.weights(text)
        np.testing.assert_allclose(row, coef[:, columns].astype(np.float64) @ values, atol=1e-12)
    order = data.draw(st.permutations(range(len(texts))))
    assert (ours.scores([texts[i] for i in order], coef) == scores[order]).all()
    assert all((ours.scores([text], coef)[0] == row).all() for text, row in zip(texts[:2], scores, strict=False))


@given(st.text("aA bΣσ1_-.,’\u0301é", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_word_is_found_where_terms_finds_it(text: str) -> None:
    text = normalise(text)
    found = list(dict.fromkeys(terms(text, 3)))
    ours = Tfidf({term: i for i, term in enumerate(found)}, np.ones(len(found), dtype=np.float32), 3)
    columns, values = ours.weights(text)
    scores = ours.scores([text], np.eye(max(len(found), 1), len(found), dtype=np.float32))
    assert columns.tolist() == list(range(len(found)))
    np.testing.assert_allclose(scores[0][: len(found)], values, atol=1e-12)


@given(
    st.lists(st.lists(st.sampled_from(["Guns", "guns", "a", "b12", "no", "Σσ", "-", ""]), max_size=12), max_size=6),
    st.integers(1, 4),
    st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_counts_equal_scikit_learns(rows: list[list[str]], n_max: int, min_df: int) -> None:
    texts = [" ".join(row) for row in rows]
    ours = count_terms(texts, n_max, min_df)
    counted = np.zeros((len(texts), len(ours.terms)), dtype=np.int64)
    counted[ours.rows, ours.columns] = ours.counts
    known = sorted({term for text in texts for term in terms(text, n_max)})
    if not known:
        assert (ours.terms, ours.rows.tolist()) == ([], [])
        return
    theirs = CountVectorizer(ngram_range=(1, n_max), vocabulary=known).transform(texts).toarray()
    kept = (theirs > 0).sum(axis=0) >= min_df
    assert ours.terms == [term for term, is_kept in zip(known, kept, strict=True) if is_kept]
    np.testing.assert_array_equal(counted, theirs[:, kept])
    assert (ours.counts > 0).all()

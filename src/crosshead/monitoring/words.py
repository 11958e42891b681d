"""Which words tell the sides apart, for a reader: a linear classifier on TF-IDF, and where its heaviest terms stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from crosshead.monitoring.results import Word

MIN_ARTICLES = 3
"""A word of fewer articles is a name, and says something about them alone."""
MAX_TERMS = 20_000


def telling_words(
    texts: list[str], article: NDArray[np.int64], is_current: NDArray[np.bool_], n: int = 12
) -> list[Word]:
    """Find the terms that speak most for the current side, then those that speak most for the reference.

    Parameters
    ----------
    article
        Of each text; ``is_current`` is told of each article.
    """
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_TERMS, dtype=np.float64)
    X = vectorizer.fit_transform(texts)
    stands = _articles_with(X, article, len(is_current))
    n_with = [np.asarray(stands[np.flatnonzero(is_current == side)].sum(axis=0)).ravel() for side in (False, True)]
    kept = np.flatnonzero(n_with[0] + n_with[1] >= MIN_ARTICLES)
    if not len(kept):
        return []
    y = is_current[article]
    model = LogisticRegression(class_weight="balanced", max_iter=500, tol=1e-3).fit(X[:, kept], y)
    names = vectorizer.get_feature_names_out()[kept]
    shares = [n[kept] / (is_current == side).sum() for n, side in zip(n_with, (False, True), strict=True)]
    # A heavy term that stands nowhere, or in one long article, tells little: what counts is how many articles have it.
    telling = model.coef_[0] * (shares[1] - shares[0])
    order = np.argsort(-telling, kind="stable")
    return [
        Word(str(names[i]), float(shares[0][i]), float(shares[1][i]), float(np.sign(model.coef_[0][i]) * telling[i]))
        for side in (1, -1)
        for i in [i for i in order if np.sign(model.coef_[0][i]) == side and telling[i] > 0][:n]
    ]


def _articles_with(X: Any, article: NDArray[np.int64], n_articles: int) -> Any:
    """Say of each article and term whether it stands there; sparse, shape (n_articles, n_terms)."""
    rows = sp.csr_matrix((np.ones(len(article)), (article, np.arange(len(article)))), shape=(n_articles, len(article)))
    counts = sp.csr_matrix(rows @ X)
    counts.data = np.ones_like(counts.data)
    return counts

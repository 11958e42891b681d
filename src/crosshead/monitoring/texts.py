"""What can be counted in texts alone: words, words that a model has no weight for, languages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crosshead.monitoring.language import languages
from crosshead.monitoring.sample import Sample
from crosshead.tagging.tfidf import Tfidf, terms


def with_counts(sample: Sample, tfidf: Tfidf | None) -> Sample:
    """Count what checks on texts compare; nothing where there is no text.

    Parameters
    ----------
    tfidf
        The words of the model, if it has a view on words.
    """
    if sample.texts is None:
        return sample
    words = [terms(text, 1) for text in sample.texts]
    unknown = None
    if tfidf is not None:
        known = tfidf.vocabulary
        unknown = np.array([sum(word not in known for word in found) / max(len(found), 1) for found in words])
    lengths = np.array([len(text.split()) for text in sample.texts], dtype=np.float64)
    return replace(sample, n_words=lengths, unknown=unknown, languages=tuple(languages(sample.texts)))

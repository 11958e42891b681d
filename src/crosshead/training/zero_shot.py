"""Section types from nothing but the taxonomy's words: each paragraph goes to the description that it is nearest to.

Three steps, each measured in experiments/zero_shot: the vectors of what the taxonomy says of a section type are
averaged; similarities are compared with what is usual among the paragraphs at hand, because some descriptions are near
to everything; and the surest answers teach a linear head, which finds words that no description has.

References
----------
Yin, Hay and Roth (2019), Benchmarking zero-shot text classification, doi:10.18653/v1/D19-1404 (labels as text).
Scudder (1965), Probability of error of some adaptive pattern-recognition machines, doi:10.1109/TIT.1965.1053799
(self-training).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import ConfigError, EncoderError
from crosshead.tagging.heads import LinearHead
from crosshead.tagging.tagger import Encoder
from crosshead.taxonomy import SectionType, Taxonomy
from crosshead.text import normalise
from crosshead.training.first_model import learn

TEMPERATURE = 0.03
"""Difference of two cosines that makes one section type e times as likely as another."""
ROUNDS = 1
_CLAUSE = re.compile(r"[,;:]")


def type_vectors(taxonomy: Taxonomy, encoder: Encoder) -> NDArray[np.float32]:
    """Return a unit vector for each section type: its description, that in clauses, its heading phrases, averaged.

    Raises
    ------
    ConfigError
        If a section type has neither a description nor heading phrases.
    """
    rows = []
    for definition in taxonomy.definitions:
        kinds = _words(definition)
        if not kinds:
            raise ConfigError(
                f"section type {definition.name!r} has neither a description nor heading phrases, so no paragraph can "
                "be near it; describe it in the taxonomy"
            )
        rows.append(_unit(np.sum([_unit(encoder.encode(texts).vectors.mean(axis=0)) for texts in kinds], axis=0)))
    return np.stack(rows)


def describe(taxonomy: Taxonomy, encoder: Encoder, vectors: NDArray[np.float32]) -> LinearHead:
    """Make a head that gives each paragraph to the nearest section type.

    Parameters
    ----------
    vectors
        Of paragraphs, unit length. Each section type's mean similarity to them is taken off, so that all are chosen
        about equally often among them.

    Raises
    ------
    ConfigError
        If a section type says nothing of itself.
    EncoderError
        If the vectors come from another encoder.
    """
    types = type_vectors(taxonomy, encoder)
    if types.shape[1] != vectors.shape[1]:
        raise EncoderError(
            f"the paragraphs' vectors have {vectors.shape[1]} dimensions, the encoder's {types.shape[1]}; encode both "
            "with the same encoder"
        )
    usual = types @ vectors.mean(axis=0)
    return LinearHead((types / TEMPERATURE).astype(np.float32), (-usual / TEMPERATURE).astype(np.float32))


def zero_shot(
    taxonomy: Taxonomy, encoder: Encoder, vectors: NDArray[np.float32], *, rounds: int = ROUNDS
) -> LinearHead:
    """Describe the section types, and let the surest answers teach a head ``rounds`` times; 0 leaves it at that."""
    head = describe(taxonomy, encoder, vectors)
    return learn(vectors, head.log_proba(vectors), rounds=rounds) if rounds else head


def _words(definition: SectionType) -> list[list[str]]:
    """Return what a section type says of itself, by kind."""
    description = normalise(definition.description)
    clauses = [clause.strip(" .") for clause in _CLAUSE.split(description)]
    kinds = [
        [description] if description else [],
        [clause for clause in clauses if clause],
        [normalise(phrase) for phrase in definition.heading_phrases],
    ]
    return [texts for texts in kinds if texts]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

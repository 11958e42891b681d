"""Whether the parts of a tagger fit each other: asked of every saved tagger before it answers for the first time.

A file that somebody made to do harm, or that an older program wrote wrongly, may have every hash right. What does not
fit would otherwise show at the first text, as another library's error, as NaN, or as work without end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.tagging.decoding import Chain
from crosshead.tagging.heads import ConstantHead, Head, LinearHead, NeighboursHead
from crosshead.tagging.novelty import Novelty
from crosshead.tagging.tagger import AnyView, Tagger, TfidfView
from crosshead.tagging.tfidf import Tfidf

LONGEST_TERM = 16
"""Words in a term; above any that is trained."""


def check(tagger: Tagger) -> None:
    """Compare every part with the others.

    Raises
    ------
    ValueError
        If one does not fit; it says which.
    """
    types = tagger.section_types
    if not types or len(set(types)) < len(types) or not all(isinstance(name, str) and name for name in types):
        raise ValueError(f"the section types are {types!r:.200}; each needs a name of its own")
    if not tagger.views:
        raise ValueError("it has no view")
    _check_numbers(tagger)
    for view in tagger.views:
        _check_view(view, tagger)
    if tagger.novelty is not None:
        _check_novelty(tagger.novelty, tagger.encoder.n_dimensions if tagger.encoder is not None else 0)
    arrays = tagger.transitions.arrays()
    _check_arrays("the decoder", arrays)
    of_pairs = arrays["step" if isinstance(tagger.transitions, Chain) else "log_ratio"]
    if of_pairs.shape != (len(types), len(types)):
        raise ValueError(f"the decoder is for {len(of_pairs)} section types, not {len(types)}")


def _check_numbers(tagger: Tagger) -> None:
    named = {"threshold": tagger.threshold, "risk": tagger.risk, "temperature": tagger.temperature}
    named |= {"decoder_weight": tagger.transitions.spec.weight, "conformal_alpha": tagger.conformal_alpha}
    named |= {f"the weight of view {view.name!r}": view.weight for view in tagger.views}
    if tagger.conformal_quantile is not None:
        named["conformal_quantile"] = tagger.conformal_quantile
    for name, value in named.items():
        if not np.isfinite(value) or value < 0:
            raise ValueError(f"{name} is {value!r}; it must be a number from 0")
    if tagger.temperature == 0 or not any(view.weight for view in tagger.views):
        raise ValueError("temperature, and the weight of at least one view, must be above 0")


def _check_view(view: AnyView, tagger: Tagger) -> None:
    what = f"view {view.name!r}"
    if isinstance(view, TfidfView):
        _check_terms(what, view.tfidf)
        width = len(view.tfidf.vocabulary)
    elif tagger.encoder is None:
        raise ValueError(f"{what} looks at vectors, but there is no encoder")
    else:
        width = tagger.encoder.n_dimensions
    _check_arrays(what, view.head.arrays())
    _check_head(what, view.head, len(tagger.section_types), width)
    if isinstance(view, TfidfView) and isinstance(view.head, NeighboursHead):
        raise ValueError(f"{what} looks at words, and its head at vectors")


def _check_head(what: str, head: Head, n_types: int, width: int) -> None:
    if isinstance(head, LinearHead):
        _check_shapes(what, {"coef": (head.coef, (n_types, width)), "intercept": (head.intercept, (n_types,))})
    elif isinstance(head, ConstantHead):
        _check_shapes(what, {"log_prior": (head.log_prior, (n_types,))})
    elif isinstance(head, NeighboursHead):
        n = len(head.vectors)
        wanted: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
            "vectors": (head.vectors, (n, width)),
            "labels": (head.labels, (n,)),
            "n_neighbours": (head.n_neighbours, (1,)),
            "n_section_types": (head.n_section_types, (1,)),
        }
        _check_shapes(what, wanted)
        whole = all(array.dtype.kind in "iu" for array in (head.labels, head.n_neighbours, head.n_section_types))
        if not whole or int(head.n_section_types[0]) != n_types or int(head.n_neighbours[0]) < 1:
            raise ValueError(f"{what} has neighbours for {head.n_section_types.tolist()} section types, not {n_types}")
        if n == 0 or head.labels.min() < 0 or head.labels.max() >= n_types:
            raise ValueError(f"{what} has neighbours of section types that there are not")


def _check_novelty(novelty: Novelty, width: int) -> None:
    _check_arrays("the novelty", novelty.arrays())
    shapes = {"mean": (novelty.mean, (width,)), "whitening": (novelty.whitening, (width, width))}
    _check_shapes("the novelty", shapes)
    if not (novelty.threshold > 0 and np.isfinite(novelty.threshold) and 0 <= novelty.false_alarms <= 1):
        raise ValueError(
            f"the novelty has the threshold {novelty.threshold!r} for {novelty.false_alarms!r} false alarms"
        )


def _check_terms(what: str, tfidf: Tfidf) -> None:
    terms = tfidf.vocabulary
    if not all(isinstance(term, str) for term in terms) or [*terms.values()] != [*range(len(terms))]:
        raise ValueError(f"{what} has a vocabulary that is no list of different terms")
    if not 1 <= tfidf.n_max <= LONGEST_TERM:
        raise ValueError(f"{what} has terms of {tfidf.n_max} words; allowed are 1 to {LONGEST_TERM}")
    _check_arrays(what, {"idf": tfidf.idf})
    _check_shapes(what, {"idf": (tfidf.idf, (len(terms),))})


def _check_arrays(what: str, arrays: dict[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{name} of {what} does not hold finite numbers alone")


def _check_shapes(what: str, wanted: dict[str, tuple[NDArray[Any], tuple[int, ...]]]) -> None:
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(f"{name} of {what} has shape {array.shape}; it must be {shape}")

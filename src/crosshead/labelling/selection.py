"""Which paragraphs to read next, and when to stop reading.

A strategy orders paragraphs. Reading single ones out of their articles is dear, because each needs the paragraphs
around it to be understood; runs of neighbours and whole articles are therefore ranked by how many of their paragraphs
the strategy would have chosen. experiments/selection measures strategies and units against chance.

References
----------
Settles (2009), Active learning literature survey, University of Wisconsin–Madison TR 1648 (margins, density).
McCallum and Nigam (1998), Employing EM and pool-based active learning for text classification, ICML (disagreement).
Zhdanov (2019), Diverse mini-batch active learning, arXiv:1901.05954 (clusters weighted by uncertainty).
Citovsky et al. (2021), Batch active learning at scale, arXiv:2107.14263 (the most uncertain of each cluster).
Bloodgood and Vijay-Shanker (2009), A method for stopping active learning based on stabilizing predictions and the need
for user-adjustable stopping, CoNLL, aclanthology.org/W09-1107.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora.duplicates import connected, near_duplicates
from crosshead.errors import DataError
from crosshead.evaluation.inputs import same_length
from crosshead.tagging.heads import Floats

STRATEGIES = ("density", "mixed", "uncertainty", "disagreement", "diversity", "random")
UNITS = ("paragraph", "run", "article")
RUN_LENGTH = 5
STOP_AT, WINDOW = 0.98, 3
"""Mean agreement of successive models from which reading stops, and over how many comparisons it is taken."""
_CLUSTER_STEPS = 10
_WIDER = 2  # single paragraphs that are looked at for each one that is read in a run or an article


@dataclass(frozen=True)
class Candidates:
    """Paragraphs in the order of their articles, and what is known of each."""

    article: NDArray[np.int64]
    """The number of each paragraph's article."""
    is_open: NDArray[np.bool_]
    """Whether it may be chosen."""
    vectors: NDArray[np.float32] | None = None
    proba: Floats | None = None
    """What the tagger says, shape (n_paragraphs, n_section_types)."""
    opinions: Floats | None = None
    """What its views, or other taggers, say each on their own, shape (n_opinions, n_paragraphs, n_section_types)."""

    def __post_init__(self) -> None:
        """Refuse parts of different lengths."""
        given = {"vectors": self.vectors, "proba": self.proba}
        same_length(article=self.article, is_open=self.is_open, **{k: v for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class Chosen:
    """Paragraphs to read, in this order, and what each was chosen for."""

    rows: NDArray[np.int64]
    scores: Floats


def unread_once(texts: Sequence[str], read: NDArray[np.bool_], threshold: float = 0.8) -> NDArray[np.bool_]:
    """Mark the paragraphs worth reading: of near-duplicates the first, and none where one of them was read."""
    same_length(texts=texts, read=read)
    cluster = np.array(connected(len(texts), [(p.first, p.second) for p in near_duplicates(texts, threshold)]))
    is_first = cluster == np.arange(len(texts))
    return np.asarray(is_first & ~np.isin(cluster, cluster[read]), dtype=bool)


def select(
    candidates: Candidates,
    strategy: str,
    n: int,
    *,
    unit: str = "paragraph",
    run_length: int = RUN_LENGTH,
    seed: int = 0,
) -> Chosen:
    """Choose ``n`` paragraphs, or all open ones if there are fewer; those of a unit stand together.

    Parameters
    ----------
    strategy : {"density", "mixed", "uncertainty", "disagreement", "diversity", "random"}
        *uncertainty* takes where the two best section types are closest; *disagreement* where opinions contradict each
        other; *diversity* the middle of each of as many clusters as are wanted; *density* the middle of clusters of
        uncertain paragraphs; *mixed* the most uncertain of each cluster.
    unit : {"paragraph", "run", "article"}
        What is read together; a run has ``run_length`` neighbouring paragraphs at most. Runs and articles come in the
        order of the share of their paragraphs that is among the first ``2 n`` of the strategy. The last one is cut
        short to have ``n`` in all.

    Raises
    ------
    DataError
        If the strategy or unit is unknown, ``n`` is not positive, or the strategy needs what was not given.
    """
    _check(candidates, strategy, n, unit, run_length)
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(candidates.is_open)
    worth = _worth(candidates, strategy)
    if not len(rows):
        return Chosen(rows, worth[rows])
    if unit == "paragraph":
        chosen = _order(candidates, rows, worth[rows], strategy, n, rng)[:n]
        return Chosen(chosen, worth[chosen])
    units = reading_units(candidates.article, candidates.is_open, unit, run_length)
    if strategy == "random":
        ranked = [units[i] for i in rng.permutation(len(units))]
    else:
        wanted = np.zeros(len(candidates.article), dtype=bool)
        wanted[_order(candidates, rows, worth[rows], strategy, _WIDER * n, rng)[: _WIDER * n]] = True
        shares = np.array([wanted[members].mean() for members in units])
        ranked = [units[i] for i in np.argsort(-shares, kind="stable")]
    chosen = np.concatenate(ranked)[:n]
    return Chosen(chosen, worth[chosen])


def _order(
    candidates: Candidates,
    rows: NDArray[np.int64],
    worth: Floats,
    strategy: str,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Order single paragraphs by a strategy that is to choose ``n`` of them."""
    if strategy == "random":
        return rng.permutation(rows)
    if strategy in ("uncertainty", "disagreement"):
        return rows[np.argsort(-worth, kind="stable")]
    assert candidates.vectors is not None
    return rows[_by_clusters(candidates.vectors[rows], worth, strategy, min(n, len(rows)), rng)]


def reading_units(
    article: NDArray[np.int64], is_open: NDArray[np.bool_], unit: str, run_length: int = RUN_LENGTH
) -> list[NDArray[np.int64]]:
    """Cut the open paragraphs into runs or articles; runs of one stretch differ by one in length at most."""
    rows = np.flatnonzero(is_open)
    if not len(rows):
        return []
    new = np.diff(article[rows]) != 0
    if unit == "article":
        return list(np.split(rows, np.flatnonzero(new) + 1))
    stretches = np.split(rows, np.flatnonzero(new | (np.diff(rows) > 1)) + 1)
    return [run for stretch in stretches for run in np.array_split(stretch, ceil(len(stretch) / run_length))]


def uncertainty(proba: Floats) -> Floats:
    """Return 1 − the lead of the most probable section type over the second: 1 where they are level."""
    best = np.sort(proba, axis=1)
    result: Floats = 1.0 - (best[:, -1] - best[:, -2])
    return result


def disagreement(opinions: Floats) -> Floats:
    """Return 1 where opinions name different section types, else 0, plus their Jensen–Shannon divergence in nats.

    The divergence alone would choose where one opinion is sure and another knows nothing, which is no contradiction.
    """
    best = opinions.argmax(axis=2)
    mean = opinions.mean(axis=0)
    divergence = np.maximum(_entropy(mean) - _entropy(opinions).mean(axis=0), 0.0)
    result: Floats = (best != best[0]).any(axis=0) + divergence
    return result


def _entropy(proba: Floats) -> Floats:
    result: Floats = -(proba * np.log(np.maximum(proba, 1e-12))).sum(axis=-1)
    return result


def _check(candidates: Candidates, strategy: str, n: int, unit: str, run_length: int) -> None:
    if strategy not in STRATEGIES:
        raise DataError(f"strategy is {strategy!r}; it is one of {', '.join(STRATEGIES)}")
    if unit not in UNITS:
        raise DataError(f"unit is {unit!r}; it is one of {', '.join(UNITS)}")
    if n < 1 or run_length < 1:
        raise DataError(f"n is {n} and run_length {run_length}; both must be at least 1")
    needs = {
        "vectors": strategy in ("mixed", "density", "diversity") and candidates.vectors is None,
        "the tagger's probabilities": strategy in ("mixed", "density", "uncertainty") and candidates.proba is None,
        "two opinions at least (a tagger with several views)": strategy == "disagreement"
        and (candidates.opinions is None or len(candidates.opinions) < 2),
    }
    missing = [what for what, is_missing in needs.items() if is_missing]
    if missing:
        raise DataError(f"strategy {strategy!r} needs {' and '.join(missing)}; choose another, such as 'random'")


def _worth(candidates: Candidates, strategy: str) -> Floats:
    if strategy == "disagreement":
        assert candidates.opinions is not None
        return disagreement(candidates.opinions)
    if strategy in ("mixed", "density", "uncertainty"):
        assert candidates.proba is not None
        return uncertainty(candidates.proba)
    return np.zeros(len(candidates.article))


def _by_clusters(
    vectors: NDArray[np.float32], worth: Floats, strategy: str, n_clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Order by the best of each cluster, those that are worth most before the others; then all the rest."""
    weight = np.maximum(worth, 1e-9) if strategy == "density" else np.ones(len(worth))
    cluster, nearness = clusters(vectors, weight, n_clusters, rng)
    merit = worth if strategy == "mixed" else nearness
    by_merit = np.lexsort((-merit, cluster))
    is_first = np.append(True, np.diff(cluster[by_merit]) != 0)
    first, rest = by_merit[is_first], by_merit[~is_first]
    size = np.bincount(cluster, weights=weight)
    value = size[cluster] if strategy == "diversity" else worth
    return np.concatenate(
        [first[np.argsort(-value[first], kind="stable")], rest[np.argsort(-merit[rest], kind="stable")]]
    )


def clusters(
    vectors: NDArray[np.float32], weight: Floats, n_clusters: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Group unit vectors around weighted means (spherical k-means); return each one's cluster and nearness to it."""
    centres = vectors[rng.choice(len(vectors), n_clusters, replace=False, p=weight / weight.sum())]
    cluster = np.zeros(len(vectors), dtype=np.int64)
    weighted = vectors * weight[:, None].astype(np.float32)
    for _ in range(_CLUSTER_STEPS):
        before, cluster = cluster, (vectors @ centres.T).argmax(axis=1)
        order = np.argsort(cluster, kind="stable")
        present, starts = np.unique(cluster[order], return_index=True)
        sums = np.add.reduceat(weighted[order], starts, axis=0)
        centres[present] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        if (cluster == before).all():
            break
    return cluster, np.einsum("nd,nd->n", vectors, centres[cluster]).astype(np.float64)


@dataclass(frozen=True)
class Stability:
    """How much successive models agree, and whether that is enough to stop reading."""

    kappas: tuple[float, ...]
    """Cohen's kappa of each model's predictions with those of the one before it."""
    changed: tuple[float, ...]
    """Share of predictions that changed; a model's accuracy cannot have changed by more."""
    mean: float | None
    """Mean of the last kappas; None where there are too few."""
    stop: bool


def stability(predictions: Sequence[NDArray[np.int64]], *, stop_at: float = STOP_AT, window: int = WINDOW) -> Stability:
    """Compare the predictions of successive models for the same paragraphs, labelled or not.

    Reading stops when the mean of the last ``window`` agreements reaches ``stop_at``: further labels change hardly any
    prediction. It needs no labels of its own. Batches of about equal size are meant; the fewer labels lie between two
    models, the more they agree.

    Raises
    ------
    DataError
        If models predicted different numbers of paragraphs.
    """
    same_length(**{f"predictions of model {i}": one for i, one in enumerate(predictions, 1)})
    pairs = list(pairwise(predictions))
    kappas = tuple(kappa(before, after) for before, after in pairs)
    mean = float(np.mean(kappas[-window:])) if len(kappas) >= window else None
    changed = tuple(float(np.mean(before != after)) for before, after in pairs)
    return Stability(kappas, changed, mean, mean is not None and mean >= stop_at)


def kappa(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Agreement of two sets of labels beyond chance (Cohen 1960); 1.0 where all are the same."""
    n_types = int(max(a.max(initial=0), b.max(initial=0))) + 1
    observed = float(np.mean(a == b)) if len(a) else 1.0
    shares = [np.bincount(labels, minlength=n_types) / max(len(labels), 1) for labels in (a, b)]
    by_chance = float((shares[0] * shares[1]).sum())
    return 1.0 if by_chance >= 1.0 else (observed - by_chance) / (1.0 - by_chance)

"""Train a tagger: views fitted fold by fold, blended, calibrated, and fitted again on everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from crosshead.encoders.engines import n_cores
from crosshead.errors import DataError
from crosshead.evaluation.conformal import conformal_quantile
from crosshead.evaluation.selective import ABSTAIN_ALWAYS, abstention_threshold
from crosshead.tagging.calibration import apply_temperature, fit_temperature
from crosshead.tagging.decoding import Decoder, DecoderSpec
from crosshead.tagging.heads import Floats, LinearHead, log_softmax
from crosshead.tagging.novelty import fit_novelty
from crosshead.tagging.tagger import Encoder, Tagger, read_inputs
from crosshead.training.learning import N_FOLDS, CurvePoint, learning_curve
from crosshead.training.sequence import fit_decoder
from crosshead.training.views import (
    Features,
    FittedView,
    ViewSpec,
    answer,
    design,
    features,
    fit,
    uses_encoder,
    with_temperature,
)

CONFORMAL_ALPHA = 0.1
"""Share of label sets that may miss the true section type."""
NOVELTY_FALSE_ALARMS = 0.01
"""Share of paragraphs of held-out articles that may be taken for text of another kind."""

Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Paragraphs:
    """Labelled paragraphs, rows of one article together and in order."""

    texts: list[str]
    y: NDArray[np.int64]
    """Section types encoded in taxonomy order."""
    lengths: list[int]
    """Paragraphs of each article in order; a paragraph without an article counts as an article of one."""
    article_ids: list[str]
    """The article, contrast set or single paragraph that each belongs to: what is resampled together."""
    is_single: NDArray[np.bool_] | None = None
    """Which belong to no article and no contrast set: a learning curve neither counts nor draws them; None for none."""

    @property
    def articles(self) -> list[list[str]]:
        """The texts of each article in order."""
        ends = np.cumsum([0, *self.lengths])
        return [self.texts[ends[i] : ends[i + 1]] for i in range(len(self.lengths))]

    @property
    def judged(self) -> NDArray[np.int64]:
        """Rows of articles and contrast sets, which are like what will be tagged; every row where there are none.

        Scores are told of them and confidences chosen on them: single paragraphs are picked cases.
        """
        every = np.arange(len(self.y))
        if self.is_single is None or self.is_single.all():
            return every
        return every[~self.is_single]

    def take(self, rows: NDArray[np.int64]) -> Paragraphs:
        """Return some articles: rows in order, those of an article together."""
        article = np.repeat(np.arange(len(self.lengths)), self.lengths)[rows]
        lengths = [int(n) for n in np.bincount(article, minlength=len(self.lengths)) if n]
        is_single = None if self.is_single is None else self.is_single[rows]
        ids = [self.article_ids[i] for i in rows]
        return Paragraphs([self.texts[i] for i in rows], self.y[rows], lengths, ids, is_single)

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together."""
        if not len(self.texts) == len(self.y) == sum(self.lengths):
            raise DataError(
                f"{len(self.texts)} texts, {len(self.y)} section types and articles of {sum(self.lengths)} paragraphs "
                "do not fit together; read the paragraph table again: crosshead prepare"
            )


@dataclass(frozen=True)
class TrainResult:
    """A trained tagger with everything that was measured on the way."""

    tagger: Tagger
    asked: NDArray[np.int64]
    """Training paragraphs that the folds test, in order: all, unless the encoder was fine-tuned on some."""
    out_of_fold: Floats
    """Their calibrated, decoded probabilities by models that never saw their articles."""
    view_out_of_fold: Mapping[str, Floats]
    """The same for each view on its own, not decoded."""
    estimators: Mapping[str, Any]
    """The fitted scikit-learn object of each view."""
    n_truncated: NDArray[np.int64]
    """Tokens of each training paragraph beyond the encoder's window."""
    warnings: tuple[str, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    """Smaller parts of the articles trained on, where they were asked for."""


def train(
    paragraphs: Paragraphs,
    *,
    section_types: tuple[str, ...],
    views: Sequence[ViewSpec],
    encoder: Encoder | None,
    folds: Folds,
    decoder: DecoderSpec,
    calibrate: bool,
    risk: float,
    tells_novelty: bool = False,
    curve_shares: Sequence[float] = (),
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> TrainResult:
    """Fit all views on every fold and on everything, and calibrate the blend on out-of-fold rows.

    Parameters
    ----------
    folds
        (training rows, test rows) pairs that keep articles whole; no row is tested twice, and what is never tested
        is not calibrated on either.
    decoder
        How the other paragraphs of an article count.
    risk
        Share of mistakes among paragraphs that are not abstained which the threshold is chosen for.
    tells_novelty
        Whether the tagger says which texts are of another kind than these; it needs an encoder.
    curve_shares
        Parts of the articles to train on besides, for a learning curve.
    meanwhile
        Called once while other threads are fitting.
    """
    inputs = read_inputs(
        paragraphs.texts,
        encoder if uses_encoder(views) else None,
        with_sentences=any(v.kind == "sentence" for v in views),
    )
    feats = {spec.name: features(spec, inputs) for spec in views}
    asked = np.sort(np.concatenate([test for _, test in folds]))
    measured = paragraphs if len(asked) == len(paragraphs.y) else paragraphs.take(asked)
    out_of_fold, final = _cross_fit(feats, paragraphs.y, views, folds, asked, len(section_types), report, meanwhile)
    temperature, transitions, proba = calibrate_blend(
        out_of_fold,
        {spec.name: spec.weight for spec in views},
        measured.y,
        measured.lengths,
        decoder=decoder,
        held_out=[np.searchsorted(asked, test) for _, test in folds],
        calibrate=calibrate,
    )
    judged = measured.judged
    threshold, warnings = _threshold(measured.take(judged), proba[judged], risk)
    novelty = None
    if tells_novelty and inputs.vectors is not None:
        novelty = fit_novelty(inputs.vectors, folds, NOVELTY_FALSE_ALARMS)
    tagger = Tagger(
        section_types=section_types,
        views=tuple(fitted.view for fitted in final.values()),
        encoder=encoder if uses_encoder(views) else None,
        temperature=temperature,
        transitions=transitions,
        threshold=threshold,
        risk=risk,
        conformal_quantile=conformal_quantile(measured.y[judged], proba[judged], CONFORMAL_ALPHA),
        conformal_alpha=CONFORMAL_ALPHA,
        novelty=novelty,
    )
    return TrainResult(
        tagger=tagger,
        asked=asked,
        out_of_fold=proba,
        view_out_of_fold={name: np.exp(rows) for name, rows in out_of_fold.items()},
        estimators={name: fitted.estimator for name, fitted in final.items()},
        n_truncated=inputs.n_truncated,
        warnings=warnings,
        curve=_curve(feats, paragraphs, folds, asked, proba, curve_shares, seed),
    )


def _curve(
    feats: Mapping[str, Features],
    paragraphs: Paragraphs,
    folds: Folds,
    asked: NDArray[np.int64],
    out_of_fold: Floats,
    shares: Sequence[float],
    seed: int,
) -> tuple[CurvePoint, ...]:
    """Draw the learning curve; its last point is what cross-validation measured on the same folds."""
    if not shares:
        return ()
    ids = np.asarray(paragraphs.article_ids)
    is_single = np.zeros(len(ids), dtype=bool) if paragraphs.is_single is None else paragraphs.is_single
    with threadpool_limits(1):
        points = learning_curve(
            feats, paragraphs.y, ids, folds, out_of_fold.shape[1], shares=shares, seed=seed, always=is_single
        )
    rows = np.concatenate([test for _, test in folds[:N_FOLDS]])
    drawn = [np.unique(ids[learned[~is_single[learned]]]) for learned, _ in folds[:N_FOLDS]]
    n_articles = round(float(np.mean([len(names) for names in drawn])))
    return (*points, CurvePoint(n_articles, rows, out_of_fold[np.searchsorted(asked, rows)]))


def _threshold(paragraphs: Paragraphs, proba: Floats, risk: float) -> tuple[float, tuple[str, ...]]:
    """Choose the confidence to answer from; where no confidence keeps the risk, nothing is answered and it is said."""
    threshold = abstention_threshold(paragraphs.y, proba, risk=risk, article_ids=paragraphs.article_ids)
    if threshold < ABSTAIN_ALWAYS:
        return threshold, ()
    return threshold, (
        f"no confidence keeps the share of wrong answers below {risk:g} on held-out articles, so every paragraph will "
        "be marked as not sure; allow more risk (calibration.risk) or train a better model",
    )


def _cross_fit(
    feats: Mapping[str, Features],
    y: NDArray[np.int64],
    views: Sequence[ViewSpec],
    folds: Folds,
    asked: NDArray[np.int64],
    n_types: int,
    report: Callable[[str, int, int], None],
    meanwhile: Callable[[], object],
) -> tuple[dict[str, Floats], dict[str, FittedView]]:
    """Log-probabilities of the rows asked for by models that never saw them, and the views fitted on all rows."""
    everything = np.arange(len(y))
    out_of_fold = {spec.name: np.zeros((len(y), n_types)) for spec in views}
    final: dict[str, FittedView] = {}
    jobs = [(spec, fold) for spec in views for fold in (None, *range(len(folds)))]

    def run(job: tuple[ViewSpec, int | None]) -> None:
        spec, fold = job
        if fold is None:
            final[spec.name] = fit(feats[spec.name], y, everything, n_types)
            return
        train_rows, test_rows = folds[fold]
        laid_out = design(feats[spec.name], y, train_rows, test_rows)
        out_of_fold[spec.name][test_rows] = answer(laid_out, spec.classifier, n_types)[1]

    # One BLAS thread a fit and as many fits as cores: two levels of threads wait for each other
    # (measured: 15 times slower).
    with threadpool_limits(1), ThreadPoolExecutor(max_workers=n_cores()) as pool:
        finished = pool.map(run, jobs)
        try:
            meanwhile()
            for done, _ in enumerate(finished, start=1):
                report("fitting", done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the pool's end would wait for every fit, also after Ctrl-C
            raise
    out_of_fold = {name: rows[asked] for name, rows in out_of_fold.items()}
    for spec in views:
        if isinstance(final[spec.name].view.head, LinearHead):
            temperature, out_of_fold[spec.name] = at_own_temperature(out_of_fold[spec.name], y[asked])
            final[spec.name] = with_temperature(final[spec.name], temperature)
    return out_of_fold, {spec.name: final[spec.name] for spec in views}


def at_own_temperature(log_proba: Floats, y: NDArray[np.int64]) -> tuple[float, Floats]:
    """Find the temperature of one view and apply it, so that the view speaks at its true strength in the blend."""
    temperature = fit_temperature(log_proba, y)
    return temperature, apply_temperature(log_proba, temperature)


def calibrate_blend(
    out_of_fold: Mapping[str, Floats],
    weights: Mapping[str, float],
    y: NDArray[np.int64],
    lengths: Sequence[int],
    *,
    decoder: DecoderSpec,
    held_out: Sequence[NDArray[np.int64]],
    calibrate: bool,
) -> tuple[float, Decoder, Floats]:
    """Blend the views' log-probabilities, find the temperature, and let the paragraphs of an article inform each other.

    Parameters
    ----------
    out_of_fold
        Of each view, at its own temperature.
    lengths
        Paragraphs of each article in order.
    held_out
        The rows of each fold, which models that never saw their articles answered for.
    """
    total = sum(weights.values())
    blended = log_softmax(np.sum([weight / total * out_of_fold[name] for name, weight in weights.items()], axis=0))
    temperature = fit_temperature(blended, y) if calibrate else 1.0
    fitted, log_proba = fit_decoder(decoder, apply_temperature(blended, temperature), y, lengths, held_out)
    return temperature, fitted, np.exp(log_proba)


def rename(tagger: Tagger, *, name: str, version: str) -> Tagger:
    """Return the tagger under another name and version."""
    return replace(tagger, name=name, version=version)

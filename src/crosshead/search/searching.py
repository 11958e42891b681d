"""Score one configuration after another on the same folds, and compute nothing twice.

A trial of a search asks for the out-of-fold score of a configuration, fold by fold. Texts are encoded before the first
trial and never again; what a view sees of a fold is laid out once; a classifier's answers are kept by what made them.
So a new weight of a view, or of neighbouring paragraphs, costs milliseconds, and gives to the bit what
`crosshead train` gives for the same configuration.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from crosshead.encoders.cache import CacheUse
from crosshead.encoders.engines import n_cores
from crosshead.evaluation.scores import evaluate
from crosshead.schema import Settings
from crosshead.search.measuring import Data, Report, open_chosen, refuse_seen, silent
from crosshead.tagging.heads import Floats, LinearHead
from crosshead.tagging.tagger import Inputs, read_inputs
from crosshead.training.train import Paragraphs, at_own_temperature, calibrate_blend
from crosshead.training.views import Design, Features, ViewSpec, answer, design, features

Promise = Future[tuple[bool, Floats]]
"""Whether a view's head is linear, and the log-probabilities that it gives to the paragraphs of a fold."""
N_DESIGNS = 24
"""Laid out folds of TF-IDF views that are kept: each takes some ten megabytes."""


@dataclass(frozen=True)
class _Part:
    """The rows of the first folds."""

    rows: NDArray[np.int64]
    paragraphs: Paragraphs
    held_out: list[NDArray[np.int64]]
    """Where the rows of each fold stand among them."""


class Scorer:
    """Scores configurations on the folds of one paragraph table; a context manager, since it holds threads.

    Parameters
    ----------
    objective : {"macro_f1", "log_loss"}
    longest
        Words of the longest terms that will be asked for, so that the texts are read once.
    n_threads
        Fits at once.
    """

    def __init__(
        self, data: Data, objective: str, *, longest: int = 1, n_threads: int | None = None, report: Report = silent
    ) -> None:
        self.data = data
        self.objective = objective
        self.cache_uses: list[CacheUse] = []
        self.n_fits = 0
        """Classifiers that were fitted."""
        self._report = report
        self._lock = threading.Lock()
        self._inputs: dict[str, Inputs] = {}
        self._features: dict[Hashable, Features] = {}
        self._designs: OrderedDict[Hashable, Design] = OrderedDict()
        self._answers: dict[Hashable, Promise] = {}
        self._at_temperature: dict[tuple[Promise, ...], Floats] = {}
        self._longest = longest
        self._parts = [_part(data, step) for step in range(1, len(data.folds) + 1)]
        self._pool = ThreadPoolExecutor(n_threads or n_cores())
        self._limits: Any = None

    def __enter__(self) -> Self:
        """Leave one BLAS thread to each fit, as `training.train` does."""
        self._limits = threadpool_limits(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._limits.restore_original_limits()

    @property
    def n_encoded(self) -> int:
        """Texts that were not in the cache."""
        return sum(use.n_texts - use.n_found for use in self.cache_uses)

    def read(self, settings: Settings) -> Inputs:
        """Read what the views of a configuration look at; once for each encoder."""
        specs = settings.view_specs()
        with_sentences = any(spec.kind == "sentence" for spec in specs)
        encoder_key = json.dumps([settings.resolved.get("encoder"), _needs_encoder(specs), with_sentences], default=str)
        if encoder_key not in self._inputs:
            refuse_seen(settings, self.data)
            encoder = open_chosen(settings, self._report)
            self._inputs[encoder_key] = read_inputs(self.data.paragraphs.texts, encoder, with_sentences=with_sentences)
            if encoder is not None:
                self.cache_uses.append(encoder.use)
        return self._inputs[encoder_key]

    def scores(self, settings: Settings) -> Generator[float]:
        """Yield the score over the paragraphs of the first fold, of the first two, …, at last of all.

        Fits of later folds go on while the caller looks at a score; closing the iterator calls them off.
        """
        for step, proba in enumerate(self._probabilities(settings)):
            part = self._parts[step].paragraphs
            own = part.take(part.judged)
            scores = evaluate(own.y, proba[part.judged], own.article_ids, self.data.section_types, n_resamples=0)
            yield float(getattr(scores, self.objective).value)

    def out_of_fold(self, settings: Settings) -> Floats:
        """Probabilities of the paragraphs that the folds test, as `training.train` gives them."""
        *_, last = self._probabilities(settings)
        return last

    def _probabilities(self, settings: Settings) -> Generator[Floats]:
        specs = settings.view_specs()
        inputs = self.read(settings)
        feats = {spec.name: self._features_of(spec, inputs) for spec in specs}
        n_folds = len(self.data.folds)
        waiting = [{spec.name: self._ask(feats[spec.name], spec, fold) for spec in specs} for fold in range(n_folds)]
        collected = {spec.name: np.zeros((len(self.data.paragraphs.y), self._n_types)) for spec in specs}
        try:
            for step, answers in enumerate(waiting):
                for name, future in answers.items():
                    collected[name][self.data.folds[step][1]] = future.result()[1]
                own = {spec.name: self._own(spec, waiting[: step + 1], collected[spec.name]) for spec in specs}
                yield self._blend(settings, specs, own, self._parts[step])
        finally:
            self._call_off(waiting)

    def _blend(self, settings: Settings, specs: Sequence[ViewSpec], own: Mapping[str, Floats], part: _Part) -> Floats:
        return calibrate_blend(
            own,
            {spec.name: spec.weight for spec in specs},
            part.paragraphs.y,
            part.paragraphs.lengths,
            decoder=settings.decoder.spec(),
            held_out=part.held_out,
            calibrate=settings.calibration.method == "temperature",
        )[2]

    def _own(self, spec: ViewSpec, answers: Sequence[Mapping[str, Promise]], collected: Floats) -> Floats:
        """Return what a view says of the first folds, at its own temperature; worked out once for the same answers."""
        promises = tuple(of_fold[spec.name] for of_fold in answers)
        if promises not in self._at_temperature:
            part = self._parts[len(promises) - 1]
            rows = collected[part.rows]
            linear = promises[-1].result()[0]
            self._at_temperature[promises] = at_own_temperature(rows, part.paragraphs.y)[1] if linear else rows
        return self._at_temperature[promises]

    @property
    def _n_types(self) -> int:
        return len(self.data.section_types)

    def _features_of(self, spec: ViewSpec, inputs: Inputs) -> Features:
        if spec.kind != "tfidf":
            return self._known_features((id(inputs), spec.kind), partial(features, spec, inputs), spec)
        longest = max(spec.n_max, self._longest)
        read = partial(features, replace(spec, n_max=longest, min_df=1), inputs)
        every = self._known_features((id(inputs), spec.kind, longest), read, spec)
        some = partial(_shorter_terms, every, spec.n_max)
        return self._known_features((id(inputs), spec.kind, spec.n_max), some, spec)

    def _known_features(self, key: Hashable, make: Callable[[], Features], spec: ViewSpec) -> Features:
        if key not in self._features:
            self._features[key] = make()
        return replace(self._features[key], spec=spec)

    def _ask(self, feats: Features, spec: ViewSpec, fold: int) -> Promise:
        """Return the answers of a view for a fold, or the promise of them."""
        laid_out = (id(feats.X), spec.kind, spec.min_df if spec.kind == "tfidf" else 0, fold)
        key = (laid_out, type(spec.classifier).__qualname__, repr(sorted(spec.classifier.get_params().items())))
        if key not in self._answers:
            self._answers[key] = self._pool.submit(self._answer, feats, spec, fold, laid_out)
        return self._answers[key]

    def _answer(self, feats: Features, spec: ViewSpec, fold: int, key: Hashable) -> tuple[bool, Floats]:
        learned, asked = self.data.folds[fold]
        laid_out = self._design(key, lambda: design(feats, self.data.paragraphs.y, learned, asked))
        head, rows = answer(laid_out, spec.classifier, self._n_types)
        with self._lock:
            self.n_fits += 1
        return isinstance(head, LinearHead), rows

    def _design(self, key: Hashable, make: Callable[[], Design]) -> Design:
        with self._lock:
            if key in self._designs:
                self._designs.move_to_end(key)
                return self._designs[key]
        made = make()
        with self._lock:
            self._designs[key] = made
            while len(self._designs) > N_DESIGNS:
                self._designs.popitem(last=False)
        return made

    def _call_off(self, waiting: Sequence[Mapping[str, Promise]]) -> None:
        """Cancel what has not begun, so that it is asked for anew when it is wanted again."""
        cancelled = {id(future) for answers in waiting for future in answers.values() if future.cancel()}
        if cancelled:
            self._answers = {key: future for key, future in self._answers.items() if id(future) not in cancelled}


def _shorter_terms(feats: Features, n_max: int) -> Features:
    """Return the counts of terms of so many words at most: what `features` counts, without reading the texts again."""
    columns = [column for column, term in enumerate(feats.terms) if term.count(" ") < n_max]
    return replace(feats, X=feats.X[:, columns], terms=[feats.terms[column] for column in columns])


def _part(data: Data, step: int) -> _Part:
    rows = np.sort(np.concatenate([asked for _, asked in data.folds[:step]]))
    held_out = [np.searchsorted(rows, asked) for _, asked in data.folds[:step]]
    return _Part(rows, data.paragraphs.take(rows), held_out)


def _needs_encoder(specs: Sequence[ViewSpec]) -> bool:
    return any(spec.kind != "tfidf" for spec in specs)

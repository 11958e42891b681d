"""Train and score without leaving a model behind: what sweeps and searches do many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_summary, read_table
from crosshead.encoders.cache import CachedEncoder, CacheUse
from crosshead.encoders.open import open_encoder
from crosshead.errors import DataError
from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.scores import Scores, evaluate, set_accuracy
from crosshead.records import predictions
from crosshead.records.predictions import Predictions
from crosshead.schema import EncoderSettings, Settings
from crosshead.text import normalise
from crosshead.training.train import Folds, Paragraphs, train
from crosshead.training.views import uses_encoder

Report = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Data:
    """The paragraph table, cut into folds."""

    digest: str
    section_types: tuple[str, ...]
    paragraphs: Paragraphs
    """Of the training split."""
    folds: Folds
    train: Mapping[str, list[Any]] = field(repr=False)
    test: Mapping[str, list[Any]] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @cached_property
    def asked(self) -> NDArray[np.int64]:
        """Training rows that the folds test, in order."""
        return np.sort(np.concatenate([test for _, test in self.folds]))

    @cached_property
    def tested(self) -> Paragraphs:
        """The paragraphs of these rows."""
        return self.paragraphs.take(self.asked)


@dataclass(frozen=True)
class Measured:
    """How good a configuration is."""

    cross_validated: Scores
    """On the training articles, by models that did not see them."""
    test: Scores
    """On the held-out articles."""
    set_accuracy: Interval | None
    """Share of the held-out contrast sets that are right as a whole; None without contrast sets."""
    out_of_fold: NDArray[np.float64]
    """Of `Data.tested`."""
    predictions: Predictions
    """What the tagger says of every held-out paragraph."""
    cache_use: CacheUse
    warnings: tuple[str, ...]


def read_data(settings: Settings) -> Data:
    """Read the paragraph table and cut its training articles into folds, as `crosshead train` does."""
    summary, table = read_summary(settings.prepared_dir), read_table(settings.prepared_dir)
    columns = {split: labelled.columns_of(table[split]) for split in ("train", "test")}
    types = settings.taxonomy.section_types
    labelled.refuse_seen(columns["test"], settings.encoder.tuned())
    cut = labelled.folds_of(columns["train"], settings.folds, settings.seed, settings.encoder.tuned())
    return Data(
        digest=summary["digest"],
        section_types=types,
        paragraphs=labelled.to_paragraphs(columns["train"], types),
        folds=cut.splits,
        train=columns["train"],
        test=columns["test"],
        warnings=(cut.warning,) if cut.warning else (),
    )


def open_chosen(settings: Settings, report: Report = silent) -> CachedEncoder | None:
    """Open the encoder of a configuration behind the cache; None where no view looks at vectors."""
    chosen: EncoderSettings = settings.encoder
    if chosen.source is None or not uses_encoder(settings.view_specs()):
        return None
    return open_encoder(
        chosen.source,
        settings.cache_dir,
        **chosen.options(),
        report=lambda done, total: report("encoding", done, total),
    )[0]


def refuse_seen(settings: Settings, data: Data) -> None:
    """Refuse an encoder that was fine-tuned on paragraphs that these folds test.

    Raises
    ------
    DataError
        Naming what to do.
    """
    tuned = settings.encoder.tuned()
    if tuned is not None and tuned.has_seen([normalise(text) for text in data.tested.texts]).any():
        raise DataError(
            f"encoder {settings.encoder.name!r} was fine-tuned on paragraphs that cross-validation tests here, so its "
            "score would mean nothing; search with it alone: encoder=finetuned, and leave encoders out of the search"
        )


def measure(settings: Settings, data: Data, report: Report = silent) -> Measured:
    """Train as `crosshead train` does and score as `crosshead evaluate` does; write nothing.

    Raises
    ------
    DataError
        If no article is held out.
    """
    encoder = open_chosen(settings, report)
    result = train(
        data.paragraphs,
        section_types=data.section_types,
        views=settings.view_specs(),
        encoder=encoder,
        folds=data.folds,
        decoder=settings.decoder.spec(),
        calibrate=settings.calibration.method == "temperature",
        risk=settings.calibration.risk,
        report=report,
    )
    asked = labelled.to_paragraphs(data.test, data.section_types)
    proba = result.tagger.predict_proba_of(result.tagger.read(asked.texts), asked.lengths)
    said = predictions.from_columns(
        data.test,
        {predictions.MODEL: proba},
        section_types=data.section_types,
        dataset_digest=data.digest,
        threshold=result.tagger.threshold,
    )
    articles, sets = said.of_articles(), said.of_contrast_sets()
    if not len(articles):
        raise DataError("the test split holds no article; prepare again with a larger corpus.test_share")
    types, seed, judged = data.section_types, settings.seed, data.tested.judged
    tested, told = data.tested.take(judged), result.out_of_fold[judged]
    return Measured(
        cross_validated=evaluate(tested.y, told, tested.article_ids, types, seed=seed),
        test=evaluate(articles.y, articles.model, articles.article_ids, types, seed=seed, abstained=articles.abstained),
        set_accuracy=set_accuracy(sets.y, sets.answers, sets.article_ids) if len(sets) else None,
        out_of_fold=result.out_of_fold,
        predictions=said,
        cache_use=encoder.use if encoder is not None else CacheUse(),
        warnings=(*data.warnings, *result.warnings),
    )

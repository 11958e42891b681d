"""What the studies share that train on a part of the paragraph table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crosshead.corpora import labelled
from crosshead.corpora.splits import folds
from crosshead.encoders.open import open_encoder
from crosshead.schema import Settings
from crosshead.training.train import TrainResult, train


def train_on(settings: Settings, columns: Mapping[str, list[Any]], seed: int) -> TrainResult:
    """Train as the settings say on some rows of the paragraph table, as `crosshead train` does on all of them."""
    chosen, types = settings.encoder, settings.taxonomy.section_types
    encoder, _ = open_encoder(str(chosen.source), settings.cache_dir, **chosen.options())
    return train(
        labelled.to_paragraphs(columns, types),
        section_types=types,
        views=settings.view_specs(),
        encoder=encoder,
        folds=folds(columns["group_id"], columns["section_type"], settings.folds, seed).splits,
        decoder=settings.decoder.spec(),
        calibrate=True,
        risk=settings.calibration.risk,
    )

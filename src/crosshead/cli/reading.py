"""What `zero-shot`, `select`, `suspects` and `rules` share: options, the paragraphs at hand, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.pipeline import load_settings
from crosshead.cli.words import printable
from crosshead.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosshead.encoders.cache import CachedEncoder
    from crosshead.labelling.pool import Pool
    from crosshead.schema import Settings

ZERO_SHOT_DIR = "zero_shot"
"""Below models/: where `crosshead zero-shot` saves its tagger."""

inputs_argument = click.argument("inputs", metavar="[INPUT]...", nargs=-1)
overrides_option = click.option(
    "--set",
    "-s",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the configuration, as the overrides of `crosshead train` do; may be repeated.",
)


def open_pool(inputs: Sequence[str], overrides: Sequence[str]) -> tuple[Settings, Pool]:
    """Read articles with every label that the project has: its annotations and the logs of its annotators."""
    from crosshead.cli.sitting import Project

    settings = load_settings(overrides)  # says what is missing, before anything else is imported
    from crosshead.labelling.pool import read_pool
    from crosshead.labelling.votes import read_votes

    annotations = [vote.annotation for path in Project(settings).label_files() for vote in read_votes(path)]
    pool = read_pool(settings, inputs, annotations)
    for unreadable in pool.unreadable:
        click.echo(f"crosshead: passed over {printable(str(unreadable))}", err=True)
    return settings, pool


def open_encoder_of(settings: Settings) -> tuple[CachedEncoder, Path]:
    """Open the configuration's encoder behind the cache, with a bar for what it has to encode.

    Raises
    ------
    ConfigError
        If the configuration has no encoder.
    """
    from crosshead.encoders.open import open_encoder

    chosen = settings.encoder
    if chosen.source is None:
        raise ConfigError(
            f"encoder is {chosen.name!r}, which makes no vectors; descriptions and paragraphs are compared by theirs: "
            "choose another, such as --set encoder=minilm"
        )
    return open_encoder(
        chosen.source,
        settings.cache_dir,
        **chosen.options(),
    )


def vectors_of(pool: Pool, encoder: CachedEncoder) -> NDArray[np.float32]:
    """Encode every paragraph of the pool that is not in the cache."""
    from crosshead.tagging.tagger import read_inputs

    vectors = read_inputs(pool.texts, encoder, with_sentences=False).vectors
    assert vectors is not None
    return vectors

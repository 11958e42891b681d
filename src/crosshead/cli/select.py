"""`crosshead select`: which paragraphs to read next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.queues import QUEUE_FORMATS, queue_items, say_queue, with_suggestions, write_items
from crosshead.cli.reading import ZERO_SHOT_DIR, inputs_argument, open_pool, overrides_option
from crosshead.cli.tag import model_option
from crosshead.cli.words import counted
from crosshead.errors import BundleError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosshead.labelling.pool import Pool
    from crosshead.labelling.selection import Candidates, Chosen
    from crosshead.loading import Model
    from crosshead.schema import Settings
    from crosshead.tagging.tagger import Tagger

STRATEGIES = ("density", "mixed", "uncertainty", "disagreement", "diversity", "random")
UNITS = ("paragraph", "run", "article")
HISTORY = Path("models") / "selection.jsonl"


@command(
    "crosshead select -n 50 -o queue.jsonl",
    "crosshead select archive/ --strategy uncertainty --unit article -o queue.jsonl",
    "crosshead select --model models/zero_shot -o tasks.json   (for Label Studio)",
)
@inputs_argument
@click.option(
    "--strategy", type=click.Choice(STRATEGIES), default="density", show_default=True, help="What to look for."
)
@click.option("-n", "n", type=click.IntRange(1), default=50, show_default=True, help="How many paragraphs.")
@click.option(
    "--unit", type=click.Choice(UNITS), default="article", show_default=True, help="What is read together; see below."
)
@click.option("--run-length", type=click.IntRange(1), default=5, show_default=True, help="Paragraphs of a run at most.")
@model_option
@click.option(
    "--format", "-f", "chosen", type=click.Choice(QUEUE_FORMATS), help="[default: by the ending of --output; jsonl]"
)
@click.option("--output", "-o", metavar="FILE", help="Write here, whole or not at all.  [default: standard output]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is left to chance.")
@click.option(
    "--stop-at",
    type=click.FloatRange(0, 1),
    default=0.98,
    show_default=True,
    help="Agreement of successive taggers from which more labels are said to hardly help.",
)
@overrides_option
def select(
    inputs: tuple[str, ...],
    strategy: str,
    n: int,
    unit: str,
    run_length: int,
    model: str | None,
    chosen: str | None,
    output: str | None,
    seed: int,
    stop_at: float,
    overrides: tuple[str, ...],
) -> int:
    """Choose the paragraphs to read next, and write a queue.

    INPUT is as for `crosshead tag`; by default the articles of the configuration. Left out is what anybody has
    labelled, in the annotations or in data/labels/, and all but one of near-duplicates.

    Strategies: uncertainty takes paragraphs where the tagger wavers; disagreement where its views contradict each
    other; diversity one of each kind; density the middle of where it wavers; mixed the most uncertain of each kind;
    random is the measure of them all. A unit is what is read together: one paragraph, a run of neighbours, whose
    context is read once, or an article.
    """
    settings, pool = open_pool(inputs, overrides)
    loaded = _load(model, strategy, settings)
    candidates = _look(pool, loaded, settings)
    picked = _select(candidates, strategy, n, unit, run_length, seed)
    items = [
        replace(item, strategy=strategy, score=round(float(score), 6))
        for item, score in zip(queue_items(pool, picked.rows), picked.scores, strict=True)
    ]
    if loaded is not None and candidates.proba is not None:
        items = with_suggestions(items, candidates.proba[picked.rows], settings.taxonomy.section_types)
        _say_when_to_stop(settings, pool, loaded, candidates.proba, stop_at)
    write_items(items, output, chosen, settings.taxonomy.section_types)
    say_queue(items, output)
    return Exit.OK


def _select(candidates: Candidates, strategy: str, n: int, unit: str, run_length: int, seed: int) -> Chosen:
    from crosshead.labelling.selection import select as choose

    picked = choose(candidates, strategy, n, unit=unit, run_length=run_length, seed=seed)
    if not len(picked.rows):
        raise DataError(
            f"nothing is left to read: of {counted(len(candidates.article), 'paragraph')} each was labelled, or is a "
            "near-duplicate of one that was; bring more articles"
        )
    return picked


def _load(model: str | None, strategy: str, settings: Settings) -> Model | None:
    """Load the named tagger, else the champion, else the one of `crosshead zero-shot`; chance needs none."""
    from crosshead.loading import load

    try:
        loaded = load(model)
    except BundleError as error:
        first = settings.root / "models" / ZERO_SHOT_DIR
        if model is not None:
            raise
        if not first.is_dir():
            if strategy == "random":
                return None
            raise BundleError(
                f"{error}; or make a first one from the taxonomy's words, without any label: crosshead zero-shot"
            ) from error
        loaded = load(str(first))
    known, asked = loaded.tagger.section_types, settings.taxonomy.section_types
    if known != asked:
        raise DataError(
            f"the tagger knows the section types {', '.join(known)}, the taxonomy {', '.join(asked)}; choose another "
            "with --model, or the tagger's taxonomy with --set taxonomy=NAME"
        )
    return loaded


def _look(pool: Pool, loaded: Model | None, settings: Settings) -> Candidates:
    """Let the tagger and each of its views look at every paragraph."""
    import numpy as np

    from crosshead.labelling.selection import Candidates, unread_once

    is_open = unread_once(pool.texts, pool.read, settings.corpus.duplicate_threshold)
    if loaded is None:
        return Candidates(pool.article, is_open)
    tagger = _with_cache(loaded, settings)
    inputs = tagger.read(pool.texts)
    return Candidates(
        pool.article,
        is_open,
        vectors=inputs.vectors,
        proba=tagger.predict_proba_of(inputs, pool.lengths),
        opinions=np.exp(np.stack([view.log_proba(inputs) for view in tagger.views])),
    )


def _with_cache(loaded: Model, settings: Settings) -> Tagger:
    from crosshead.encoders.graph import GraphEncoder
    from crosshead.encoders.open import with_cache

    encoder = loaded.tagger.encoder
    if not isinstance(encoder, GraphEncoder):
        return loaded.tagger
    return replace(loaded.tagger, encoder=with_cache(encoder, settings.cache_dir))


def _say_when_to_stop(
    settings: Settings, pool: Pool, loaded: Model, proba: NDArray[np.float64], stop_at: float
) -> None:
    """Compare with what earlier taggers said, and say whether further labels are worth their reading."""
    from crosshead.labelling.selection_history import Snapshot, remember, settled, watched
    from crosshead.text import text_digest

    names = [settings.taxonomy.section_types[best] for best in proba.argmax(axis=1)]
    predictions = watched([text_digest(text) for text in pool.texts], names)
    snapshot = Snapshot(loaded.digest, int(pool.read.sum()), predictions)
    found = settled(remember(settings.root / HISTORY, snapshot), stop_at=stop_at)
    if found is None:
        return
    told = f"this tagger and the one before agree on {1 - found.changed[-1]:.1%} of the paragraphs"
    if found.stop:
        told += f"; for the last {len(found.kappas)} the agreement is {found.mean:.3f}: more labels will hardly help"
    elif found.mean is not None:
        told += f"; agreement {found.mean:.3f}, reading may stop from {stop_at:g}"
    click.echo(f"crosshead: {told}", err=True)

"""`crosshead zero-shot`: a first tagger from the taxonomy's words alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.reading import (
    ZERO_SHOT_DIR,
    inputs_argument,
    open_encoder_of,
    open_pool,
    overrides_option,
    vectors_of,
)
from crosshead.cli.words import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from crosshead.labelling.pool import Pool
    from crosshead.schema import Settings
    from crosshead.tagging.heads import Floats
    from crosshead.training.first_model import FirstModel


@command(
    "crosshead zero-shot",
    "crosshead zero-shot archive/ --output models/first",
    "crosshead zero-shot --set taxonomy=reviews",
)
@inputs_argument
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Where the tagger is saved.  [default: models/zero_shot]"
)
@click.option(
    "--refine/--no-refine", default=True, help="Learn from the surest answers too, not from the descriptions alone."
)
@overrides_option
def zero_shot(inputs: tuple[str, ...], output: Path | None, refine: bool, overrides: tuple[str, ...]) -> int:
    """Make a first tagger from the taxonomy's descriptions.

    It needs no label. INPUT is what `crosshead tag` takes: articles of the kind that will be tagged; by default those
    of the configuration. Where some are annotated, or have headings that stand for a section type, it is measured
    against them. Without annotations nobody knows what its confidence is worth, and it is "not sure" of everything.
    """
    from crosshead.cli.output import console
    from crosshead.training import zero_shot as shots
    from crosshead.training.first_model import build

    settings, pool = open_pool(inputs, overrides)
    encoder, graph_dir = open_encoder_of(settings)
    vectors = vectors_of(pool, encoder)
    head = shots.zero_shot(settings.taxonomy, encoder, vectors, rounds=shots.ROUNDS if refine else 0)
    model = build(
        lambda labels: head,
        vectors,
        pool.annotated,
        pool.lengths,
        pool.article_ids,
        section_types=settings.taxonomy.section_types,
        encoder=encoder,
        name="zero-shot",
        decoder_weight=settings.decoder.neighbour_weight,
        risk=settings.calibration.risk,
        seed=settings.seed,
    )
    folder = save_first(settings, model, output or settings.root / "models" / ZERO_SHOT_DIR, graph_dir)
    out = console()
    proba = model.tagger.decode(model.tagger.look(pool.texts), pool.lengths)
    out.print(f"{counted(len(pool), 'paragraph')} of {counted(len(pool.articles), 'article')}")
    show_scores_against(out, "annotations", pool.annotated, proba, pool, settings)
    show_scores_against(out, "headings", pool.by_heading, proba, pool, settings)
    say_first(out, settings, model, folder)
    return Exit.OK


def save_first(settings: Settings, model: FirstModel, folder: Path, graph_dir: Path) -> Path:
    """Save the tagger as a bundle."""
    from crosshead import bundle

    about = {"taxonomy": settings.resolved.get("taxonomy"), "encoder": settings.encoder.name}
    bundle.save(model.tagger, folder, encoder_dir=graph_dir, about=about)
    return folder


def show_scores_against(
    out: Console, what: str, y: NDArray[np.int64], proba: Floats, pool: Pool, settings: Settings
) -> None:
    """Print accuracy and macro-F1 on the paragraphs whose section type is known from ``what``."""
    from crosshead.evaluation import evaluate

    known = (y >= 0).nonzero()[0]
    if not len(known):
        out.print(f"  none of them is labelled by {what}", style="dim")
        return
    ids = [pool.article_ids[row] for row in known]
    scores = evaluate(y[known], proba[known], ids, settings.taxonomy.section_types, seed=settings.seed)
    told = f"macro-F1 {scores.macro_f1}, accuracy {scores.accuracy}"
    out.print(f"  against {what}: {told} on {counted(len(known), 'paragraph')}")


def say_first(out: Console, settings: Settings, model: FirstModel, folder: Path) -> None:
    """Say where the tagger is, what its confidence is worth, and what to type next."""
    from crosshead.evaluation import ABSTAIN_ALWAYS

    if not model.is_calibrated:
        out.print('  too few annotations to say what its confidence is worth: every answer is marked "not sure"')
    elif model.tagger.threshold >= ABSTAIN_ALWAYS:
        out.print(f'  no confidence keeps mistakes below {model.tagger.risk:.0%}: every answer is marked "not sure"')
    shown = folder.relative_to(settings.root) if folder.is_relative_to(settings.root) else folder
    out.print(f"tagger: {shown}", soft_wrap=True)
    out.print(f"next:   crosshead tag --model {shown} FILE…", soft_wrap=True)
    out.print(f"        crosshead select --model {shown} -n 50 -o queue.jsonl", soft_wrap=True)

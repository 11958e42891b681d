"""`crosshead finetune`: an encoder that learns the section types before the classifiers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.pipeline import import_training, load_settings, online_option, overrides_argument
from crosshead.cli.words import counted
from crosshead.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.schema import Settings
    from crosshead.stages.finetune import Finetuned

RECIPE = "finetune=default"


@command(
    "crosshead finetune",
    "crosshead finetune finetune.layers=4 finetune.epochs=3",
    "crosshead finetune encoder=custom encoder.source=FOLDER",
    "crosshead run encoder=finetuned",
)
@overrides_argument
@online_option
def finetune(overrides: tuple[str, ...], online: bool) -> int:
    """Teach the encoder the section types of the prepared paragraphs.

    Writes models/finetuned/, a sentence-transformers model, which `encoder=finetuned` names. Some training articles are
    kept from it, so that cross-validation and calibration stay honest. A run that was stopped goes on where it was.
    """
    import os

    if online:
        os.environ["HF_HUB_OFFLINE"] = "0"
    settings = load_settings(_with_recipe(overrides))
    from crosshead.cli.alone import alone_in
    from crosshead.cli.output import console, reporter

    stage = import_training("crosshead.stages.finetune")
    assert settings.finetune is not None
    with alone_in([settings.root / settings.finetune.output]), reporter() as report:
        result = stage.run(settings, report)
    _show(console(), settings, result)
    if result.unsent:
        raise StoreError(result.unsent)
    return Exit.OK


def _with_recipe(overrides: tuple[str, ...]) -> list[str]:
    named = any(override.partition("=")[0] == "finetune" for override in overrides)
    return [*overrides] if named else [RECIPE, *overrides]


def _show(out: Console, settings: Settings, result: Finetuned) -> None:
    from rich.table import Table

    out.print(
        f"fine-tuned {settings.encoder.name} on {counted(result.n_learned, 'paragraph')} ({result.device}); "
        f"{counted(result.n_unseen, 'paragraph')} kept from it"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("epoch", "loss", "accuracy on articles kept from it"):
        table.add_column(name, justify="right")
    for number, epoch in enumerate(result.history, start=1):
        table.add_row(str(number), f"{epoch.loss:.3f}", "–" if epoch.accuracy is None else f"{epoch.accuracy:.3f}")
    out.print(table)
    folder = result.folder
    shown = folder.relative_to(settings.root) if folder.is_relative_to(settings.root) else folder
    out.print(f"encoder: {shown}", soft_wrap=True)
    out.print("next:    crosshead run encoder=finetuned", soft_wrap=True)

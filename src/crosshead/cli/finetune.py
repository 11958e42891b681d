"""`crosshead finetune`: an encoder that learns the section types before the classifiers do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.pipeline import import_training, load_settings, online_option, overrides_argument, settings_module
from crosshead.cli.words import counted
from crosshead.errors import StoreError
from crosshead.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.schema import Settings
    from crosshead.stages.finetune import Finetuned

RECIPE = "finetune=default"
_KEPT = ("prompt", "max_tokens", "long", "engine")
"""What a fine-tuned encoder has in common with the one that it was made from."""


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
    from crosshead.cli.sweep import quoted

    stage = import_training("crosshead.stages.finetune")
    assert settings.finetune is not None
    with alone_in([settings.root / settings.finetune.output]), reporter() as report:
        result = stage.run(settings, report)
    out = console()
    _show(out, settings, result)
    words = redact(" ".join(map(quoted, next_overrides(overrides, settings, result.folder))))
    out.print(f"next:    crosshead run {words}", soft_wrap=True)
    if result.unsent:
        raise StoreError(result.unsent)
    return Exit.OK


def _with_recipe(overrides: tuple[str, ...]) -> list[str]:
    named = any(override.partition("=")[0] == "finetune" for override in overrides)
    return [*overrides] if named else [RECIPE, *overrides]


def next_overrides(overrides: Sequence[str], settings: Settings, folder: Path) -> list[str]:
    """Return the overrides that train with the encoder in ``folder`` on the table that it was fine-tuned on.

    Corpus, seed and whatever else was given are given again; of the encoder, what `encoder=finetuned` does not say.
    """
    words = ["encoder=finetuned"]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key.partition(".")[0] not in ("encoder", "finetune"):
            words.append(override)
    composed = settings_module().load_settings(words, settings.root).encoder
    shown = folder.relative_to(settings.root) if folder.is_relative_to(settings.root) else folder
    wanted = {"source": str(shown), "sha256": None, **{name: getattr(settings.encoder, name) for name in _KEPT}}
    for name, value in wanted.items():
        is_there = Path(composed.source or "") == folder if name == "source" else getattr(composed, name) == value
        if not is_there:
            words.append(f"encoder.{name}={_as_value(value)}")
    return words


def _as_value(value: str | int | None) -> str:
    """Write a value as an override takes it: a plain word as it is, the rest as JSON, which Hydra reads."""
    import json
    import re

    is_plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z./_][\w./-]*", value, re.ASCII)
    is_word = is_plain and str(value).lower() not in ("null", "true", "false", "nan", "inf")
    return str(value) if is_word else json.dumps(value, ensure_ascii=False)


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

"""Fine-tune: an encoder and the prepared training paragraphs in, an encoder that knows the section types better out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_summary, read_table
from crosshead.corpora.splits import split_test
from crosshead.encoders.source import check_digest, source_folder, weights_digest
from crosshead.encoders.tuned import TUNED_FILE, Tuned, text_digest
from crosshead.errors import ConfigError
from crosshead.records.lineage import git_state, learned_from, lineage
from crosshead.records.log_items import LogItem, Metric, Param, Tag, flatten
from crosshead.records.recording import record
from crosshead.records.tracking import Tracking
from crosshead.schema import FinetuneSettings, Settings
from crosshead.settings import config_digest, to_yaml
from crosshead.text import normalise
from crosshead.training.finetuning import Epoch, finetune
from crosshead.training.upper_layers import Recipe, best_device
from crosshead.whole import new_folder

Report = Callable[[str, int, int], None]
CHECKPOINT = "checkpoint.safetensors"


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Finetuned:
    """What the stage leaves behind."""

    folder: Path
    """A sentence-transformers model."""
    weights_sha256: str
    n_learned: int
    n_unseen: int
    history: Sequence[Epoch]
    device: str
    run_id: str | None = None
    unsent: str = ""
    """Why MLflow did not take the results, which then wait on disk."""


def run(settings: Settings, report: Report = _silent) -> Finetuned:
    """Teach the encoder of the configuration on training articles, some of which it never sees; write it.

    Raises
    ------
    ConfigError
        If finetune is null, or the configuration has no encoder to begin with.
    EncoderError
        If its weights are missing, not the expected ones, or of a kind that cannot be fine-tuned.
    """
    chosen = settings.finetune
    if chosen is None:
        raise ConfigError("finetune is null, so nothing says how to fine-tune; say finetune=default")
    source = _source(settings)
    summary, table = read_summary(settings.prepared_dir), read_table(settings.prepared_dir)
    columns = labelled.columns_of(table["train"])
    is_unseen = _keep_some(columns, chosen.unseen_share, settings.seed)
    texts = [normalise(text) for text in columns["text"]]
    _check_output(settings, settings.root / chosen.output)
    output, recipe, device = settings.root / chosen.output, _recipe(chosen, settings.seed), best_device()
    checkpoint = output.parent / f".{output.name}.work" / CHECKPOINT
    model, history = finetune(
        source,
        texts,
        labelled.to_paragraphs(columns, settings.taxonomy.section_types).y,
        learned=np.flatnonzero(~is_unseen),
        recipe=recipe,
        n_section_types=len(settings.taxonomy.section_types),
        checkpoint=checkpoint,
        prompt=settings.encoder.prompt,
        device=device,
        report=report,
    )
    before = Tuned.read(source)  # an encoder may be tuned again, and has then seen what it saw before as well
    seen = {text_digest(text) for text, unseen in zip(texts, is_unseen, strict=True) if not unseen}
    seen.update(before.seen if before is not None else ())
    tuned = Tuned(settings.encoder.name, weights_digest(source), summary["digest"], asdict(recipe), sorted(seen))
    with new_folder(output) as made:
        model.save(str(made), create_model_card=False)
        tuned.write(made)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    n_unseen = int(is_unseen.sum())
    result = Finetuned(output, weights_digest(output), len(texts) - n_unseen, n_unseen, history, device)
    return _record(settings, result, summary["digest"])


def _check_output(settings: Settings, output: Path) -> None:
    """Refuse to replace what `crosshead finetune` did not make."""
    place = output.resolve()
    is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    is_own = place.is_dir() and (place / TUNED_FILE).is_file()
    if settings.root.resolve().is_relative_to(place) or not (is_free or is_own):
        raise ConfigError(
            f"finetune.output is {settings.finetune.output!r}, which holds something else and would be replaced; "  # type: ignore[union-attr]
            "name a folder that is not there yet, or one that `crosshead finetune` made, such as models/finetuned"
        )


def _keep_some(columns: labelled.Columns, share: float, seed: int) -> NDArray[np.bool_]:
    """Draw the training articles that the encoder never sees."""
    types = columns["section_type"]
    return split_test(columns["group_id"], types, strata=types, test_share=share, seed=seed).is_test


def _source(settings: Settings) -> Path:
    if settings.encoder.source is None:
        raise ConfigError(
            f"encoder {settings.encoder.name!r} has nothing to fine-tune; choose one with weights: encoder=minilm"
        )
    if settings.encoder.kind == "static":
        raise ConfigError(
            f"encoder {settings.encoder.name!r} is static: token vectors that are looked up have no layers to learn; "
            "fine-tune the transformer that they are made of: crosshead finetune encoder=minilm. Token vectors of "
            "the result are encoder=static encoder.source=models/finetuned encoder.sha256=null"
        )
    settings.encoder.tuned()  # refuses what should say what it has seen, and does not
    folder = source_folder(settings.encoder.source)
    check_digest(settings.encoder.source, weights_digest(folder), settings.encoder.sha256)
    return folder


def _recipe(chosen: FinetuneSettings, seed: int) -> Recipe:
    told = chosen.model_dump(exclude={"unseen_share", "output"})
    return Recipe(**told, seed=seed)


def _record(settings: Settings, result: Finetuned, dataset_digest: str) -> Finetuned:
    if not settings.tracking.enabled:
        return result
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)
    items = describe(settings, result, dataset_digest)
    recorded = record(tracking, settings.root, items, name=f"fine-tuned {settings.encoder.name}")
    return replace(result, run_id=recorded.run_id, unsent=recorded.unsent)


def describe(settings: Settings, result: Finetuned, dataset_digest: str) -> Iterator[LogItem]:
    """Say what the run should record."""
    yield from flatten(settings.resolved)
    yield from lineage(git_state(settings.root), config_digest(settings.resolved), to_yaml(settings.resolved))
    yield from learned_from(dataset_digest, result.n_learned)
    yield Tag("crosshead.weights_sha256", result.weights_sha256)
    yield Param("device", result.device)
    yield Param("n_learned", result.n_learned)
    yield Param("n_unseen", result.n_unseen)
    for number, epoch in enumerate(result.history, start=1):
        yield Metric("loss", epoch.loss, number)
        if epoch.accuracy is not None:
            yield Metric("unseen_accuracy", epoch.accuracy, number)

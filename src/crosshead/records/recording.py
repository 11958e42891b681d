"""Recording results and their model in MLflow; what a lost store does not take waits on disk until it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crosshead import bundle
from crosshead.corpora.corpus import write_file
from crosshead.errors import BundleError, StoreError, TrackingError
from crosshead.records import unsent
from crosshead.records.log_items import LogItem, Tag
from crosshead.records.mlflow_files import CARD
from crosshead.records.tracking import RUN_NAME, Run, Tracking
from crosshead.releases import champion, registry
from crosshead.releases.registry import RegisteredVersion

RUN_FILE = "run.json"
"""Beside a bundle: the run that it came from."""
_MODEL = ".model"


@dataclass(frozen=True)
class ModelToRegister:
    """A bundle that is to be kept with its run, and to become a version of a registered model."""

    folder: Path
    digest: str
    name: str
    """Of the registered model; empty for a bundle that is kept with its run alone."""
    tags: Mapping[str, str] = field(default_factory=dict)
    card: str = ""
    """The model card; it becomes the version's description and a file of the model."""


@dataclass(frozen=True)
class Recorded:
    """What the store took."""

    run_id: str
    """One that begins with `unsent.LOCAL` waits to be sent."""
    registered: RegisteredVersion | None = None
    is_champion: bool = False
    unsent: str = ""
    """Why the store took nothing, or not everything; what it did not take is on disk."""


def record(
    tracking: Tracking,
    root: Path,
    items: Iterable[LogItem],
    *,
    name: str,
    run_id: str | None = None,
    model: ModelToRegister | None = None,
) -> Recorded:
    """Record items in a new run or in ``run_id``, and register the model; where the store is lost, keep all on disk.

    Raises
    ------
    TrackingError
        If the store holds no such run, or a parameter of it would change.
    """
    items = list(items)
    try:
        run_id = _known(tracking, root, run_id)
    except StoreError as error:
        return _keep(tracking, run_id or unsent.local_id(), [*items], model, error)
    opened = sent = False
    try:
        with tracking.run(name, run_id=run_id) as run:
            run_id, opened = run.run_id, True
            run.log(items)
            sent = True
            made, is_champion = _register(run, root, model) if model else (None, False)
    except StoreError as error:
        if not opened and run_id is None:
            items = [Tag(RUN_NAME, name), *items]
        # What an open run could not send, it has kept by itself.
        return _keep(tracking, run_id or unsent.local_id(), [] if opened or sent else items, model, error)
    return Recorded(run.run_id, made, is_champion)


def _known(tracking: Tracking, root: Path, run_id: str | None) -> str | None:
    """Give a run that waits to be sent its true id, by sending it."""
    if run_id is None or not unsent.is_local(run_id):
        return run_id
    if not unsent.path_of(tracking.unsent_dir, run_id).exists():
        return None
    return _send_run(tracking, root, run_id)


def _keep(
    tracking: Tracking, run_id: str, items: list[LogItem], model: ModelToRegister | None, error: StoreError
) -> Recorded:
    if items:
        unsent.keep(tracking.unsent_dir, run_id, items)
    if model is not None:
        _write_model_note(_model_note(tracking, run_id), model)
    why = str(error).partition("; the results are kept in")[0]
    return Recorded(
        run_id,
        unsent=f"{why}; nothing is lost: the results are kept in {tracking.unsent_dir}, "
        "send them when the store is back: crosshead log",
    )


def _register(run: Run, root: Path, model: ModelToRegister) -> tuple[RegisteredVersion | None, bool]:
    """Register the model, unless this run did so already; the first of its name becomes the champion."""
    if not model.name:
        registry.log_model(run, model.folder, card=model.card)
        return None, False
    made = _version_of(run, model)
    if model.card:
        registry.describe_version(run.tracking, made, short_card(model.card, registry.MAX_DESCRIPTION))
    standing = registry.promote_first(run.tracking, root, made)
    registry.prune(root)
    return made, standing.version == made.version


def _version_of(run: Run, model: ModelToRegister) -> RegisteredVersion:
    versions = registry.versions_of_run(run.tracking, model.name, run.run_id)
    same = [version for version in versions if version.tags.get(registry.DIGEST_TAG) == model.digest]
    if same:
        registry.set_version_tags(run.tracking, same[-1], model.tags)
        return same[-1]
    model_id = registry.log_model(run, model.folder, card=model.card)
    return registry.register(run.tracking, model_id, model.name, tags=model.tags)


def short_card(card: str, limit: int) -> str:
    """Cut a card at a section where a database keeps no more than ``limit`` characters, and say where the rest is."""
    if len(card) <= limit:
        return card
    note = f"\n\nThe rest is in the file {CARD} of the run and of the model.\n"
    kept = card[: limit - len(note)]
    for mark in ("\n## ", "\n"):
        if mark in kept:
            return kept[: kept.rindex(mark)].rstrip() + note
    return kept + note


# -- sending later -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What was sent of one run, or why not."""

    run_id: str
    registered: RegisteredVersion | None = None
    problem: str = ""


def send_unsent(tracking: Tracking, root: Path) -> Iterator[Sent]:
    """Send what waits, run by run.

    Raises
    ------
    StoreError
        If the store is still lost; what was not sent stays on disk.
    """
    for kept_id in unsent.ids(tracking.unsent_dir):
        run_id = _send_run(tracking, root, kept_id)
        if not _model_note(tracking, run_id).exists():
            yield Sent(run_id)
    for note in sorted(tracking.unsent_dir.glob(f"*{_MODEL}")):
        yield _send_model(tracking, root, note)


def _send_run(tracking: Tracking, root: Path, kept_id: str) -> str:
    """Send a run; whatever speaks of it by the id under which it waited then speaks of it by its true one."""

    def sent(run_id: str) -> None:
        if run_id == kept_id:
            return
        note = _model_note(tracking, kept_id)
        if note.exists():
            note.replace(_model_note(tracking, run_id))
        for path in (root / champion.MODELS_DIR).glob(f"*/{RUN_FILE}"):
            _replace_run_id(path, kept_id, run_id)

    return tracking.send_kept(kept_id, sent)


def _send_model(tracking: Tracking, root: Path, note: Path) -> Sent:
    model = _read_model_note(note)
    run_id = note.stem
    try:
        if bundle.digest(model.folder) != model.digest:
            raise BundleError(f"another tagger lies in {model.folder} by now")
    except BundleError as error:
        note.unlink()
        return Sent(run_id, problem=f"its model was not registered: {error}")
    with tracking.run(run_id, run_id=run_id) as run:
        registered, _ = _register(run, root, model)
    note.unlink()
    return Sent(run_id, registered)


def _model_note(tracking: Tracking, run_id: str) -> Path:
    return unsent.path_of(tracking.unsent_dir, run_id).with_suffix(_MODEL)


def _write_model_note(path: Path, model: ModelToRegister) -> None:
    content = {
        "folder": str(model.folder.absolute()),
        "digest": model.digest,
        "name": model.name,
        "tags": dict(model.tags),
        "card": model.card,
    }
    write_file(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def _read_model_note(path: Path) -> ModelToRegister:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folder = Path(content["folder"])
        return ModelToRegister(folder, content["digest"], content["name"], content["tags"], content["card"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{path} cannot be read ({error}); delete it and evaluate again: crosshead evaluate"
        ) from error


def _replace_run_id(path: Path, old: str, new: str) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(content, dict) and content.get("run_id") == old:
        write_file(path, json.dumps({**content, "run_id": new}).encode())

"""The tagger in MLflow's model registry: log a bundle as a model, register it, name a champion, find it again.

A model is the bundle folder and the code that loads it; see `mlflow_model`. Versions carry the digest of their bundle,
so what is fetched is what was registered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Any

from crosshead import bundle
from crosshead.errors import BundleError, TrackingError
from crosshead.records.mlflow_files import BUNDLE_PATH, CARD, write_model
from crosshead.records.mlflow_store import LOCK_TIMEOUT_S, explained, file_path
from crosshead.records.tracking import Run, Tracking
from crosshead.releases import champion
from crosshead.releases.champion import N_DIGITS, ChampionPointer, Move

CHAMPION = "champion"
"""Alias of the version that tags by default."""
MODEL_NAME = "tagger"
"""Of the logged model within its run."""
DIGEST_TAG = "bundle_digest"
MAX_DESCRIPTION = 5000
"""Characters that MLflow's schema keeps of a version's description."""

_URI = re.compile(
    r"models:/(?:(?P<model_id>m-[0-9a-f]{32})|(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+)))/?"
    r"|runs:/(?P<run_id>[0-9a-f]{32})(?:/[^/]*)?/?"
)


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Where MLflow finds it."""
        return f"models:/{self.name}/{self.version}"


def log_model(run: Run, folder: Path, *, tags: Mapping[str, str] | None = None, card: str = "") -> str:
    """Log a bundle, with its model card if there is one, as a model of the run and return the model's id.

    Raises
    ------
    BundleError
        If ``folder`` is no bundle.
    TrackingError
        If MLflow does not take it.
    """
    manifest, digest = bundle.read_manifest(folder), bundle.digest(folder)
    tracking, all_tags = run.tracking, {DIGEST_TAG: digest, **(tags or {})}
    with explained(tracking.place, "logging the model"):
        from mlflow.entities import LoggedModelOutput

        client = tracking.client
        logged = client.create_logged_model(
            tracking.experiment_id, MODEL_NAME, source_run_id=run.run_id, tags=all_tags, model_type="tagger"
        )
        with tempfile.TemporaryDirectory(prefix="crosshead-model-") as work:
            path = Path(work) / "model"
            write_model(path, folder, logged, run.run_id, tuple(manifest["section_types"]))
            if card:
                (path / CARD).write_text(card, encoding="utf-8")
            client.log_model_artifacts(logged.model_id, str(path))
        client.log_model_artifacts(logged.model_id, str(folder), BUNDLE_PATH)
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run.run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def register(
    tracking: Tracking, model_id: str, name: str, *, tags: Mapping[str, str] | None = None
) -> RegisteredVersion:
    """Make a logged model the next version of the registered model ``name``."""
    with explained(tracking.place, f"registering a version of {name!r}"):
        client = tracking.client
        logged = client.get_logged_model(model_id)
        _make_registered_model(client, name)
        all_tags = {DIGEST_TAG: logged.tags.get(DIGEST_TAG, ""), **(tags or {})}
        # A server looks the model up itself; a store opened directly would look it up in MLflow's default store.
        source = logged.artifact_location if tracking.place.artifact_root else f"models:/{model_id}"
        made = client.create_model_version(name, source, run_id=logged.source_run_id, tags=all_tags, model_id=model_id)
        earlier = json.loads(logged.tags.get("mlflow.modelVersions", "[]"))
        links = [*earlier, {"name": name, "version": str(made.version)}]  # MLflow's page reads this
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(links)})
    return RegisteredVersion(name, int(made.version), logged.source_run_id or "", all_tags)


def find_version(tracking: Tracking, name: str, which: str | int) -> RegisteredVersion | None:
    """Find a version by its number or alias; None if there is no such model, version or alias."""
    from mlflow.exceptions import MlflowException

    with explained(tracking.place, f"looking up {name!r}"):
        try:
            if isinstance(which, int):
                found = tracking.client.get_model_version(name, str(which))
            else:
                found = tracking.client.get_model_version_by_alias(name, which)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
    return RegisteredVersion(found.name, int(found.version), found.run_id or "", dict(found.tags))


def versions_of_run(tracking: Tracking, name: str, run_id: str) -> list[RegisteredVersion]:
    """Find the versions that a run gave to a registered model, the oldest first."""
    with explained(tracking.place, f"looking up {name!r}"):
        found = tracking.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    versions = [RegisteredVersion(v.name, int(v.version), v.run_id or "", dict(v.tags)) for v in found]
    return sorted(versions, key=lambda version: version.version)


def version_of(tracking: Tracking, uri: str) -> RegisteredVersion | None:
    """Return the version that ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS`` names; None for other URIs.

    Raises
    ------
    TrackingError
        If the URI has no known form, or the registry holds no such version.
    """
    parts = _parse(uri)
    return _existing(tracking, uri, parts) if parts["name"] else None


def run_of(tracking: Tracking, uri: str) -> str:
    """Return the id of the run that made the model of a URI, in the forms that `fetch` takes.

    Raises
    ------
    TrackingError
        If the URI has another form, or the store does not hold what it names.
    """
    parts = _parse(uri)
    if parts["run_id"]:
        return parts["run_id"]
    if parts["model_id"]:
        with explained(tracking.place, f"looking up {uri}"):
            return str(_find_logged_model(tracking, parts["model_id"]).source_run_id)
    return _existing(tracking, uri, parts).run_id


def describe_version(tracking: Tracking, registered: RegisteredVersion, text: str) -> None:
    """Write what MLflow's page shows of a version; databases other than SQLite take `MAX_DESCRIPTION` characters."""
    with explained(tracking.place, f"describing {registered.uri}"):
        tracking.client.update_model_version(registered.name, str(registered.version), description=text)


def set_version_tags(tracking: Tracking, registered: RegisteredVersion, tags: Mapping[str, str]) -> None:
    """Note something on a version, such as scores that were measured after it was registered."""
    with explained(tracking.place, f"tagging {registered.uri}"):
        for key, value in tags.items():
            tracking.client.set_model_version_tag(registered.name, str(registered.version), key, value)


def fetch(tracking: Tracking, uri: str, cache_dir: Path) -> Path:
    """Return the bundle folder of ``models:/name@alias``, ``models:/name/3``, ``models:/m-…`` or ``runs:/…``.

    Files on this machine are used where they lie; others are downloaded to ``cache_dir`` once.

    Raises
    ------
    TrackingError
        If the URI has another form, or the store does not hold what it names.
    BundleError
        If the files are not those that were registered.
    """
    parts = _parse(uri)
    with explained(tracking.place, f"looking up {uri}"):
        if parts["name"]:
            registered = _existing(tracking, uri, parts)
            location = tracking.client.get_model_version_download_uri(registered.name, str(registered.version))
            return _files_at(tracking, location, registered.tags.get(DIGEST_TAG, ""), cache_dir)
        logged = _find_logged_model(tracking, parts["model_id"] or model_of_run(tracking, parts["run_id"]))
    return _files_at(tracking, logged.artifact_location, logged.tags.get(DIGEST_TAG, ""), cache_dir)


def promote(
    tracking: Tracking, root: Path, registered: RegisteredVersion, *, instead_of: int | EllipsisType | None = ...
) -> ChampionPointer:
    """Make a version the champion: the alias in the registry, and the pointer that tagging reads without MLflow.

    Parameters
    ----------
    instead_of : int or None, optional
        The version that must be the champion until now, None for no champion; left out, it may be any.

    Raises
    ------
    TrackingError
        If another version is the champion by now; nothing is moved.
    """
    with _champion_lock(root):
        standing = find_version(tracking, registered.name, CHAMPION)
        if instead_of is not ... and (standing.version if standing else None) != instead_of:
            now = f"version {standing.version}" if standing else "none"
            raise TrackingError(
                f"the champion of {registered.name!r} is {now} by now, not version {instead_of}; "
                "somebody moved it meanwhile: look at it (crosshead show champion), then try again"
            )
        return _move(tracking, root, registered)


def finish_move(tracking: Tracking, root: Path) -> RegisteredVersion | None:
    """Do the rest of a change of champion that a killed process left half done; return the champion then.

    Raises
    ------
    TrackingError
        If the registry does not hold that version any more.
    """
    with _champion_lock(root):
        move = champion.unfinished_move(root)
        if move is None:
            return None
        registered = find_version(tracking, move.name, move.version)
        if registered is None:
            raise TrackingError(
                f"making version {move.version} of {move.name!r} the champion was interrupted, and that version is "
                f"gone from {tracking.place.shown}; delete {root / champion.MODELS_DIR / champion.MOVE}"
            )
        _move(tracking, root, registered)
        return registered


def _move(tracking: Tracking, root: Path, registered: RegisteredVersion) -> ChampionPointer:
    """Move alias and pointer; what can fail comes first, and a kill between the two leaves a note of the rest."""
    folder, digest = _keep(tracking, root, registered)
    champion.begin_move(root, Move(registered.name, registered.version))
    try:
        with explained(tracking.place, f"moving the alias {CHAMPION!r}"):
            tracking.client.set_registered_model_alias(registered.name, CHAMPION, str(registered.version))
    except TrackingError:
        champion.end_move(root)  # the alias stands where it stood
        raise
    pointer = champion.write(root, folder, digest, name=registered.name, version=registered.version)
    champion.end_move(root)
    return pointer


@contextlib.contextmanager
def _champion_lock(root: Path) -> Iterator[None]:
    from crosshead.locks import Lock, Timeout

    models = root / champion.MODELS_DIR
    lock = Lock(models / ".champion.lock", timeout=LOCK_TIMEOUT_S)
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise TrackingError(
            f"another process has been changing the champion in {models} for {LOCK_TIMEOUT_S:.0f} s; "
            "wait for it or end it, then try again"
        ) from error
    except OSError as error:
        raise BundleError(f"{models} cannot be written: {error.strerror}; make the folder writable") from error
    try:
        yield
    finally:
        lock.release()


def prune(root: Path) -> list[Path]:
    """Delete kept bundles as `champion.prune` does, but none that another process is making the champion."""
    with _champion_lock(root):
        return champion.prune(root)


def promote_first(tracking: Tracking, root: Path, registered: RegisteredVersion) -> ChampionPointer:
    """Make a version the champion if the registry has none, and return the champion there is.

    Where the registry has a champion but this project's pointer is missing or broken (a fresh clone of a team's
    project), the pointer is made from the registry.
    """
    finish_move(tracking, root)
    with _champion_lock(root):
        standing = find_version(tracking, registered.name, CHAMPION)
        if standing is None:
            return _move(tracking, root, registered)
        try:
            pointer = champion.find(root)
        except BundleError:
            pointer = None
        return pointer or _point_at(tracking, root, standing)


def _point_at(tracking: Tracking, root: Path, registered: RegisteredVersion) -> ChampionPointer:
    folder, digest = _keep(tracking, root, registered)
    return champion.write(root, folder, digest, name=registered.name, version=registered.version)


def _keep(tracking: Tracking, root: Path, registered: RegisteredVersion) -> tuple[Path, str]:
    folder = fetch(tracking, registered.uri, root / champion.MODELS_DIR / ".fetched")
    digest = bundle.digest(folder)
    return champion.keep(root, folder, digest), digest


def _existing(tracking: Tracking, uri: str, parts: Mapping[str, str]) -> RegisteredVersion:
    registered = find_version(tracking, parts["name"], parts["alias"] or int(parts["version"]))
    if registered is None:
        raise TrackingError(
            f"there is no {uri} in {tracking.place.shown}; train and promote a model first, or give another version"
        )
    return registered


def _parse(uri: str) -> dict[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise TrackingError(
            f"model is {uri!r}; allowed are models:/NAME@ALIAS, models:/NAME/VERSION, models:/MODEL_ID and "
            f"runs:/RUN_ID, for example models:/crosshead@{CHAMPION}"
        )
    return {key: value or "" for key, value in match.groupdict().items()}


def model_of_run(tracking: Tracking, run_id: str) -> str:
    """Return the id of the model that a run logged.

    Raises
    ------
    TrackingError
        If it logged none.
    """
    run = tracking.find_run(run_id)
    outputs = run.outputs.model_outputs if run is not None and run.outputs is not None else []
    if not outputs:
        raise TrackingError(f"run {run_id} in {tracking.place.shown} has no model; give a run of `crosshead train`")
    return str(outputs[-1].model_id)


def _find_logged_model(tracking: Tracking, model_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return tracking.client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(f"there is no model {model_id} in {tracking.place.shown}; give another one") from error


def _files_at(tracking: Tracking, location: str, digest: str, cache_dir: Path) -> Path:
    local = file_path(location)
    # One folder a place: a version never moves, and another store's version of the same number lies elsewhere.
    folder = local / BUNDLE_PATH if local else cache_dir / hashlib.sha256(location.encode()).hexdigest()[:N_DIGITS]
    if local is None and not folder.is_dir():
        _download(tracking, f"{location}/{BUNDLE_PATH}", folder)
    if not (folder / bundle.MANIFEST).is_file():
        raise TrackingError(
            f"the model's files are gone from {folder}; put them back, or train again and promote that model"
        )
    if digest and bundle.digest(folder) != digest:
        raise BundleError(
            f"the bundle in {folder} is not the one that was registered (digest {digest[:12]}…); it was changed: "
            "do not use it, restore its files or train again"
        )
    return folder


def _download(tracking: Tracking, uri: str, folder: Path) -> None:
    with explained(tracking.place, "downloading the model"):
        from mlflow.artifacts import download_artifacts

        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as work:
            got = download_artifacts(artifact_uri=uri, dst_path=work, tracking_uri=tracking.place.uri)
            shutil.rmtree(folder, ignore_errors=True)
            Path(got).rename(folder)


def _make_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise

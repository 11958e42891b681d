"""Which saved tagger to use, and loading it: for the command line, the server and batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from crosshead.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    from crosshead.tagging.tagger import Encoder, Tagger


@dataclass(frozen=True)
class Found:
    """A saved tagger that was found, loaded or not."""

    folder: Path
    name: str
    """In the registry; empty where the folder itself was named."""
    version: str
    digest: str
    """Empty where the folder holds no bundle."""


@dataclass(frozen=True)
class Model:
    """A tagger with what it is called."""

    tagger: Tagger
    name: str
    version: str
    digest: str
    """sha256 of the bundle's manifest."""
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the bundle says of itself."""
    found: Found | None = None
    """What it was loaded from."""


def find(model: str | None) -> Found:
    """Find the bundle that ``model`` names, or the champion's; cheap, so that a server can look for a new one often.

    Raises
    ------
    BundleError
        If there is none.
    TrackingError
        If the registry does not hold what ``model`` names.
    """
    from crosshead import bundle

    if model is None:
        folder, name, version = _champion()
    elif model.startswith(("models:/", "runs:/")):
        folder, name, version = _fetch(model), "", ""
    else:
        folder, name, version = _folder(model), "", ""
    return Found(folder, name, version, bundle.digest(folder) if (folder / bundle.MANIFEST).is_file() else "")


def load(model: str | None = None, *, n_threads: int | None = None, reuse: Encoder | None = None) -> Model:
    """Load the tagger that ``model`` names, or the champion.

    Parameters
    ----------
    model
        A bundle's folder, ``models:/NAME/VERSION`` or ``runs:/RUN/…``; by default the champion of the project.
    n_threads
        Of the encoder; by default one a core.
    reuse
        An encoder that is loaded already; it is used if the bundle holds the same.

    Raises
    ------
    BundleError
        If there is none, or it is damaged.
    TrackingError
        If the registry does not hold what ``model`` names.
    """
    from crosshead import bundle

    found = find(model)
    manifest = bundle.read_manifest(found.folder)
    tagger = bundle.load(found.folder, n_threads=n_threads, reuse=reuse)
    return Model(tagger, found.name or tagger.name, found.version or tagger.version, found.digest, manifest, found)


def load_aside(model: str | None) -> Future[Model]:
    """Begin to load a model in another thread, engine warmed up, so that others can import what they need meanwhile."""
    future: Future[Model] = Future()

    def run() -> None:
        try:
            loaded = load(model)
            loaded.tagger.tag_texts(["The encoder's engine is loaded at the first text."])
            future.set_result(loaded)
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="loading", daemon=True).start()
    return future


def _champion() -> tuple[Path, str, str]:
    from crosshead.releases import champion

    root = project_root()
    if root is None:
        raise BundleError(
            "no saved tagger to use: this is no crosshead project (no conf/config.yaml here or above), so there is no "
            "champion; name a saved tagger with --model FOLDER, or go to the project's folder, or set CROSSHEAD_ROOT"
        )
    pointer = champion.find(root)
    if pointer is None and champion.has_kept(root):
        raise BundleError(
            f"{champion.MODELS_DIR}/{champion.POINTER} of {root} is gone, which names the champion; {champion.MEND}"
        )
    if pointer is None and (latest := root / champion.MODELS_DIR / "latest" / "bundle").is_dir():
        raise BundleError(
            f"a tagger was trained in {root}, and none is the champion yet; type: crosshead evaluate, which makes the "
            f"first one the champion, or name it: --model {latest}"
        )
    if pointer is None:
        raise BundleError(
            f"no tagger has been trained in {root} yet; type: crosshead run, or name a saved tagger with --model FOLDER"
        )
    return pointer.bundle, pointer.name, "" if pointer.version is None else str(pointer.version)


def _folder(model: str) -> Path:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise BundleError(
            f"the saved tagger {model!r} {what}; give the folder that `crosshead train` wrote, "
            "or models:/NAME@ALIAS for one in the registry"
        )
    return folder


def _fetch(model: str) -> Path:
    try:
        from crosshead.composing import compose
        from crosshead.records.tracking import Tracking
        from crosshead.releases import registry
    except ImportError as error:
        raise MissingExtraError(f"--model {model}", "train") from error
    root = project_root()
    tracking = compose((), root).get("tracking", {}) if root else {}
    home = root or Path.cwd()
    return registry.fetch(Tracking.at(home, uri=tracking.get("uri")), model, home / "models" / ".fetched")


def project_root() -> Path | None:
    """Return the nearest folder from ``CROSSHEAD_ROOT``, or from here, upwards that holds conf/config.yaml.

    The same folder as ``settings.find_root``, which raises where this gives None.
    """
    start = Path(os.environ.get("CROSSHEAD_ROOT") or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "conf" / "config.yaml").is_file()), None)

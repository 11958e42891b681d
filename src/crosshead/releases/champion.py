"""Which bundle tags by default: a pointer file that is read without MLflow.

``models/champion.json`` names a folder ``models/<digest>`` that nothing writes to again, so training a new model
never changes the tagger under somebody's hands. Promotion copies a bundle there (`keep`) and moves the pointer
(`write`); `crosshead tag` and `crosshead serve` only `find` it.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead import whole
from crosshead.errors import BundleError

MODELS_DIR = "models"
POINTER = "champion.json"
MOVE = "champion.moving.json"
SCHEMA = 1
MEND = "make it anew from the registry: crosshead promote champion"
N_DIGITS = 16
"""Of the digest, in the name of a kept bundle's folder."""

_KEPT = re.compile(rf"[0-9a-f]{{{N_DIGITS}}}")


@dataclass(frozen=True)
class ChampionPointer:
    """The bundle that tags by default, and where it stands in the registry."""

    bundle: Path
    """Absolute; the folder is there."""
    digest: str
    """What ``bundle.digest`` gave when it was promoted."""
    name: str
    """Name of the registered model; empty if the bundle was never registered."""
    version: int | None
    """Version in the registry."""


def find(root: Path) -> ChampionPointer | None:
    """Return the champion of the project at ``root``, or None if there is none yet.

    Raises
    ------
    BundleError
        If the pointer cannot be read or names a folder that is gone.
    """
    path = root / MODELS_DIR / POINTER
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(_broken(path, str(error))) from error
    try:
        pointer = _parse(json.loads(text), root)
        is_there = pointer.bundle.is_dir()
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:  # of paths: too long, or links in circles
        raise BundleError(_broken(path, str(error) or type(error).__name__)) from error
    if not is_there:
        raise BundleError(
            f"the champion's bundle {pointer.bundle} is gone, but {path} names it; "
            "put the folder back, or let the registry put it there: crosshead promote champion"
        )
    return pointer


def has_kept(root: Path) -> bool:
    """Say if a bundle was ever kept as champion, so that a pointer was there and is lost."""
    return any(_KEPT.fullmatch(path.name) for path in (root / MODELS_DIR).glob("*/"))


def write(root: Path, bundle: Path, digest: str, *, name: str = "", version: int | None = None) -> ChampionPointer:
    """Point at a kept bundle, durably: after a crash the pointer is the old one or the new one, never half of it.

    Raises
    ------
    BundleError
        If ``bundle`` is no folder below ``root``, or the disk refuses.
    """
    home = root.resolve()
    folder = bundle.resolve()
    if not folder.is_dir() or not folder.is_relative_to(home):
        raise BundleError(
            f"bundle is {str(bundle)!r}; the champion must be a folder below the project root {home}; "
            "copy it there with champion.keep first"
        )
    content = {
        "schema": SCHEMA,
        "bundle": folder.relative_to(home).as_posix(),
        "bundle_digest": digest,
        "registered_model": name,
        "version": version,
    }
    try:
        whole.write(root / MODELS_DIR / POINTER, f"{json.dumps(content, indent=2)}\n".encode())
    except OSError as error:
        raise BundleError(f"the champion's pointer cannot be written: {error}; make the folder writable") from error
    return ChampionPointer(folder, digest, name, version)


@dataclass(frozen=True)
class Move:
    """A change of champion that was begun: the registry and the pointer, two places, are to name this version."""

    name: str
    version: int


def begin_move(root: Path, move: Move) -> None:
    """Note durably what is about to be done, so that a kill between its two steps can be mended.

    Raises
    ------
    BundleError
        If the disk refuses.
    """
    try:
        told = {"registered_model": move.name, "version": move.version}
        whole.write(root / MODELS_DIR / MOVE, json.dumps(told).encode())
    except OSError as error:
        raise BundleError(f"{root / MODELS_DIR / MOVE} cannot be written: {error}; make the folder writable") from error


def end_move(root: Path) -> None:
    """Take the note away: both places name the same version."""
    (root / MODELS_DIR / MOVE).unlink(missing_ok=True)


def unfinished_move(root: Path) -> Move | None:
    """Return the change of champion that a killed process left unfinished, if there is one.

    Raises
    ------
    BundleError
        If the note of it cannot be read.
    """
    path = root / MODELS_DIR / MOVE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Move(str(content["registered_model"]), int(content["version"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{path} cannot be read ({error}); delete it, then type: crosshead promote champion"
        ) from error


def keep(root: Path, bundle: Path, digest: str) -> Path:
    """Copy a bundle to ``models/<digest>`` and return that folder; an equal copy that is there already is used.

    The copy appears whole or not at all. A folder of that name with other content (a file was damaged) is replaced.

    Raises
    ------
    BundleError
        If the digest is no hexadecimal digest, or the disk refuses.
    """
    if not _KEPT.match(digest):
        raise BundleError(f"bundle digest is {digest!r}; it must be a sha256 in hexadecimal digits")
    target = root / MODELS_DIR / digest[:N_DIGITS]
    try:
        if _equal_folders(bundle, target):
            os.utime(target)  # `prune` spares the folder kept last
            return target
        with whole.new_folder(target, durable=True) as new:
            shutil.copytree(bundle, new, copy_function=shutil.copyfile, dirs_exist_ok=True)
            os.utime(new)
    except OSError as error:
        if _equal_folders(bundle, target):  # somebody else kept the same bundle in the meantime
            return target
        raise BundleError(f"the bundle {bundle} cannot be copied to {target}: {error}") from error
    return target


def prune(root: Path) -> list[Path]:
    """Delete kept bundles except the champion's and the one kept last; return what was deleted.

    Everything pruned is still in the MLflow registry.
    """
    whole.remove_leftovers(root / MODELS_DIR)
    kept = sorted(
        (folder for folder in (root / MODELS_DIR).glob("*") if folder.is_dir() and _KEPT.fullmatch(folder.name)),
        key=lambda folder: folder.stat().st_mtime_ns,
    )
    champion = find(root)
    spared = {folder.resolve() for folder in kept[-1:]} | ({champion.bundle.resolve()} if champion else set())
    old = [folder for folder in kept if folder.resolve() not in spared]
    for folder in old:
        shutil.rmtree(folder)
    return old


def _parse(content: Any, root: Path) -> ChampionPointer:
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}, not an object")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {content.get('schema')!r}; this crosshead reads {SCHEMA}")
    digest, name, version = content["bundle_digest"], content["registered_model"], content["version"]
    folder = content["bundle"]
    if not (isinstance(folder, str) and isinstance(digest, str) and isinstance(name, str)):
        raise TypeError("bundle, bundle_digest and registered_model must be text")
    if not (version is None or (isinstance(version, int) and not isinstance(version, bool))):
        raise TypeError(f"version is {version!r}, not a number")
    home = root.resolve()
    bundle = (home / folder).resolve()
    if not folder or bundle == home or not bundle.is_relative_to(home):
        raise ValueError(f"bundle is {folder!r}, which is not below the project root")
    return ChampionPointer(bundle, digest, name, version)


def _broken(path: Path, why: str) -> str:
    return f"the champion's pointer {path} cannot be used: {why}; {MEND}"


def _equal_folders(left: Path, right: Path) -> bool:
    files = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (left, right)]
    if not right.is_dir() or files[0] != files[1]:
        return False
    return all(filecmp.cmp(left / file, right / file, shallow=False) for file in files[0])

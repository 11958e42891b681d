"""Which paragraphs a bundle was tested on, kept in ``models/scores/`` beside its scores.

It says without MLflow, and without the predictions, whether `crosshead compare` could compare two bundles.
"""

from __future__ import annotations

import json
from pathlib import Path

from crosshead.records import model_scores

_MANIFEST = "manifest.json"
"""Of a bundle; `bundle` itself needs numpy."""


def path(root: Path, digest: str) -> Path:
    """Return where it stands in the project at ``root`` for the bundle of that digest."""
    return model_scores.path(root, digest).with_suffix(".tested.json")


def content(held_out: str) -> bytes:
    """Write it; ``held_out`` is `predictions.held_out_digest`."""
    return (json.dumps({"held_out": held_out}) + "\n").encode()


def why_not_comparable(root: Path, first: tuple[Path, str], second: tuple[Path, str]) -> str:
    """Say why two bundles, each a folder and its digest, cannot be compared; empty where nothing speaks against it."""
    a, b = (_held_out(root, digest) for _, digest in (first, second))
    if a and b:
        return "" if a == b else "they were tested on different paragraphs"
    tables = [_trained_on(folder) for folder, _ in (first, second)]
    return "" if tables[0] == tables[1] else "they belong to different paragraph tables"


def _held_out(root: Path, digest: str) -> str:
    try:
        return str(json.loads(path(root, digest).read_text(encoding="utf-8"))["held_out"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _trained_on(folder: Path) -> str:
    try:
        return str(json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["about"]["dataset_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

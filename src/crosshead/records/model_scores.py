"""What evaluation measured of a bundle, kept in ``models/scores/`` under the bundle's digest.

A bundle is scored after it was saved and never written to again, so that its digest stays; its scores stand in a file
of their own, which whoever serves the bundle finds by its digest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "scores"
"""Below models/."""
DIGEST = re.compile(r"[0-9a-f]{64}")


def path(root: Path, digest: str) -> Path:
    """Return where the scores of a bundle stand in the project at ``root``."""
    return root / "models" / FOLDER / f"{digest}.json"


def content(measured: Mapping[str, Any]) -> bytes:
    """Write the overall scores: of a measure its value, low and high, or its value alone where it has no interval.

    Parameters
    ----------
    measured
        ``Scores.as_dict()``; what it says of single section types is left out.
    """
    told = {name: _plain(score) for name, score in measured.items() if name != "classes"}
    return (json.dumps({name: score for name, score in told.items() if _is_score(score)}, indent=2) + "\n").encode()


def read(root: Path | None, digest: str) -> dict[str, Any] | None:
    """Return the scores of a bundle, or None where there are none that can be read."""
    if root is None or not DIGEST.fullmatch(digest):
        return None
    try:
        found = json.loads(path(root, digest).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found and all(map(_is_score, found.values())) else None


def _plain(score: Any) -> Any:
    if isinstance(score, Mapping) and (score.get("low") is None or score.get("high") is None):
        return score.get("value")
    return score


def _is_score(score: Any) -> bool:
    if isinstance(score, Mapping):
        return set(score) == {"value", "low", "high"} and all(map(_is_number, score.values()))
    return _is_number(score)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""What successive taggers said of the same paragraphs, kept between selections so that reading can stop in time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosshead.errors import DataError
from crosshead.labelling.durable import write_durably
from crosshead.labelling.selection import STOP_AT, WINDOW, Stability, stability

N_WATCHED = 1000
"""Paragraphs whose predictions are compared: those with the lowest digests, so that they stay the same."""
MIN_COMMON = 50


@dataclass(frozen=True)
class Snapshot:
    """What one tagger said of the watched paragraphs."""

    model: str
    """The digest of its bundle."""
    n_labels: int
    """Paragraphs that were labelled when it was asked."""
    predictions: Mapping[str, str]
    """Section types by the paragraphs' digests."""


def watched(digests: Sequence[str], section_types: Sequence[str], n: int = N_WATCHED) -> dict[str, str]:
    """Keep the predictions for the paragraphs that are watched."""
    return dict(sorted(zip(digests, section_types, strict=True))[:n])


def read_history(path: Path) -> list[Snapshot]:
    """Read what was kept; nothing if nothing was.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.is_file():
        return []
    snapshots = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            snapshots.append(Snapshot(str(row["model"]), int(row["n_labels"]), dict(row["predictions"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"line {number} of {path} is no record of a selection ({type(error).__name__}: {error}); delete the "
                "file: the comparison of taggers then begins anew"
            ) from error
    return snapshots


def remember(path: Path, snapshot: Snapshot) -> list[Snapshot]:
    """Add a snapshot and return all; the same tagger asked again replaces its own."""
    kept = [earlier for earlier in read_history(path) if earlier.model != snapshot.model]
    kept.append(snapshot)
    lines = [
        json.dumps({"model": s.model, "n_labels": s.n_labels, "predictions": dict(s.predictions)}, ensure_ascii=False)
        for s in kept
    ]
    write_durably(path, "".join(f"{line}\n" for line in lines).encode())
    return kept


def settled(snapshots: Sequence[Snapshot], *, stop_at: float = STOP_AT, window: int = WINDOW) -> Stability | None:
    """Say how much the last taggers agree on paragraphs that all of them saw; None where there are too few of these."""
    last = list(snapshots)[-(window + 1) :]
    common = set.intersection(*(set(snapshot.predictions) for snapshot in last)) if last else set()
    if len(last) < 2 or len(common) < MIN_COMMON:
        return None
    names = sorted({name for snapshot in last for name in snapshot.predictions.values()})
    number = {name: i for i, name in enumerate(names)}
    order = sorted(common)
    coded = [np.array([number[snapshot.predictions[digest]] for digest in order]) for snapshot in last]
    return stability(coded, stop_at=stop_at, window=window)

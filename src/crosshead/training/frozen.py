"""What the frozen layers made of the texts, kept on disk as it comes, so that a kill does not lose the hours it took.

Files hold batches in order, each file from one batch to another; which batches there are, and in which order, is
decided by the texts alone, so that what is taken up again is what would have been computed. Nothing is written before
the work has taken as long as may be lost: short work is done again faster than it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from crosshead import whole

LARGEST_FILE = 256 * 1024**2
"""Bytes of tensors in one file, which is put together in memory."""
_log = logging.getLogger(__name__)

Batch = tuple[Sequence[int], Sequence[Any]]
"""Rows, and what the frozen layers left of each."""


class Kept:
    """The files of one work, beside its checkpoint.

    Parameters
    ----------
    checkpoint
        Files are named after it and lie beside it.
    decides
        Everything that the states depend on, as JSON takes it; files of other work are removed.
    interval_s
        Seconds of work that a kill may cost.
    """

    def __init__(self, checkpoint: Path, decides: Any, interval_s: float) -> None:
        self.checkpoint, self.interval_s = checkpoint, interval_s
        self.digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        self._waiting: list[Batch] = []
        self._n_kept = 0
        self._is_on = True
        self._saved = time.monotonic()

    def read(self) -> list[Batch]:
        """Return the batches that are there, from the first one on; whatever does not belong to them is removed."""
        whole.remove_leftovers(self.checkpoint.parent)
        batches: list[Batch] = []
        for path in self._paths():
            try:
                batches += self._read(path, len(batches))
            except (SafetensorError, OSError, ValueError, LookupError):  # damaged, or of other work
                path.unlink(missing_ok=True)
        self._n_kept = len(batches)
        self._saved = time.monotonic()
        return batches

    def add(self, rows: Sequence[int], states: Sequence[Any]) -> None:
        """Take what one batch gave; it is written when enough time went by."""
        if not self._is_on:
            return
        self._waiting.append((rows, states))
        if time.monotonic() - self._saved > self.interval_s:
            self._save()

    def finish(self) -> None:
        """Write the last batches, if the first ones were thought worth it."""
        if self._n_kept and self._waiting:
            self._save()
        self._waiting = []

    def _paths(self) -> list[Path]:
        return sorted(self.checkpoint.parent.glob(f"{self.checkpoint.stem}.frozen-*.safetensors"))

    def _read(self, path: Path, n_before: int) -> list[Batch]:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["told"])
            if about["digest"] != self.digest or about["first"] != n_before:
                raise ValueError("of other work")
            return [(rows, [file.get_tensor(str(row)) for row in rows]) for rows in about["batches"]]

    def _save(self) -> None:
        try:
            for batches in self._by_size():
                about = {"digest": self.digest, "first": self._n_kept, "batches": [list(rows) for rows, _ in batches]}
                tensors = {str(row): state for batch in batches for row, state in zip(*batch, strict=True)}
                name = f"{self.checkpoint.stem}.frozen-{self._n_kept:09}.safetensors"
                whole.write(self.checkpoint.with_name(name), save(tensors, metadata={"told": json.dumps(about)}))
                self._n_kept += len(batches)
        except OSError as error:
            self._give_up(error)
        self._waiting = []
        self._saved = time.monotonic()

    def _by_size(self) -> list[list[Batch]]:
        files: list[list[Batch]] = [[]]
        size = 0
        for batch in self._waiting:
            n_bytes = sum(state.nbytes for state in batch[1])
            if files[-1] and size + n_bytes > LARGEST_FILE:
                files.append([])
                size = 0
            files[-1].append(batch)
            size += n_bytes
        return files

    def _give_up(self, error: OSError) -> None:
        """Go on without files, and leave the room to the checkpoint of what is learned, which matters more."""
        _log.warning(
            "what the frozen layers make of the texts cannot be kept (%s): a kill loses it; to keep it, make room",
            error.strerror,
        )
        self._is_on = False
        for path in self._paths():
            with contextlib.suppress(OSError):
                path.unlink()

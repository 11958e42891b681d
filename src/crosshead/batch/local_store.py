"""A folder on this machine, or on a file system that several machines share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from crosshead import whole

LOCK = ".job.lock"


class LocalStore:
    """See `crosshead.batch.stores.Store`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)

    def names(self, folder: str) -> dict[str, int]:
        """Return the names and sizes of the files directly in ``folder``."""
        try:
            with os.scandir(self.root / folder) as entries:
                return {
                    entry.name: entry.stat().st_size
                    for entry in entries
                    if entry.is_file() and not _is_temporary(entry.name)
                }
        except FileNotFoundError:
            return {}

    def is_empty(self) -> bool:
        """Whether nothing is in it but a lock, and what a writer that was killed left behind."""
        try:
            with os.scandir(self.root) as entries:
                return all(entry.name == LOCK or _is_temporary(entry.name) for entry in entries)
        except FileNotFoundError:
            return True

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if it is not there."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is on the disk, whole, when this returns."""
        self.write_blocks(name, iter([content]))

    def write_blocks(self, name: str, blocks: Iterator[bytes]) -> None:
        """Write a file block by block."""
        with whole.new_file(self.root / name) as file:
            for block in blocks:
                file.write(block)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, and its folder if that is then empty."""
        path = self.root / name
        path.unlink(missing_ok=True)
        if path.parent != self.root:
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def tidy(self) -> None:
        """Remove what writers that were killed left behind."""
        for folder in (self.root, *(path for path in self.root.glob("*/") if path.is_dir())):
            for path in folder.glob(f".*{whole.TEMPORARY}"):
                path.unlink(missing_ok=True)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(whole.TEMPORARY)

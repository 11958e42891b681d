"""A folder in an object store, through fsspec: an object appears whole when its upload ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crosshead.batch.stores import file_system, told


class RemoteStore:
    """See `crosshead.batch.stores.Store`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")
        self._system: Any
        self._system, path = file_system(url)
        self._root = path.rstrip("/")

    def names(self, folder: str) -> dict[str, int]:
        """Return the names and sizes of the objects directly in ``folder``."""
        path = self._path(folder) if folder else self._root
        with told(self.name):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(path, detail=True)
            except FileNotFoundError:
                return {}
        return {
            str(entry["name"]).rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in found if entry["type"] == "file"
        }

    def is_empty(self) -> bool:
        """Whether no object's name begins with this folder's."""
        with told(self.name):
            self._system.invalidate_cache()
            try:
                return not self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return True

    def read(self, name: str) -> bytes | None:
        """Return an object's content, or None if it is not there."""
        with told(f"{self.name}/{name}"):
            try:
                content: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Upload an object."""
        with told(f"{self.name}/{name}"):
            self._system.pipe_file(self._path(name), content)

    def write_blocks(self, name: str, blocks: Iterator[bytes]) -> None:
        """Upload an object block by block."""
        with told(f"{self.name}/{name}"), self._system.open(self._path(name), "wb") as file:
            for block in blocks:
                file.write(block)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with told(f"{self.name}/{name}"):
            try:
                self._system.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def tidy(self) -> None:
        """Do nothing: an upload that was cut off leaves no object."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

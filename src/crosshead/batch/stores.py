"""Files on this machine, or, where the name has a scheme (``s3://``), in a store that fsspec knows."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from crosshead.errors import DataError, MissingExtraError

_READ_BLOCK = 4 * 1024**2


def is_remote(name: str) -> bool:
    """Whether a name has a scheme, as ``s3://bucket/key`` does."""
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.replace("+", "").replace("-", "").isalnum()


def file_system(url: str) -> tuple[Any, str]:
    """Open the store that a URL names, and say where in it the URL points.

    Raises
    ------
    MissingExtraError
        If fsspec, or the library behind this scheme, is not installed.
    DataError
        If no library knows the scheme, or the store refuses.
    """
    scheme = url.partition("://")[0]
    try:
        import fsspec

        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(f"{scheme}://", "gcs" if scheme in ("gs", "gcs") else "scale") from error
    except ValueError as error:
        raise DataError(
            f"{url} begins with {scheme}://, which no library here can read; allowed are s3://, gs://, hf:// and what "
            "else fsspec knows"
        ) from error
    return found


def open_file(place: str) -> io.BufferedReader:
    """Open a file to read."""
    if not is_remote(place):
        return Path(place).open("rb")
    system, path = file_system(place)
    with told(place):
        raw = system.open(path, "rb", block_size=_READ_BLOCK)
    # fsspec buffers, but has no peek.
    return io.BufferedReader(cast("io.RawIOBase", _Raw(raw)), _READ_BLOCK)


class _Raw(io.RawIOBase):
    """A file of fsspec as Python's own buffers want it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def stamp(place: str) -> str:
    """Name the state of a file cheaply: another stamp means that it was written since."""
    if not is_remote(place):
        found = os.stat(place)
        return f"{found.st_size}-{found.st_mtime_ns}"
    system, path = file_system(place)
    with told(place):
        about = system.info(path)
    return "-".join(str(about.get(name, "")) for name in ("size", "ETag", "etag", "blob_id", "mtime"))


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn what a store's library raises into an OSError that names the place, or a DataError."""
    # crosshead itself keeps the hub's library off the network, so "unset it", as that says, would not help.
    offline = place.startswith("hf://") and os.environ.get("HF_HUB_OFFLINE") == "1"
    advice = "set HF_HUB_OFFLINE=0 to read from the hub" if offline else "check the name, the address and the keys"
    try:
        yield
    except FileNotFoundError as error:
        if offline:
            raise DataError(f"{place} was not looked for on the hub; {advice}") from error
        raise FileNotFoundError(errno.ENOENT, "there is no such file or folder", place) from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, "the store does not allow it", place) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the store of {place} says: {reason}; {advice}") from error


class Store(Protocol):
    """A folder in which files appear whole or not at all."""

    name: str

    def names(self, folder: str) -> dict[str, int]:
        """Return the names and sizes of the files directly in ``folder`` (empty for the top)."""
        ...

    def is_empty(self) -> bool:
        """Whether there is nothing at all in it, or it is not there."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if it is not there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is on the disk, whole, when this returns."""
        ...

    def write_blocks(self, name: str, blocks: Iterator[bytes]) -> None:
        """Write a file that may be too large to be held in memory."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def tidy(self) -> None:
        """Remove what writers that were killed left behind."""
        ...

"""Files of lines that are on the disk when the function that writes them returns.

A process that is killed, a full disk or a power cut may leave part of a line at the end of such a file. Nobody was
ever told that this line is saved; the next writer moves it to ``<name>.torn`` and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from crosshead import whole
from crosshead.errors import DataError
from crosshead.locks import Lock, Timeout

LOCK_SECONDS = 20.0
_TAIL_BYTES = 4096
log = logging.getLogger("crosshead.labelling")


class LineFile:
    """Whole lines, appended by any number of processes, one at a time.

    Parameters
    ----------
    path : Path
        Made, with its folder, by the first line.
    is_whole : callable
        Whether a last line that has no line end is complete, as in a file that somebody saved without one.
    """

    def __init__(self, path: Path, is_whole: Callable[[bytes], bool]) -> None:
        self.path = path
        self._is_whole = is_whole
        self._lock = Lock(lock_path(path), timeout=LOCK_SECONDS)
        self._read_to = 0
        self._last = b""
        self._identity: tuple[int, int] | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out.

        Raises
        ------
        DataError
            If the folder cannot be written to, or another process keeps the file for too long.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise DataError(
                f"{self.path} has been in another process's hands for {LOCK_SECONDS:.0f} s; end that process"
            ) from error
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            yield
        finally:
            self._lock.release()

    def was_replaced(self) -> bool:
        """Say whether what `read_new` gave so far is of another file, or none was read; it then begins anew.

        The system gives the number of a file that is gone to the next one, so the last line read is looked at, too.
        """
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                identity = (found.st_dev, found.st_ino)
                file.seek(max(0, self._read_to - len(self._last)))
                is_same = identity == self._identity and file.read(len(self._last)) == self._last
        except FileNotFoundError:
            identity, is_same = None, False
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}; change its permissions") from error
        if not is_same:
            self._identity, self._read_to, self._last = identity, 0, b""
        return not is_same

    def read_new(self) -> list[bytes]:
        """Return the whole lines that were added since the last call, without their ends.

        A last line without an end is left for later: somebody may be writing it.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                found = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}; change its permissions") from error
        whole = found[: found.rfind(b"\n") + 1]
        self._read_to += len(whole)
        self._last = whole[whole.rfind(b"\n", 0, -1) + 1 :] or self._last
        return [line.rstrip(b"\r") for line in whole.split(b"\n")[:-1]]

    def mend(self) -> None:
        """Give the file a last line that is whole; only while `locked`."""
        try:
            with self.path.open("r+b") as file:
                tail, size = _last_line(file)
                if not tail:
                    return
                if self._is_whole(tail):
                    file.seek(0, os.SEEK_END)
                    file.write(b"\n")
                    file.flush()
                else:
                    self._set_aside(tail)
                    file.truncate(size - len(tail))
                _sync(file.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def append(self, line: bytes) -> None:
        """Add a line and wait until the disk has it; only while `locked` and after `mend`.

        Raises
        ------
        DataError
            If the disk refuses; the file is then as it was.
        """
        is_new = not self.path.exists()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    _write_all(descriptor, line + b"\n")
                    _sync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            if is_new:
                whole.sync_folder(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _set_aside(self, tail: bytes) -> None:
        with self.path.with_name(f"{self.path.name}.torn").open("ab") as file:
            file.write(tail + b"\n")
        log.warning("%s ended in part of a line that was never acknowledged; it was moved to *.torn", self.path.name)


def lock_path(path: Path) -> Path:
    """Name the lock of a file: hidden beside it, so that no reader of the folder takes it for data."""
    return path.with_name(f".{path.name}.lock")


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file as a whole; after a power cut it is the old one or the new one."""
    try:
        whole.write(path, content)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> DataError:
    """Say that a file cannot be written, and why."""
    return DataError(f"{path} cannot be written: {error.strerror}; make room there, or name a file elsewhere")


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """Return what stands after the last line end, and the file's size."""
    size = file.seek(0, os.SEEK_END)
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        step = min(_TAIL_BYTES, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    return tail[tail.rfind(b"\n") + 1 :], size


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)

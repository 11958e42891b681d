"""Locks between processes, which the operating system gives back whatever ends their holder."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

__all__ = ["Lock", "Timeout"]

_N_TRIES, _PAUSE_S = 20, 0.05


class Lock(FileLock):
    """A lock on a file; one in a place where no file can be made is an error.

    ``filelock`` takes "no such file" in a folder that is there for a race with somebody who removes the file, which it
    is on some network disks, and tries for ever; below ``/proc`` the answer never changes.
    """

    def acquire(self, *arguments: Any, **options: Any) -> AcquireReturnProxy[Any]:
        """Wait for the lock.

        Raises
        ------
        OSError
            If the file cannot be made.
        Timeout
            If another process keeps it for too long.
        """
        if not self.is_locked:
            _check_place(Path(self.lock_file))
        return super().acquire(*arguments, **options)


def _check_place(path: Path) -> None:
    for tries_left in reversed(range(_N_TRIES)):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644))
        except FileNotFoundError:
            if not tries_left or not path.parent.exists():
                raise
            time.sleep(_PAUSE_S)
        except OSError:  # filelock knows which of these mean that somebody else has it
            return
        else:
            return

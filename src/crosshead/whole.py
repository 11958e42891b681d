"""Files and folders that appear as a whole or not at all, whatever ends the process that writes them.

Everything is made under a hidden name beside its place and moved there at the end, so a reader sees what was before or
what is now. They get the mode that an ordinary file or folder would have, and not that of a temporary one, which is its
owner's alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".part"
"""How names of unfinished files end."""
_ABANDONED_S = 60.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def new_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes its place when the block ends well; its folder is made.

    A file that is replaced keeps its mode.

    Parameters
    ----------
    durable
        Wait until the disk has it, so that a power cut loses nothing that was acknowledged.

    Raises
    ------
    OSError
        If it cannot be written; it names ``path``, and nothing is left behind.
    """
    with _speaking_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
        opened = temporary.open("xb")
    try:
        with _speaking_of(path):
            with opened as file:
                _hold(file.fileno())
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if path.is_file():
                temporary.chmod(path.stat().st_mode & 0o777)
            os.replace(temporary, path)
            if durable:
                sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file; see `new_file`."""
    with new_file(path, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = True, durable: bool = False) -> Iterator[Path]:
    """Make a folder that takes its place when the block ends well.

    Where the file system can swap two names (Linux, and no network disk), there is a whole folder at every moment, also
    when the process is killed; elsewhere a replaced one is gone for the time of one renaming.

    Parameters
    ----------
    replace
        Whether it replaces a folder that is there; otherwise that one stays, and this one goes.
    durable
        Wait until the disk has every file, before the folder takes its place.

    Yields
    ------
    Path
        The folder to fill, beside its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    work = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    work.mkdir()
    try:
        with _held(work):
            made = work / "new"
            made.mkdir()
            yield made
            _open_to_others(made)
            if durable:
                _sync_tree(made)
            if replace and path.exists() and not _swap(made, path):
                os.replace(path, work / "old")
            if not path.exists():
                os.replace(made, path)
            if durable:
                sync_folder(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    """Give every file the rights that the umask allows, as the folder has them; some libraries write for one user."""
    ordinary = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and ordinary & ~mode:
            path.chmod(stat.S_IMODE(mode) | ordinary)


def remove_leftovers(folder: Path) -> None:
    """Remove what `new_file` and `new_folder` left in a folder when their process was killed, as far as that goes."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            # What was just made is perhaps not held yet.
            if time.time() - path.stat().st_mtime < _ABANDONED_S:
                continue
            with _held(path) as is_ours:
                if is_ours and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif is_ours:
                    path.unlink()


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Mark a file or folder as being worked on, for as long as the process lives; say if nobody else has."""
    if sys.platform == "win32":  # folders cannot be opened there
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield _hold(descriptor)
    finally:
        os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Mark what is open; on systems and disks that know no such marks, nothing is ever taken for left over."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _swap(one: Path, other: Path) -> bool:
    """Let two names change places in one step; say if the system can."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    return bool(swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows which files a folder holds."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    """Let an error of the temporary file, or one without a name, speak of what was asked for."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None or error.filename2 is not None or str(error.filename).endswith(TEMPORARY):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise

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
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".part"
"""How names of unfinished files end."""


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
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Make a folder that takes its place when the block ends well.

    Parameters
    ----------
    replace
        Whether it replaces a folder that is there; otherwise that one stays, and this one goes.

    Yields
    ------
    Path
        The folder to fill, beside its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        made = work / "new"
        made.mkdir()
        yield made
        _open_to_others(made)
        if replace and path.exists():
            os.replace(path, work / "old")
        if not path.exists():
            os.replace(made, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    """Give every file the rights that the umask allows, as the folder has them; some libraries write for one user."""
    ordinary = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and ordinary & ~mode:
            path.chmod(stat.S_IMODE(mode) | ordinary)


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

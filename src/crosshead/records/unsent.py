"""Results that a lost store did not take: one file a run in ``mlflow/unsent``, and copies of the run's files."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from crosshead import whole
from crosshead.errors import StoreError, TrackingError
from crosshead.records.log_items import FileArtifact, FolderArtifact, LogItem, read_items, write_items

FOLDER = "unsent"
LOCAL = "unsent-"
"""How the id of a run begins that no store knows yet."""
LOCK_TIMEOUT_S = 120.0
_SENDING, _SENT = ".sending", ".sent"


def local_id() -> str:
    """Make an id for a run that the store could not open."""
    return f"{LOCAL}{uuid.uuid4().hex}"


def is_local(run_id: str) -> bool:
    """Say if a run's id is one that no store knows yet."""
    return run_id.startswith(LOCAL)


def path_of(folder: Path, run_id: str) -> Path:
    """Where a run's results wait."""
    return folder / f"{run_id}.json"


def keep(folder: Path, run_id: str, items: Iterable[LogItem]) -> Path:
    """Keep items, after those of the same run that wait already; return the file.

    Files and folders are copied, for the next run will write others in their place.
    """
    path = path_of(folder, run_id)
    _forget(path.with_suffix(_SENT))
    earlier = read_items(path) if path.exists() else []
    try:
        new = [_copied(item, _files(path) / str(len(earlier) + i)) for i, item in enumerate(items)]
        write_items([*earlier, *new], path)
    except OSError as error:
        raise StoreError(f"the results cannot even be kept in {path}: {error}; make room there") from error
    return path


def ids(folder: Path) -> list[str]:
    """Return the ids under which results wait, those of runs that no store knows first."""
    if folder.is_dir():
        _tidy(folder)
    return sorted((path.stem for path in folder.glob("*.json")), key=lambda id_: (not is_local(id_), id_))


@contextmanager
def taken(folder: Path, run_id: str) -> Iterator[list[LogItem]]:
    """Give what waits under an id; it is deleted if the block ends well, and stays if not.

    Raises
    ------
    TrackingError
        If another process sends for too long, or has sent just this.
    """
    path = path_of(folder, run_id)
    with _only_sender(folder, LOCK_TIMEOUT_S):
        if not path.exists() and folder.is_dir():
            raise TrackingError(f"what waited in {path} was sent by another process meanwhile; nothing is left to do")
        items = read_items(path)
        sending = path.replace(path.with_suffix(_SENDING))
        try:
            yield items
        except BaseException:
            sending.replace(path)  # in place of what the failing run has kept again, which is the same
            raise
        _forget(sending.replace(path.with_suffix(_SENT)))


@contextmanager
def _only_sender(folder: Path, timeout_s: float) -> Iterator[None]:
    from crosshead.locks import Lock, Timeout

    lock = Lock(folder.with_name(f".{folder.name}.lock"), timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrackingError(
            f"another process has been sending what waits in {folder} for {timeout_s:.0f} s; "
            "wait for it or end it, then try again"
        ) from error
    except OSError as error:
        raise TrackingError(f"{folder} cannot be written: {error.strerror}; make the folder writable") from error
    try:
        yield
    finally:
        lock.release()


def _tidy(folder: Path) -> None:
    """Let what a killed process was sending wait again, and remove what it had sent; not while one is at work."""
    whole.remove_leftovers(folder)
    with suppress(TrackingError), _only_sender(folder, 0):
        for path in folder.glob(f"*{_SENDING}"):
            path.replace(path.with_suffix(".json"))
        for path in folder.glob(f"*{_SENT}"):
            _forget(path)


def _forget(sent: Path) -> None:
    """Remove what was sent: its files first, so that what a kill leaves of them is found by the name of this file."""
    if sent.exists():
        shutil.rmtree(_files(sent), ignore_errors=True)
        sent.unlink(missing_ok=True)


def _files(path: Path) -> Path:
    return path.with_suffix(".files")


def _copied(item: LogItem, folder: Path) -> LogItem:
    shutil.rmtree(folder, ignore_errors=True)  # half of a copy that a kill left
    match item:
        case FileArtifact(file) if file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            return replace(item, file=Path(shutil.copyfile(file, folder / file.name)))
        case FolderArtifact(source) if source.is_dir():
            return replace(item, folder=Path(shutil.copytree(source, folder, dirs_exist_ok=True)))
    return item

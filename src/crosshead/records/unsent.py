"""Results that a lost store did not take: one file a run in ``mlflow/unsent``, and copies of the run's files."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from crosshead.errors import StoreError
from crosshead.records.log_items import FileArtifact, FolderArtifact, LogItem, read_items, write_items

FOLDER = "unsent"
LOCAL = "unsent-"
"""How the id of a run begins that no store knows yet."""


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
    earlier = read_items(path) if path.exists() else []
    try:
        new = [_copied(item, _files(path) / str(len(earlier) + i)) for i, item in enumerate(items)]
        write_items([*earlier, *new], path)
    except OSError as error:
        raise StoreError(f"the results cannot even be kept in {path}: {error}; make room there") from error
    return path


def ids(folder: Path) -> list[str]:
    """Return the ids under which results wait, those of runs that no store knows first."""
    for path in folder.glob("*.sending"):  # a process was killed while it sent
        path.replace(path.with_suffix(".json"))
    return sorted((path.stem for path in folder.glob("*.json")), key=lambda id_: (not is_local(id_), id_))


@contextmanager
def taken(folder: Path, run_id: str) -> Iterator[list[LogItem]]:
    """Give what waits under an id; it is deleted if the block ends well, and stays if not."""
    path = path_of(folder, run_id)
    items = read_items(path)
    sending = path.replace(path.with_suffix(".sending"))
    try:
        yield items
    except BaseException:
        sending.replace(path)  # in place of what the failing run has kept again, which is the same
        raise
    sending.unlink()
    shutil.rmtree(_files(path), ignore_errors=True)


def _files(path: Path) -> Path:
    return path.with_suffix(".files")


def _copied(item: LogItem, folder: Path) -> LogItem:
    match item:
        case FileArtifact(file) if file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            return replace(item, file=Path(shutil.copyfile(file, folder / file.name)))
        case FolderArtifact(source) if source.is_dir():
            return replace(item, folder=Path(shutil.copytree(source, folder, dirs_exist_ok=True)))
    return item

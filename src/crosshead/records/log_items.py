"""What a run should record, as plain values; `tracking` sends them to MLflow.

A stage's ``describe`` yields these, so what is recorded is tested without a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crosshead import whole
from crosshead.errors import TrackingError

MAX_PARAM_CHARACTERS = 500
"""Longer values are cut; the resolved configuration is an artifact anyway."""


@dataclass(frozen=True)
class Param:
    """A setting; it never changes within a run."""

    key: str
    value: str | float | bool | None


@dataclass(frozen=True)
class Metric:
    """A number that was measured."""

    key: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Tag:
    """A note on the run that may change."""

    key: str
    value: str


@dataclass(frozen=True)
class TextArtifact:
    """A text kept as a file of the run; ``path`` is relative, with ``/``."""

    path: str
    text: str


@dataclass(frozen=True)
class FileArtifact:
    """A file copied into ``folder`` of the run's artifacts."""

    file: Path
    folder: str = ""


@dataclass(frozen=True)
class FolderArtifact:
    """The content of a folder, copied into ``path`` of the run's artifacts."""

    folder: Path
    path: str = ""


@dataclass(frozen=True)
class DatasetInput:
    """Data that the run read; ``digest`` is our own sha256 over every row, never MLflow's (it reads 10 000 rows)."""

    name: str
    digest: str
    n_rows: int
    context: str = "training"
    source: str = ""


LogItem = Param | Metric | Tag | TextArtifact | FileArtifact | FolderArtifact | DatasetInput
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Param, Metric, Tag, TextArtifact, FileArtifact, FolderArtifact, DatasetInput)
}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[Param]:
    """Yield one `Param` a leaf of a nested configuration, keys joined by dots; lists and empty mappings are leaves."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif value is None or isinstance(value, str | int | float | bool):
            yield Param(name, value)
        else:
            yield Param(name, json.dumps(value, ensure_ascii=False, default=str))


def param_text(value: str | float | bool | None) -> str:
    """Write a parameter's value as MLflow will show it: as in YAML, cut to `MAX_PARAM_CHARACTERS`."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_PARAM_CHARACTERS else text[: MAX_PARAM_CHARACTERS - 1] + "…"


def write_items(items: Iterable[LogItem], path: Path) -> None:
    """Keep items on disk, to be sent later; files and folders are kept by their absolute path."""
    rows = []
    for item in items:
        row = {"kind": type(item).__name__, **asdict(item)}
        rows.append({key: str(value.absolute()) if isinstance(value, Path) else value for key, value in row.items()})
    whole.write(path, json.dumps(rows, ensure_ascii=False, indent=1).encode())


def read_items(path: Path) -> list[LogItem]:
    """Read what `write_items` kept.

    Raises
    ------
    TrackingError
        If the file is none of ours.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [_item(row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrackingError(
            f"{path} does not hold unsent results of a run ({error or type(error).__name__}); "
            "delete it if nobody needs it"
        ) from error


def _item(row: dict[str, Any]) -> LogItem:
    kind = _KINDS[row.pop("kind")]
    paths = {field.name for field in fields(kind) if field.type == "Path"}
    item: LogItem = kind(**{key: Path(value) if key in paths else value for key, value in row.items()})
    return item

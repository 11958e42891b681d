"""`crosshead doctor`: what is installed, what would be used and why, and what is wrong."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from crosshead import __version__
from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable
from crosshead.environment import TELEMETRY
from crosshead.errors import CrossheadError

if TYPE_CHECKING:
    from rich.console import Console

LIBRARIES = {
    "base": (
        "numpy",
        "onnxruntime",
        "openvino",
        "tokenizers",
        "safetensors",
        "pyarrow",
        "trafilatura",
        "markdown-it-py",
    ),
    "train": (
        "torch",
        "sentence-transformers",
        "transformers",
        "scikit-learn",
        "skops",
        "mlflow",
        "hydra-core",
        "dvc",
        "datasets",
        "pandas",
        "matplotlib",
    ),
    "serve": ("fastapi", "pydantic", "uvicorn"),
}
"""Distributions by the part of crosshead that needs them."""

# What a killed run leaves: hidden names in the folders that crosshead writes. These are meant to be there.
_MEANT = (".fetched", ".gitignore", ".lock")
_FOLDERS = ("data/prepared", "models", "reports", "mlflow", ".cache/crosshead/graphs", ".cache/crosshead/vectors")


@dataclass(frozen=True)
class Fact:
    """One line; ``code`` is the exit code where something is broken, and None where it is only worth knowing."""

    name: str
    value: str
    code: int | None = Exit.OK


@command()
def doctor() -> int:
    """Show what is installed, chosen and left over.

    Exit code 0, unless something is broken: then that of the error which would be met.
    """
    from crosshead.cli.output import console
    from crosshead.loading import project_root

    root = project_root()
    sections = {
        "versions": list(_versions(root)),
        "processor": list(_processor()),
        "tagger": list(_tagger(root)),
        "project": list(_project(root)) if root else [],
        "telemetry": list(_telemetry()),
    }
    out = console()
    width = max(len(fact.name) for facts in sections.values() for fact in facts)
    for title, facts in sections.items():
        if facts:
            _print(out, title, facts, width)
    broken = [fact for facts in sections.values() for fact in facts if fact.code]
    out.print(f"\n{counted(len(broken), 'thing')} broken" if broken else "\nnothing is broken")
    return int(broken[0].code or Exit.OK) if broken else Exit.OK


def _versions(root: Path | None) -> Iterator[Fact]:
    yield Fact("crosshead", __version__)
    yield Fact("python", f"{platform.python_version()} ({platform.system()} {platform.machine()})")
    for part, names in LIBRARIES.items():
        found = {name: _version(name) for name in names}
        missing = [name for name, number in found.items() if number is None]
        told = ", ".join(f"{name} {number}" for name, number in found.items() if number)
        yield Fact(part if part == "base" else f"[{part}]", told or "not installed")
        if missing and part == "base":
            yield Fact("missing", f"{', '.join(missing)}; install crosshead again", Exit.MISSING_EXTRA)
        elif missing and told:
            yield Fact("missing", f"{', '.join(missing)}; install: pip install 'crosshead[{part}]'", None)
    none = "none here or above (no conf/config.yaml); make one: crosshead init FOLDER"
    yield Fact("project", str(root) if root else none)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> Iterator[Fact]:
    from crosshead.encoders import engines

    features = sorted(engines.cpu_features())
    yield Fact("cores", str(engines.n_cores()))
    yield Fact("features", ", ".join(features) or "not known on this system")
    try:
        choice = engines.choose()
    except CrossheadError as error:
        yield Fact("engine", str(error), Exit.MODEL)
    else:
        yield Fact("engine", f"{choice.engine}, {choice.precision}: {choice.reason}")
    if importlib.util.find_spec("torch") is not None:
        from crosshead.encoders.torch_engine import choice_of, device_for

        device = device_for("auto")
        told = choice_of(device) if device else None
        yield Fact("training on", f"{told.engine}, {told.precision}: {told.reason}" if told else "the same engine")


def _without_champion(root: Path | None) -> str:
    from crosshead.releases import champion

    if root is None:
        return "none"
    if champion.has_kept(root):
        return f"its pointer is gone; {champion.MEND}"
    return "none yet; train one: crosshead run"


def _tagger(root: Path | None) -> Iterator[Fact]:
    from crosshead import bundle
    from crosshead.releases import champion

    try:
        if root and (move := champion.unfinished_move(root)):
            told = f"the champion is to be {move.name} {move.version}; finish it: crosshead promote champion"
            yield Fact("half done", told, None)
        pointer = champion.find(root) if root else None
        if pointer is None:
            yield Fact("champion", _without_champion(root), None)
            return
        registered = f"{pointer.name} {pointer.version}, " if pointer.version is not None else ""
        bundle.verify(pointer.bundle, bundle.read_manifest(pointer.bundle))
        yield Fact("champion", f"{registered}digest {pointer.digest[:12]}, every file as its manifest says")
        yield Fact("folder", str(pointer.bundle))
    except CrossheadError as error:
        yield Fact("champion", str(error), error.exit_code)


def _project(root: Path) -> Iterator[Fact]:
    from crosshead.records import mlflow_store

    try:
        place = mlflow_store.place(root)
        database = place.database
        size = f" ({_size(database)})" if database and database.is_file() else " (not made yet)" if database else ""
        yield Fact("MLflow store", place.shown + size)
    except CrossheadError as error:
        yield Fact("MLflow store", str(error), error.exit_code)
    for leftover in mlflow_store.leftover_file_stores(root, Path.cwd()):
        yield Fact("old MLflow store", leftover, None)
    unsent = [path for path in (root / "mlflow" / "unsent").glob("*") if path.is_file()]
    if unsent:
        yield Fact("unsent results", f"{counted(len(unsent), 'file')} in mlflow/unsent; send them: crosshead log", None)
    yield Fact("cache", f"{_size(root / '.cache' / 'crosshead')} in .cache/crosshead; it can be deleted at any time")
    for path in _half_written(root):
        told = f"{path.relative_to(root)} ({_size(path)}); a run was killed, or is running: else delete it"
        yield Fact("half-written", told, None)


def _half_written(root: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        for pattern in (".*", "*/.*", "*.tmp", "*.tmp.*"):
            yield from (path for path in sorted((root / folder).glob(pattern)) if not path.name.endswith(_MEANT))


def _size(path: Path) -> str:
    """Size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    n_bytes = float(sum(file.stat().st_size for file in files))
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def _telemetry() -> Iterator[Fact]:
    from crosshead.environment import DEFAULTS

    changed = [f"{name}={os.environ[name]}" for name in TELEMETRY if os.environ.get(name) != DEFAULTS[name]]
    yield Fact("switches", f"off ({', '.join(TELEMETRY)})" if not changed else f"you set {', '.join(changed)}")
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    yield Fact("model hub", "never asked" if offline else "asked where an encoder is not here (HF_HUB_OFFLINE)")


def _print(out: Console, title: str, facts: list[Fact], width: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(width=width, no_wrap=True, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for fact in facts:
        mark, colour = ("!", "yellow") if fact.code is None else ("✗", "red") if fact.code else (" ", "")
        table.add_row(Text(mark, style=colour), fact.name, Text(printable(fact.value), style=colour))
    out.print(Text(title, style="bold"))
    out.print(table)

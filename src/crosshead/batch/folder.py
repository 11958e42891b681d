"""The folder that a job writes.

::

    manifest.json            the model, the options, every input with its sha256; at the end, every part with its own
    parts/part-000000.…      one for each unit, with its rows in the order of the inputs
    errors.jsonl             what could not be tagged, where there is anything
    progress/part-000000.json    while the job runs: what is known of each part, its errors among it

A part counts as finished when it stands in ``parts`` with the size that ``progress`` tells, which is written before it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead import __version__
from crosshead.batch.local_store import LOCK, LocalStore
from crosshead.batch.parts import Part, Shape
from crosshead.batch.plan import Plan
from crosshead.batch.remote_store import RemoteStore
from crosshead.batch.stores import Store, is_remote
from crosshead.errors import DataError
from crosshead.feeds.jsonl import dumps

MANIFEST, ERRORS, PARTS, PROGRESS = "manifest.json", "errors.jsonl", "parts", "progress"
FORMAT = 1
_OPTIONS = {"format": "--format", "text": "--text", "rows_per_part": "--rows-per-part"}
"""What the command line calls the options of a manifest."""


@dataclass(frozen=True)
class Totals:
    """What a finished job gave."""

    n_parts: int
    n_records: int
    n_paragraphs: int
    n_errors: int


def open_store(name: str) -> Store:
    """Open the folder that is written to, here or in a store."""
    return RemoteStore(name) if is_remote(name) else LocalStore(Path(name))


class OutputFolder:
    """One job's folder."""

    def __init__(self, name: str, shape: Shape) -> None:
        self._store = open_store(name)
        self.name = self._store.name
        self._suffix = shape.format

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second job on this machine, or on the same shared disk, out.

        A store has no lock: two jobs there write the same bytes.

        Raises
        ------
        DataError
            If another job is at work, or the folder cannot be made.
        """
        if not isinstance(self._store, LocalStore):
            yield
            return
        from crosshead.locks import Lock, Timeout

        root = self._store.root
        was_there = root.exists()
        root.mkdir(parents=True, exist_ok=True)
        lock = Lock(root / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise DataError(f"another job writes to {self.name!r}; wait for its end, or name another folder") from error
        try:
            yield
        finally:
            lock.release()
            with contextlib.suppress(OSError):
                if self._store.is_empty():  # nothing came of it: leave nothing behind
                    os.unlink(root / LOCK)
                    if not was_there:
                        root.rmdir()

    def check(self, *, resume: bool) -> None:
        """Say early, before inputs are read, that the folder cannot be used.

        Raises
        ------
        DataError
            If it holds something else than a job, or a job that is not to be gone on with.
        """
        if isinstance(self._store, LocalStore) and self._store.root.exists() and not self._store.root.is_dir():
            raise DataError(f"--output {self.name!r} is a file; name a folder")
        if self._store.read(MANIFEST) is None:
            if not self._store.is_empty():
                what = "but holds no manifest.json, so it is no job's" if resume else "and is not empty"
                raise DataError(f"--output {self.name!r} is there {what}; name a new folder, or empty this one")
        elif not resume:
            raise DataError(
                f"--output {self.name!r} holds a job already; go on with it by --resume, or name a new folder"
            )

    def begin(self, manifest: Mapping[str, Any], *, resume: bool) -> bool:
        """Write the manifest, or compare it with the one that is there; say whether everything was done before.

        Raises
        ------
        DataError
            As `check` does, and for a job with another model, other options or other inputs.
        """
        self.check(resume=resume)
        found = self._store.read(MANIFEST)
        if found is None:
            self._store.write(MANIFEST, _json(manifest))
            return False
        before = _parsed(found, self.name)
        if differences := list(_differences(before, json.loads(_json(manifest)))):
            some = "; ".join(differences[:3]) + ("; …" if differences[3:] else "")
            raise DataError(
                f"the job in {self.name!r} cannot be resumed: {some}. Undo the change, or tag into a new folder"
            )
        self._store.tidy()
        return bool(before.get("finished"))

    def finished_units(self) -> set[int]:
        """Return the numbers of the units whose parts are there."""
        parts, notes = self._store.names(PARTS), self._store.names(PROGRESS)
        done = set()
        for name in notes:
            number = _number(name)
            if number is None or self._part_name(number) not in parts:
                continue
            if (note := self._note(number)) is not None and note.get("bytes") == parts[self._part_name(number)]:
                done.add(number)
        return done

    def add(self, number: int, part: Part) -> None:
        """Keep a part: its note first, so that a part that stands there is never without."""
        self._store.write(f"{PROGRESS}/{_stem(number)}.json", _json(part.about()))
        self._store.write(f"{PARTS}/{self._part_name(number)}", part.content)

    def finish(self, manifest: Mapping[str, Any], n_units: int) -> Totals:
        """Write ``errors.jsonl`` and the whole manifest, and remove the notes.

        Raises
        ------
        DataError
            If a part is missing.
        """
        totals, parts = self._sum_up(n_units)
        if totals.n_errors:
            self._store.write_blocks(ERRORS, self._errors(n_units))
        about = {
            "parts": totals.n_parts,
            "records": totals.n_records,
            "paragraphs": totals.n_paragraphs,
            "errors": totals.n_errors,
        }
        self._store.write(MANIFEST, _json({**manifest, "finished": about, "parts": parts}))
        self.clear()
        return totals

    def tidy(self) -> None:
        """Remove what was written halfway, as far as the disk allows."""
        with contextlib.suppress(OSError):
            self._store.tidy()

    def clear(self) -> None:
        """Remove the notes of a finished job."""
        for name in self._store.names(PROGRESS):
            self._store.remove(f"{PROGRESS}/{name}")

    def totals(self) -> Totals:
        """Read what a finished job gave."""
        found = _parsed(self._store.read(MANIFEST) or b"", self.name)["finished"]
        return Totals(found["parts"], found["records"], found["paragraphs"], found["errors"])

    def _sum_up(self, n_units: int) -> tuple[Totals, list[dict[str, Any]]]:
        n_records = n_paragraphs = n_errors = 0
        parts = []
        for number in range(n_units):
            note = self._note(number)
            if note is None:
                raise DataError(f"{self._part_name(number)} is missing in {self.name!r}; go on with --resume")
            n_records += note["records"]
            n_paragraphs += note["paragraphs"]
            n_errors += len(note.pop("errors"))
            parts.append({"name": self._part_name(number), **note})
        return Totals(n_units, n_records, n_paragraphs, n_errors), parts

    def _errors(self, n_units: int) -> Iterator[bytes]:
        for number in range(n_units):
            note = self._note(number) or {"errors": []}
            yield "".join(dumps(error) + "\n" for error in note["errors"]).encode()

    def _note(self, number: int) -> dict[str, Any] | None:
        found = self._store.read(f"{PROGRESS}/{_stem(number)}.json")
        try:
            note = json.loads(found) if found is not None else None
        except ValueError:
            return None
        return note if isinstance(note, dict) else None

    def _part_name(self, number: int) -> str:
        return f"{_stem(number)}.{self._suffix}"


def make_manifest(plan: Plan, shape: Shape, model: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Say what decides the output: the model, the options and the inputs."""
    return {
        "format": FORMAT,
        "crosshead": __version__,
        "model": dict(model),
        "options": {"format": shape.format, "text": shape.with_text, **options},
        "inputs": [
            {"file": source.place, "bytes": source.size, "sha256": source.sha256, **_problem(source.problem)}
            for source in plan.sources
        ],
        "units": len(plan.units),
        "finished": None,
    }


def _problem(problem: str) -> dict[str, str]:
    return {"problem": problem} if problem else {}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("format") != now["format"] or before.get("crosshead") != now["crosshead"]:
        yield f"it was begun by crosshead {before.get('crosshead')}, this is {now['crosshead']}"
    for what, keys in (("model", ("digest", "engine")), ("options", tuple(now["options"]))):
        old, new = before.get(what, {}), now[what]
        for key in keys:
            if old.get(key) != new[key]:
                name = f"the model: {key}" if what == "model" else _OPTIONS.get(key, key)
                yield f"{name} was {_spelled(old.get(key))}, is {_spelled(new[key])}"
    yield from _input_differences(before.get("inputs", []), now["inputs"])


def _spelled(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else repr(value)


def _input_differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    old, new = ({entry["file"]: entry for entry in entries} for entries in (before, now))
    for file in new:
        if file not in old:
            yield f"the input {file!r} is new"
        elif old[file] != new[file]:
            yield f"the input {file!r} was changed"
    for file in old:
        if file not in new:
            yield f"the input {file!r} is no longer there"
    if [entry["file"] for entry in before] != [entry["file"] for entry in now] and old.keys() == new.keys():
        yield "the inputs stand in another order"


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"manifest.json in {name!r} is damaged; tag into a new folder")
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    return (dumps(value, indent=1) + "\n").encode("utf-8", "backslashreplace")


def _stem(number: int) -> str:
    return f"part-{number:06}"


def _number(name: str) -> int | None:
    digits = name.removeprefix("part-").removesuffix(".json")
    return int(digits) if digits.isdecimal() else None

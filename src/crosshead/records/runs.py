"""Finding a run by what people call it, and the files that it kept."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crosshead.errors import DataError, TrackingError
from crosshead.records.mlflow_store import explained, file_path
from crosshead.records.names import LAST, no_such
from crosshead.records.predictions import FILE, Predictions, read
from crosshead.records.recording import RUN_FILE
from crosshead.records.tracking import Tracking
from crosshead.records.unsent import is_local
from crosshead.releases import champion, registry
from crosshead.releases.registry import RegisteredVersion
from crosshead.schema import Settings

N_ID = 8
"""Characters of an id that are shown."""

_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_VERSION = re.compile(r"\d{1,6}")
_N_NAMED = 6


@dataclass(frozen=True)
class FoundRun:
    """A run, in MLflow or on this disk only."""

    shown: str
    """What it is called in tables: short, and unlike others."""
    name: str = ""
    run_id: str | None = None
    folder: Path | None = None
    """Where its files lie if not in MLflow."""
    version: RegisteredVersion | None = None
    """The version of a registered model that was named, or the last that the run made."""


@dataclass(frozen=True)
class RunFinder:
    """Looks runs up in one project."""

    tracking: Tracking
    root: Path
    registered_model: str
    reports_dir: Path
    model_dir: Path

    def find(self, reference: str) -> FoundRun:
        """Find the run that a person means.

        Raises
        ------
        TrackingError
            If there is none, or several fit.
        DataError
            If a folder is named that holds no predictions.
        """
        if reference == LAST:
            return FoundRun(LAST, run_id=self.last_run_id(), folder=self.reports_dir)
        is_uri = reference.startswith(("models:/", "runs:/"))
        folder = Path(reference).expanduser()
        if not is_uri and reference != registry.CHAMPION and (folder.is_dir() or folder.name == FILE):
            return _of_folder(folder.parent if folder.name == FILE else folder, reference)
        self.tracking.settle()
        if reference == registry.CHAMPION:
            return self._of_champion()
        if _VERSION.fullmatch(reference) and (version := self._version(int(reference))):
            return self._of_id(version.run_id, f"version {version.version}", version)
        return self._of_uri(reference) if is_uri else self._search(reference)

    def last_run_id(self) -> str | None:
        """Return the run of the tagger that was trained here last; None if it was not recorded."""
        try:
            content = json.loads((self.model_dir / RUN_FILE).read_text(encoding="utf-8"))
            run_id = content["run_id"]
            return None if run_id is None or is_local(run_id) else str(run_id)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _version(self, number: int) -> RegisteredVersion | None:
        return registry.find_version(self.tracking, self.registered_model, number)

    def _of_champion(self) -> FoundRun:
        standing = registry.find_version(self.tracking, self.registered_model, registry.CHAMPION)
        if standing is not None:
            return self._of_id(standing.run_id, f"champion (version {standing.version})", standing)
        known = champion.find(self.root)
        where = f"{known.bundle.name} on this disk was never registered" if known else "none was trained"
        raise TrackingError(
            f"the registered model {self.registered_model!r} in {self.tracking.place.shown} has no champion ({where}); "
            "name a run, or promote one: crosshead promote RUN"
        )

    def _of_uri(self, uri: str) -> FoundRun:
        version = registry.version_of(self.tracking, uri)
        run_id = version.run_id if version else registry.run_of(self.tracking, uri)
        shown = f"version {version.version}" if version else run_id[:N_ID]
        if version and version.name != self.registered_model:
            shown = f"{version.name} {shown}"
        return self._of_id(run_id, shown, version)

    def _of_id(self, run_id: str, shown: str, version: RegisteredVersion | None = None) -> FoundRun:
        with explained(self.tracking.place, f"looking up run {run_id}"):
            run = self.tracking.find_run(run_id)
        if run is None:
            raise TrackingError(
                f"the run {run_id} behind {shown} is gone from {self.tracking.place.shown}; name another one"
            )
        return FoundRun(shown, run.info.run_name or "", run_id, version=version or self.last_version(run_id))

    def last_version(self, run_id: str) -> RegisteredVersion | None:
        """Return the version that a run gave to the registered model last."""
        return next(reversed(registry.versions_of_run(self.tracking, self.registered_model, run_id)), None)

    def _search(self, reference: str) -> FoundRun:
        found = self._with_prefix(reference) or self._with_name(reference)
        if not found:
            what = "run or version" if _VERSION.fullmatch(reference) else "run"
            raise TrackingError(no_such(reference, what, self.tracking.place))
        if len(found) > 1:
            told = ", ".join(f"{run.info.run_id[:N_ID]} ({_when(run)})" for run in found[:_N_NAMED])
            more = ", …" if len(found) > _N_NAMED else ""
            raise TrackingError(
                f"{len(found)} runs are called {reference!r}: {told}{more}; name one by the first characters of its id"
            )
        run_id = found[0].info.run_id
        return self._of_id(run_id, run_id[:N_ID])

    def _with_prefix(self, reference: str) -> list[Any]:
        if not _PREFIX.fullmatch(reference):
            return []
        return self._runs(f"attributes.run_id LIKE '{reference}%'")

    def _with_name(self, reference: str) -> list[Any]:
        quote = '"' if "'" in reference else "'"
        if quote in reference:
            return [run for run in self._runs("") if run.info.run_name == reference]
        return self._runs(f"attributes.run_name = {quote}{reference}{quote}")

    def _runs(self, query: str) -> list[Any]:
        client = self.tracking.client
        with explained(self.tracking.place, "looking for runs"):
            ids = [experiment.experiment_id for experiment in client.search_experiments()]
            found: Sequence[Any] = client.search_runs(ids, query, max_results=1000) if ids else []
        return sorted(found, key=lambda run: -run.info.start_time)

    def predictions(self, run: FoundRun) -> Predictions:
        """Read what a run predicted for the held-out paragraphs.

        Raises
        ------
        TrackingError
            If it kept none.
        DataError
            If the file is damaged.
        """
        with self.file(run, FILE) as path:
            return read(path)

    @contextmanager
    def file(self, run: FoundRun, name: str) -> Iterator[Path]:
        """Give one of the files that a run kept; from a server it is downloaded for as long as it is needed."""
        if run.folder is not None or run.run_id is None:
            path = (run.folder or self.reports_dir) / name
            if not path.is_file():
                raise DataError(f"{path} is not there; evaluate first: crosshead evaluate")
            yield path
            return
        client, run_id = self.tracking.client, run.run_id
        with tempfile.TemporaryDirectory(prefix="crosshead-run-") as work:
            with explained(self.tracking.place, f"reading {name} of run {run_id}"):
                local = file_path(client.get_run(run_id).info.artifact_uri)
                if not ((local / name).is_file() if local else self._is_kept(run_id, name)):
                    raise TrackingError(_lacks(run, name))
                path = local / name if local else Path(client.download_artifacts(run_id, name, work))
            yield path

    def _is_kept(self, run_id: str, name: str) -> bool:
        folder = name.rpartition("/")[0]
        return name in {file.path for file in self.tracking.client.list_artifacts(run_id, folder or None)}


def finder_of(settings: Settings) -> RunFinder:
    """Make what finds the runs of a project."""
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)
    return RunFinder(
        tracking, settings.root, settings.tracking.registered_model, settings.reports_dir, settings.model_dir
    )


def _of_folder(folder: Path, reference: str) -> FoundRun:
    if not (folder / FILE).is_file():
        raise DataError(f"the folder {reference!r} holds no {FILE}; name a folder that `crosshead evaluate` wrote")
    return FoundRun(reference, folder=folder)


def _lacks(run: FoundRun, name: str) -> str:
    return (
        f"run {run.shown} kept no {name}: it was not evaluated, or by an older crosshead; "
        "train and evaluate it again, which also records it: crosshead run"
    )


def _when(run: Any) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")

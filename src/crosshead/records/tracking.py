"""Recording runs in MLflow.

A stage opens a run, logs the items that its ``describe`` yields, and closes it; a later stage goes on with the same
run by its id. A run that fails is FAILED, one that is interrupted or killed is KILLED, and what a lost server did not
take waits on disk.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crosshead
from crosshead.errors import CrossheadError, MissingExtraError, StoreError, TrackingError
from crosshead.records import unsent
from crosshead.records.log_items import LogItem, Param, Tag, param_text
from crosshead.records.mlflow_store import (
    LOCK_TIMEOUT_S,
    StorePlace,
    explained,
    load_mlflow,
    place,
    prepare,
    relocate,
)
from crosshead.records.sending import key_of, send
from crosshead.redaction import redact

if TYPE_CHECKING:
    from crosshead.locks import Lock

ENDED_BY = "crosshead.ended_by"
"""Tag that says why a run is FAILED or KILLED."""
RUN_NAME = "mlflow.runName"
"""Tag that MLflow shows as a run's name."""


class Run:
    """A run that is open."""

    def __init__(self, tracking: Tracking, run_id: str, params: Mapping[str, str]) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self._params = dict(params)

    def log(self, items: Iterable[LogItem]) -> None:
        """Send items; a parameter that the run has already must have the same value.

        Raises
        ------
        TrackingError
            If a parameter would change.
        StoreError
            If MLflow does not take the items; they are then kept on disk, and `Tracking.send_unsent` sends them later.
        """
        items = list(items)
        params = self._new_params(items)
        try:
            with explained(self.tracking.place, f"recording run {self.run_id}"):
                send(self.tracking.client, self.run_id, items, params)
        except StoreError as error:
            kept = unsent.keep(self.tracking.unsent_dir, self.run_id, items)
            raise StoreError(f"{error}; the results are kept in {kept}, send them later: crosshead log") from error
        self._params.update(params)

    def _new_params(self, items: Sequence[LogItem]) -> dict[str, str]:
        params: dict[str, str] = {}
        for item in items:
            if not isinstance(item, Param):
                continue
            key, value = key_of(item.key), param_text(item.value)
            known = {**self._params, **params}.get(key, value)
            if known != value:
                raise TrackingError(
                    f"run {self.run_id} has parameter {key} = {known!r} and cannot change it to {value!r}; "
                    "start a new run for other settings"
                )
            if key not in self._params:
                params[key] = value
        return params


class Tracking:
    """One experiment in one store.

    Nothing is read, written or imported before the first run is opened or `client` is used.
    """

    def __init__(self, place: StorePlace, experiment: str) -> None:
        if not experiment.strip():
            raise TrackingError(f"the experiment's name is {experiment!r}; give it at least one letter")
        self.place = place
        self.experiment = experiment

    @classmethod
    def at(cls, root: Path, experiment: str = "crosshead", uri: str | None = None) -> Tracking:
        """Track the project at ``root``: in ``MLFLOW_TRACKING_URI``, else ``uri``, else the project's own store."""
        return cls(place(root, uri), experiment)

    def import_mlflow(self) -> None:
        """Import MLflow, where there is time for it; if it is missing, that is said when it is needed."""
        with suppress(MissingExtraError):
            load_mlflow()

    @cached_property
    def client(self) -> Any:
        """MLflow's client on this store; makes the store if there is none."""
        load_mlflow()
        from mlflow.tracking import MlflowClient

        prepare(self.place)
        with explained(self.place, "opening the store"):
            return MlflowClient(tracking_uri=self.place.uri, registry_uri=self.place.uri)

    @cached_property
    def experiment_id(self) -> str:
        """The experiment's id; makes the experiment if there is none."""
        with explained(self.place, f"opening experiment {self.experiment!r}"):
            found = self._find_experiment() or self._create_experiment()
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"the experiment {self.experiment!r} was deleted in {self.place.shown}; restore it with "
                    f"mlflow experiments restore --experiment-id {found.experiment_id}, or choose another name"
                )
            root = self.place.artifact_root
            if root is not None and found.artifact_location != root.as_uri():
                relocate(self.place, found.artifact_location)
            return str(found.experiment_id)

    def settle(self) -> None:
        """Point the store at its files again if the project was moved, before anything is read from it."""
        root = self.place.artifact_root
        if root is None or self.place.database is None:
            return
        with explained(self.place, "looking for experiments"):
            places = {experiment.artifact_location for experiment in self.client.search_experiments()}
        for old in places - {root.as_uri()}:
            relocate(self.place, old)

    @contextmanager
    def run(
        self, name: str, *, run_id: str | None = None, parent_run_id: str | None = None, tags: Iterable[Tag] = ()
    ) -> Iterator[Run]:
        """Open a run, or go on with the run ``run_id``, and close it.

        It ends as FINISHED, as FAILED after an error, as KILLED after an interruption.

        Parameters
        ----------
        name : str
            Shown in MLflow; ignored when going on with a run.
        run_id : str, optional
            An earlier run of the same store.
        parent_run_id : str, optional
            The run under which MLflow shows this one.
        tags : iterable of Tag
            Set when the run is opened, so that they are there even if nothing else is.

        Raises
        ------
        TrackingError
            If the store cannot be reached, or holds no run ``run_id``, or another process has it open.
        """
        self.close_dead_runs()
        run = self._find(run_id) if run_id else self._start(name, parent_run_id, tags)
        lock = self._lock(run.run_id)
        if not _try_acquire(lock, LOCK_TIMEOUT_S):
            raise TrackingError(
                f"run {run.run_id} is open in another process; wait until that one ends, then try again"
            )
        closed = False
        try:
            if run_id:
                self._reopen(run_id)
            yield run
            with explained(self.place, f"closing run {run.run_id}"):
                self.client.set_terminated(run.run_id, "FINISHED")
            closed = True
        except BaseException as error:
            closed = self._end_badly(run.run_id, error)
            raise
        finally:
            lock.release()
            if closed:  # else `close_dead_runs` closes it when the store is back
                Path(lock.lock_file).unlink(missing_ok=True)

    def log_run(self, items: Iterable[LogItem], *, name: str, run_id: str | None = None) -> str:
        """Record everything in one go and return the run's id."""
        with self.run(name, run_id=run_id) as run:
            run.log(items)
        return run.run_id

    def close_dead_runs(self) -> list[str]:
        """Mark runs KILLED whose process ended without closing them (kill -9, power loss); return their ids.

        An open run holds a lock that the operating system gives back whatever ends the process.
        """
        closed = []
        for path in sorted((self.place.folder / "locks").glob("*.lock")):
            lock = self._lock(path.stem)
            if not _try_acquire(lock):
                continue
            try:
                if self._close_dead(path.stem):
                    closed.append(path.stem)
                path.unlink(missing_ok=True)
            finally:
                lock.release()
        return closed

    @property
    def unsent_dir(self) -> Path:
        """Where results wait that the store did not take."""
        return self.place.folder / unsent.FOLDER

    def send_kept(self, kept_id: str, sent: Callable[[str], None] = lambda run_id: None) -> str:
        """Send what waits under an id and return the run's id, a new one if no store knew the run.

        ``sent`` gets that id before what waited is deleted; after a kill before its end, all is sent once more.

        Raises
        ------
        StoreError
            If the store refuses again; everything stays where it is.
        """
        with unsent.taken(self.unsent_dir, kept_id) as items:
            name = next((item.value for item in items if isinstance(item, Tag) and item.key == RUN_NAME), kept_id)
            run_id = self.log_run(items, name=name, run_id=None if unsent.is_local(kept_id) else kept_id)
            sent(run_id)
            return run_id

    def send_unsent(self) -> list[str]:
        """Send results that the store did not take when they were made; return the ids of their runs."""
        return [self.send_kept(kept_id) for kept_id in unsent.ids(self.unsent_dir)]

    def _find_experiment(self) -> Any:
        return self.client.get_experiment_by_name(self.experiment)

    def _create_experiment(self) -> Any:
        from mlflow.exceptions import MlflowException

        root = self.place.artifact_root
        try:
            self.client.create_experiment(self.experiment, artifact_location=root.as_uri() if root else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
        return self._find_experiment()

    def _start(self, name: str, parent_run_id: str | None, tags: Iterable[Tag]) -> Run:
        all_tags = {
            "mlflow.user": user(),
            "mlflow.source.name": "crosshead",
            "mlflow.source.type": "LOCAL",
            "crosshead.version": crosshead.__version__,
            **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {}),
            **{tag.key: tag.value for tag in tags},
        }
        experiment_id = self.experiment_id
        with explained(self.place, f"starting run {name!r}"):
            run = self.client.create_run(experiment_id, run_name=name, tags=all_tags)
        return Run(self, run.info.run_id, {})

    def _find(self, run_id: str) -> Run:
        with explained(self.place, f"opening run {run_id}"):
            run = self.find_run(run_id)
        if run is None:
            raise TrackingError(f"there is no run {run_id!r} in {self.place.shown}; train again to record a new one")
        return Run(self, run_id, run.data.params)

    def _reopen(self, run_id: str) -> None:
        with explained(self.place, f"opening run {run_id}"):
            self.client.update_run(run_id, status="RUNNING")
            if ENDED_BY in self.client.get_run(run_id).data.tags:
                self.client.delete_tag(run_id, ENDED_BY)

    def find_run(self, run_id: str) -> Any:
        """Return MLflow's run, or None if the store has none of that id."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise

    def _end_badly(self, run_id: str, error: BaseException) -> bool:
        """Close a run after an error and say if that went well; a lost store must not hide the error."""
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        # Other errors may quote the user's texts, so only their class is recorded.
        why = redact(str(error)) if isinstance(error, CrossheadError) else type(error).__name__
        try:
            with explained(self.place, f"closing run {run_id}"):
                self.client.set_tag(run_id, ENDED_BY, why[:500])
                self.client.set_terminated(run_id, status)
        except TrackingError as second:
            error.add_note(f"the run {run_id} could not be marked {status}: {second}")
            return False
        return True

    def _close_dead(self, run_id: str) -> bool:
        with explained(self.place, "closing runs that were killed"):
            run = self.find_run(run_id)
            if run is None or run.info.status != "RUNNING":
                return False
            self.client.set_tag(run_id, ENDED_BY, "its process ended without closing the run")
            self.client.set_terminated(run_id, "KILLED")
        return True

    def _lock(self, run_id: str) -> Lock:
        from crosshead.locks import Lock

        path = self.place.folder / "locks" / f"{run_id}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"the folder {path.parent} cannot be made: {error}; make it writable") from error
        return Lock(path)


def _try_acquire(lock: Lock, timeout_s: float = 0) -> bool:
    from crosshead.locks import Timeout

    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        return False
    return True


def user() -> str:
    """Return who is at work here."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"

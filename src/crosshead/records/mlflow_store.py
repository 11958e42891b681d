"""The MLflow store of a project: where it is, made once, moved with the project, and what MLflow's errors mean.

Everything lives in ``<root>/mlflow``: the database ``mlflow.db``, the files of runs and models in ``artifacts/``, locks
in ``locks/``, results that a lost server did not take in ``unsent/``. ``MLFLOW_TRACKING_URI`` moves the first two
elsewhere; MLflow's own defaults, which depend on the current folder, are never used.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from crosshead.errors import MissingExtraError, StoreError
from crosshead.redaction import redact

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
MOST_TRIES = 5
"""Of a call that another process's may have crossed."""
LOCK_TIMEOUT_S = 120.0

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else a uv.lock in the current folder becomes part of the model
    # MLflow's own 7 retries let a lost server look like a hang of four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
# Loggers that tell at length, on stderr, what the exception or our own message says too.
_NOISY_LOGGERS = {
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.pyfunc": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,
}
_FILES = "PRAGMA database_list"
# Every column of MLflow's schema that holds the place of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@functools.cache
def load_mlflow() -> Any:
    """Import MLflow, with telemetry off and without its noise; whoever set one of these variables before keeps it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        with warnings.catch_warnings():
            # mlflow 3.17.2 uses an option that SQLAlchemy 2.1 warns of; gone when MLflow drops `noload`.
            warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
            # It warns about type hints of its own classes while they are imported.
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
            import mlflow
            import mlflow.pyfunc
            import mlflow.store.tracking.sqlalchemy_store
    except ImportError as error:
        raise MissingExtraError("recording runs in MLflow", "train") from error
    for name, level in _NOISY_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    return mlflow


@dataclass(frozen=True)
class StorePlace:
    """Where runs and their files go."""

    uri: str = field(repr=False)
    """It may hold a password; `shown` does not."""
    artifact_root: Path | None
    """Where a new experiment keeps its files; None leaves that to the server."""
    folder: Path
    """The project's ``mlflow`` folder: locks and unsent results."""

    @property
    def database(self) -> Path | None:
        """The SQLite file, if the store is one."""
        return _sqlite_path(self.uri)

    @property
    def shown(self) -> str:
        """The URI without a password."""
        return redact(self.uri)


def place(root: Path, uri: str | None = None, *, environ: Mapping[str, str] | None = None) -> StorePlace:
    """Say where the project at ``root`` records its runs.

    ``MLFLOW_TRACKING_URI`` wins over ``uri``; with neither it is the project's own SQLite file. Relative SQLite paths
    count from the current folder, as they do for MLflow.
    """
    folder = root.resolve() / "mlflow"
    chosen = (os.environ if environ is None else environ).get(URI_VARIABLE) or uri
    if not chosen:
        return StorePlace(f"sqlite:///{(folder / DATABASE).as_posix()}", folder / ARTIFACTS, folder)
    database = _sqlite_path(chosen)
    if database is not None:
        database = database.resolve()
        return StorePlace(f"sqlite:///{database.as_posix()}", database.parent / ARTIFACTS, folder)
    served = urlsplit(chosen).scheme in {"http", "https"} or chosen.startswith("databricks")
    return StorePlace(chosen, None if served else folder / ARTIFACTS, folder)


def prepare(store: StorePlace) -> None:
    """Make the database if there is none: once, however many processes ask, and whole or not at all.

    It is made under another name and renamed, because MLflow cannot go on with a schema that a killed process left
    half migrated, and two processes that migrate at once break each other.
    """
    database = store.database
    if database is None:
        return
    if set(store.uri) & {"%", "?"}:
        raise StoreError(
            f"the MLflow store's path {store.uri.removeprefix('sqlite:///')!r} has a '%' or '?', which MLflow cannot "
            f"open; move the project to a folder without them or set {URI_VARIABLE}"
        )
    if _looks_like_sqlite(database):
        return
    from crosshead.locks import Lock, Timeout

    new = database.with_name(f".{database.name}.new")
    lock = database.with_name(f".{database.name}.lock")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with Lock(lock, timeout=LOCK_TIMEOUT_S):
            if _looks_like_sqlite(database):
                return
            for leftover in (new, new.with_name(f"{new.name}-journal")):
                leftover.unlink(missing_ok=True)
            _create(new, store)
            new.replace(database)
    except Timeout as error:
        raise StoreError(
            f"another process has been making {database} for {LOCK_TIMEOUT_S:.0f} s; "
            "wait for it or end it, then try again"
        ) from error
    except OSError as error:
        raise StoreError(
            f"the MLflow store {database} cannot be made: {error}; make the folder writable or set {URI_VARIABLE}"
        ) from error


def relocate(store: StorePlace, old_uri: str) -> bool:
    """Point the database at its own artifact folder again after the project was moved or copied; say if it did.

    MLflow records absolute places. Only places below ``old_uri`` change, and only if it is a folder that
    crosshead itself would have made.
    """
    database, root = store.database, store.artifact_root
    if database is None or root is None or not _ours(old_uri):
        return False
    new_uri = root.as_uri()
    from crosshead.locks import Lock

    lock = Lock(database.with_name(f".{database.name}.lock"), timeout=LOCK_TIMEOUT_S)
    try:
        with lock, closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S)) as connection, connection:
            for table, column in _PLACES:
                connection.execute(
                    f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
                    f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'",
                    {"old": old_uri, "new": new_uri},
                )
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"the MLflow store {database} cannot be pointed at its files, which were moved: {error}; "
            "make room there and let it be written, then try again"
        ) from error
    return True


def leftover_file_stores(*folders: Path) -> list[str]:
    """Say, one sentence each, which of the folders hold runs in the old file format, and how to bring them over."""
    found = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        experiments = list((folder / "mlruns").glob("*/meta.yaml"))
        if experiments:
            target = folder / "mlflow" / "old-runs.db"
            found.append(
                f"{folder / 'mlruns'} holds {len(experiments)} experiments in MLflow's old file format, which MLflow "
                f"no longer opens and crosshead does not read; to keep them: mkdir -p {target.parent} && "
                f"mlflow migrate-filestore --source {folder} --target sqlite:///{target.as_posix()}"
            )
    return found


@contextmanager
def explained(store: StorePlace, doing: str) -> Iterator[None]:
    """Turn what MLflow, its database or the network raise into a `StoreError` that says what to do."""
    load_mlflow()
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (
        MlflowException,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        requests.RequestException,
        OSError,
    ) as error:
        raise StoreError(explain(store, doing, error)) from error


def explain(store: StorePlace, doing: str, error: Exception) -> str:
    """Say in one sentence what went wrong while ``doing``, and what helps."""
    text = redact(str(error))
    if "maintenance mode" in text:
        return (
            f"the MLflow store {store.shown} is in the old file format, which MLflow no longer opens; "
            f"unset {URI_VARIABLE}, and to keep its runs: mlflow migrate-filestore --source FOLDER --target sqlite:///NEW.db"
        )
    if "out-of-date database schema" in text:
        return (
            f"the MLflow store {store.shown} was made by another version of MLflow; copy the file, then run: "
            f"mlflow db upgrade {store.shown}"
        )
    if "Max retries exceeded" in text or "Connection" in type(error).__name__ or "failed with exception" in text:
        return (
            f"the MLflow server {store.shown} cannot be reached while {doing}; start it or mend {URI_VARIABLE}; "
            f"with {URI_VARIABLE} unset, runs are recorded in the project's own store"
        )
    if "readonly database" in text or "unable to open database" in text:
        return f"the MLflow store {store.shown} cannot be written; make the file and its folder writable"
    if "not a database" in text:
        return f"the MLflow store {store.shown} is no SQLite database; move the file away, a new one is made"
    return f"MLflow failed while {doing} (store {store.shown}): {_first_line(text)}"


def file_path(uri: str) -> Path | None:
    """Return the local path that a ``file:`` URI or a plain path names; None for anything remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def _create(database: Path, store: StorePlace) -> None:
    load_mlflow()
    import sqlalchemy
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def hurry(connection: Any, _: Any) -> None:
        """Leave out the syncs of some eighty migrations; one at the end does for a file that nobody uses yet."""
        if isinstance(connection, sqlite3.Connection) and database.name in str(connection.execute(_FILES).fetchall()):
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = MEMORY")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    try:
        with explained(store, "making the store"):
            # The second argument is where MLflow's own experiment "Default" keeps files; else it is the current folder.
            SqlAlchemyStore(f"sqlite:///{database.as_posix()}", _artifact_uri(store)).engine.dispose()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)
    with database.open("rb+") as file:
        os.fsync(file.fileno())


def _artifact_uri(store: StorePlace) -> str:
    return (store.artifact_root or store.folder / ARTIFACTS).as_uri()


def _looks_like_sqlite(path: Path) -> bool:
    """Say if the file is a database; an empty or missing one is none, and anything else is an error.

    MLflow retries for 100 s on a file that it cannot open, so that is found out here.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"the MLflow store {path} cannot be read: {error}; make it readable") from error
    if head and head != b"SQLite format 3\0":
        raise StoreError(f"the MLflow store {path} is no SQLite database; move the file away, a new one is made")
    return bool(head)


def _ours(uri: str) -> bool:
    path = file_path(uri)
    return path is not None and path.parts[-2:] == ("mlflow", ARTIFACTS)


def _sqlite_path(uri: str) -> Path | None:
    return Path(unquote(uri.removeprefix("sqlite:///"))) if uri.startswith("sqlite:///") else None


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def log_inputs(client: Any, run_id: str, inputs: list[Any]) -> None:
    """Record the datasets of a run, also while another run records the same ones."""
    # MLflow looks whether the dataset is there and then inserts it, so of two runs that begin together one is refused.
    # By then the dataset is there, and what was refused left nothing behind.
    from mlflow.exceptions import MlflowException

    for left in reversed(range(MOST_TRIES)):
        try:
            client.log_inputs(run_id, datasets=inputs)
            return
        except MlflowException as error:
            if not left or "IntegrityError" not in str(error):
                raise

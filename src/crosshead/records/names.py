"""What people call a run, and whether there is one, as far as that can be said without MLflow and at once."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from crosshead.composing import nearest
from crosshead.errors import TrackingError
from crosshead.records.mlflow_store import StorePlace

CHAMPION, LAST = "champion", "last"
PREDICTIONS = "predictions.parquet"
HOW = (
    f"a run's id, its first characters or its name, a version's number, models:/NAME/VERSION, {CHAMPION!r}, "
    f"{LAST!r} (what was evaluated here last), or a folder that holds {PREDICTIONS}"
)
"""The ways to name a run."""

_ID_OR_VERSION = re.compile(r"[0-9a-f]{4,32}|\d{1,6}")


def check(reference: str, store: StorePlace) -> None:
    """Refuse a name that no run of the store bears; what cannot be said here is left to `runs.RunFinder`.

    Raises
    ------
    TrackingError
        Naming the nearest spelling.
    """
    if reference in (CHAMPION, LAST) or reference.startswith(("models:/", "runs:/")):
        return
    path = Path(reference).expanduser()
    if path.is_dir() or path.name == PREDICTIONS or _ID_OR_VERSION.fullmatch(reference):
        return
    known = _run_names(store)
    if known is not None and reference not in known:
        raise TrackingError(no_such(reference, "run", store))


def no_such(reference: str, what: str, store: StorePlace) -> str:
    """Say that there is no such run, what is called nearly so, and how runs are named."""
    hint = nearest(reference, [CHAMPION, LAST, *(_run_names(store) or ())])
    return f"there is no {what} {reference!r} in {store.shown}{hint}; a run is named by {HOW}"


def _run_names(store: StorePlace) -> set[str] | None:
    """List the names of the runs in the project's own store; None where it is another's, or cannot be read."""
    database = store.database
    if database is None:
        return None
    if not database.exists():
        return set()
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return {str(name) for (name,) in connection.execute("SELECT DISTINCT name FROM runs")}
    except sqlite3.Error:
        return None

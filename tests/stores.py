"""A project with an MLflow store, made once a session and copied for each test."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from crosshead import mlflow_store


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crosshead-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = mlflow_store.place(folder, environ={})
    mlflow_store.prepare(place)
    assert place.database is not None
    return place.database


def make_project(root: Path) -> Path:
    """Make a project folder whose store needs no migration any more."""
    (root / "mlflow").mkdir(parents=True)
    shutil.copyfile(_template(), root / "mlflow" / mlflow_store.DATABASE)
    return root

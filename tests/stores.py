"""A project with an MLflow store, made once a session and copied for each test."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from crosshead.records import mlflow_store


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


class Server:
    """A real ``mlflow server`` on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = make_project(self.folder) / "mlflow" if not self.folder.exists() else self.folder / "mlflow"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(store / "files")]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, start_new_session=True, stdout=log, stderr=log
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
            else:
                return
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

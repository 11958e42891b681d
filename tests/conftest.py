from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Before anything else is imported: no telemetry, no hub, nothing of the user's own caches.
os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
)
# Compiled graphs of taggers that last a second are not to fill the user's own cache.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="crosshead-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "CROSSHEAD_ROOT", "CROSSHEAD_ENCODER"):
    os.environ.pop(name, None)

import tiny  # noqa: E402  after the environment is set

ROOT = Path(__file__).resolve().parents[1]

# No test asserts how long something takes: machines are shared, and an example may wait for its turn.
hypothesis.settings.register_profile("crosshead", deadline=None)
hypothesis.settings.load_profile("crosshead")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small real graph folder."""
    return tiny.build_graph(tmp_path_factory.mktemp("graph") / "tiny")


@pytest.fixture(scope="session")
def _tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Path:
    return tiny.build_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_graph)


@pytest.fixture
def tiny_bundle(tmp_path: Path, _tiny_bundle: Path) -> Path:
    """Return a small real bundle folder that the test may spoil."""
    return Path(shutil.copytree(_tiny_bundle, tmp_path / "tiny_bundle"))

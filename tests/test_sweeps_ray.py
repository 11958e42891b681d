"""A sweep whose jobs run on a Ray cluster: Hydra's launcher, our stages, one parent run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import small_project
from cli_parts import process_environ
from crosshead.records.tracking import Tracking
from crosshead.search.sweep_results import OUTCOME
from crosshead.stages import prepare

pytestmark = [
    pytest.mark.slow,
    # SQLAlchemy's pool gives connections back to the garbage collector when a store's engine goes.
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
WORDS = [*(word for word in small_project.WORDS if not word.startswith("classifier=")), "views.tfidf.n_max=1"]
HERE = ["hydra/launcher=ray", "hydra.launcher.ray.init.address=local", "+hydra.launcher.ray.init.num_cpus=2"]


def runs_of(project: Path, wanted: str) -> list[Any]:
    tracking = Tracking.at(project)
    found = tracking.client.search_runs([tracking.experiment_id], wanted)
    return sorted(found, key=lambda run: str(run.info.run_name))


def test_two_jobs_on_a_real_ray_are_children_of_one_parent_run(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="hydra-ray-launcher is not installed")
    project = small_project.make(tmp_path / "project")
    prepare.run(small_project.settings(project))
    command = [sys.executable, "-m", "crosshead", "train", "-m", *WORDS, "classifier.C=1,2", *HERE]
    environ = process_environ(project, RAY_USAGE_STATS_ENABLED="0", COLUMNS="200")
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert done.stdout.startswith(b"2 jobs\n")

    (parent,) = runs_of(project, "tags.`crosshead.kind` = 'sweep'")
    assert (parent.info.status, parent.data.metrics["n_failed"]) == ("FINISHED", 0)
    children = runs_of(project, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [run.info.run_name for run in children] == ["classifier.C=1", "classifier.C=2"]
    assert [run.data.params["classifier.C"] for run in children] == ["1", "2"]
    assert all(run.info.status == "FINISHED" and 0 < run.data.metrics["cv_macro_f1"] <= 1 for run in children)
    (folder,) = (project / "models" / "sweeps").iterdir()
    outcomes = [json.loads(path.read_text()) for path in folder.glob(f"*/{OUTCOME}")]
    assert {outcome["run_id"] for outcome in outcomes} == {run.info.run_id for run in children}

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

STAGES = ("prepare", "train", "evaluate")
RECORDING = {
    "records.recording",
    "records.unsent",
    "records.tracking",
    "records.mlflow_store",
    "records.mlflow_files",
    "records.model_scores",
    "records.made_with",
    "records.log_items",
    "records.lineage",
    "releases.registry",
    "releases.champion",
    "mlflow_model",
    "errors",
}
"""Modules that say or record what happened and decide nothing about a stage's outputs."""

STAND_IN = """#!{python}
import json, sys
from pathlib import Path

stage = sys.argv[1]
with open("stages.log", "a") as log:
    print(stage, file=log)
if stage == "prepare":
    Path("data/prepared").mkdir()
    Path("data/prepared/train.parquet").write_text(Path("data/annotations.csv").read_text())
elif stage == "train":
    Path("models/latest").mkdir(parents=True, exist_ok=True)
    Path("models/latest/run.json").write_text(Path("data/prepared/train.parquet").read_text())
else:
    Path("reports/plots").mkdir(parents=True)
    Path("reports/report.html").write_text("<p>")
    Path("reports/predictions.parquet").write_text("predictions")
    Path("reports/model_card.md").write_text("# card")
    Path("reports/metrics.json").write_text(json.dumps({{"model": {{"macro_f1": {{"value": 0.75, "low": 0.5}}}}}}))
    Path("reports/plots/confusion.csv").write_text("actual,predicted\\nother,other\\nother,actors\\n")
    Path("reports/plots/reliability.csv").write_text("confidence,accuracy,n\\n0.3,0.25,4\\n0.9,0.95,20\\n")
"""


@pytest.fixture(scope="session")
def pipeline(root: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    return read


# -- dvc.yaml tells the truth ------------------------------------------------------------------------------------------


def module_path(root: Path, name: str) -> Path | None:
    path = root / "src" / Path(*name.split("."))
    found = [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()]
    return found[0] if found and len(ast.parse(found[0].read_text(encoding="utf-8")).body) > 1 else None


def imported(path: Path) -> Iterator[str]:
    """Names that a module imports anywhere, but for type checkers only."""
    for_types = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for_types |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_behind(root: Path, stage: str) -> set[str]:
    """Files of every module that a stage imports, directly or not, but those that only record."""
    seen: set[str] = set()
    waiting = [f"crosshead.stages.{stage}", "crosshead.settings"]
    while waiting:
        name = waiting.pop()
        path = module_path(root, name) if name.startswith("crosshead.") else None
        if path is None or path.relative_to(root).as_posix() in seen or name.removeprefix("crosshead.") in RECORDING:
            continue
        seen.add(path.relative_to(root).as_posix())
        waiting += imported(path)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_modules_that_it_imports(root: Path, pipeline: dict[str, Any], stage: str) -> None:
    listed = {
        dep for dep in pipeline["stages"][stage]["deps"] if dep.startswith("src/") and not dep.endswith("templates")
    }
    needed = modules_behind(root, stage)
    covered = {dep: {path for path in needed if path == dep or path.startswith(f"{dep}/")} for dep in listed}
    assert sorted(needed.difference(*covered.values())) == [], "add these to dvc.yaml"
    assert sorted(dep for dep, paths in covered.items() if not paths) == [], "take these out of dvc.yaml"


def test_every_dependency_is_in_the_repository(root: Path, pipeline: dict[str, Any]) -> None:
    made = {"data/prepared", "models/latest"}
    for stage in pipeline["stages"].values():
        assert [dep for dep in stage["deps"] if dep not in made and not (root / dep).exists()] == []


def test_stages_hand_over_to_each_other(pipeline: dict[str, Any]) -> None:
    assert tuple(pipeline["stages"]) == STAGES
    made: dict[str, str] = {}
    for name, stage in pipeline["stages"].items():
        assert stage["cmd"].endswith(f" crosshead {name}")
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
            ((path, options),) = out.items()
            assert options["cache"] is False
            made[path] = name
    assert {made[dep] for dep in pipeline["stages"]["train"]["deps"] if dep in made} == {"prepare"}
    assert {made[dep] for dep in pipeline["stages"]["evaluate"]["deps"] if dep in made} == {"prepare", "train"}


def test_outputs_are_where_the_settings_put_them(root: Path, pipeline: dict[str, Any]) -> None:
    conf = yaml.safe_load((root / "conf" / "config.yaml").read_text(encoding="utf-8"))
    outs = {out for stage in pipeline["stages"].values() for row in stage.get("outs", []) for out in row}
    assert {conf["prepared_dir"], conf["model_dir"]} < outs
    assert all(out.startswith((conf["prepared_dir"], conf["model_dir"], conf["reports_dir"])) for out in outs)


# -- dvc at work -------------------------------------------------------------------------------------------------------


class Project:
    """A copy of the repository's DVC files in which `dvc` is run."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        private = folder.parent / "dvc"
        self.environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "CROSSHEAD_", "GIT_"))
            },
            "PATH": path,
            "DVC_SITE_CACHE_DIR": str(private / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(private / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(private / "system"),
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def ran(self) -> list[str]:
        """Stages that ran since the last call."""
        log = self.folder / "stages.log"
        found = log.read_text(encoding="utf-8").split() if log.exists() else []
        log.unlink(missing_ok=True)
        return found


def copy_dvc_files(root: Path, folder: Path) -> Path:
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)
    return folder


@pytest.fixture
def project(root: Path, pipeline: dict[str, Any], tmp_path: Path) -> Project:
    """Return a project whose `crosshead` is a stand-in that is found in .venv only."""
    folder = copy_dvc_files(root, tmp_path / "a project")
    for dep in {dep for stage in pipeline["stages"].values() for dep in stage["deps"]} - {
        "data/prepared",
        "models/latest",
    }:
        path = folder / dep if Path(dep).suffix else folder / dep / "content"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dep, encoding="utf-8")
    command = folder / ".venv" / "bin" / "crosshead"
    command.parent.mkdir(parents=True)
    command.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    return Project(folder, "/usr/local/bin:/usr/bin:/bin")


def test_repro_runs_what_is_out_of_date_and_nothing_else(project: Project) -> None:
    git = ("git", "-c", "user.name=tester", "-c", "user.email=tester")
    project.run(*git, "init", "--quiet")
    project.run(*git, "add", "--all")
    project.run(*git, "commit", "--quiet", "--message", "clone")
    project.dvc("repro")
    assert project.ran() == list(STAGES)
    assert project.run(*git, "status", "--porcelain") == ""

    told = project.dvc("repro")
    assert project.ran() == []
    assert "Data and pipelines are up to date" in told

    (project.folder / "conf" / "classifier").mkdir()
    (project.folder / "conf" / "classifier" / "new.yaml").write_text("C: 1", encoding="utf-8")
    (project.folder / "src" / "crosshead" / "readers" / "__pycache__").mkdir()
    (project.folder / "src" / "crosshead" / "readers" / "__pycache__" / "a.pyc").write_bytes(b"")
    project.dvc("repro")
    assert project.ran() == ["train", "evaluate"]

    (project.folder / "data" / "annotations.csv").write_text("changed", encoding="utf-8")
    project.dvc("repro")
    assert project.ran() == list(STAGES)


def test_metrics_and_plots_are_shown_also_without_git(project: Project) -> None:
    project.dvc("repro")
    shown = project.dvc("metrics", "show")
    assert "model.macro_f1.value" in shown
    assert "0.75" in shown
    project.dvc("plots", "show")
    page = (project.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for told in ('"actual": "other"', "Held-out paragraphs", '"confidence"', '"accuracy"'):
        assert told in page


def test_dvc_sends_nothing_home(project: Project) -> None:
    switches = {
        name: project.dvc("config", f"core.{name}").strip() for name in ("analytics", "check_update", "autostage")
    }
    assert switches == {"analytics": "false", "check_update": "false", "autostage": "false"}


@pytest.mark.slow
def test_the_real_stages_under_dvc(root: Path, tmp_path: Path) -> None:
    folder = copy_dvc_files(root, tmp_path / "project")
    shutil.copytree(root / "conf", folder / "conf")
    config = folder / "conf" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("encoder: minilm", "encoder: tfidf").replace("views: sentences", "views: tfidf"), encoding="utf-8"
    )
    shutil.copytree(root / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    articles = sorted((root / "data" / "articles").glob("*.md"))[::4]
    (folder / "data" / "articles").mkdir(parents=True)
    for article in articles:
        shutil.copyfile(article, folder / "data" / "articles" / article.name)
    for name in ("contrast_sets.jsonl", "single_paragraphs.jsonl"):
        shutil.copyfile(root / "data" / name, folder / "data" / name)
    kept = {article.stem for article in articles}
    with (root / "data" / "annotations.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    with (folder / "data" / "annotations.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *(row for row in rows if row[0] in kept)])
    real = Project(folder, f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    real.dvc("repro")
    metrics = json.loads((folder / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["model"]["macro_f1"]["value"] > metrics["majority"]["macro_f1"]["value"]
    assert f"{metrics['model']['macro_f1']['value']:.5f}" in real.dvc("metrics", "show", "--precision", "5")
    real.dvc("plots", "show")
    assert '"actual"' in (folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    pointer = json.loads((folder / "models" / "champion.json").read_text(encoding="utf-8"))
    assert (pointer["registered_model"], pointer["version"]) == ("crosshead", 1)
    assert (folder / pointer["bundle"] / "manifest.json").is_file()
    assert "Data and pipelines are up to date" in real.dvc("repro")

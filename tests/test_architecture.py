"""Imports point one way. The table is the architecture; a module that it does not name fails."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "crosshead"

LAYERS: dict[str, list[str]] = {
    "core": [
        "errors",
        "whole",
        "locks",
        "limits",
        "redaction",
        "measures",
        "environment",
        "text",
        "articles",
        "taxonomy",
        "tables",
        "records.log_items",
        "tagging.*",
        "evaluation.*",
    ],
    "readers": ["readers.*", "feeds.*"],
    "edges": [
        "encoders.*",
        "bundle",
        "estimator_files",
        "loading",
        "mlflow_model",
        "values",
        "schema",
        "composing",
        "settings",
        "new_project",
        "corpora.*",
        "labelling.*",
        "training.*",
        "search.*",
        "records.*",
        "releases.*",
        "reporting.*",
        "monitoring.*",
    ],
    "stages": ["stages.*"],
    "apps": [
        "batch.*",
        "cli.*",
        "server.*",
        "labelling.app",
        "monitoring.reading",
        "monitoring.job",
        "__main__",
        "crosshead",
    ],
}
ORDER = list(LAYERS)

# Each outside tool is known to these modules alone.
TOOLS: dict[str, set[str]] = {
    "mlflow": {
        "records.mlflow_store",
        "records.sending",
        "records.tracking",
        "releases.registry",
        "records.mlflow_files",
        "mlflow_model",
    },
    "hydra": {"composing", "search.sweeps"},
    "optuna": {"search.study"},
    "omegaconf": {"composing", "settings"},
    "torch": {"encoders.export", "encoders.torch_engine", "training.finetuning", "training.upper_layers"},
    "sentence_transformers": {"encoders.export"},
    "transformers": {"encoders.export"},
    "onnxruntime": {"encoders.engines"},
    "openvino": {"encoders.engines"},
    "tokenizers": {"encoders.graph", "encoders.static"},
    "datasets": {"corpora.corpus", "stages.prepare"},
    "datasketch": {"corpora.duplicates"},
    "cleanlab": {"labelling.label_noise"},
    "matplotlib": {"monitoring.plots", "reporting.plots", "search.plots"},
    "py3langid": {"monitoring.language"},
    "jinja2": {"reporting.report", "reporting.cards"},
    "skops": {"estimator_files"},
    "safetensors": {"bundle", "encoders.source", "encoders.static", "training.finetuning", "training.frozen"},
    "trafilatura": {"readers.html"},
    "fastapi": {
        "labelling.app",
        "server.app",
        "server.errors",
        "server.page",
        "server.process",
        "server.routes",
        "server.scoring",
    },
    "uvicorn": {"cli.sitting", "server.process"},
    "prometheus_client": {"server.metrics"},
    "ray": {"batch.ray_job"},
    "fsspec": {"batch.stores"},
    "filelock": {"locks"},
    "dvc": set(),
}
NEVER = {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "crosshead"


MODULES = {_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _layer(name: str) -> str | None:
    """Return the layer of a module: the one that names it, else the one that names its package."""
    for layer, patterns in LAYERS.items():
        if name in patterns:
            return layer
    for layer, patterns in LAYERS.items():
        if any(re.fullmatch(p.replace(".*", r"(\..*)?"), name) for p in patterns):
            return layer
    return None


def _own(imports: set[str]) -> set[str]:
    names = {name.removeprefix("crosshead.") for name in imports if name.startswith("crosshead.")}
    return {name for name in names if name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    layer = _layer(name)
    assert layer is not None, f"{name} is in no layer; add it to the table on purpose"
    for imported in _own(_imports(MODULES[name])):
        other = _layer(imported)
        assert other is not None
        assert ORDER.index(other) <= ORDER.index(layer), f"{name} ({layer}) imports {imported} ({other})"
        if layer == "stages" and other == "stages":
            assert imported == "stages", f"stage {name} imports stage {imported}"


FRONT = ("cli", "__main__")
"""Of the apps, these alone may import the others."""


def _app(name: str) -> str:
    """Name the app that a module belongs to: its package."""
    return name.partition(".")[0]


@pytest.mark.parametrize("name", [name for name in MODULES if _layer(name) == "apps" and _app(name) not in FRONT])
def test_of_the_apps_only_the_command_line_imports_others(name: str) -> None:
    for imported in _own(_imports(MODULES[name])):
        assert _layer(imported) != "apps" or _app(imported) == _app(name), f"{name} imports the app {imported}"


@pytest.mark.parametrize("tool", TOOLS)
def test_each_outside_tool_is_known_where_the_table_says(tool: str) -> None:
    users = {
        name for name, path in MODULES.items() if any(i == tool or i.startswith(f"{tool}.") for i in _imports(path))
    }
    assert users <= TOOLS[tool]


def test_nothing_imports_a_pickle() -> None:
    for name, path in MODULES.items():
        assert not {i.split(".")[0] for i in _imports(path)} & NEVER, name


def test_the_base_package_imports_nothing_heavy() -> None:
    modules = "crosshead, crosshead.tagging.tagger, crosshead.articles, crosshead.releases.champion"
    code = f"import sys, {modules}; print(*sorted(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = [
        "torch",
        "sklearn",
        "scipy",
        "pandas",
        "mlflow",
        "hydra",
        "skops",
        "datasets",
        "pyarrow",
        "onnxruntime",
        "openvino",
        "trafilatura",
    ]
    assert not loaded & set(heavy)


SCRIPTS = sorted(path for folder in ("benchmarks", "experiments", "docs") for path in (ROOT / folder).rglob("*.py"))


def _defined(path: Path) -> set[str]:
    """Names that a module has at its top."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_script_takes_from_the_package_is_there(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("crosshead"):
            continue
        module = (node.module or "").removeprefix("crosshead").removeprefix(".") or "crosshead"
        assert module in MODULES, f"there is no module {node.module}"
        for alias in node.names:
            inside = alias.name if module == "crosshead" else f"{module}.{alias.name}"
            assert inside in MODULES or alias.name in _defined(MODULES[module]), f"{node.module} has no {alias.name}"

"""The files of a tagger that is an MLflow model: everything around the bundle."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import crosshead

BUNDLE_PATH = "artifacts/bundle"
"""Where the bundle lies in the model."""
CARD = "model_card.md"

_REQUIRED = ("mlflow", "pandas", "numpy", "safetensors", "tokenizers", "onnxruntime", "openvino")
_EXAMPLE = (
    "The column reached the river before dawn and held both banks by noon, the regional command said.",
    "The two foreign ministers agreed to keep the crossing open for aid convoys until the end of the month.",
)


def write_model(path: Path, folder: Path, logged: Any, run_id: str, section_types: tuple[str, ...]) -> None:
    """Write everything of the MLflow model but the bundle, which is then uploaded without a copy in between."""
    import mlflow.pyfunc
    from mlflow.models import Model

    from crosshead.mlflow_model import ARTIFACT

    model = Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    package = Path(crosshead.__file__).parent
    with warnings.catch_warnings():
        # mlflow 3.17.2 compares columns with a range, which pandas 3 will drop; gone when MLflow knows pandas 4.
        warnings.filterwarnings("ignore", message="Operation with range is deprecated")
        mlflow.pyfunc.save_model(
            path,
            python_model=str(package / "mlflow_model.py"),
            mlflow_model=model,
            code_paths=[str(package)],
            signature=_signature(section_types),
            input_example=_example(),
            pip_requirements=_requirements(),
        )
    model.flavors["python_function"] |= {
        "artifacts": {ARTIFACT: {"path": BUNDLE_PATH, "uri": ARTIFACT}},
        "model_code_path": "mlflow_model.py",  # MLflow puts this machine's path, and reads only the name
    }
    model.model_size_bytes += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    model.save(str(path / "MLmodel"))


def _example() -> Any:
    import pandas as pd

    return pd.DataFrame({"text": list(_EXAMPLE), "article_id": ["a", "a"], "paragraph": [0, 1]})


def _signature(section_types: tuple[str, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from crosshead.tables import SCORE

    inputs = [
        ColSpec("string", "text"),
        ColSpec("string", "article_id", required=False),
        ColSpec("long", "paragraph", required=False),
    ]
    outputs = [
        ColSpec("string", "section_type"),
        ColSpec("double", "confidence"),
        ColSpec("boolean", "abstained"),
        ColSpec("long", "truncated_tokens"),
        ColSpec("boolean", "out_of_distribution", required=False),
        *(ColSpec("double", f"{SCORE}{name}") for name in section_types),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _requirements() -> list[str]:
    """Pins of what the model imports; inferring them would load the model in another process for seven seconds."""
    pins = []
    for name in _REQUIRED:
        try:
            pins.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # an engine that this platform does not have
            continue
    return pins

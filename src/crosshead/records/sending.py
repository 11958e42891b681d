"""Log items as MLflow takes them: its names, its limits, its calls."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crosshead.records.log_items import DatasetInput, FileArtifact, FolderArtifact, LogItem, Metric, Tag, TextArtifact
from crosshead.records.mlflow_store import log_inputs

MAX_PARAMS, MAX_METRICS, MAX_TAGS = 100, 1000, 100
"""MLflow's limits on one call."""
MAX_KEY = 250
MAX_DIGEST = 36
"""Characters of a dataset's digest that MLflow keeps."""


def send(client: Any, run_id: str, items: Sequence[LogItem], params: Mapping[str, str]) -> None:
    """Send items to a run; of parameters, which cannot change, those in ``params`` alone."""
    from mlflow import entities

    now = time.time_ns() // 1_000_000
    metrics = [entities.Metric(key_of(i.key), float(i.value), now, i.step) for i in items if isinstance(i, Metric)]
    tags = [entities.RunTag(key_of(i.key), i.value) for i in items if isinstance(i, Tag)]
    for part in _parts([entities.Param(key, value) for key, value in params.items()], MAX_PARAMS):
        client.log_batch(run_id, params=part)
    for part in _parts(metrics, MAX_METRICS):
        client.log_batch(run_id, metrics=part)
    for part in _parts(tags, MAX_TAGS):
        client.log_batch(run_id, tags=part)
    inputs = [_dataset_input(item) for item in items if isinstance(item, DatasetInput)]
    if inputs:
        log_inputs(client, run_id, inputs)
    for item in items:
        match item:
            case TextArtifact(path, text):
                client.log_text(run_id, text, path)
            case FileArtifact(file, folder):
                client.log_artifact(run_id, str(file), folder or None)
            case FolderArtifact(folder_path, path):
                client.log_artifacts(run_id, str(folder_path), path or None)


def key_of(name: str) -> str:
    """Replace what MLflow refuses in a name; a section type may hold any letter."""
    return re.sub(r"[^\w.\- :/]", "_", name)[:MAX_KEY]


def _dataset_input(item: DatasetInput) -> Any:
    from mlflow import entities

    dataset = entities.Dataset(
        name=item.name,
        digest=item.digest[:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"path": item.source}),
        profile=json.dumps({"num_rows": item.n_rows, "sha256": item.digest}),
    )
    return entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", item.context)])


def _parts(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))

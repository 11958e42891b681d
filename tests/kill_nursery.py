"""What the server that forks the writers' processes imports beforehand; it starts no thread."""

from __future__ import annotations

import os

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
)

import kill_writers

kill_writers.import_all()

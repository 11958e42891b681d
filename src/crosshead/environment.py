"""What holds for the whole process, set before anything else is imported: no telemetry, no network, no noise."""

from __future__ import annotations

import os
import sys
import warnings

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",  # MLflow understands "true" and nothing else
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # An encoder that is here is used without asking the hub; `--online` lifts this for one that is not.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment variables that crosshead sets where the user has not."""

TELEMETRY = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DVC_NO_ANALYTICS", "HF_HUB_DISABLE_TELEMETRY")


def prepare_process(*, debug: bool = False) -> None:
    """Set the switches of other libraries, and keep their warnings from people who cannot act on them."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not (debug or sys.warnoptions):
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark; the command goes on.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

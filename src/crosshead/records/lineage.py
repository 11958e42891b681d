"""Which code and which configuration a run came from."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crosshead.records.log_items import DatasetInput, LogItem, Tag, TextArtifact


@dataclass(frozen=True)
class GitState:
    """The code that a run came from."""

    commit: str
    """Empty before the first commit."""
    branch: str
    dirty: bool
    """True if anything differs from the commit, files that git does not know included."""


def git_state(root: Path) -> GitState | None:
    """Ask git about the working tree at ``root``; None where there is no git or no repository."""
    environment = {k: v for k, v in os.environ.items() if k not in {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}}
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain=v2", "--branch"],
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            timeout=20,
            check=True,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    facts = dict(re.findall(r"^# branch\.(oid|head) (.*)$", answer, flags=re.MULTILINE))
    dirty = any(not line.startswith("#") for line in answer.splitlines())
    commit = facts.get("oid", "")
    return GitState("" if commit == "(initial)" else commit, facts.get("head", ""), dirty)


def lineage(state: GitState | None, config_digest: str, config_yaml: str) -> Iterator[LogItem]:
    """Say which code and which configuration a run came from."""
    if state is not None:
        yield Tag("mlflow.source.git.commit", state.commit)
        yield Tag("mlflow.source.git.branch", state.branch)
        yield Tag("crosshead.git_dirty", str(state.dirty).lower())
    yield Tag("crosshead.config_digest", config_digest)
    yield TextArtifact("config.yaml", config_yaml)


def learned_from(dataset_digest: str, n_rows: int) -> Iterator[LogItem]:
    """Name the paragraph table that something was learned from."""
    yield DatasetInput("train", dataset_digest, n_rows)
    yield Tag("crosshead.dataset_digest", dataset_digest)

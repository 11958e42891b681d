"""With which overrides a bundle was made, kept in ``models/scores/`` under the bundle's digest.

It stands beside the bundle and not in it: overrides name places on this machine, and a bundle is given to others.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosshead.records import model_scores


@dataclass(frozen=True)
class MadeWith:
    """What was given beside the project's ``conf/``."""

    prepare: tuple[str, ...] | None
    """None where the paragraph table does not say."""
    train: tuple[str, ...]

    def prepare_command(self) -> str | None:
        """Return what is typed to prepare the same table, if that is known."""
        return None if self.prepare is None else _command("prepare", self.prepare)

    def command(self) -> str | None:
        """Return what is typed to make the like of it, if that is known."""
        if self.prepare == self.train:
            return _command("run", self.train)
        parts = (self.prepare_command(), _command("train", self.train), _command("evaluate", self.train))
        return None if self.prepare is None else " && ".join(filter(None, parts))


def _command(name: str, overrides: Sequence[str]) -> str:
    return shlex.join(["crosshead", name, *overrides])


def path(root: Path, digest: str) -> Path:
    """Return where it stands in the project at ``root`` for the bundle of that digest."""
    return model_scores.path(root, digest).with_suffix(".made.json")


def content(made: MadeWith) -> bytes:
    """Write it."""
    return (json.dumps({"prepare": made.prepare, "train": made.train}, ensure_ascii=False, indent=1) + "\n").encode()


def read(root: Path | None, digest: str) -> MadeWith | None:
    """Return it, or None where there is none that can be read."""
    if root is None or not model_scores.DIGEST.fullmatch(digest):
        return None
    try:
        told = json.loads(path(root, digest).read_text(encoding="utf-8"))
        return MadeWith(None if told["prepare"] is None else _words(told["prepare"]), _words(told["train"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _words(told: object) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(word, str) for word in told):
        raise TypeError("no list of overrides")
    return tuple(told)

"""What the tests of the command line and of the server share: a small real tagger, and a process to run."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from crosshead.tagging.decoding import Transitions
from crosshead.tagging.heads import LinearHead
from crosshead.tagging.tagger import Encoded, ParagraphView, Tagger, TfidfView
from crosshead.tagging.tfidf import Tfidf

SECTION_TYPES = ("ground_developments", "regional_stability", "other")
ARTICLE = """# River line

Shells fell on the river bank at dawn and two columns crossed.

## Reactions abroad

Envoys met in the lake town and the neighbours closed a border.

The writer keeps bees.
"""


class HashingEncoder:
    """A vector from the text's hash: deterministic, and no two texts alike."""

    fingerprint, n_dimensions, max_tokens = "hashing", 8, 12

    def encode(self, texts: Sequence[str]) -> Encoded:
        digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
        vectors = np.array([list(digest) for digest in digests], dtype=np.float32).reshape(-1, 8) - 127.5
        n_tokens = np.array([len(text.split()) for text in texts], dtype=np.int64)
        return Encoded(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), n_tokens)


def make_tagger() -> Tagger:
    """Build a tagger by hand: two views, neighbours that count, and a threshold that some texts miss."""
    rng = np.random.default_rng(0)
    words = {"shells": 0, "columns": 1, "border": 2, "neighbours": 3, "bees": 4, "writer": 5}
    coef = np.zeros((3, 6), dtype=np.float32)
    coef[0, :2], coef[1, 2:4], coef[2, 4:] = 4, 4, 4
    zeros = np.zeros(3, dtype=np.float32)
    return Tagger(
        section_types=SECTION_TYPES,
        views=(
            ParagraphView("paragraph", 1.0, LinearHead(rng.normal(size=(3, 8)).astype(np.float32), zeros)),
            TfidfView("words", 1.0, LinearHead(coef, zeros), Tfidf(words, np.ones(6, dtype=np.float32), 1)),
        ),
        encoder=HashingEncoder(),
        temperature=0.5,
        transitions=Transitions(np.log(np.full((3, 3), 0.8) + np.eye(3)), 0.5),
        threshold=0.95,
        risk=0.1,
        name="hand",
        version="1",
    )


def block_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach another machine, or to look up its name, fail the test."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"the network was asked for {args!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def run_process(
    *arguments: str | Path, cwd: Path, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `crosshead` as a person would: in a process of its own, with an environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", "crosshead", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=process_environ(cwd, **environ),
    )


def process_environ(home: Path, **environ: str) -> dict[str, str]:
    """Return an environment without what the tests' own process set."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
        if name in os.environ
    }
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **environ}

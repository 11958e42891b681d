from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from crosshead.encoders import cache
from crosshead.encoders.cache import CachedEncoder
from crosshead.errors import DataError
from crosshead.tagging.tagger import Encoded


class Counting:
    """Four letters of a text as its vector; counts what it was asked for."""

    fingerprint, n_dimensions, max_tokens = "f" * 64, 4, 8

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.seen += texts
        rows = [[float(ord(c)) for c in text.ljust(4)[:4]] for text in texts]
        return Encoded(np.array(rows, np.float32).reshape(-1, 4), np.array([len(t) for t in texts], np.int64))


def _cached(folder: Path, encoder: Counting, **kwargs) -> CachedEncoder:
    return CachedEncoder(lambda: encoder, folder, fingerprint="f" * 64, n_dimensions=4, max_tokens=8, **kwargs)


def test_a_text_is_encoded_once_ever(tmp_path: Path) -> None:
    encoder = Counting()
    first = _cached(tmp_path, encoder).encode(["abcd", "efgh", "abcd"])
    assert sorted(encoder.seen) == ["abcd", "efgh"]
    again = _cached(tmp_path, encoder)
    second = again.encode(["efgh", "abcd", "ijkl"])
    assert sorted(encoder.seen) == ["abcd", "efgh", "ijkl"]
    assert again.use.hit_rate == pytest.approx(2 / 3)
    assert (second.vectors[1] == first.vectors[0]).all()
    assert second.n_tokens.tolist() == [4, 4, 4]


def test_all_found_makes_no_encoder(tmp_path: Path) -> None:
    _cached(tmp_path, Counting()).encode(["abcd"])
    warm = CachedEncoder(lambda: pytest.fail("made"), tmp_path, fingerprint="f" * 64, n_dimensions=4, max_tokens=8)
    assert warm.encode(["abcd"]).vectors.tolist() == [[97.0, 98.0, 99.0, 100.0]]
    assert warm.use.hit_rate == 1.0


def test_nothing_asked_gives_nothing(tmp_path: Path) -> None:
    cached = _cached(tmp_path, Counting())
    assert cached.encode([]).vectors.shape == (0, 4)
    assert cached.use.hit_rate == 1.0


def test_another_encoder_has_another_file(tmp_path: Path) -> None:
    _cached(tmp_path, Counting()).encode(["abcd"])
    other = CachedEncoder(Counting, tmp_path, fingerprint="e" * 64, n_dimensions=4, max_tokens=8)
    other.encode(["abcd"])
    assert other.use.n_found == 0
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "TEXTS_PER_COMMIT", 2)
    told: list[tuple[int, int]] = []
    _cached(tmp_path, Counting(), report=lambda done, total: told.append((done, total))).encode(list("abcde"))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_odd_texts_have_keys_of_their_own(tmp_path: Path) -> None:
    encoder = Counting()
    _cached(tmp_path, encoder).encode(["\ud800", "\udfff", "a'); DROP TABLE vectors; --"])
    assert len(encoder.seen) == 3


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    cached = _cached(tmp_path, Counting())
    cached.path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(DataError, match=r"the cache file ffff.*\.sqlite cannot be used"):
        cached.encode(["abcd"])


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """SQLite says "database or disk is full" when it may not grow, as on a full disk."""
    cached = _cached(tmp_path, Counting())
    cached.encode(["abcd"])

    def full() -> sqlite3.Connection:
        store = sqlite3.connect(cached.path, isolation_level=None)
        store.execute("PRAGMA max_page_count=2")
        return store

    cached._open = full
    with pytest.raises(DataError, match=r"is full.*free disk space"):
        cached.encode([f"{i:08d}" for i in range(5000)])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the cache folder .* cannot be made"):
        _cached(tmp_path / "file" / "vectors", Counting()).encode(["abcd"])


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from crosshead.encoders import cache
from test_cache import Counting, _cached
cache.TEXTS_PER_COMMIT = 10
def report(done, total):
    if done >= 50:
        os.kill(os.getpid(), signal.SIGKILL)
_cached(Path(sys.argv[1]), Counting(), report=report).encode([f"{i:04d}" for i in range(200)])
"""


def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), here], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    encoder = Counting()
    cached = _cached(tmp_path, encoder)
    assert cached.encode([f"{i:04d}" for i in range(200)]).vectors.shape == (200, 4)
    assert cached.use.n_found >= 50
    assert len(encoder.seen) == 200 - cached.use.n_found


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    code = KILLED.replace("if done >= 50:", "if False:")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), here]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    cached = _cached(tmp_path, Counting())
    cached.encode([f"{i:04d}" for i in range(200)])
    assert cached.use.hit_rate == 1.0

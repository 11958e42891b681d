"""Vectors on disk, named by their content: a text is encoded once, ever.

One SQLite file an encoder; its name is the encoder's fingerprint, its key the sha256 of the normalised text, so
whatever decides a vector is part of its name. SQLite keeps what was committed when the process or the machine dies,
and lets several processes share the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import DataError
from crosshead.tagging.tagger import Encoded, Encoder

TEXTS_PER_COMMIT = 256
_KEYS_PER_QUERY = 900  # SQLite's oldest limit on parameters is 999
_BUSY_S = 60.0


@dataclass
class CacheUse:
    """How much the cache saved."""

    n_texts: int = 0
    n_found: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of different texts that were found; 1.0 where nothing was asked for."""
        return self.n_found / self.n_texts if self.n_texts else 1.0


def key(text: str) -> bytes:
    """Name a normalised text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class CachedEncoder:
    """An encoder that looks in the cache first and keeps what it had to encode.

    The encoder itself is made, and its graph exported, only when a text is missing.
    """

    def __init__(
        self,
        make_encoder: Callable[[], Encoder],
        folder: Path,
        *,
        fingerprint: str,
        n_dimensions: int,
        max_tokens: int,
        computes: str = "",
        report: Callable[[int, int], None] | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.computes = computes
        """What decides the last digits of its vectors, as `engines.Choice.computes` names it."""
        self.n_dimensions = n_dimensions
        self.max_tokens = max_tokens
        self.path = folder / f"{fingerprint[:32]}.sqlite"
        self.use = CacheUse()
        self._make_encoder = make_encoder
        self._encoder: Encoder | None = None
        self._report = report or (lambda done, total: None)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode normalised texts; each different text is looked up, and encoded at most once, ever.

        Raises
        ------
        DataError
            If the cache file is damaged or cannot be written.
        """
        keys = {text: key(text) for text in texts}
        try:
            with closing(self._open()) as store:
                known = dict(_read(store, list(keys.values()), self.n_dimensions))
                self.use.n_texts += len(keys)
                self.use.n_found += len(known)
                missing = [text for text, name in keys.items() if name not in known]
                for done, (name, row) in enumerate(self._encode_missing(store, missing, keys), start=1):
                    known[name] = row
                    if done % TEXTS_PER_COMMIT == 0 or done == len(missing):
                        self._report(done, len(missing))
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the cache file {self.path.name} cannot be used ({error}); free disk space or make the folder "
                "writable, or delete the file: the vectors are then encoded again"
            ) from error
        rows = [known[keys[text]] for text in texts]
        vectors = np.stack([row[0] for row in rows]) if rows else np.zeros((0, self.n_dimensions), np.float32)
        return Encoded(vectors, np.array([row[1] for row in rows], dtype=np.int64))

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the cache folder {self.path.parent.name} cannot be made ({error.strerror}); "
                "make it writable or choose another: cache_dir=<folder>"
            ) from error
        store = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("PRAGMA synchronous=NORMAL")
        store.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, n_tokens INTEGER, vector BLOB)")
        return store

    def _encode_missing(
        self, store: sqlite3.Connection, missing: list[str], keys: dict[str, bytes]
    ) -> Iterator[tuple[bytes, tuple[NDArray[np.float32], int]]]:
        if missing and self._encoder is None:
            self._encoder = self._make_encoder()
        # Texts of one length together: the encoder pads least.
        missing = sorted(missing, key=len, reverse=True)
        for first in range(0, len(missing), TEXTS_PER_COMMIT):
            chunk = missing[first : first + TEXTS_PER_COMMIT]
            assert self._encoder is not None
            encoded = self._encoder.encode(chunk)
            rows = [
                (keys[text], int(n), vector.tobytes())
                for text, vector, n in zip(chunk, encoded.vectors, encoded.n_tokens, strict=True)
            ]
            with _transaction(store):
                store.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)
            for (name, n, _), vector in zip(rows, encoded.vectors, strict=True):
                yield name, (vector, n)


@contextmanager
def _transaction(store: sqlite3.Connection) -> Iterator[None]:
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if store.in_transaction:  # a full disk has rolled back already
            store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")


def _read(
    store: sqlite3.Connection, keys: list[bytes], n_dimensions: int
) -> Iterator[tuple[bytes, tuple[NDArray[np.float32], int]]]:
    for first in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[first : first + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(chunk))
        for name, n_tokens, blob in store.execute(
            f"SELECT key, n_tokens, vector FROM vectors WHERE key IN ({marks})", chunk
        ):
            vector = np.frombuffer(blob, dtype=np.float32)
            if len(vector) == n_dimensions:
                yield name, (vector, n_tokens)

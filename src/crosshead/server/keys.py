"""API keys: read from the environment or a file, kept as digests, compared in constant time; and their rates."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crosshead.errors import ConfigError

VARIABLE = "CROSSHEAD_API_KEYS"
SHORTEST = 16
_KEY = re.compile(rf"[\x21-\x7e]{{{SHORTEST},256}}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
BURST_S = 10.0
_HOW = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True)
class Keys:
    """The keys that open the server, by the names that logs give them."""

    digests: Mapping[str, bytes]
    """Name to sha256 of the key; the keys themselves are not kept."""

    def name_of(self, key: str) -> str | None:
        """Name a key, or return None; takes the same time whatever part of it is right."""
        told = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, digest in self.digests.items():
            if hmac.compare_digest(told, digest):
                found = name
        return found


def read_keys(file: Path | None, environ: Mapping[str, str] = os.environ) -> Keys | None:
    """Read keys from a file and from ``CROSSHEAD_API_KEYS``; None if neither gives any.

    A line of the file, or an entry of the variable (commas or white space between them), is a key or ``name:key``.
    In the file ``#`` begins a comment.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds no key, a key is too short, or a name or a key comes twice.
    """
    entries = [(entry, VARIABLE) for entry in re.split(r"[\s,]+", environ.get(VARIABLE, "")) if entry]
    if file is not None:
        lines = (line.split("#", 1)[0].strip() for line in _read(file).splitlines())
        entries += [(line, f"the key file {file.name}") for line in lines if line]
    if not entries:
        if file is not None:
            raise ConfigError(f"the key file {file.name} holds no key; write one a line; {_HOW}")
        return None
    digests: dict[str, bytes] = {}
    for entry, where in entries:
        name, key = _parse(entry, where)
        digest = hashlib.sha256(key.encode()).digest()
        name = name or f"key-{digest.hex()[:8]}"
        if name in digests or digest in digests.values():
            raise ConfigError(f"{where} gives the key {name!r} twice; give every key a name and a value of its own")
        digests[name] = digest
    return Keys(digests)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"the key file {str(file)!r} cannot be read: {told}; correct --api-keys") from error


def _parse(entry: str, where: str) -> tuple[str, str]:
    """Split ``name:key``; messages never repeat a key."""
    name, colon, key = entry.partition(":")
    if not colon:
        name, key = "", entry
    elif not _NAME.fullmatch(name):
        raise ConfigError(f"{where} has a key whose name is none; a name has up to 40 letters, digits, '_', '.' or '-'")
    if not _KEY.fullmatch(key):
        raise ConfigError(
            f"{where} has a key {f'({name}) ' if name else ''}of {len(key)} characters; a key has {SHORTEST} to 256 "
            f"visible ASCII characters; {_HOW}"
        )
    return name, key


class RateLimit:
    """A bucket for each key: ``per_s`` requests in the long run, ten seconds' worth at once."""

    def __init__(self, per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """Take a request from a key's bucket; return the seconds to wait if there is none, else 0."""
        if self._per_s is None:
            return 0.0
        now, most = self._clock(), max(1.0, self._per_s * BURST_S)
        filled, since = self._buckets.get(name, (most, now))
        filled = min(most, filled + (now - since) * self._per_s)
        if filled < 1.0:
            self._buckets[name] = (filled, now)
            return (1.0 - filled) / self._per_s
        self._buckets[name] = (filled - 1.0, now)
        return 0.0

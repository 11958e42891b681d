"""What a server is told when it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from crosshead.limits import MAX_INPUT_BYTES
from crosshead.server.keys import Keys, read_keys

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerSettings:
    """Limits and doors of a server; the defaults are those of one that serves its own machine."""

    keys: Keys | None = None
    """Without keys everybody who reaches the server may use it, and only this machine may be served."""
    keys_file: Path | None = None
    """Where ``keys`` were read, beside the environment; the processes of ``--workers`` read them again."""
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Names that the server answers to where there are no keys: pages of elsewhere cannot call it by these."""
    corrections: Path | None = None
    """The file that corrections are appended to; without one they are refused."""
    requests_per_s: float | None = None
    """What one key may ask for, in the long run; ten seconds' worth may come at once."""
    max_body_bytes: int = MAX_INPUT_BYTES
    max_bodies_bytes: int = 64 * 1024**2
    """All bodies together that are held at a time."""
    max_tokens: int = 1_000_000
    """Of one request, estimated from its bytes."""
    max_queue: int = 256
    """Requests that wait or are worked on."""
    max_streams: int = 16
    batch_tokens: int = 2048
    """Looked at together; what is left of a longer request waits for its next turn."""
    timeout_s: float = 60.0
    """From the end of the body to the answer; a server that stops finishes what it took within the same time."""
    body_timeout_s: float = 20.0
    """Longest pause while a body arrives."""
    stream_timeout_s: float = 300.0
    """Longest pause of a stream."""
    watch_s: float = 1.0
    """How often to look for a new model; 0 never looks."""

    def dumps(self) -> str:
        """Write everything but the keys as JSON, for the processes of ``--workers``."""
        told = asdict(replace(self, keys=None))
        return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in told.items()})

    @classmethod
    def loads(cls, text: str) -> ServerSettings:
        """Read what `dumps` wrote, and the keys again."""
        told = json.loads(text)
        for name in ("corrections", "keys_file"):
            told[name] = Path(told[name]) if told[name] else None
        return cls(**(told | {"keys": read_keys(told["keys_file"]), "hosts": tuple(told["hosts"])}))

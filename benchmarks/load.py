"""A load of HTTP requests: some connections that stay open, each asking again as soon as it was answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import quantiles

Bodies = Iterator[bytes]


@dataclass
class Measured:
    """What a load met."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    """Of requests that were answered with 200."""
    statuses: Counter[int] = field(default_factory=Counter)
    refused_s: list[float] = field(default_factory=list)
    """Of requests that were answered with something else."""
    failures: Counter[str] = field(default_factory=Counter)
    """Connections that broke, by kind of error."""

    @property
    def per_s(self) -> float:
        return self.statuses[200] / self.seconds

    def percentile_ms(self, percent: int) -> float:
        return 1000 * percentile(self.latencies_s, percent)


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else float("nan")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a request and read its answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    told = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(told.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(told.split(b" ", 2)[1]), await reader.readexactly(length)


async def run(
    port: int,
    path: str,
    bodies: Bodies,
    *,
    clients: int,
    seconds: float = float("inf"),
    requests: float = float("inf"),
    each: Callable[[Measured], None] = lambda measured: None,
) -> Measured:
    """Ask with so many clients for so long, or so often, whichever ends first."""
    measured = Measured()
    began = time.perf_counter()
    left = requests

    async def client() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - began < seconds and left > 0:
            left -= 1
            sent = time.perf_counter()
            try:
                status, _ = await ask(reader, writer, path, next(bodies))
            except (OSError, asyncio.IncompleteReadError) as error:
                measured.failures[type(error).__name__] += 1
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            measured.statuses[status] += 1
            (measured.latencies_s if status == 200 else measured.refused_s).append(time.perf_counter() - sent)
            each(measured)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    measured.seconds = time.perf_counter() - began
    return measured

"""One command at a time in the folders that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click


@contextmanager
def alone_in(folders: Iterable[Path]) -> Iterator[None]:
    """Hold a lock for each folder; while another process holds one, say so and wait.

    Two runs that write the same folder would each find the other's files there. The operating system gives a lock
    back whatever ends its process.
    """
    from crosshead.locks import Lock, Timeout

    with ExitStack() as held:
        for folder in sorted(set(folders)):  # everybody in the same order, or two could wait for each other
            lock = Lock(folder.parent / f".{folder.name}.lock")
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    click.echo(
                        f"crosshead: another run is writing {folder}; this one waits until it has ended "
                        "(Ctrl-C ends the waiting)",
                        err=True,
                    )
                    lock.acquire()
            except OSError:  # nothing can be written there, which whoever writes first will say better
                continue
            held.callback(lock.release)
        yield

"""Several worker processes on this machine; one that dies is replaced, and its unit is done again."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from crosshead.batch.plan import Unit
from crosshead.batch.worker import Done, Job, Worker
from crosshead.errors import CrossheadError, DataError

MOST_DEATHS = 3
"""A unit at which so many workers died is not tried again."""


@dataclass
class _Hand:
    """One process, and the unit that it has."""

    process: SpawnProcess
    connection: Connection
    unit: Unit | None = None

    def give(self, unit: Unit) -> None:
        self.unit = unit
        with suppress(OSError):  # it died: `wait` will tell
            self.connection.send(unit)


def work(job: Job, units: Iterable[Unit], n_workers: int) -> Iterator[Done]:
    """Do units with ``n_workers`` processes; yield each as it is done, in no order.

    Raises
    ------
    CrossheadError, OSError
        What a worker raised.
    DataError
        If workers die again and again at the same unit.
    """
    waiting = deque(units)
    deaths: Counter[int] = Counter()
    hands = [_hire(job) for _ in range(min(n_workers, len(waiting)))]
    try:
        for hand in hands:
            hand.give(waiting.popleft())
        while busy := {hand.connection: hand for hand in hands if hand.unit is not None}:
            for ready in wait(list(busy)):
                hand = busy[ready]  # type: ignore[index]
                assert hand.unit is not None
                done = _receive(hand)
                if done is None:
                    waiting.appendleft(hand.unit)
                    _count_death(deaths, hand)
                    hands[hands.index(hand)] = hand = _hire(job)
                else:
                    yield done
                hand.unit = None
                if waiting:
                    hand.give(waiting.popleft())
    finally:
        for hand in hands:
            hand.process.terminate()
        for hand in hands:
            hand.process.join()
            hand.connection.close()


def _receive(hand: _Hand) -> Done | None:
    """Take what a worker has to tell; None from one that died."""
    try:
        told = hand.connection.recv()
    except (EOFError, OSError):
        return None
    if isinstance(told, BaseException):
        raise told
    assert isinstance(told, Done)
    return told


def _count_death(deaths: Counter[int], hand: _Hand) -> None:
    assert hand.unit is not None
    hand.process.join()
    hand.connection.close()
    deaths[hand.unit.number] += 1
    if deaths[hand.unit.number] >= MOST_DEATHS:
        raise DataError(
            f"{MOST_DEATHS} workers died at part {hand.unit.number} (exit code {hand.process.exitcode}), "
            "perhaps for want of memory; finished parts stay: go on with --resume and fewer --workers"
        )


def _hire(job: Job) -> _Hand:
    context = get_context("spawn")  # a fork would copy locks that the engine's threads hold
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    return _Hand(process, ours)


def _serve(connection: Connection, job: Job) -> None:
    """Be a worker: units in, what became of them out."""
    from crosshead.environment import prepare_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_process()
    try:
        worker = Worker(job)
        while (unit := _next_unit(connection)) is not None:
            _tell(connection, worker.do(unit))
    except Exception as error:
        _tell(connection, _sendable(error))


def _next_unit(connection: Connection) -> Unit | None:
    """Wait for a unit; None where the parent is gone."""
    try:
        unit = connection.recv()
    except (EOFError, OSError):
        return None
    assert isinstance(unit, Unit)
    return unit


def _tell(connection: Connection, what: Done | Exception) -> None:
    with suppress(OSError):  # the parent is gone, and so is this process soon
        connection.send(what)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    if isinstance(error, CrossheadError | OSError | MemoryError):
        return error
    return RuntimeError(f"a worker failed: {type(error).__name__}: {error}")

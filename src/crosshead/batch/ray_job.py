"""Units over the machines of a Ray cluster, whose actors hold one bundle each.

What an actor does with a unit is what a process of this machine does with it, so the bytes are the same. Only names of
units and what became of them travel through Ray; inputs are read and parts are written by the actors, on a file system
that all machines share or in a store. Ray Data is not between them: it could only hand out these names, and takes three
actors of its own and some seconds for it; what was measured stands in docs/scale.md.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from crosshead.batch.inputs import Source
from crosshead.batch.job import Engine, Watcher
from crosshead.batch.parts import Shape
from crosshead.batch.plan import Segment, Unit
from crosshead.batch.worker import Done, Job, Worker
from crosshead.errors import ConfigError, CrossheadError, DataError, MissingExtraError

log = logging.getLogger("crosshead.batch")
UNITS_IN_FLIGHT = 2
"""Units that an actor holds: one is tagged while the next is read, or the last is written."""
MEMORY_PER_ACTOR = 1024**3
"""What Ray sets aside for an actor, and puts no more actors on a machine than have it."""
OBJECT_STORE_BYTES = 256 * 1024**2
"""Of a cluster that is started here: the bundle and names of units are all that is in it."""
MOST_DEATHS = 3
"""A unit at which so many actors died is not tried again."""
BEFORE_ANY = -1
"""Counts, in the place of a unit's number, actors that died while they were getting ready."""
LOOK_EVERY_S = 10.0
"""How often is looked whether machines joined."""
TELL_AFTER_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """Where to work, and how many actors may."""

    address: str | None = None
    n_workers: int | None = None


def ray_engine(cluster: Cluster) -> Engine:
    """Make an engine of a Ray cluster; without an address one is started on this machine, and ended again.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ part writes to stderr, past any logger
    try:
        import ray  # noqa: F401  found out before the inputs are read
    except ImportError as error:
        raise MissingExtraError("--engine ray", "scale") from error

    def engine(job: Job, units: Sequence[Unit], watcher: Watcher) -> Iterator[Done]:
        if units:
            yield from _work(cluster, job, units, watcher)

    return engine


def _work(cluster: Cluster, job: Job, units: Sequence[Unit], watcher: Watcher) -> Iterator[Done]:
    import ray

    was_there = ray.is_initialized()
    _connect(cluster)
    try:
        bundle = ray.put({str(name): content for name, content in _bundle_files(Path(job.model))})
        for done in _Team(job, bundle, cluster.n_workers).do(units):
            watcher.tagged(done.n_records, done.n_paragraphs)
            yield done
    finally:
        if not was_there:
            with _without_stderr():
                ray.shutdown()


def cores_of_each(n_workers: int | None, cores: Sequence[int]) -> int:
    """Return how many cores each actor has on machines of so many ``cores``: one, or what ``n_workers`` leave it."""
    if n_workers is None:
        return 1
    share = max(1, min(max(cores, default=1), sum(cores) // n_workers))
    while share > 1 and sum(there // share for there in cores) < n_workers:
        share -= 1
    return share


def _connect(cluster: Cluster) -> None:
    import ray

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        from crosshead.encoders.engines import n_cores

        n_cpus = max(cluster.n_workers or 0, n_cores())
        quiet |= {"num_cpus": n_cpus, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        _knock(address)
        with _without_stderr():
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"--address {address!r} is no Ray cluster that can be reached ({reason}); start one with `ray start "
            "--head`, or leave --address out to work on this machine; a cluster that wants a token is entered with "
            "RAY_AUTH_MODE=token and the same ~/.ray/auth_token on all machines"
        ) from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep Ray's C++ part from telling how it was told to be silent, and what it misses while it is ended."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _knock(address: str) -> None:
    """Find out whether anybody is there: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


class _Team:
    """The actors, and what each of them has to do."""

    def __init__(self, job: Job, bundle: Any, n_workers: int | None) -> None:
        self._job, self._bundle = job, [bundle]  # in a list it stays a reference: one actor a machine fetches it
        self._n_workers = n_workers
        self._actors: list[Any] = []
        self._ready: list[Any] = []
        """Those of them that have loaded the bundle."""
        self._tasks: dict[Any, tuple[Any, Unit | None]] = {}
        """By Ray's reference: whose task, and which unit; None where an actor is getting ready."""
        self._waiting: deque[Unit] = deque()
        self._deaths: Counter[int] = Counter()
        self._looked = -float("inf")
        self._began = monotonic()

    def do(self, units: Sequence[Unit]) -> Iterator[Done]:
        """Do units; yield each as it is done, in no order."""
        import ray

        self._waiting.extend(units)
        try:
            while self._waiting or any(unit for _, unit in self._tasks.values()):
                self._grow()
                ready, _ = ray.wait(list(self._tasks), timeout=LOOK_EVERY_S)
                for done in map(self._take, ready):
                    if done is not None:
                        yield done
        finally:
            for actor in self._actors:
                with suppress(ray.exceptions.RayError):
                    ray.kill(actor)

    def _grow(self) -> None:
        """Have as many actors as there are cores, or as were asked for: machines may join while the job runs."""
        import ray

        if monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = monotonic()
        n_cores = int(ray.cluster_resources().get("CPU", 1))
        n_units = len(self._waiting) + sum(unit is not None for _, unit in self._tasks.values())
        for _ in range(len(self._actors), min(n_units, self._n_workers or max(1, n_cores))):
            self._hire()
        if self._began and monotonic() - self._began > TELL_AFTER_S:
            self._began = 0.0
            log.warning("no actor could start yet: each waits for cores and 1 GiB of memory that Ray has free")

    def _hire(self) -> None:
        import ray

        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        n_cpus = cores_of_each(self._n_workers, cores)
        # Each task in hand has a thread of its own, so that one unit is read while another is tagged.
        options = {"num_cpus": n_cpus, "memory": MEMORY_PER_ACTOR, "max_concurrency": UNITS_IN_FLIGHT}
        given = asdict(replace(self._job, n_threads=n_cpus))
        actor = ray.remote(Actor).options(**options).remote(given, self._bundle)
        self._actors.append(actor)
        self._tasks[actor.ready.remote()] = actor, None

    def _take(self, task: Any) -> Done | None:
        """Take what an actor has to tell, and give it more to do."""
        import ray

        if task not in self._tasks:
            return None  # of an actor that was buried
        actor, unit = self._tasks[task]
        try:
            told = ray.get(task)
        except ray.exceptions.RayError as error:
            self._bury(actor, error)
            return None
        del self._tasks[task]
        if told["error"]:
            raise DataError(told["error"])
        self._began = 0.0
        if unit is None:
            self._ready.append(actor)
        self._give(actor)
        if unit is None:
            return None
        self._deaths.pop(BEFORE_ANY, None)
        return Done(**told["done"])

    def _give(self, actor: Any) -> None:
        """Give an actor as much to do as it may have."""
        n_has = sum(owner is actor for owner, _ in self._tasks.values())
        # Towards the end nobody is given a unit to wait with that another could begin.
        n_may_have = UNITS_IN_FLIGHT if len(self._waiting) > len(self._actors) else 1
        for _ in range(min(n_may_have - n_has, len(self._waiting))):
            more = self._waiting.popleft()
            self._tasks[actor.do.remote(as_json(more))] = actor, more

    def _bury(self, actor: Any, error: Exception) -> None:
        """Put another actor in the place of one that died, and its units back to the front."""
        import ray

        log.info("an actor died (%s); its units are done again", type(error).__name__)
        ray.kill(actor)  # it may only be out of reach
        self._actors.remove(actor)
        self._ready = [other for other in self._ready if other is not actor]
        lost = {task: unit for task, (owner, unit) in self._tasks.items() if owner is actor}
        for task, unit in reversed(lost.items()):
            del self._tasks[task]
            if unit is not None:
                self._waiting.appendleft(unit)
            number = BEFORE_ANY if unit is None else unit.number
            self._deaths[number] += 1
            if self._deaths[number] == MOST_DEATHS:
                where = "before they had a part" if unit is None else f"at part {number}"
                raise DataError(
                    f"{MOST_DEATHS} actors died {where}, perhaps for want of memory; finished parts stay: look at "
                    "Ray's own logs, then go on with --resume and fewer --workers"
                )
        # Whoever has nothing left to do begins with them: a new actor may never find a free core.
        for other in self._ready:
            self._give(other)
        self._hire()


class Actor:
    """Lives on some machine of the cluster and does units there."""

    def __init__(self, job: dict[str, Any], bundle: Sequence[Any]) -> None:
        from crosshead.environment import prepare_process

        prepare_process()
        self._error = ""
        self._reading, self._tagging = threading.Lock(), threading.Lock()
        try:
            given = Job(**{**job, "shape": Shape(**job["shape"])})
            self._worker = Worker(replace(given, model=str(_unpack(bundle[0], given.digest))))
        except Exception as error:  # Ray would start actor after actor
            self._error = _told(error)

    def ready(self) -> dict[str, Any]:
        """Say that the bundle is loaded, or why it is not."""
        return {"error": self._error}

    def do(self, unit: str) -> dict[str, Any]:
        """Do a unit, in a thread of its own; return what became of it, and never raise."""
        if self._error:
            return {"error": self._error}
        try:
            given = from_json(unit)
            with self._reading:
                items = self._worker.read(given)
            with self._tagging:
                done = self._worker.finish(given, items)
            return {"done": asdict(done), "error": ""}
        except Exception as error:
            return {"error": _told(error)}


def _told(error: Exception) -> str:
    if isinstance(error, CrossheadError):
        what = str(error)
    elif isinstance(error, OSError):
        what = (
            f"{error.filename}: {error.strerror}; the parts that are finished stay. Make room, or set the rights, and "
            "go on with --resume"
        )
    else:
        what = f"{type(error).__name__}: {error}"
    return f"on the machine {platform.node()}: {what}"


def as_json(unit: Unit) -> str:
    """Write a unit for its way through Ray."""
    return json.dumps(asdict(unit))


def from_json(text: str) -> Unit:
    """Read what `as_json` wrote."""
    given = json.loads(text)
    segments = tuple(Segment(**{**segment, "source": Source(**segment["source"])}) for segment in given["segments"])
    return Unit(**{**given, "segments": segments})


def _bundle_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _unpack(bundle: Any, digest: str) -> Path:
    """Lay the bundle out on this machine, once for all actors on it; loading checks every file."""
    import ray

    folder = Path(tempfile.gettempdir(), f"crosshead-{os.getuid()}-{digest[:16]}")
    if folder.is_dir():
        return folder
    work = Path(tempfile.mkdtemp(prefix="crosshead-", dir=folder.parent))
    for name, content in ray.get(bundle).items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    try:
        work.rename(folder)
    except OSError:  # another actor was first
        return folder if folder.is_dir() else work
    return folder

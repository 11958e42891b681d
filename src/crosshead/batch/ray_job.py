"""Units over the machines of a Ray cluster: Ray Data hands them to actors, each of which holds one bundle.

What an actor does with a unit is what a process of this machine does with it, so the bytes are the same. Only names of
units and what became of them travel through Ray; inputs are read and parts are written by the actors, on a file system
that all machines share or in a store.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crosshead.batch.inputs import Source
from crosshead.batch.job import Engine, Watcher
from crosshead.batch.parts import Shape
from crosshead.batch.plan import Segment, Unit
from crosshead.batch.worker import Done, Job, Worker
from crosshead.errors import ConfigError, CrossheadError, DataError, MissingExtraError

log = logging.getLogger("crosshead.batch")
UNITS_IN_FLIGHT = 2
"""Units that an actor holds: one at work, one waiting."""
MEMORY_PER_ACTOR = 1024**3
"""What Ray sets aside for an actor, and puts no more actors on a machine than have it."""
OBJECT_STORE_BYTES = 256 * 1024**2
"""Of a cluster that is started here: the bundle and names of units are all that is in it."""
MOST_IN_VAIN = 3
"""How often units are handed out anew after all their actors died."""


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
        import ray.data  # noqa: F401  found out before the inputs are read
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
        rest = {unit.number: unit for unit in units}
        n_in_vain = 0
        while rest:
            n_before = len(rest)
            for done in _round(cluster, replace(job, n_threads=1), bundle, list(rest.values())):
                del rest[done.number]
                watcher.tagged(done.n_records, done.n_paragraphs)
                yield done
            n_in_vain = n_in_vain + 1 if len(rest) == n_before else 0
            if n_in_vain == MOST_IN_VAIN:
                raise DataError(
                    f"{len(rest)} parts are not finished and every actor dies, perhaps for want of memory; look at "
                    "Ray's own logs, then go on with --resume and fewer --workers"
                )
    finally:
        if not was_there:
            with _without_stderr():
                ray.shutdown()


def _connect(cluster: Cluster) -> None:
    import ray

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    if cluster.address is not None or os.environ.get("RAY_ADDRESS"):
        quiet.pop("include_dashboard")
    else:
        from crosshead.encoders.engines import n_cores

        quiet |= {"num_cpus": max(cluster.n_workers or 0, n_cores()), "object_store_memory": OBJECT_STORE_BYTES}
    try:
        _knock(cluster.address)
        with _without_stderr():
            ray.init(address=cluster.address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"--address {cluster.address!r} is no Ray cluster that can be reached ({reason}); start one with "
            "`ray start --head`, or leave --address out to work on this machine"
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


def _knock(address: str | None) -> None:
    """Find out whether anybody is there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "://" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _round(cluster: Cluster, job: Job, bundle: Any, units: Sequence[Unit]) -> Iterator[Done]:
    """Hand out units once; those whose actors died do not come back."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    n_actors = min(len(units), cluster.n_workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    rows = ray.data.from_items([{"unit": as_json(unit)} for unit in units], override_num_blocks=len(units))
    done = rows.map_batches(
        Actor,
        fn_constructor_args=(asdict(job), bundle),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=n_actors, initial_size=n_actors, max_tasks_in_flight_per_actor=UNITS_IN_FLIGHT
        ),
        num_cpus=1,
        memory=MEMORY_PER_ACTOR,
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise DataError(str(row["error"]))
            yield Done(*(int(row[name]) for name in ("number", "n_records", "n_paragraphs", "n_errors")))
    except ray.exceptions.RayError as error:  # more died than Ray Data could bear; what is left begins anew
        log.info("Ray gave up (%s); its units are handed out again", type(error).__name__)


class Actor:
    """Lives on some machine of the cluster and does units there."""

    def __init__(self, job: dict[str, Any], bundle: Any) -> None:
        from crosshead.cli.environment import prepare_process

        prepare_process()
        self._error = ""
        try:
            given = Job(**{**job, "shape": Shape(**job["shape"])})
            self._worker = Worker(replace(given, model=str(_unpack(bundle, given.digest))))
        except Exception as error:  # Ray would start actor after actor
            self._error = _told(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do the units of a batch, which holds one."""
        if self._error:
            return _answer(Done(-1, 0, 0, 0), self._error)
        try:
            (unit,) = (from_json(str(given)) for given in batch["unit"])
            return _answer(self._worker.do(unit), "")
        except Exception as error:  # Ray would pass it over
            return _answer(Done(-1, 0, 0, 0), _told(error))


def _answer(done: Done, error: str) -> dict[str, list[Any]]:
    return {**{name: [value] for name, value in asdict(done).items()}, "error": [error]}


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

"""A whole job: plan it, take up what was done before, do the rest, and close the books."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from crosshead.batch.crew import work
from crosshead.batch.folder import OutputFolder, Totals, make_manifest
from crosshead.batch.inputs import Source
from crosshead.batch.parts import PARAGRAPHS_AT_ONCE, Shape
from crosshead.batch.plan import BYTES_PER_PART, ROWS_PER_PART, Plan, Unit, make_plan
from crosshead.batch.worker import Done, Job, Worker, engine_of
from crosshead.errors import DataError
from crosshead.feeds.items import Item


class Watcher(Protocol):
    """Is told how far a job is."""

    def looked(self, n_bytes: int) -> None:
        """So many bytes more of the inputs were looked at."""
        ...

    def planned(self, n_records: int, n_done: int) -> None:
        """There are so many records, and so many were done before."""
        ...

    def tagged(self, n_records: int, n_paragraphs: int) -> None:
        """So many more were tagged."""
        ...


class Silent:
    """A watcher that says nothing."""

    def looked(self, n_bytes: int) -> None:
        """Say nothing."""

    def planned(self, n_records: int, n_done: int) -> None:
        """Say nothing."""

    def tagged(self, n_records: int, n_paragraphs: int) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Options:
    """How a job is done."""

    shape: Shape = field(default_factory=Shape)
    resume: bool = False
    n_workers: int = 1
    rows_per_part: int = ROWS_PER_PART
    paragraphs_at_once: int = PARAGRAPHS_AT_ONCE


Engine = Callable[[Job, Sequence[Unit], Watcher], Iterator[Done]]


def tag_archive(
    sources: Sequence[Source],
    output: str,
    model: str | None,
    options: Options,
    *,
    engine: Engine | None = None,
    watcher: Watcher | None = None,
) -> Totals:
    """Tag sources into a folder.

    Parameters
    ----------
    sources
        See `crosshead.batch.inputs.find_sources`.
    output
        A folder, or the URL of one; new or empty, or with ``options.resume`` that of the same job.
    model
        As `crosshead.loading.load` takes it.
    engine
        What does the units; by default processes on this machine.

    Raises
    ------
    DataError
        If there is nothing to tag, the folder cannot be used, or the disk is full; finished parts stay.
    BundleError
        If there is no such model.
    """
    from crosshead import bundle
    from crosshead.loading import find

    watcher = watcher or Silent()
    folder = OutputFolder(output, options.shape)
    with _told(output):
        folder.check(resume=options.resume)  # before a lock is left in somebody's folder, and inputs are read
    found = find(model)
    computes = engine_of(bundle.read_manifest(found.folder))
    about = {"digest": found.digest, "name": found.name, "version": found.version, "engine": computes}
    job = Job(
        output,
        str(Path(found.folder).absolute()),
        found.digest,
        computes,
        options.shape,
        paragraphs_at_once=options.paragraphs_at_once,
    )
    with _told(output), folder.locked():
        plan = make_plan(sources, rows_per_part=options.rows_per_part, advance=watcher.looked)
        limits = {"rows_per_part": options.rows_per_part, "bytes_per_part": BYTES_PER_PART}
        manifest = make_manifest(plan, options.shape, about, limits)
        if folder.begin(manifest, resume=options.resume):
            folder.clear()
            return folder.totals()
        _do(plan, folder, job, engine or _on_this_machine(options.n_workers), watcher)
        return folder.finish(manifest, len(plan.units))


def _do(plan: Plan, folder: OutputFolder, job: Job, engine: Engine, watcher: Watcher) -> None:
    finished = folder.finished_units()
    rest = [unit for unit in plan.units if unit.number not in finished]
    n_rest = sum(unit.n_records for unit in rest)
    watcher.planned(plan.n_records, plan.n_records - n_rest)
    try:
        for _ in engine(job, rest, watcher):
            pass
    finally:
        folder.tidy()  # a worker that was stopped or died leaves half a part behind, under another name


@contextmanager
def _told(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or output}: {error.strerror or error}; the parts that are finished stay. "
            "Make room, or set the rights, and go on with --resume"
        ) from error


def _on_this_machine(n_workers: int) -> Engine:
    def engine(job: Job, units: Sequence[Unit], watcher: Watcher) -> Iterator[Done]:
        if n_workers == 1 or len(units) < 2:
            yield from work_here(job, units, watcher)
            return
        from crosshead.encoders.engines import n_cores

        threads = max(1, n_cores() // n_workers)
        for done in work(replace(job, n_threads=threads), units, n_workers):
            watcher.tagged(done.n_records, done.n_paragraphs)
            yield done

    return engine


def work_here(job: Job, units: Sequence[Unit], watcher: Watcher) -> Iterator[Done]:
    """Do units in this process, reading the next one while one is tagged."""
    if not units:
        return
    worker = Worker(job)
    with closing(worker), closing(_read_ahead(worker, units)) as ready:
        for unit, items in ready:
            n_told = 0

            def advance(n_items: int, n_paragraphs: int) -> None:
                nonlocal n_told
                n_told += n_items
                watcher.tagged(n_items, n_paragraphs)

            done = worker.finish(unit, items, advance)
            watcher.tagged(unit.n_records - n_told, 0)
            yield done


def _read_ahead(worker: Worker, units: Sequence[Unit]) -> Generator[tuple[Unit, list[Item]]]:
    """Read a unit while the one before is tagged, and never two: what is read ahead is what memory holds."""
    wanted = threading.Semaphore(1)
    ready: queue.Queue[tuple[Unit, list[Item]] | BaseException | None] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(entry: tuple[Unit, list[Item]] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(entry, timeout=0.2)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for unit in units:
                wanted.acquire()
                if stopped.is_set():
                    return
                put((unit, worker.read(unit)))
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="reading", daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            wanted.release()
            yield entry
            del entry  # before the next one is waited for
    finally:
        stopped.set()
        wanted.release()
        thread.join()

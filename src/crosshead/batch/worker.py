"""What does units of work: the same on this machine, in another process, and on another machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crosshead.batch.folder import OutputFolder
from crosshead.batch.parts import PARAGRAPHS_AT_ONCE, Shape, make_part
from crosshead.batch.plan import Unit
from crosshead.batch.reading import Reader
from crosshead.errors import BundleError, EncoderError
from crosshead.feeds.items import Item


def engine_of(manifest: Mapping[str, Any]) -> str:
    """Name what computes a bundle's vectors on this machine: another engine gives other last digits."""
    from crosshead.encoders.engines import choose

    if not manifest.get("encoder"):
        return "none"
    return choose().computes


@dataclass(frozen=True)
class Job:
    """What a worker must know; small, because it travels."""

    output: str
    model: str
    """Folder of the bundle."""
    digest: str
    """Of the bundle that the job was begun with."""
    engine: str
    """What computes the vectors, as `engine_of` names it."""
    shape: Shape = field(default_factory=Shape)
    n_threads: int | None = None
    paragraphs_at_once: int = PARAGRAPHS_AT_ONCE


@dataclass(frozen=True)
class Done:
    """What is told of a unit that is finished."""

    number: int
    n_records: int
    n_paragraphs: int
    n_errors: int


class Worker:
    """Holds one loaded bundle and does one unit after the other.

    Raises
    ------
    BundleError
        If the model is not the one that the job was begun with.
    EncoderError
        If this machine would compute vectors with another engine.
    """

    def __init__(self, job: Job) -> None:
        from crosshead.loading import load

        self._job = job
        self._model = load(job.model, n_threads=job.n_threads)
        if self._model.digest != job.digest:
            raise BundleError(
                f"the saved tagger {job.model!r} was changed while the job ran; "
                "give back the old one and go on with --resume, or tag into a new folder"
            )
        if (engine := engine_of(self._model.manifest)) != job.engine:
            raise EncoderError(
                f"the job was begun with the engine {job.engine}, this machine would use {engine}, which gives other "
                "last digits; use machines of one kind"
            )
        self._folder = OutputFolder(job.output, job.shape)
        self._reader = Reader()

    def read(self, unit: Unit) -> list[Item]:
        """Read the items of a unit; may be called in another thread than `finish`, for a unit to come."""
        return list(self._reader.read(unit))

    def finish(
        self, unit: Unit, items: list[Item], advance: Callable[[int, int], None] = lambda n_items, n_paragraphs: None
    ) -> Done:
        """Tag the items and write the part."""
        part = make_part(
            self._model.tagger,
            items,
            unit.n_records,
            self._job.shape,
            paragraphs_at_once=self._job.paragraphs_at_once,
            advance=advance,
        )
        self._folder.add(unit.number, part)
        return Done(unit.number, part.n_records, part.n_paragraphs, len(part.errors))

    def close(self) -> None:
        """Let go of the input that is open."""
        self._reader.close()

    def do(self, unit: Unit) -> Done:
        """Do a whole unit."""
        return self.finish(unit, self.read(unit))

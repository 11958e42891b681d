"""What was named on the command line → sources: files of articles or rows, in order, each once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from crosshead.batch.stores import file_system, is_remote, open_file, stamp, told
from crosshead.errors import CrossheadError, DataError
from crosshead.readers.formats import AUTO, format_of, stem_of
from crosshead.readers.inputs import STDIN, Found, InputFile, find_files, why

ARROW = "arrow"
DOCUMENTS = ("markdown", "html", "text", AUTO)
_DATASET, _STATE, _SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
_JSON_OBJECT = (b"{", b"\xef\xbb\xbf{")


@dataclass(frozen=True)
class Source:
    """One file. Small, because it travels with every unit that reads from it."""

    place: str
    """Its path or URL, as messages and rows name it."""
    format: str = AUTO
    article_id: str = ""
    """What an article is called that neither it nor its row names."""
    stamp: str = ""
    size: int = 0
    sha256: str = ""
    problem: str = ""
    """Why it cannot be read."""
    is_whole: bool = False
    """Whether its rows must be read together, because those of one article do not stand together."""

    @property
    def stem(self) -> str:
        """What rows without an id are named by."""
        return stem_of(PurePosixPath(self.place) if is_remote(self.place) else Path(self.place))


@dataclass
class Sources:
    """What is to be tagged, and the files of folders that are passed over for their suffix."""

    found: list[Source] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)


def find_sources(names: Sequence[str], format: str, *, output: str = "") -> Sources:
    """List the files behind files, folders, patterns, dataset folders and URLs; what lies below ``output`` is no input.

    Raises
    ------
    DataError
        If standard input is named, which cannot be read twice.
    """
    if STDIN in names:
        raise DataError(
            "standard input cannot be tagged into a folder: a job that was stopped could not read it again; "
            "save it to a file and name that"
        )
    local = [name for name in names if not is_remote(name)]
    found = find_files(local, format) if local else Found()
    sources = Sources(ignored=[path for path in found.ignored if not _is_of_dataset(path)])
    sources.found += [Source(problem.place, problem=problem.reason) for problem in found.problems]
    files = _with_datasets(found.files) if format == AUTO else found.files
    inside = os.path.realpath(output) + os.sep if output and not is_remote(output) else None
    for file in files:
        if inside is None or not os.path.realpath(file.place).startswith(inside):
            sources.found.append(Source(file.place, file.format, file.article_id))
    for name in names:
        if is_remote(name):
            sources.found += _find_remote(name, format, output)
    return sources


def _with_datasets(files: Sequence[InputFile]) -> Iterable[InputFile]:
    """Put the files of rows of a Hugging Face dataset folder where its descriptions stand."""
    for file in files:
        assert file.path is not None
        folder, name = file.path.parent, file.path.name
        if name == _SPLITS or (name == _STATE and (folder / _DATASET).is_file()):
            continue
        if name == _DATASET and (folder / _STATE).is_file():
            yield from _files_of_dataset(folder)
        else:
            yield file


def _files_of_dataset(folder: Path) -> Iterable[InputFile]:
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = sorted(path.name for path in folder.glob("*.arrow"))
    for name in names:
        path = folder / Path(name).name
        yield InputFile(path, Path(name), ARROW, f"{folder.name}/{path.stem}")


def _is_of_dataset(path: Path) -> bool:
    return path.suffix == ".arrow" and (path.parent / _STATE).is_file()


def _find_remote(url: str, format: str, output: str) -> list[Source]:
    try:
        system, path = file_system(url)
        with told(url):
            paths = _expand(system, path)
            places = [str(system.unstrip_protocol(found)) for found in paths]
    except OSError as error:
        return [Source(url, problem=error.strerror or str(error))]
    inside = output.rstrip("/") + "/" if is_remote(output) else None
    places = [place for place in places if inside is None or not place.startswith(inside)]
    sources = []
    for place in places:
        told_format = format_of(PurePosixPath(place)) if format == AUTO else format
        if told_format is None and (len(places) > 1 or PurePosixPath(place).suffix):
            continue
        name = PurePosixPath(place.partition("://")[2])
        sources.append(Source(place, told_format or AUTO, stem_of(name)))
    if not sources:
        return [Source(url, problem="nothing there can be read as articles or rows; check the name")]
    return _name_apart(sources)


def _expand(system: object, path: str) -> list[str]:
    if any(mark in path for mark in "*?["):
        return sorted(found for found in system.glob(path) if not system.isdir(found))  # type: ignore[attr-defined]
    if system.isdir(path):  # type: ignore[attr-defined]
        found = sorted(system.find(path))  # type: ignore[attr-defined]
        return [name for name in found if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    if not system.exists(path):  # type: ignore[attr-defined]
        raise FileNotFoundError(path)
    return [path]


def _name_apart(sources: list[Source]) -> list[Source]:
    taken = [source.article_id for source in sources]
    return [
        source if taken.count(source.article_id) == 1 else replace(source, article_id=source.place)
        for source in sources
    ]


def examine(source: Source, advance: Callable[[int], None]) -> Source:
    """Hash a source, and tell the format of one whose name does not."""
    if source.problem:
        return source
    try:
        with open_file(source.place) as stream:
            state = stamp(source.place)
            head = stream.peek(64)
            digest, size = hashlib.sha256(), 0
            while block := stream.read(1024**2):
                digest.update(block)
                size += len(block)
                advance(len(block))
    except OSError as error:
        return replace(source, problem=why(error))
    except CrossheadError as error:
        return replace(source, problem=str(error))
    format = _sniffed(head) if source.format == AUTO else source.format
    return replace(source, format=format, stamp=state, size=size, sha256=digest.hexdigest())


def _sniffed(head: bytes) -> str:
    if head.lstrip().startswith(_JSON_OBJECT):
        return "jsonl"
    return "parquet" if head.startswith(b"PAR1") else AUTO

"""What the user names (files, folders, patterns, ``-``) → the files to read, each with its article id."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from crosshead.readers.formats import AUTO, SUFFIXES, format_of, stem_of

STDIN = "-"
_SUFFIXES_IN_WORDS = " ".join(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that could not be read: its path, for a row also the line or row, and why.

    Examples
    --------
    >>> print(Unreadable("a.jsonl", "it is not valid JSON; write one object a line", "line 7"))
    a.jsonl, line 7: it is not valid JSON; write one object a line
    """

    path: str
    reason: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    @property
    def place(self) -> str:
        """The path, and the line or row in it."""
        return f"{self.path}, {self.where}" if self.where else self.path


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read. ``path`` is None for stdin; ``inside`` is its path below the folder that was named."""

    path: Path | None
    inside: PurePath
    format: str
    article_id: str = ""

    @property
    def place(self) -> str:
        """How messages name it."""
        return STDIN if self.path is None else str(self.path)


@dataclass(slots=True)
class Found:
    """The files to read, what could not be found or opened, and the files of a folder passed over."""

    files: list[InputFile] = field(default_factory=list)
    problems: list[Unreadable] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)


def find_files(inputs: str | Path | Iterable[str | Path], format: str = AUTO) -> Found:
    """List the files behind files, folders, patterns and ``-``, each file once, however often it is named.

    A folder is searched with all folders in it, in order of names. Names that begin with a dot, and folders that
    are links, are passed over; so are, unless ``format`` says what every file is, files of other suffixes.
    """
    found = Found()
    told = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    for given in told:
        _find(given, format, found)
    seen: set[str] = set()
    found.files = [file for file in found.files if _is_new(file, seen)]
    found.files = list(_name_articles(found.files))
    return found


def below(root: Path, given: str) -> str:
    """Put a path or pattern below a folder, whose own name may look like a pattern."""
    return str(Path(glob.escape(str(root)), given)) if glob.has_magic(given) else str(root / given)


def _is_new(file: InputFile, seen: set[str]) -> bool:
    identity = STDIN if file.path is None else os.path.realpath(file.path)
    new = identity not in seen
    seen.add(identity)
    return new


def _find(given: str | Path, format: str, found: Found) -> None:
    if str(given) == STDIN:
        found.files.append(InputFile(None, PurePath("stdin"), format))
        return
    if not str(given).strip():  # an unset variable in a shell; pathlib would take it for the current folder
        found.problems.append(Unreadable(repr(given), "the name is empty; name a file, a folder, a pattern or -"))
        return
    path = Path(given)
    try:
        if path.is_dir():
            _find_in_folder(path, format, found)
        elif path.exists():
            _add_file(path, format, found)
        elif path.is_symlink():
            reason = f"it is a link to {os.readlink(path)!r}, which does not exist; mend or remove the link"
            found.problems.append(Unreadable(str(given), reason))
        elif glob.has_magic(str(given)):
            _find_pattern(str(given), format, found)
        else:
            reason = "there is no such file or folder; check the path"
            found.problems.append(Unreadable(str(given), reason))
    except (OSError, ValueError) as error:
        found.problems.append(Unreadable(str(given), why(error)))


def _find_pattern(pattern: str, format: str, found: Found) -> None:
    matches = _expand(pattern)
    if not matches:
        found.problems.append(Unreadable(pattern, "no file matches the pattern; check it, and quote it in a shell"))
    for path in matches:
        if path.is_dir():
            if "**" not in pattern:
                _find_in_folder(path, format, found)
        else:
            _add_file(path, format, found, from_search=True)


def _expand(pattern: str) -> list[Path]:
    """List what a pattern matches, in order.

    ``**`` goes into no folder that is a link, as a walk does not: links may lead in circles, and two that do so have
    more paths than anybody can wait for. Hidden names match only where the pattern writes them out.
    """
    parts = PurePath(pattern).parts
    if "**" not in parts:
        return sorted(map(Path, glob.glob(pattern)))
    first = parts.index("**")
    deep = "/".join(parts[first:]) + ("/*" if parts[-1] == "**" else "")
    matches = set()
    for base in map(Path, glob.glob(os.path.join("", *parts[:first])) if first else ["."]):
        for path in base.glob(deep):
            hidden = {name for name in path.relative_to(base).parts if name.startswith(".")}
            if hidden <= set(parts):
                matches.add(path)
    return sorted(matches)


def _add_file(path: Path, format: str, found: Found, *, from_search: bool = False) -> None:
    told = format_of(path) if format == AUTO else format
    if told is None and from_search:
        found.ignored.append(path)
    elif told is None and path.suffix:
        reason = (
            f"its suffix is {path.suffix!r}; read are {_SUFFIXES_IN_WORDS}, each also with .gz or .zst; "
            "convert it, or say its format"
        )
        found.problems.append(Unreadable(str(path), reason))
    else:
        found.files.append(InputFile(path, PurePath(path.name), told or AUTO))


def _find_in_folder(folder: Path, format: str, found: Found) -> None:
    before = len(found.files), len(found.problems)
    for path in _walk(folder, found.problems):
        told = format_of(path) if format == AUTO else format
        if told is None:
            found.ignored.append(path)
        elif path.is_file():
            found.files.append(InputFile(path, path.relative_to(folder), told))
        elif path.is_symlink():
            _find(path, format, found)  # says where the link points
    if before == (len(found.files), len(found.problems)):
        reason = f"the folder holds no file that can be read; read are {_SUFFIXES_IN_WORDS}, each also with .gz or .zst"
        found.problems.append(Unreadable(str(folder), f"{reason}; check the path"))


def _walk(folder: Path, problems: list[Unreadable]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        problems.append(Unreadable(str(error.filename), why(error)))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _name_articles(files: list[InputFile]) -> Iterator[InputFile]:
    """Name each article by the shortest of these that no other file has: stem, path in its folder, whole path."""
    names: list[Callable[[InputFile], str]] = [
        lambda file: stem_of(file.inside),
        lambda file: (file.inside.parent / stem_of(file.inside)).as_posix(),
        lambda file: file.inside.as_posix(),
        lambda file: PurePath(file.place).as_posix(),
    ]
    counts = [Counter(map(name, files)) for name in names]
    for file in files:
        free = (name(file) for name, count in zip(names, counts, strict=True) if count[name(file)] == 1)
        article_id = next(free, PurePath(file.place).as_posix())
        yield InputFile(file.path, file.inside, file.format, article_id)


def why(error: OSError | ValueError) -> str:
    """Say in words why the system did not give a file."""
    if isinstance(error, PermissionError):
        return "it may not be read: permission denied; change its permissions"
    if isinstance(error, FileNotFoundError):
        return "it is no longer there; check the path"
    told = getattr(error, "strerror", None) or str(error)
    return f"the system cannot read it: {told}; check the path and the disk"

"""A project folder for somebody's own articles: the configuration that comes with crosshead, and places for the rest.

A folder that is new appears as a whole. One that is there stays the same folder, because a shell may stand in it or a
disk may be mounted on it; conf/, which makes it a project, is put there last, so that a kill leaves a project or none.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from crosshead import __version__, whole
from crosshead.errors import ConfigError, DataError

CONF, CONFIG = "conf", "config.yaml"
ARTICLES = "data/articles"
_ANNOTATIONS = "data/annotations.csv"
_COLUMNS = b"article_id,paragraph,text_sha256,section_type,annotator\n"
_PACKAGE = Path(__file__).resolve().parent
_TEMPLATES = _PACKAGE / "templates" / "project"

# What only crosshead's repository has, and what is set to that.
_LEFT_OUT = ("corpus/shipped.yaml",)
_SET = {
    CONFIG: {"corpus": "own"},
    "corpus/own.yaml": {"articles": f"[{ARTICLES}]", "annotations": _ANNOTATIONS, "labels": "both"},
}
N_NAMED = 3


def make_project(folder: Path) -> None:
    """Make a project folder: conf/, an empty data/articles/, data/annotations.csv, README.md and .gitignore.

    Parameters
    ----------
    folder
        New, or there and empty. Nothing is overwritten, and what cannot be finished leaves nothing behind.

    Raises
    ------
    DataError
        If something is there already, or nothing can be written.
    ConfigError
        If the package has lost its configuration.
    """
    conf, others = _conf_files(), _other_files()
    above = [path for path in folder.parents if not os.path.lexists(path)]
    try:
        _check_free(folder)
        if folder.is_dir():
            _fill(folder, conf, others)
        else:
            with whole.new_folder(folder, replace=False) as made:
                _write(made, others, [])
                _write(made / CONF, conf, [])
    except OSError as error:
        _remove(above)
        raise DataError(
            f"the project {str(folder)!r} cannot be made: {error.strerror}; nothing of it is left. "
            "Make room there, or name a folder in a place where you may write"
        ) from error
    if not (folder / CONF / CONFIG).is_file():  # somebody else was quicker
        _check_free(folder)


def _check_free(folder: Path) -> None:
    remedy = "name a folder that is new or empty"
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        what = "a file" if folder.exists() else "a link to something that is not there"
        raise DataError(f"{str(folder)!r} is {what}, and a project is a folder; {remedy}")
    names = sorted(os.listdir(folder))
    if (folder / CONF / CONFIG).is_file():
        raise DataError(f"{str(folder)!r} is a project already, and nothing is overwritten; use it, or {remedy}")
    if names:
        more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
        named = ", ".join(names[:N_NAMED])
        raise DataError(f"{str(folder)!r} is not empty (it holds {named}{more}), and nothing is overwritten; {remedy}")


def _fill(folder: Path, conf: Mapping[str, bytes], others: Mapping[str, bytes]) -> None:
    made: list[Path] = []
    try:
        with whole.new_folder(folder / CONF, replace=False) as new:
            _write(new, conf, [])
            _write(folder, others, made)
    except BaseException:
        _remove(reversed(made))
        raise


def _remove(paths: Iterable[Path]) -> None:
    """Remove files and empty folders, as far as that goes."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _write(folder: Path, files: Mapping[str, bytes], made: list[Path]) -> None:
    """Write new files, or folders where a name ends with a slash, and note all that was made."""
    for name, content in files.items():
        path = folder / name
        for above in reversed([path, *path.parents] if name.endswith("/") else path.parents):
            if not above.is_dir():
                above.mkdir()
                made.append(above)
        if not name.endswith("/"):
            with path.open("xb") as file:
                made.append(path)
                file.write(content)


def _other_files() -> dict[str, bytes]:
    readme = (_TEMPLATES / "README.md").read_text(encoding="utf-8").replace("VERSION", __version__)
    return {
        f"{ARTICLES}/": b"",
        _ANNOTATIONS: _COLUMNS,
        "README.md": readme.encode(),
        ".gitignore": (_TEMPLATES / "gitignore").read_bytes(),
    }


def _conf_files() -> dict[str, bytes]:
    """Read the configuration that comes with crosshead, and set it to somebody's own articles."""
    source = _find_conf()
    found = {path.relative_to(source).as_posix(): path.read_bytes() for path in sorted(source.rglob("*.yaml"))}
    for name, values in _SET.items():
        found[name] = _set(found.get(name, b"").decode(), values, source / name).encode()
    return {name: content for name, content in found.items() if name not in _LEFT_OUT}


def _find_conf() -> Path:
    places = list(_places_of_conf())
    for place in places:
        if (place / CONFIG).is_file():
            return place
    raise ConfigError(
        f"this crosshead has lost its configuration: {' and '.join(map(str, places))} hold no {CONFIG}; "
        "install crosshead again"
    )


def _places_of_conf() -> Iterator[Path]:
    yield _PACKAGE / f"_{CONF}"  # a wheel
    yield _PACKAGE.parents[1] / CONF  # the repository


def _set(text: str, values: Mapping[str, str], path: Path) -> str:
    """Set keys of a YAML file, and leave the rest of it, remarks too, as it is."""
    for key, value in values.items():
        text, n = re.subn(rf"^((?:  - )?{key}: )[^#\n]*?(?=\s*(?:#|$))", rf"\g<1>{value}", text, flags=re.MULTILINE)
        if n != 1:
            raise ConfigError(f"{path} has {n} lines {key!r} to set, and needs 1; take the file as crosshead had it")
    return text

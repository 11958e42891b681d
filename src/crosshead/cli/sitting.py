"""What `crosshead label` and `crosshead adjudicate` share: the project's section types and files, and the open page."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crosshead.cli.pipeline import load_settings
from crosshead.cli.words import counted
from crosshead.errors import ConfigError, CrossheadError, MissingExtraError

if TYPE_CHECKING:
    from crosshead.labelling.queue import QueueItem
    from crosshead.labelling.session import Session
    from crosshead.schema import Settings
    from crosshead.taxonomy import SectionType

HOST = "127.0.0.1"
PORT = 8321
"""Taken unless it is in use; a page that was opened again on the same port sends what it could not send before."""
LABELS_DIR = Path("data") / "labels"
CODEBOOK = Path("data") / "CODEBOOK.md"
ANNOTATIONS = Path("data") / "annotations.csv"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class Project:
    """Where things are, and what the section types are."""

    settings: Settings

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.settings.root

    @property
    def section_types(self) -> Sequence[SectionType]:
        """What a paragraph can be about, in order."""
        return self.settings.taxonomy.definitions

    @property
    def annotations(self) -> Path:
        """The annotation file that `crosshead prepare` reads."""
        return self.root / (self.settings.corpus.annotations or ANNOTATIONS)

    @property
    def articles(self) -> list[Path]:
        """The files, folders and patterns of the corpus."""
        return [self.root / pattern for pattern in self.settings.corpus.articles]

    def log_path(self, annotator: str, suffix: str = "") -> Path:
        """Name an annotator's log."""
        from crosshead.labelling.log import file_name

        return self.root / LABELS_DIR / f"{file_name(annotator)}{suffix}.jsonl"

    def label_files(self) -> list[Path]:
        """List the annotation file and all logs, those that are there."""
        annotations = [self.annotations] if self.annotations.is_file() else []
        return annotations + sorted((self.root / LABELS_DIR).glob("*.jsonl"))

    def next_command(self, items: Iterable[QueueItem], *logs: Path) -> str:
        """Name what takes labels further: into the project's annotations, if its corpus holds what was read."""
        files = " ".join(shlex.quote(str(path)) for path in logs)
        if self._holds(items):
            return f"crosshead data import {files}"
        names = (Path(f"my_annotations{f'-{n}' if n > 1 else ''}.csv") for n in count(1))
        return f"crosshead data merge {files} --output {next(path for path in names if not path.exists())}"

    def _holds(self, items: Iterable[QueueItem]) -> bool:
        """Say if every paragraph is one of the project's articles as the configuration names them."""
        from crosshead.readers import read_articles
        from crosshead.text import text_digest

        wanted: dict[str, set[tuple[int, str]]] = {}
        for item in items:
            wanted.setdefault(item.article_id, set()).add((item.paragraph, item.text_sha256))
        with suppress(CrossheadError):  # a corpus that cannot be read holds nothing
            for article in read_articles(self.articles, on_error="collect"):
                found = {(paragraph.index, text_digest(paragraph.text)) for paragraph in article.paragraphs}
                if wanted.get(article.article_id, set()) <= found:
                    wanted.pop(article.article_id, None)
                if not wanted:
                    return True
        return False

    def codebook(self, path: Path | None) -> str:
        """Render the codebook that is named, else the project's, else what the taxonomy says of itself."""
        from crosshead.labelling.codebook import describe, read_codebook

        types, own = self.section_types, self.root / CODEBOOK
        found = None
        if path is not None:
            found = read_codebook(path, types)
        elif own.is_file():
            found = read_codebook(own, types, only_if_it_fits=True)
        return describe(types) if found is None else found


def open_project(taxonomy: str | None) -> Project:
    """Load the configuration, with another taxonomy if one is named."""
    return Project(load_settings([f"taxonomy={taxonomy}"] if taxonomy else []))


def page_options(command: Decorated) -> Decorated:
    """Give a command the options of the page."""
    for option in (
        click.option(
            "--open/--no-open", "opens", default=None, help="Open the page in a browser; by default on a desktop."
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help=f"Port; {PORT} by default, or any that is free; 0 is any."
        ),
        click.option(
            "--codebook",
            type=click.Path(path_type=Path),
            help="Rules in Markdown, shown beside the text; data/CODEBOOK.md by default.",
        ),
        click.option("--taxonomy", metavar="NAME", help="Section types of conf/taxonomy/NAME.yaml."),
        click.option(
            "--log", "log_file", type=click.Path(path_type=Path), help="Where labels go; data/labels/ by default."
        ),
        click.option("--annotator", required=True, metavar="NAME", help="Who reads; stands beside every label."),
    ):
        command = option(command)
    return command


def check_installed(what: str, *, page: bool = True) -> None:
    """Refuse early where a library is missing."""
    wanted = ("filelock", "fastapi", "pydantic", "uvicorn") if page else ("filelock",)
    if any(importlib.util.find_spec(name) is None for name in wanted):
        raise MissingExtraError(what, "serve" if page else "train")


def sit(session: Session, *, port: int | None, opens: bool | None) -> None:
    """Serve the page until Ctrl-C, then say what was done."""
    import uvicorn

    from crosshead.labelling.app import create_app

    with _listen(port) as listener:
        place = f"http://{HOST}:{listener.getsockname()[1]}/"
        config = uvicorn.Config(
            create_app(session),
            access_log=False,
            log_level="warning",
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        n_articles = len({item.article_id for item in session.items})
        told = f"{counted(len(session.items), 'paragraph')} of {counted(n_articles, 'article')}"
        click.echo(f"{told} at {place} (Ctrl-C ends it)", err=True)
        if _has_desktop() if opens is None else opens:
            webbrowser.open(place)
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
            uvicorn.Server(config).run(sockets=[listener])
    _say_what_was_done(session)


def _say_what_was_done(session: Session) -> None:
    counts = {name: n for name, n in session.counts().items() if n}
    click.echo("", err=True)
    click.echo(" · ".join(f"{name} {n:,}" for name, n in counts.items()), err=True)
    if session.log_path.exists():
        click.echo(f"labels: {session.log_path}", err=True)
        click.echo(f"next:   {session.next_command}", err=True)


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server((HOST, PORT if port is None else port))
    except OSError as error:
        if port is None:
            return socket.create_server((HOST, 0))
        raise ConfigError(
            f"port {port} of {HOST} cannot be used ({os.strerror(error.errno or 0)}); choose another with --port; 0 "
            "takes any free one"
        ) from error


def _has_desktop() -> bool:
    if not sys.stderr.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))

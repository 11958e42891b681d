"""`crosshead init`: a project folder for somebody's own articles."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import printable
from crosshead.errors import MissingExtraError


@command("crosshead init my_project", "mkdir my_project && cd my_project && crosshead init .")
@click.argument("name", metavar="FOLDER")
def init(name: str) -> int:
    """Make a project folder for your own articles.

    FOLDER is new or empty; nothing is overwritten. It gets the configuration that comes with crosshead, set to your
    articles (data/articles/) and to the labels that people give them, a README that says what goes where, and a
    .gitignore. Neither the repository nor its articles are needed.
    """
    from crosshead.new_project import ARTICLES, make_project

    if not name.strip():  # an unset variable in a shell; pathlib would take it for the current folder
        raise click.UsageError("the name of the folder is empty; name one that is new or empty")
    folder = Path(name)
    make_project(folder)
    click.echo(f"project: {printable(str(folder.absolute()))}")
    for note in _notes(folder):
        click.echo(f"note:    {printable(note)}")
    there = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(name)}"]
    for i, line in enumerate([*there, f"cp ARTICLES… {ARTICLES}/", "crosshead prepare", "crosshead run"]):
        click.echo(f"{'' if i else 'next:':9}{printable(line)}")
    return Exit.OK


def _notes(folder: Path) -> Iterator[str]:
    """Say what would stop the next commands, or lead them elsewhere."""
    if any(importlib.util.find_spec(module) is None for module in ("hydra", "sklearn")):
        yield str(MissingExtraError("training", "train"))
    root = os.environ.get("CROSSHEAD_ROOT")
    if root and Path(root).resolve() != folder.resolve():
        yield f"CROSSHEAD_ROOT is {root!r}, so every command works there and not in the new folder; unset it first"

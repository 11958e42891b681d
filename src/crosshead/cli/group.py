"""The `crosshead` command: its sub-commands by name, imported when they are called."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from crosshead import __version__
from crosshead.cli.exits import MEANINGS

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Tag": {
        "tag": ("crosshead.cli.tag:tag", "Tag the paragraphs of articles, or of a feed in JSONL."),
        "serve": ("crosshead.cli.serve:serve", "Tag over HTTP, for programs and, at /, for people."),
    },
    "Train": {
        "init": ("crosshead.cli.init:init", "Make a project folder for your own articles."),
        "run": ("crosshead.cli.pipeline:run", "Do everything: prepare, train, evaluate."),
        "prepare": ("crosshead.cli.pipeline:prepare", "Turn articles into a table of labelled paragraphs."),
        "train": ("crosshead.cli.pipeline:train", "Train a tagger on the prepared paragraphs."),
        "evaluate": ("crosshead.cli.pipeline:evaluate", "Score the trained tagger and write the report."),
        "search": ("crosshead.cli.search:search", "Search the configuration that scores best."),
        "finetune": (
            "crosshead.cli.finetune:finetune",
            "Teach the encoder the section types of the prepared paragraphs.",
        ),
        "distill": ("crosshead.cli.distill:distill", "Make a small fast tagger that learns from a saved one."),
    },
    "Compare and choose": {
        "compare": ("crosshead.cli.compare:compare", "Compare runs on the same held-out articles."),
        "promote": ("crosshead.cli.promote:promote", "Make a run the champion, if it is good enough."),
        "rollback": ("crosshead.cli.promote:rollback", "Make an earlier champion the champion again."),
        "show": ("crosshead.cli.show:show", "Show the last scores, or where a model comes from."),
        "rerun": ("crosshead.cli.rerun:rerun", "Train a recorded run again, and compare what it predicts."),
        "log": ("crosshead.cli.log:log", "Send results that the MLflow server did not take."),
    },
    "Label": {
        "zero-shot": ("crosshead.cli.zero_shot:zero_shot", "Make a first tagger from the taxonomy's descriptions."),
        "rules": ("crosshead.cli.rules:rules", "Show what rules and headings find, and how far to believe each."),
        "select": ("crosshead.cli.select:select", "Choose the paragraphs to read next, and write a queue."),
        "label": ("crosshead.cli.label:label", "Label paragraphs on a page, one key press each."),
        "agreement": ("crosshead.cli.agreement:agreement", "Measure how annotators agree; list what they dispute."),
        "adjudicate": ("crosshead.cli.adjudicate:adjudicate", "Settle the paragraphs whose annotators are divided."),
        "suspects": (
            "crosshead.cli.suspects:suspects",
            "Show labels that are probably wrong, the most suspicious first.",
        ),
        "data": ("crosshead.cli.data:data", "Bring labels together; show what changed in a corpus."),
    },
    "Look after": {
        "monitor": ("crosshead.cli.monitor:monitor", "Say whether the model still fits the text."),
        "doctor": ("crosshead.cli.doctor:doctor", "Show what is installed, chosen and left over."),
        "config": ("crosshead.cli.config:config", "Show or check the configuration."),
    },
}
"""Sub-commands: where each lives, and its line in `crosshead --help` (the command's own first line, held by a test)."""

_PLACES = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class State:
    """What options of `crosshead` itself say."""

    debug: bool = False


class LazyGroup(click.Group):
    """A group that imports a sub-command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the sub-command."""
        if cmd_name not in _PLACES:
            return None
        module, _, name = _PLACES[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; a misspelt name gets the nearest one."""
        if args[0] not in _PLACES and not args[0].startswith("-"):
            raise click.UsageError(_no_such(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sub-commands in sections, without importing them."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(9), summary) for name, (_, summary) in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        with formatter.section("Exit codes"):
            _write_lines(formatter, (f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()))


def _no_such(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _PLACES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_PLACES)}."
    return f"there is no command {name!r}; {hint}"


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        import warnings

        ctx.ensure_object(State).debug = True
        warnings.resetwarnings()


F = TypeVar("F", bound=Callable[..., Any])

debug_option: Callable[[F], F] = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_set_debug, help="Show where an error arises."
)


class Command(click.Command):
    """A command whose help ends with examples, as they are typed."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                _write_lines(formatter, self.examples)


def command(*examples: str) -> Callable[[Callable[..., int]], Command]:
    """Make a function that returns an exit code a command; its docstring is the help."""

    def decorate(function: Callable[..., int]) -> Command:
        made = debug_option(_keep_broken_pipe(function))
        return click.command(cls=Command, context_settings=CONTEXT, examples=examples)(made)

    return decorate


class ClosedPipeError(Exception):
    """Whoever read the output has left."""


def _keep_broken_pipe(function: Callable[..., int]) -> Callable[..., int]:
    """Rename a BrokenPipeError, which click would turn into exit code 1."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> int:
        try:
            code = function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ClosedPipeError from error
        return code

    return called


def _write_lines(formatter: click.HelpFormatter, lines: Iterable[str]) -> None:
    for line in lines:
        formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="crosshead", message="%(prog)s %(version)s")
@debug_option
def crosshead() -> None:
    """Learn section types from articles with headings; tag the paragraphs of articles without.

    First `crosshead run`, a minute or two, then `crosshead tag article.md`. Every command explains itself with -h.
    """

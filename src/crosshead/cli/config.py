"""`crosshead config show` and `crosshead config check`."""

from __future__ import annotations

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import CONTEXT, command
from crosshead.cli.pipeline import load_settings, overrides_argument, settings_module
from crosshead.cli.words import counted, printable
from crosshead.errors import ConfigError


@click.group(context_settings=CONTEXT)
def config() -> None:
    """Show or check the configuration."""


@command("crosshead config show", "crosshead config show classifier=knn")
@overrides_argument
def show(overrides: tuple[str, ...]) -> int:
    """Print the whole configuration, overrides applied, as YAML."""
    resolved = load_settings(overrides).resolved
    click.echo(settings_module().to_yaml(resolved), nl=False)
    return Exit.OK


@command("crosshead config check classifier=knn", "crosshead config check --all")
@overrides_argument
@click.option("--all", "everything", is_flag=True, help="Check every choice of every group in conf/.")
def check(overrides: tuple[str, ...], everything: bool) -> int:
    """Check that the configuration can be used; exit code 2 if not."""
    if everything and overrides:
        raise click.UsageError("--all checks every choice by itself; leave the overrides out")
    if not everything:
        load_settings(overrides)
        click.echo("the configuration can be used")
        return Exit.OK
    checked = settings_module().check_all()
    for choice, problem in checked.items():
        click.echo(f"{'✗' if problem else '✓'} {choice}{f': {printable(problem)}' if problem else ''}")
    if wrong := [choice for choice, problem in checked.items() if problem]:
        raise ConfigError(f"{counted(len(wrong), 'choice')} of {len(checked)} cannot be used: {', '.join(wrong)}")
    return Exit.OK


config.add_command(show)
config.add_command(check)

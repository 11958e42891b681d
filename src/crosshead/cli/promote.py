"""`crosshead promote` and `crosshead rollback`: which model tags by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.releases.gate import Decision
    from crosshead.releases.promotion import Outcome

GATE = "promotion=default"


@command("crosshead promote last --dry-run", "crosshead promote 3f2a", "crosshead promote 4 promotion.margin=0.05")
@click.argument("run")
@click.argument("overrides", metavar="[OVERRIDE]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would be decided, and change nothing.")
def promote(run: str, overrides: tuple[str, ...], dry_run: bool) -> int:
    """Make a run the champion, if it is good enough.

    RUN is a run's id, its first characters or name, a version's number, models:/NAME/VERSION, or `last`. On the same
    held-out articles it must be better than the champion overall, at no section type worse by more than a margin,
    calibrated, not too slow and not too large; conf/promotion/ holds the limits. Exit code 1 if it is not. The decision
    is recorded on the run and on the version.
    """
    from crosshead.cli.output import console
    from crosshead.cli.pipeline import import_training, load_settings

    stage = import_training("crosshead.releases.promotion")
    settings = load_settings((GATE, *overrides))
    outcome: Outcome = stage.promote(settings, run, dry_run=dry_run)
    out = console()
    _notes(out, outcome)
    if outcome.decision is None:
        return Exit.OK
    _show_decision(out, outcome.decision)
    out.print()
    if outcome.decision.holds:
        told = "would become the champion (--dry-run: nothing was changed)" if dry_run else "is the champion now"
        out.print(f"{_named(outcome.decision)} {told}", style="bold green")
        return Exit.OK
    checks = outcome.decision.checks
    n_failed = sum(not check.holds for check in checks)
    told = f"{n_failed} of {counted(len(checks), 'condition')} {'does' if n_failed == 1 else 'do'} not hold"
    standing = outcome.decision.champion
    stays = f"version {standing.version} stays the champion" if standing else "there is still no champion"
    out.print(f"not promoted: {told}; {stays}", style="bold red")
    return Exit.REFUSED


@command("crosshead rollback", "crosshead rollback --to 3")
@click.option(
    "--to", type=click.IntRange(min=1), metavar="VERSION", help="That version; else the champion before this."
)
def rollback(to: int | None) -> int:
    """Make an earlier champion the champion again.

    No gate is asked; who did it, and when, is recorded on the version that was left.
    """
    from crosshead.cli.output import console
    from crosshead.cli.pipeline import import_training, load_settings

    outcome: Outcome = import_training("crosshead.releases.promotion").rollback(load_settings(()), to)
    out = console()
    _notes(out, outcome)
    if outcome.moved and outcome.champion is not None:
        out.print(f"{outcome.champion.name} {outcome.champion.version} is the champion now", style="bold green")
    return Exit.OK


def _notes(out: Console, outcome: Outcome) -> None:
    for note in outcome.notes:
        out.print(f"note: {printable(note)}", style="yellow", soft_wrap=True)


def _named(decision: Decision) -> str:
    side = decision.candidate
    return f"run {side.run_id[:8]}" if side.version is None else f"version {side.version}"


def _show_decision(out: Console, decision: Decision) -> None:
    from rich.table import Table
    from rich.text import Text

    against = (
        f"the champion, version {decision.champion.version}" if decision.champion else "its baselines: no champion"
    )
    out.print(Text(f"{_named(decision)} against {against}", style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, style="dim")
    for check in decision.checks:
        mark = Text("✓", style="green") if check.holds else Text("✗", style="red")
        table.add_row(mark, Text(check.name), Text(printable(check.said)))
    out.print(table)

"""`crosshead search`: which values give the best cross-validated score."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable
from crosshead.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from crosshead.schema import Settings
    from crosshead.stages.search import Searched

N_SHOWN = 5


@command(
    "crosshead search",
    "crosshead search search.trials=300 search.workers=4",
    "crosshead search views=sentences search=default --save sentences-best",
)
@click.argument("overrides", metavar="[OVERRIDE]...", nargs=-1)
@click.option("--save", metavar="NAME", help="Write the best configuration to conf/experiment/NAME.yaml, too.")
@click.option("--online", is_flag=True, help="Let the model hub be asked for an encoder that is not here.")
def search(overrides: tuple[str, ...], save: str | None, online: bool) -> int:
    """Search the configuration that scores best.

    What is varied, and how often, stands in conf/search/: search=NAME, by default `default`. A search that was broken
    off goes on when the same command is given again; in a second terminal, the command helps the first.
    """
    if online:
        os.environ["HF_HUB_OFFLINE"] = "0"
    from crosshead.cli.output import console, reporter
    from crosshead.cli.pipeline import import_training, load_settings

    chosen = any(override.lstrip("+").startswith("search=") for override in overrides)
    words = list(overrides) if chosen else ["search=default", *overrides]
    settings = load_settings(words)
    stage = import_training("crosshead.stages.search")
    with reporter() as report:
        searched: Searched = stage.run(settings, words, report)
    out = console()
    show_search(out, settings, searched)
    if save is not None:
        stage.save_experiment(searched, settings.root, save)
        out.print(f"or:      crosshead train experiment={save}", soft_wrap=True)
    if searched.unsent:
        raise StoreError(searched.unsent)
    return Exit.OK


def show_search(out: Console, settings: Settings, searched: Searched) -> None:
    """Print the best trials, what is gained, what to beware of, and how to train the best one."""
    from rich.text import Text

    from crosshead.cli.sweep import quoted

    assert settings.search is not None
    objective = settings.search.objective
    states = [trial.state for trial in searched.trials]
    told = ", ".join(f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states)
    earlier = f"; {searched.n_before} of them earlier" if searched.n_before else ""
    encoded = counted(searched.n_encoded, "text") if searched.n_encoded else "no text"
    out.print(
        Text.assemble(
            (counted(len(searched.trials), "trial"), "bold green"),
            f"{f' ({told})' if told else ''}{earlier}; {encoded} had to be encoded",
        )
    )
    out.print(_best_trials(searched, objective))
    gain = searched.gain.difference
    ends = f" ({gain.low:+.3f} to {gain.high:+.3f})" if gain.low is not None and gain.high is not None else ""
    out.print(
        f"{objective} {searched.before:.4f} → {searched.gain.b:.4f}, {gain.value:+.4f}{ends} on the paragraphs that it "
        "was chosen by, so a little flattered"
    )
    for warning in searched.warnings:
        out.print(Text.assemble(("  note: ", "yellow"), printable(warning)))
    for finding in searched.findings:
        out.print(Text.assemble(("  note: ", "yellow"), f"{printable(finding.message)} ({finding.code})"))
    if searched.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in searched.importances.items())
        out.print(Text(f"what decides: {shares}", style="dim"))
    run = f", MLflow run {searched.run_id}" if searched.run_id else ""
    other = "" if searched.recorded else "; another process records it"
    out.print(Text(f"results: {searched.folder}{run}{other}", style="dim"), soft_wrap=True)
    out.print(f"next:    crosshead train {' '.join(map(quoted, searched.overrides))}".rstrip(), soft_wrap=True)


def _best_trials(searched: Searched, objective: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    lower_first = objective == "log_loss"
    complete = [trial for trial in searched.trials if trial.state == "complete" and trial.score is not None]
    best = sorted(complete, key=lambda trial: (trial.score if lower_first else -trial.score, trial.number))  # type: ignore[operator]
    keys = list(dict.fromkeys(key for trial in best[:N_SHOWN] for key in trial.values))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", header_style="bold", overflow="fold")
    for trial in best[:N_SHOWN]:
        table.add_column(str(trial.number + 1), header_style="bold", justify="right", no_wrap=True)
    table.add_row(objective, *(f"{trial.score:.4f}" for trial in best[:N_SHOWN]))
    for key in keys:
        table.add_row(key, *(Text(printable(str(trial.values.get(key, "–")))) for trial in best[:N_SHOWN]))
    return table

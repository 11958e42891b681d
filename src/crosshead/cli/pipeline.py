"""`crosshead run`, `prepare`, `train` and `evaluate`: the stages one after the other, and what came out."""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted, printable
from crosshead.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from crosshead.schema import Settings
    from crosshead.stages.evaluate import Evaluated
    from crosshead.stages.prepare import Prepared
    from crosshead.stages.train import Trained

    Report = Callable[[str, int, int], None]

STAGES = ("prepare", "train", "evaluate")
N_NEW_OBJECTS = 500_000
"""After how many new objects Python looks for circular garbage while stages run; its own number is 700."""
# Evaluating writes no model, but none may be changed under its hands.
_FOLDERS = {"prepare": ("prepared_dir",), "train": ("model_dir",), "evaluate": ("model_dir", "reports_dir")}

overrides_argument = click.argument("overrides", metavar="[OVERRIDE]...", nargs=-1)
online_option = click.option(
    "--online", is_flag=True, help="Let the model hub be asked for an encoder that is not here."
)

multirun_option = click.option(
    "--multirun", "-m", is_flag=True, help="Run every combination of overrides such as classifier=logreg,knn."
)
jobs_option = click.option("--jobs", "-j", type=click.IntRange(min=1), help="How many of them at once; needs -m.")


@command(
    "crosshead run",
    "crosshead run classifier=linear_svm seed=3",
    "crosshead run encoder=tfidf views=tfidf corpus.labels=headings",
    "crosshead run -m corpus.labels=annotations,headings",
)
@overrides_argument
@multirun_option
@jobs_option
@online_option
def run(overrides: tuple[str, ...], multirun: bool, jobs: int | None, online: bool) -> int:
    """Do everything: prepare, train, evaluate.

    An OVERRIDE changes the configuration for this run, as key=value or group=choice; `crosshead config show` lists all.
    """
    return _run_or_sweep(STAGES, overrides, multirun, jobs, online)


@command("crosshead prepare", "crosshead prepare corpus.labels=both 'corpus.articles=[archive/**/*.md]'")
@overrides_argument
def prepare(overrides: tuple[str, ...]) -> int:
    """Turn articles into a table of labelled paragraphs.

    Writes data/prepared/: the table, and what every heading was taken for.
    """
    return _run(("prepare",), overrides)


@command(
    "crosshead train",
    "crosshead train classifier=knn views=embedding",
    "crosshead train experiment=words",
    "crosshead train -m -j 2 classifier=logreg,linear_svm encoder=minilm,tfidf",
)
@overrides_argument
@multirun_option
@jobs_option
@online_option
def train(overrides: tuple[str, ...], multirun: bool, jobs: int | None, online: bool) -> int:
    """Train a tagger on the prepared paragraphs.

    Writes models/latest/ and records the run in MLflow. Vectors of texts that were encoded once come from a cache.
    With -m, every combination of overrides is trained and scored, and no model is kept.
    """
    return _run_or_sweep(("train",), overrides, multirun, jobs, online)


@command("crosshead evaluate")
@overrides_argument
def evaluate(overrides: tuple[str, ...]) -> int:
    """Score the trained tagger and write the report.

    Writes reports/report.html; the first model that is evaluated becomes the champion.
    """
    return _run(("evaluate",), overrides)


def _run_or_sweep(
    stages: Sequence[str], overrides: Sequence[str], multirun: bool, jobs: int | None, online: bool
) -> int:
    if not multirun:
        if jobs is not None:
            raise click.UsageError("--jobs says how many jobs of a sweep run at once; add -m")
        return _run(stages, overrides, online=online)
    if online:
        os.environ["HF_HUB_OFFLINE"] = "0"
    from crosshead.cli.sweep import run_sweep

    return run_sweep(overrides, prepare="prepare" in stages, n_jobs=jobs)


@contextmanager
def _little_tidying() -> Iterator[None]:
    """Let Python look for circular garbage seldom, and take nothing apart at its end.

    The libraries of training make half a million objects that stay. Looking through them again and again, and one by
    one at the end, took a seventh of the time of a run (measured).
    """
    usual = gc.get_threshold()
    gc.set_threshold(N_NEW_OBJECTS, *usual[1:])
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@_little_tidying()
def _run(stages: Sequence[str], overrides: Sequence[str], *, online: bool = False) -> int:
    if online:
        os.environ["HF_HUB_OFFLINE"] = "0"
    from crosshead.cli.alone import alone_in
    from crosshead.cli.output import console, reporter

    out = console()
    settings = load_settings(overrides)
    if "train" in stages:
        _check_encoder(settings)
    seconds: dict[str, float] = {}
    unsent = ""
    with alone_in(getattr(settings, folder) for name in stages for folder in _FOLDERS[name]):
        for name in stages:
            started = time.perf_counter()
            stage = import_training(f"crosshead.stages.{name}")
            with reporter() as report:
                result = stage.run(settings, report, **_besides(name, stages))
            seconds[name] = time.perf_counter() - started
            _SHOW[name](out, settings, result, seconds[name])
            unsent = getattr(result, "unsent", "") or unsent
    if len(stages) > 1:
        each = " · ".join(f"{name} {s:.1f} s" for name, s in seconds.items())
        out.print(f"{each} · in all {sum(seconds.values()):.1f} s", style="dim")
    if unsent:
        raise StoreError(unsent)
    return Exit.OK


def _check_encoder(settings: Settings) -> None:
    """Refuse an encoder that is not there before articles are read, and what was prepared of others is overwritten."""
    from crosshead.encoders.source import source_folder
    from crosshead.training.views import uses_encoder

    settings.encoder.tuned()
    if settings.encoder.source is not None and uses_encoder(settings.view_specs()):
        source_folder(settings.encoder.source)


def _besides(name: str, stages: Sequence[str]) -> dict[str, Any]:
    """Give training something to do while it waits: importing what evaluation needs, if that comes next."""
    if name != "train" or "evaluate" not in stages:
        return {}
    return {"meanwhile": partial(import_training, "crosshead.stages.evaluate")}


def settings_module() -> Any:
    """Import the configuration's module."""
    return import_training("crosshead.settings")


def import_training(module: str) -> Any:
    """Import a module that training needs; what is not installed is named.

    Raises
    ------
    MissingExtraError
        If a library of training is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error.name) from error


def _missing(name: str | None) -> MissingExtraError:
    return MissingExtraError(f"training, and its configuration, ({name} is missing)", "train")


def load_settings(overrides: Sequence[str]) -> Settings:
    """Compose and check the configuration; a wrong key or value is told before the libraries of training are there."""
    import_training("crosshead.values").check(compose(overrides))
    settings: Settings = settings_module().load_settings(list(overrides))
    return settings


def compose(overrides: Sequence[str]) -> Mapping[str, Any]:
    """Compose the configuration and do not check its values; what was composed is remembered."""
    for name in ("hydra", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise _missing(name)
    composed: Mapping[str, Any] = import_training("crosshead.composing").compose(list(overrides))
    return composed


def check_runs(references: Sequence[str]) -> None:
    """Refuse a name that no run bears before the libraries of training are imported; it may be misspelt."""
    tracking = compose(()).get("tracking") or {}
    from crosshead.composing import find_root
    from crosshead.records import mlflow_store, names

    store = mlflow_store.place(find_root(), tracking.get("uri"))
    for reference in references:
        names.check(reference, store)


def _show_prepared(out: Console, settings: Settings, result: Prepared, seconds: float) -> None:
    from crosshead.corpora.corpus import sources_told

    summary: Mapping[str, Any] = result.summary
    splits = summary["splits"]
    _headline(
        out,
        "prepared",
        f"{counted(summary['paragraphs'], 'paragraph')} of {sources_told(summary)}: "
        f"{splits['train']['paragraphs']:,} to train on, {splits['test']['paragraphs']:,} held out",
        seconds,
    )
    agreement = result.headings.overall
    if agreement.share is not None:
        out.print(f"  headings agree with annotations on {agreement.share:.0%} of the paragraphs that have both")
    for unreadable in result.unreadable:
        _note(out, str(unreadable))
    for note in result.notes:
        _note(out, note)
    out.print(f"  table, headings and leaks: {_short(settings, settings.prepared_dir)}", style="dim")


def _show_trained(out: Console, settings: Settings, result: Trained, seconds: float) -> None:
    cached = "" if result.hit_rate is None else f"; {result.hit_rate:.0%} of the texts were in the cache"
    _headline(
        out, "trained", f"macro-F1 {result.scores.macro_f1} cross-validated on the training articles{cached}", seconds
    )
    for warning in result.warnings:
        _note(out, warning)
    run = f", MLflow run {result.run_id}" if result.run_id else ""
    out.print(f"  tagger: {_short(settings, result.bundle_dir)}{run}", style="dim")


def _show_evaluated(out: Console, settings: Settings, result: Evaluated, seconds: float) -> None:
    from crosshead.cli.scores import read_metrics, show_end, show_scores

    _headline(out, "evaluated", "on articles that training never saw", seconds)
    out.print()
    show_scores(out, read_metrics(settings.reports_dir))
    out.print()
    for finding in result.findings:
        _note(out, f"{finding.message} ({finding.code})")
    if result.n_truncated:
        _note(out, f"{counted(result.n_truncated, 'paragraph')} longer than the encoder reads; the end was cut off")
    show_end(out, settings.root, settings.reports_dir, settings.model_dir, registered=result.registered)


_SHOW: dict[str, Callable[[Any, Any, Any, float], None]] = {
    "prepare": _show_prepared,
    "train": _show_trained,
    "evaluate": _show_evaluated,
}


def _headline(out: Console, what: str, told: str, seconds: float) -> None:
    from rich.text import Text

    out.print(Text.assemble((what, "bold green"), (f" in {seconds:.1f} s: ", "dim"), told))


def _note(out: Console, text: str) -> None:
    from rich.text import Text

    out.print(Text.assemble(("  note: ", "yellow"), printable(text)))


def _short(settings: Settings, path: Path) -> str:
    return str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)

"""`crosshead rerun`: train a recorded run again, and see whether it predicts the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.words import counted
from crosshead.errors import ConfigError, DataError

if TYPE_CHECKING:
    from crosshead.records.predictions import Predictions
    from crosshead.records.runs import FoundRun, RunFinder
    from crosshead.schema import Settings

CONFIG = "config.yaml"


@command("crosshead rerun champion", "crosshead rerun 3f2a")
@click.argument("run")
def rerun(run: str) -> int:
    """Train a recorded run again, and compare what it predicts.

    Takes the configuration that the run recorded and the paragraph table that it was trained on, which must be the
    prepared one. Nothing is recorded and nothing is kept. Exit code 1 if a prediction differs by a single bit.
    """
    from crosshead.cli.output import console, reporter
    from crosshead.cli.pipeline import import_training, load_settings

    settings = load_settings(())
    finder = import_training("crosshead.records.runs").finder_of(settings)
    found = finder.find(run)
    recorded = finder.predictions(found)
    _check_same_table(settings, recorded)
    with tempfile.TemporaryDirectory(prefix="crosshead-rerun-") as work, reporter() as report:
        again = _settings_of(finder, found, settings, Path(work))
        import_training("crosshead.stages.train").run(again, report)
        import_training("crosshead.stages.evaluate").run(again, report)
        made = import_training("crosshead.records.predictions").read(again.reports_dir / "predictions.parquet")
    out = console()
    told, same = _compare(recorded, made)
    out.print(f"run {found.shown}: {told}", style="bold green" if same else "bold red", soft_wrap=True)
    return Exit.OK if same else Exit.REFUSED


def _check_same_table(settings: Settings, recorded: Predictions) -> None:
    from crosshead.corpora.corpus import read_summary

    digest = read_summary(settings.prepared_dir)["digest"]
    if digest != recorded.dataset_digest:
        raise DataError(
            f"the run was trained on the paragraph table {recorded.dataset_digest[:12]}, but the prepared one is "
            f"{digest[:12]}; prepare that corpus again, then rerun"
        )


def _settings_of(finder: RunFinder, found: FoundRun, settings: Settings, work: Path) -> Settings:
    """Build the run's own settings, with folders of its own and no tracking."""
    import yaml

    from crosshead.records.runs import FoundRun
    from crosshead.settings import from_plain

    kept = FoundRun(found.shown, run_id=found.run_id) if found.run_id else found
    with finder.file(kept, CONFIG) as path:
        plain: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plain, dict) or not isinstance(plain.get("tracking"), dict):
        raise ConfigError(f"{CONFIG} of run {found.shown} holds no configuration; train it again")
    tracking = {**plain["tracking"], "enabled": False, "log_model": False}
    recorded_cache = settings.root / str(plain.get("cache_dir", ""))
    cache_dir = recorded_cache if recorded_cache.is_dir() else settings.cache_dir
    # A project root of its own, so that no champion is made of what is thrown away.
    root = work / "root"
    shutil.copytree(settings.root / "conf", root / "conf")
    made = from_plain({**plain, "tracking": tracking}, root)
    places = {"cache_dir": cache_dir, "prepared_dir": settings.prepared_dir}
    return made.model_copy(update={**places, "model_dir": root / "models" / "again", "reports_dir": root / "reports"})


def _compare(recorded: Predictions, made: Predictions) -> tuple[str, bool]:
    """Say whether two sets of predictions are equal, bit for bit."""
    import numpy as np

    from crosshead.records.predictions import differing

    if differences := list(differing(recorded, made, ("the record", "the rerun"))):
        return f"it was tested on other paragraphs: {'; '.join(differences)}", False
    if recorded.model.tobytes() == made.model.tobytes():
        return f"the same predictions for {counted(len(recorded), 'paragraph')}, bit for bit", True
    gap = np.abs(recorded.model - made.model)
    answers = int((recorded.answers != made.answers).sum())
    n = int((gap.max(axis=1) > 0).sum())
    told = f"{counted(n, 'paragraph')} of {len(recorded):,} differ, by {gap.max():.2g} at most"
    return f"{told}; {counted(answers, 'answer')} of these differ", False

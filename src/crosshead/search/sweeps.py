"""Many variants in one go: Hydra's sweeper and launcher run the jobs, MLflow shows them under one parent run.

The jobs are what Hydra makes of overrides such as ``classifier=logreg,linear_svm``; where they run is Hydra's launcher,
so ``hydra/launcher=joblib`` runs several at once, and ``submitit_slurm`` or ``ray`` run them on a cluster. A job leaves
its results in a folder of its own, ``models/sweeps/<sweep>/<job>``, and no model: train the one that is wanted.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.composing import unreadable
from crosshead.corpora.corpus import write_file
from crosshead.errors import ConfigError, CrossheadError, StoreError
from crosshead.records import predictions, unsent
from crosshead.records.log_items import LogItem, Tag
from crosshead.records.tracking import RUN_NAME, Tracking
from crosshead.redaction import redact
from crosshead.schema import Settings
from crosshead.search.measuring import Data, Measured, measure, read_data
from crosshead.search.sweep_results import (
    KIND,
    OUT_OF_FOLD,
    OUTCOME,
    OVERRIDES,
    Outcome,
    Sweep,
    describe,
    describe_job,
    rank,
)
from crosshead.settings import CONFIG_NAME, config_digest, from_hydra, load_settings, to_yaml

Prepare = Callable[[Settings], object]
Report = Callable[[str, int, int], None]
Job = Callable[[Outcome], tuple[Outcome, list[LogItem]]]


def launch(
    overrides: Sequence[str], root: Path, *, prepare: Prepare | None = None, report: Report = lambda what, n, of: None
) -> Sweep:
    """Run every job that the overrides ask for, and record them under one parent run.

    Parameters
    ----------
    overrides
        As on Hydra's command line: ``key=a,b`` and ``key=range(1,4)`` make several jobs, ``hydra/launcher=NAME``
        chooses where they run.
    prepare
        Called with a job's settings where the paragraph table is to be prepared first; a function of a module, since it
        travels to other processes by name.

    Raises
    ------
    ConfigError
        If a job's configuration cannot be used; nothing has started then.
    CrossheadError
        If every job failed; the error of the first.
    """
    jobs, varied = plan(overrides, root)
    settings = _check(jobs, varied, root)
    folder = _make_folder(root)
    job = partial(_run_job, root=root, folder=folder, varied=varied, prepare=prepare)
    if not settings.tracking.enabled:
        return _finish(rank(folder, _multirun(partial(job, parent_run_id=None), overrides, folder, len(jobs), report)))
    # The store is migrated, and the experiment made, by whoever opens the parent run: before any job can start.
    tracking = Tracking.at(root, settings.tracking.experiment, settings.tracking.uri)
    tags = [Tag(KIND, "sweep"), Tag(OVERRIDES, redact(" ".join(overrides))), Tag("crosshead.sweep", folder.name)]
    sweep: Sweep | None = None
    try:
        with tracking.run(f"sweep · {' × '.join(varied) or 'one job'}", tags=tags) as parent:
            outcomes = _multirun(partial(job, parent_run_id=parent.run_id), overrides, folder, len(jobs), report)
            sweep = rank(folder, outcomes, parent.run_id)
            parent.log(describe(sweep))
            return _finish(sweep)
    except StoreError as lost:
        if sweep is None:
            raise
        return replace(sweep, unsent=str(lost))


def plan(overrides: Sequence[str], root: Path) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """List the overrides of each job, and the keys in which the jobs differ.

    Raises
    ------
    ConfigError
        If Hydra cannot read an override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    with _hydra(root) as hydra:
        try:
            cfg = hydra.compose_config(
                config_name=CONFIG_NAME,
                overrides=list(overrides),
                run_mode=_multirun_mode(),
                with_log_configuration=False,
                validate_sweep_overrides=False,
            )
            given = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items()]
            parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(
                [*given, *cfg.hydra.overrides.task]
            )
        except HydraException as error:
            told = next(filter(None, map(unreadable, overrides)), "")
            raise ConfigError(redact(told or _explained(str(error)))) from error
    jobs: list[tuple[str, ...]] = [()]
    values = {override.get_key_element(): _values(override) for override in parsed}
    for key, choices in values.items():
        jobs = [(*job, f"{key}={choice}") for job in jobs for choice in choices]
    return jobs, tuple(key for key, choices in values.items() if len(choices) > 1)


def _explained(message: str) -> str:
    """Say what Hydra says, and of a launcher that is not there, how to get one."""
    text = " ".join(message.split())
    missing = re.search(
        r"Could not find 'hydra/launcher/(\S+)' Available options in 'hydra/launcher': (.*) Config", text
    )
    if missing is None:
        return f"the sweep cannot be read: {text}"
    return (
        f"no launcher {missing[1]!r} is installed, there are {', '.join(missing[2].split())}; others are packages, "
        "such as hydra-submitit-launcher and hydra-ray-launcher"
    )


def _values(override: Any) -> list[str]:
    if override.is_sweep_override() and override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _check(jobs: Sequence[Sequence[str]], varied: Sequence[str], root: Path) -> Settings:
    """Check every value that is varied once, in the first job that has it; return the first job's settings."""
    seen: set[str] = set()
    first: Settings | None = None
    for job in jobs:
        values = {override for override in job if override.partition("=")[0] in varied}
        if first is None or values - seen:
            settings = load_settings(job, root)
            first, seen = first or settings, seen | values
    assert first is not None
    return first


def _make_folder(root: Path) -> Path:
    folder = root / "models" / "sweeps" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    return folder


# -- Hydra -------------------------------------------------------------------------------------------------------------


@contextmanager
def _hydra(root: Path) -> Iterator[Any]:
    """Give Hydra's own object for the project's conf/: what `hydra.main` drives too."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(config_dir=str(root / "conf"), version_base="1.3", job_name="crosshead"):
        yield GlobalHydra.instance().hydra


def _multirun_mode() -> Any:
    from hydra.types import RunMode

    return RunMode.MULTIRUN


def _multirun(
    job: Callable[[Any], Outcome], overrides: Sequence[str], folder: Path, n_jobs: int, report: Report
) -> tuple[Outcome, ...]:
    """Let Hydra's sweeper and launcher run the jobs, and count those that are done by the files that they leave."""
    own = [
        f"hydra.sweep.dir={_quoted(str(folder))}",
        "hydra.sweep.subdir=${hydra:job.num}",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
    done = threading.Event()

    def watch() -> None:
        last = -1
        while not done.wait(0.3):
            if (n_done := len(list(folder.glob(f"*/{OUTCOME}")))) != last:
                report("jobs", n_done, n_jobs)
            last = n_done

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with _hydra(root=folder.parents[2]) as hydra:
            batches = hydra.multirun(
                config_name=CONFIG_NAME,
                task_function=job,
                overrides=[*own, *overrides],
                with_log_configuration=False,
            )
    finally:
        done.set()
        watcher.join()
    return tuple(done.return_value for batch in batches for done in batch)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# -- one job -----------------------------------------------------------------------------------------------------------


def _run_job(
    cfg: Any, *, root: Path, folder: Path, varied: Sequence[str], prepare: Prepare | None, parent_run_id: str | None
) -> Outcome:
    """Run one job wherever Hydra's launcher put it; an error becomes part of the outcome, and others go on."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    number, overrides = int(hydra.job.num), tuple(map(redact, hydra.overrides.task))
    label = " ".join(o for o in overrides if o.partition("=")[0] in varied) or " ".join(overrides) or "default"
    outcome = Outcome(number, overrides, label, seconds=0.0)
    started = time.perf_counter()
    try:
        settings = from_hydra(cfg, root)
        tracking = Tracking.at(root, settings.tracking.experiment, settings.tracking.uri) if parent_run_id else None
        outcome = _recorded(outcome, tracking, parent_run_id, partial(_do_job, settings, folder, prepare))
    except Exception as error:
        told = str(error) if isinstance(error, CrossheadError) else f"{type(error).__name__}: {error}"
        outcome = replace(outcome, error=redact(told))
    outcome = replace(outcome, seconds=time.perf_counter() - started)
    write_file(folder / str(number) / OUTCOME, (json.dumps(asdict(outcome), indent=1) + "\n").encode())
    return outcome


def _recorded(outcome: Outcome, tracking: Tracking | None, parent_run_id: str | None, do: Job) -> Outcome:
    """Do a job and record it below the parent run; a lost store costs no result.

    The parent comes as an argument of the job: with MLFLOW_RUN_ID, every job would write into the parent itself.
    """
    if tracking is None:
        return do(outcome)[0]
    tags = [Tag(KIND, "job"), Tag(OVERRIDES, " ".join(outcome.overrides))]
    try:
        with tracking.run(outcome.label, parent_run_id=parent_run_id, tags=tags) as run:
            outcome, items = do(replace(outcome, run_id=run.run_id))
            run.log(items)  # what it cannot send, it keeps
            return outcome
    except StoreError as lost:
        if outcome.cross_validated is None:
            outcome, items = do(replace(outcome, run_id=unsent.local_id()))
            names = [Tag(RUN_NAME, outcome.label), Tag("mlflow.parentRunId", parent_run_id or "")]
            unsent.keep(tracking.unsent_dir, outcome.run_id or "", [*names, *tags, *items])
        return replace(outcome, unsent=str(lost))


def _do_job(
    settings: Settings, folder: Path, prepare: Prepare | None, outcome: Outcome
) -> tuple[Outcome, list[LogItem]]:
    """Prepare if asked to, train, score, and write what was found into the job's own folder."""
    started = time.perf_counter()
    if prepare is not None:
        settings = _prepared(settings, folder, prepare)
    data = read_data(settings)
    measured = measure(settings, data)
    outcome = _written(settings, outcome, folder / str(outcome.number), data, measured)
    outcome = replace(outcome, seconds=time.perf_counter() - started)
    return outcome, list(describe_job(settings, outcome, folder / str(outcome.number), data, measured))


def _prepared(settings: Settings, folder: Path, prepare: Prepare) -> Settings:
    """Prepare the paragraph table of a job, once for all jobs that share it."""
    from crosshead.locks import Lock

    decides = ("taxonomy", "corpus", "seed", "on_unreadable")
    digest = config_digest({name: settings.resolved.get(name) for name in decides})[:12]
    settings = settings.model_copy(update={"prepared_dir": folder / f"prepared-{digest}"})
    with Lock(folder / f"prepared-{digest}.lock"):
        if not (settings.prepared_dir / "corpus.json").is_file():
            prepare(settings)
    return settings


def _written(settings: Settings, outcome: Outcome, folder: Path, data: Data, measured: Measured) -> Outcome:
    """Write what a job found into its folder."""
    predictions.write(folder / predictions.FILE, measured.predictions)
    np.savez_compressed(
        folder / OUT_OF_FOLD,
        paragraph_id=np.array(data.train["paragraph_id"])[data.asked],
        article_id=np.array(data.train["article_id"])[data.asked],
        y=data.tested.y,
        proba=measured.out_of_fold,
    )
    write_file(folder / "config.yaml", to_yaml(settings.resolved).encode())
    return replace(
        outcome,
        config_digest=config_digest(settings.resolved),
        dataset_digest=data.digest,
        cross_validated=measured.cross_validated.as_dict(),
        test=measured.test.as_dict(),
    )


def _finish(sweep: Sweep) -> Sweep:
    if len(sweep.failed) == len(sweep.outcomes):
        first = min(sweep.outcomes, key=lambda outcome: outcome.number)
        raise ConfigError(f"no job of the sweep succeeded; the first ({first.label}) ended with: {first.error}")
    return sweep

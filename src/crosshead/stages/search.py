"""Search: which values of a configuration give the best cross-validated score on the training articles."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crosshead import __version__
from crosshead.corpora.corpus import write_file
from crosshead.encoders.engines import n_cores
from crosshead.encoders.source import weights_digest
from crosshead.errors import ConfigError, DataError
from crosshead.evaluation.comparison import Comparison, paired_bootstrap
from crosshead.evaluation.methodology import Finding
from crosshead.locks import Lock, Timeout
from crosshead.records.lineage import git_state, learned_from, lineage
from crosshead.records.log_items import FileArtifact, LogItem, TextArtifact
from crosshead.records.tracking import Tracking
from crosshead.schema import Settings
from crosshead.search.checks import deciding, keep_search_findings
from crosshead.search.measuring import Data, read_data
from crosshead.search.plots import plot_history, plot_importances
from crosshead.search.records import Recorder, describe_result
from crosshead.search.searching import Scorer
from crosshead.search.space import SearchSettings, Value
from crosshead.search.study import Study, Trial
from crosshead.search.variations import Variations, widenable
from crosshead.settings import config_digest, load_settings, to_yaml

Report = Callable[[str, int, int], None]
EDGE = "CH020"
BEST, TRIALS, HISTORY, IMPORTANCES = "best.yaml", "trials.csv", "history.svg", "importances.svg"
MARK = "Written by `crosshead search`"


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Searched:
    """What a search found."""

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial
    differing: dict[str, Value]
    """The best values, as far as they differ from the configuration that the search started from."""
    overrides: tuple[str, ...]
    """What to give to `crosshead train` for the best configuration."""
    before: float
    """Score of the configuration that the search started from."""
    gain: Comparison
    """Of the best configuration over that one, on the same out-of-fold paragraphs: those that it was chosen by."""
    importances: dict[str, float]
    findings: tuple[Finding, ...]
    experiment: str
    """The best configuration as a file for conf/experiment/."""
    n_before: int
    """Trials that an earlier attempt had finished."""
    n_encoded: int
    """Texts that had to be encoded, because they were not in the cache."""
    recorded: bool
    """False where another process records this search."""
    run_id: str | None = None
    unsent: str = ""
    """Why the store did not take everything."""
    warnings: tuple[str, ...] = ()
    """What is to be known of the paragraphs that the trials were measured on."""


def run(settings: Settings, overrides: Sequence[str] = (), report: Report = _silent) -> Searched:
    """Search, or go on with a search that was broken off, or help one that is going on.

    Parameters
    ----------
    overrides
        What ``settings`` were composed of, as every trial is composed anew.

    Raises
    ------
    ConfigError
        If nothing says what to vary.
    DataError
        If no trial succeeded.
    StoreError
        If the MLflow store cannot be opened; one that is lost on the way ends nothing, see `Searched.unsent`.
    """
    search = _search_of(settings)
    variations = Variations(overrides, settings.root)
    data = read_data(settings)
    folder = study_folder(settings, search, data)
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)
    with _first_come(folder / "recorder.lock") as is_first, _scorer(settings, search, data, report) as scorer:
        records = tracking if settings.tracking.enabled and is_first else None
        with _study(settings, search, variations, data, folder) as study:
            n_before = len(study.trials())
            with Recorder(records, folder, search, describe(settings, data)) as recorder:
                after = partial(_after, study, recorder, report)
                after()
                with _helpers(search.workers - 1 if is_first else 0, settings.root, overrides):
                    _work(study, scorer, variations, after)
                searched = _conclude(settings, variations, study, scorer, n_before, is_first, recorder.run_id)
                if is_first:
                    best = variations.plain(searched.best.values)
                    keep_search_findings(folder, best, searched.findings, len(searched.trials))
                    recorder.finish(searched.trials, list(_write(searched, search)))
    if recorder.lost is None:
        return searched
    return replace(
        searched, unsent=f"{recorder.lost}; the search is finished, the same command records what is missing"
    )


def help_search(root: str, overrides: Sequence[str]) -> None:
    """Work on a search in a process of its own until there is nothing left to do."""
    settings = load_settings(overrides, Path(root))
    search = _search_of(settings)
    variations = Variations(overrides, settings.root)
    data = read_data(settings)
    with (
        _scorer(settings, search, data, _silent) as scorer,
        _study(settings, search, variations, data, study_folder(settings, search, data)) as study,
    ):
        study.run(partial(_scores, scorer, variations), lambda: None)


def study_folder(settings: Settings, search: SearchSettings, data: Data) -> Path:
    """Name a search by everything that decides its scores: the same search goes on, another one begins anew."""
    decides = {
        "base": deciding(settings.resolved),
        "search": search.model_dump(mode="json", exclude={"trials", "workers"}),
        "data": data.digest,
        "versions": [__version__, version("scikit-learn"), version("optuna")],
    }
    if settings.encoder.tuned() is not None:  # the folder stays, and fine-tuning again changes what is in it
        decides["encoder"] = weights_digest(Path(settings.encoder.source or ""))
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()
    return settings.root / "models" / "search" / f"{search.name}-{digest[:10]}"


def save_experiment(searched: Searched, root: Path, name: str) -> Path:
    """Write the best configuration into conf/experiment/, where `experiment=NAME` finds it.

    Raises
    ------
    ConfigError
        If the name cannot be one, or a file of that name was not written by a search.
    """
    if not name.replace("-", "_").isidentifier():
        raise ConfigError(f"the experiment's name is {name!r}; give letters, digits, '-' and '_', a letter first")
    path = root / "conf" / "experiment" / f"{name}.yaml"
    if path.exists() and MARK not in path.read_text(encoding="utf-8"):
        raise ConfigError(f"conf/experiment/{name}.yaml is there already, and not from a search; give another name")
    write_file(path, searched.experiment.encode())
    return path


def describe(settings: Settings, data: Data) -> Iterator[LogItem]:
    """Say what the run of a search should record when it begins."""
    yield from lineage(git_state(settings.root), config_digest(settings.resolved), to_yaml(settings.resolved))
    yield from learned_from(data.digest, len(data.paragraphs.texts))


# -- inside ------------------------------------------------------------------------------------------------------------


def _search_of(settings: Settings) -> SearchSettings:
    if settings.search is None:
        raise ConfigError("nothing says what to vary; choose a file of conf/search/, such as search=default")
    return settings.search


@contextmanager
def _first_come(path: Path) -> Iterator[bool]:
    """Say if no other process holds the lock, which is then held; the first one records and starts helpers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _scorer(settings: Settings, search: SearchSettings, data: Data, report: Report) -> Scorer:
    longest = max((int(d.high or 1) for d in search.space.values() if d.key.endswith(".n_max")), default=1)
    n_threads = max(1, n_cores() // search.workers)
    scorer = Scorer(data, search.objective, longest=longest, n_threads=n_threads, report=report)
    scorer.read(settings)  # whatever is not in the cache is encoded here, before the first trial
    return scorer


def _study(settings: Settings, search: SearchSettings, variations: Variations, data: Data, folder: Path) -> Study:
    first = {dimension.key: variations.current(dimension.key) for dimension in search.space.values()}
    return Study(folder, search, settings.seed, n_steps=len(data.folds), first=first)


def _scores(scorer: Scorer, variations: Variations, values: dict[str, Value]) -> Generator[float]:
    yield from scorer.scores(variations.settings(values))


def _after(study: Study, recorder: Recorder, report: Report) -> None:
    trials = study.trials()
    report("trials", len(trials), max(study.search.trials, len(trials)))
    recorder.record(trials)


def _work(study: Study, scorer: Scorer, variations: Variations, after: Callable[[], None]) -> None:
    """Try until every trial is finished, also those of processes that died meanwhile."""
    while study.unfinished:
        study.run(partial(_scores, scorer, variations), after)
        if study.unfinished:
            time.sleep(0.1)
        after()


@contextmanager
def _helpers(n: int, root: Path, overrides: Sequence[str]) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy threads of BLAS and of the encoder half-way
    helpers = [spawn.Process(target=help_search, args=(str(root), tuple(overrides)), daemon=True) for _ in range(n)]
    for helper in helpers:
        helper.start()
    try:
        yield
        for helper in helpers:
            helper.join()
    finally:
        for helper in helpers:
            helper.terminate()


def _conclude(
    settings: Settings,
    variations: Variations,
    study: Study,
    scorer: Scorer,
    n_before: int,
    is_first: bool,
    run_id: str | None,
) -> Searched:
    trials, best, search = tuple(study.trials()), study.best(), study.search
    if best is None or best.score is None:
        reasons = [trial.error for trial in trials if trial.error]
        told = f"; the first ended with: {reasons[0]}" if reasons else ""
        raise DataError(f"none of {len(trials)} trials could be trained{told}")
    data = scorer.data
    judged = data.tested.judged
    before, after = (scorer.out_of_fold(variations.settings(values))[judged] for values in ({}, best.values))
    types, own = data.section_types, data.tested.take(judged)
    gain = paired_bootstrap(
        own.y, before, after, own.article_ids, metric=search.objective, section_types=types, seed=settings.seed
    )
    differing = variations.differing(best.values)
    n_complete = sum(trial.state == "complete" for trial in trials)
    about = (
        f"{MARK} {search.name}: best of {len(trials)} trials, {n_complete} of them over all folds.\n"
        f"{search.objective} {gain.b:.4f} cross-validated, {gain.a:.4f} before; paragraph table {data.digest[:12]}."
        + "".join(f"\n{warning}." for warning in data.warnings)
    )
    return Searched(
        folder=study.folder,
        trials=trials,
        best=best,
        differing=differing,
        overrides=tuple(variations.as_overrides(best.values)),
        before=gain.a,
        gain=gain,
        importances=study.importances(),
        findings=tuple(_edges(variations, search, best)),
        experiment=variations.as_experiment(best.values, about),
        n_before=n_before,
        n_encoded=scorer.n_encoded,
        recorded=is_first,
        run_id=run_id,
        warnings=data.warnings,
    )


def _edges(variations: Variations, search: SearchSettings, best: Trial) -> Iterator[Finding]:
    """Warn where the best value lies at the end of its range and the range could be wider."""
    for name, dimension in search.space.items():
        if name not in best.params:
            continue
        if end := widenable(variations, search, name, best.values):
            value = best.values[dimension.key]
            yield Finding(
                EDGE,
                "warning",
                f"The best {dimension.key} found is {value}, at the {end} end of its range; a better one may lie "
                f"beyond: widen search.space.{name}.{end}.",
            )


def _write(searched: Searched, search: SearchSettings) -> Iterator[LogItem]:
    """Write the result into the folder of the search, and say what of it to record."""
    folder = searched.folder
    write_file(folder / BEST, searched.experiment.encode())
    write_file(folder / TRIALS, _csv(searched.trials, search))
    drawn: dict[str, Any] = {HISTORY: plot_history(searched.trials, search.objective, first=searched.before)}
    if searched.importances:
        drawn[IMPORTANCES] = plot_importances(searched.importances)
    for name, plot in drawn.items():
        write_file(folder / name, plot.data)
        yield TextArtifact(f"{name}.txt", plot.alt)
    for name in (BEST, TRIALS, *drawn):
        yield FileArtifact(folder / name)
    yield from describe_result(searched.trials, searched.best, search.objective, searched.importances)


def _csv(trials: Sequence[Trial], search: SearchSettings) -> bytes:
    keys = list(dict.fromkeys(dimension.key for dimension in search.space.values()))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", "folds", search.objective, "seconds", *keys])
    for trial in trials:
        score = "" if trial.score is None else f"{trial.score:.6f}"
        values = [trial.values.get(key, "") for key in keys]
        writer.writerow([trial.number + 1, trial.state, len(trial.steps), score, f"{trial.seconds:.2f}", *values])
    return buffer.getvalue().encode()

"""One search on disk: what was tried, what is being tried and by whom, and what to try next.

The only module that knows Optuna. Several processes share a study through its journal, a file that only grows; each
holds a lock for as long as it lives, which the operating system gives back whatever ends it. So a trial whose process
was killed is told from one that is slow: it is marked failed, and its values are tried again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from crosshead.errors import CrossheadError, DataError
from crosshead.locks import Lock, Timeout
from crosshead.search.space import OBJECTIVES, SearchSettings, Value

JOURNAL = "journal.log"
_NAME = "search"
_WORKER, _RETRY_OF, _ERROR = "worker", "retry_of", "error"
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


Scores = Callable[[dict[str, Value]], Generator[float]]
"""Yields the score of a configuration after one fold, two folds, …, all folds."""


@dataclass(frozen=True)
class Trial:
    """One finished trial."""

    number: int
    state: str
    """``complete``, ``pruned``, or ``failed``: its configuration could not be trained."""
    values: Mapping[str, Value]
    """By configuration key."""
    params: Mapping[str, Value]
    """By name of the dimension, as the sampler chose them: before rounding."""
    score: float | None
    """Over all folds; of a pruned trial, over those that it got to."""
    steps: tuple[float, ...]
    """The score after each fold."""
    seconds: float
    error: str = ""


class Study(AbstractContextManager["Study"]):
    """A search in a folder. Opening it again goes on with it.

    Parameters
    ----------
    n_steps
        Folds.
    first
        Values by configuration key that are tried first, so that the search does not end below what there is already.

    Raises
    ------
    DataError
        If the journal is damaged.
    """

    def __init__(
        self, folder: Path, search: SearchSettings, seed: int, *, n_steps: int, first: Mapping[str, Value]
    ) -> None:
        self.folder = folder
        self.search = search
        self.seed = seed
        self.n_steps = n_steps
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        (folder / "workers").mkdir(parents=True, exist_ok=True)
        self._lock = Lock(folder / "study.lock")
        self._alive = Lock(self._worker_path(self.worker))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self._lock:
            self._study = self._open()
            if not self._study.get_trials(deepcopy=False) and (params := self._params_of(first)):
                self._study.enqueue_trial(params)

    def __enter__(self) -> Self:
        """Show that this process lives."""
        self._alive.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave; a trial that is still open is taken up by another process, or next time."""
        self._alive.release()
        self._worker_path(self.worker).unlink(missing_ok=True)

    def run(self, scores: Scores, after: Callable[[], None]) -> None:
        """Try configurations until there are enough trials.

        Parameters
        ----------
        scores
            Given the values of a trial by configuration key.
        after
            Called after every trial.
        """
        while (trial := self._begin()) is not None:
            self._try(trial, scores)
            after()

    @property
    def unfinished(self) -> bool:
        """Whether trials are missing; another process may be at work on them."""
        return len(self.trials()) < self.search.trials

    def trials(self) -> list[Trial]:
        """Return the finished trials in order; those that were broken off are not among them."""
        return [self._read(t) for t in self._study.get_trials(deepcopy=False) if _is_done(t)]

    def best(self) -> Trial | None:
        """Return the best complete trial; of equal ones, the first."""
        sign = 1 if OBJECTIVES[self.search.objective] == "maximize" else -1
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        return max(complete, key=lambda trial: (sign * (trial.score or 0.0), -trial.number), default=None)

    def importances(self) -> dict[str, float]:
        """Return how much each dimension decides whether a trial is among the better ones; empty where it's not known.

        References
        ----------
        Watanabe, Bansal and Hutter (2023), PED-ANOVA, arXiv:2304.10255.
        """
        complete = {trial.score for trial in self.trials() if trial.state == "complete"}
        if len(complete) < 4:
            return {}
        found = optuna.importance.get_param_importances(self._study)
        return {name: float(share) for name, share in found.items() if np.isfinite(share)}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open(self) -> optuna.Study:
        try:
            lock: Any = _JournalLock(self.folder)
            backend = JournalFileBackend(str(self.folder / JOURNAL), lock_obj=lock)
            return optuna.create_study(
                storage=JournalStorage(backend),
                study_name=_NAME,
                direction=OBJECTIVES[self.search.objective],
                pruner=_MedianOfStep(self.search.startup_trials),
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the search in {self.folder} is damaged ({type(error).__name__}: {error}); "
                "delete the folder to begin anew"
            ) from error

    def _begin(self) -> optuna.Trial | None:
        """Take the next trial; None where enough are finished or being worked on."""
        with self._lock:
            self._take_up_dead()
            trials = self._study.get_trials(deepcopy=False)
            n_begun = sum(_is_done(trial) or trial.state == TrialState.RUNNING for trial in trials)
            if n_begun >= self.search.trials:
                return None
            # Seeded by how far the search is, so that one that was broken off goes on as it would have gone on.
            seed = np.random.SeedSequence([self.seed, n_begun]).generate_state(1)[0]
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seed), n_startup_trials=self.search.startup_trials
            )
            trial = self._study.ask()
            trial.set_user_attr(_WORKER, self.worker)
            return trial

    def _try(self, trial: optuna.Trial, scores: Scores) -> None:
        steps = scores(self._suggest(trial))
        try:
            for step, score in enumerate(steps, start=1):
                trial.report(score, step)
                if step == self.n_steps:
                    self._study.tell(trial, score)
                    return
                if self.search.prune and trial.should_prune():
                    self._study.tell(trial, state=TrialState.PRUNED)
                    return
        except CrossheadError as error:
            trial.set_user_attr(_ERROR, str(error))
            self._study.tell(trial, state=TrialState.FAIL)
        finally:
            steps.close()

    def _suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, dimension in self.search.space.items():
            if not self.search.active(name, values):
                continue
            if dimension.type == "categorical":
                chosen: Any = trial.suggest_categorical(name, list(dimension.choices))
            elif dimension.type == "int":
                low, high, step = int(dimension.low or 0), int(dimension.high or 0), int(dimension.step or 1)
                chosen = trial.suggest_int(name, low, high, step=step, log=dimension.log)
            else:
                low_, high_ = float(dimension.low or 0.0), float(dimension.high or 0.0)
                chosen = trial.suggest_float(name, low_, high_, step=dimension.step, log=dimension.log)
            values[dimension.key] = dimension.shown(chosen)
        return values

    def _params_of(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the dimensions that have these values, or the nearest steps; nothing where one is out of its range."""
        active = {name: dim for name, dim in self.search.space.items() if self.search.active(name, values)}
        if not all(dimension.holds(values.get(dimension.key)) for dimension in active.values()):
            return {}
        return {name: dimension.on_step(values[dimension.key]) for name, dimension in active.items()}

    def _take_up_dead(self) -> None:
        """Mark trials failed whose process is gone, and queue their values once more, each once."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and not self._lives(trial.user_attrs.get(_WORKER)):
                self._study.tell(trial.number, state=TrialState.FAIL)
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(_RETRY_OF) for trial in trials}
        for trial in trials:
            was_broken_off = trial.state == TrialState.FAIL and not _is_done(trial)
            if was_broken_off and trial.number not in retried and (values := self._to_try_again(trial)):
                self._study.enqueue_trial(values, user_attrs={_RETRY_OF: trial.number})

    def _to_try_again(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """Return the values that a trial had, or was to have.

        Of one that died while they were drawn, only those that were given: the rest is drawn by the next trial as it
        would have been here, and half of the draws would leave other ones for the other half.
        """
        values: dict[str, Value] = {}
        for name, dimension in self.search.space.items():
            if self.search.active(name, values):
                if name not in trial.params:
                    return dict(trial.system_attrs.get("fixed_params", {}))
                values[dimension.key] = dimension.shown(trial.params[name])
        return {**trial.system_attrs.get("fixed_params", {}), **trial.params}

    def _lives(self, worker: str | None) -> bool:
        if worker is None:  # it died between taking the trial and putting its name to it
            return False
        if worker == self.worker:
            return False  # taken, and left by an error
        path = self._worker_path(worker)
        if not path.exists():
            return False
        lock = Lock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False

    def _worker_path(self, worker: str) -> Path:
        return self.folder / "workers" / f"{worker}.lock"

    def _read(self, trial: optuna.trial.FrozenTrial) -> Trial:
        values: dict[str, Value] = {}
        for name, dimension in self.search.space.items():
            if name in trial.params and self.search.active(name, values):
                values[dimension.key] = dimension.shown(trial.params[name])
        steps = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        took = max(0.0, trial.duration.total_seconds()) if trial.duration else 0.0  # a clock may be set back
        return Trial(
            number=trial.number,
            state=_STATES[trial.state],
            values=values,
            params=trial.params,
            score=steps[-1] if steps else None,
            steps=steps,
            seconds=took,
            error=trial.user_attrs.get(_ERROR, ""),
        )


class _MedianOfStep(optuna.pruners.BasePruner):
    """Prune a trial that is worse, after as many folds, than the median of the complete trials.

    Optuna's own median pruner compares the best score that a trial ever had; after other folds, though, other
    paragraphs are scored, and the best score may only mean that the first fold is easy. The first fold alone prunes
    nothing.
    """

    def __init__(self, n_startup_trials: int) -> None:
        self._n_startup_trials = n_startup_trials

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Say if the trial is to end."""
        step = trial.last_step
        if step is None or step < 2:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < self._n_startup_trials:
            return False
        median = float(np.median([other.intermediate_values[step] for other in complete]))
        own = trial.intermediate_values[step]
        return own < median if study.direction == optuna.study.StudyDirection.MAXIMIZE else own > median


class _JournalLock:
    """Lock of the journal that the operating system gives back when its holder is killed; Optuna's own does not.

    Who takes it finds whole lines: what a killed process left of one is cut off before another is written behind it.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = folder / JOURNAL
        self._lock = Lock(folder / "journal.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        _repair(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def _repair(journal: Path) -> None:
    """Cut off a last line that was not written to its end, which Optuna would take for damage."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def _is_done(trial: optuna.trial.FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and _ERROR in trial.user_attrs
    )

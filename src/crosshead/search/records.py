"""What a search records in MLflow: a parent run, and below it a run for every trial, while the search goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from crosshead.corpora.corpus import write_file
from crosshead.errors import StoreError
from crosshead.records.log_items import LogItem, Metric, Param, Tag
from crosshead.records.mlflow_store import explained
from crosshead.records.tracking import Run, Tracking
from crosshead.search.space import SearchSettings
from crosshead.search.study import Trial
from crosshead.search.sweep_results import KIND

RUN = "run.json"
TRIAL = "crosshead.trial"
_PAGE = 1000


class Recorder(AbstractContextManager["Recorder"]):
    """Records the trials of one search, each once, also over several attempts; the search does not wait for the store.

    A store that gets lost on the way does not end the search: `lost` then holds the error, and the same command
    records what is missing later.

    Parameters
    ----------
    tracking
        None records nothing.
    items
        What the parent run records at once.
    """

    def __init__(
        self, tracking: Tracking | None, folder: Path, search: SearchSettings, items: Iterable[LogItem]
    ) -> None:
        self.lost: StoreError | None = None
        self._tracking = tracking
        self._folder = folder
        self._search = search
        self._items = list(items)
        self._parent: Run | None = None
        self._recorded: set[int] = set()
        self._stack = ExitStack()
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    @property
    def run_id(self) -> str | None:
        """The parent run."""
        return self._parent.run_id if self._parent else None

    def __enter__(self) -> Self:
        """Open the parent run, or go on with that of an earlier attempt."""
        if self._tracking is None:
            return self
        known = self._known_run(self._tracking)
        name, tags = f"search · {self._search.name}", [Tag(KIND, "search"), Tag("crosshead.search", self._folder.name)]
        self._parent = self._stack.enter_context(self._tracking.run(name, run_id=known, tags=tags))
        write_file(self._folder / RUN, json.dumps({"run_id": self._parent.run_id}).encode())
        if known:
            self._recorded = self._recorded_trials(self._tracking, known)
        else:
            self._parent.log(self._items)
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown(cancel_futures=True)
        try:
            self._stack.__exit__(*error)  # type: ignore[arg-type]
        except StoreError as lost:
            self.lost = self.lost or lost

    def record(self, trials: Sequence[Trial]) -> None:
        """Record the trials that are not recorded yet, or leave them to the next call while others are being sent."""
        if self._writing is not None:
            if not self._writing.done():
                return
            self._writing.result()
        self._writing = self._writer.submit(self._record_all, trials)

    def _record_all(self, trials: Sequence[Trial]) -> None:
        if self._parent is None or self._tracking is None or self.lost:
            return
        try:
            for trial in trials:
                if trial.number not in self._recorded:
                    self._record(self._tracking, self._parent.run_id, trial)
                    self._recorded.add(trial.number)
        except StoreError as lost:
            self.lost = lost

    def finish(self, trials: Sequence[Trial], items: Iterable[LogItem]) -> None:
        """Record the trials that are still missing, and the result on the parent run."""
        if self._writing is not None:
            self._writing.result()
        self._record_all(trials)
        if self._parent is None or self.lost:
            return
        try:
            self._parent.log(items)
        except StoreError as lost:
            self.lost = lost

    def _record(self, tracking: Tracking, parent_run_id: str, trial: Trial) -> None:
        tags = [Tag(KIND, "trial"), Tag(TRIAL, str(trial.number)), Tag("crosshead.state", trial.state)]
        with tracking.run(f"trial {trial.number + 1}", parent_run_id=parent_run_id, tags=tags) as run:
            run.log(describe_trial(trial, self._search.objective))

    def _known_run(self, tracking: Tracking) -> str | None:
        """Return the run of an earlier attempt, if the store has it."""
        try:
            run_id = json.loads((self._folder / RUN).read_text(encoding="utf-8"))["run_id"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with explained(tracking.place, f"opening run {run_id}"):
            return str(run_id) if tracking.find_run(run_id) is not None else None

    def _recorded_trials(self, tracking: Tracking, parent_run_id: str) -> set[int]:
        """Return the numbers of trials whose run was closed properly; one that was broken off is recorded again."""
        found: set[int] = set()
        token: str | None = None
        wanted = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and attributes.status = 'FINISHED'"
        while True:
            with explained(tracking.place, "reading the trials of an earlier attempt"):
                page = tracking.client.search_runs(
                    [tracking.experiment_id], wanted, max_results=_PAGE, page_token=token
                )
            found |= {int(run.data.tags[TRIAL]) for run in page if TRIAL in run.data.tags}
            token = page.token
            if not token:
                return found


def describe_trial(trial: Trial, objective: str) -> Iterator[LogItem]:
    """Say what the run of a trial should record."""
    for key, value in trial.values.items():
        yield Param(key, value)
    for step, score in enumerate(trial.steps, start=1):
        yield Metric(f"fold_{objective}", score, step)
    if trial.state == "complete" and trial.score is not None:
        yield Metric(f"cv_{objective}", trial.score)
    yield Metric("seconds", trial.seconds)
    if trial.error:
        yield Tag("crosshead.error", trial.error[:500])


def describe_result(
    trials: Sequence[Trial], best: Trial, objective: str, importances: Mapping[str, float]
) -> Iterator[LogItem]:
    """Say what the parent run should record in the end; metrics, since a parameter could not change if more follow."""
    for state in ("complete", "pruned", "failed"):
        yield Metric(f"n_{state}", sum(trial.state == state for trial in trials))
    if best.score is not None:
        yield Metric(f"best_cv_{objective}", best.score)
    yield Tag("crosshead.best", " ".join(f"{key}={value}" for key, value in best.values.items()))
    for name, share in importances.items():
        yield Metric(f"importance_{name}", share)

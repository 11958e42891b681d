"""Promotion: decide by the gate whether a run becomes the champion, record why, move the alias; and move it back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.errors import BundleError, ConfigError, DataError, TrackingError
from crosshead.records.log_items import Tag, TextArtifact
from crosshead.records.predictions import Predictions, differing, in_order_of
from crosshead.records.runs import FoundRun, RunFinder, finder_of
from crosshead.records.tracking import user
from crosshead.releases import champion, gate, registry
from crosshead.releases.gate import Check, Decision, Side
from crosshead.releases.registry import RegisteredVersion
from crosshead.schema import Settings
from crosshead.text import counted, text_digest

PREVIOUS = "previous_champion"
"""Tag of a version: the champion that it took the place of."""
SAME = "same held-out articles"
OUT_OF_FOLD = "out_of_fold.npz"
"""File of a run that names the paragraphs it was trained on."""


@dataclass(frozen=True)
class Outcome:
    """What a promotion or a rollback came to."""

    champion: RegisteredVersion | None
    """The champion now."""
    decision: Decision | None = None
    """None where there was nothing to decide."""
    moved: bool = False
    notes: tuple[str, ...] = ()


def promote(settings: Settings, reference: str, *, dry_run: bool = False) -> Outcome:
    """Make a run the champion if the gate holds.

    Raises
    ------
    TrackingError
        If there is no such run, it has no model, or somebody moved the champion meanwhile.
    DataError
        If the predictions of the two cannot be compared.
    """
    finder, notes = finder_of(settings), []
    if not dry_run and (note := _mend(finder)):
        notes.append(note)
    found = _candidate(finder, reference)
    name = settings.tracking.registered_model
    standing = registry.find_version(finder.tracking, name, registry.CHAMPION)
    if standing is not None and found.version is not None and found.version.version == standing.version:
        if not dry_run:
            registry.promote(finder.tracking, finder.root, standing, instead_of=standing.version)
        return Outcome(standing, notes=(*notes, f"version {standing.version} is the champion already"))
    decision = _decide(settings, finder, found, standing)
    if dry_run:
        return Outcome(standing, decision, notes=tuple(notes))
    if not decision.holds:
        _record(finder, found, decision)
        return Outcome(standing, decision, notes=tuple(notes))
    version = found.version or _register(finder, found, name)
    decision = replace(decision, candidate=replace(decision.candidate, version=version.version))
    _record(finder, replace(found, version=version), decision)
    try:
        registry.promote(finder.tracking, finder.root, version, instead_of=standing.version if standing else None)
    except (TrackingError, BundleError) as error:
        registry.set_version_tags(finder.tracking, version, {"promotion": f"failed: {error}"[:4900]})
        raise
    return Outcome(version, decision, moved=True, notes=tuple(notes))


def rollback(settings: Settings, to: int | None = None) -> Outcome:
    """Make the champion before this one, or version ``to``, the champion again.

    Raises
    ------
    TrackingError
        If there is no champion, none before it, or no such version.
    """
    finder = finder_of(settings)
    note = _mend(finder)
    name, tracking = settings.tracking.registered_model, finder.tracking
    standing = registry.find_version(tracking, name, registry.CHAMPION)
    if standing is None:
        raise TrackingError(f"the registered model {name!r} has no champion to roll back; promote a run first")
    target = to if to is not None else _previous(standing)
    version = registry.find_version(tracking, name, target)
    if version is None:
        raise TrackingError(f"there is no version {target} of {name!r} in {tracking.place.shown}; give another: --to")
    if version.version == standing.version:
        return Outcome(standing, notes=(f"version {standing.version} is the champion already",))
    registry.promote(tracking, finder.root, version, instead_of=standing.version)
    left = {"rolled_back_at": _now(), "rolled_back_by": user(), "rolled_back_to": str(version.version)}
    registry.set_version_tags(tracking, standing, left)
    return Outcome(version, moved=True, notes=(note,) if note else ())


def _previous(standing: RegisteredVersion) -> int:
    told = standing.tags.get(PREVIOUS, "")
    if not re.fullmatch(r"\d+", told):
        raise TrackingError(
            f"no champion before version {standing.version} of {standing.name!r} is recorded; name one: "
            "crosshead rollback --to VERSION"
        )
    return int(told)


def _mend(finder: RunFinder) -> str:
    """Finish a move that a killed process left half done, and say so."""
    finder.tracking.settle()
    version = registry.finish_move(finder.tracking, finder.root)
    return f"an interrupted move was finished: version {version.version} is the champion" if version else ""


def _candidate(finder: RunFinder, reference: str) -> FoundRun:
    finder.tracking.settle()
    found = finder.find(reference)
    if found.run_id is None:
        raise TrackingError(
            f"{reference!r} was not recorded in MLflow, so it cannot be promoted; name a run or a version, or send "
            "what waits: crosshead log"
        )
    # What counts is what the run kept, not what lies in a folder by now.
    return replace(found, folder=None, version=found.version or finder.last_version(found.run_id))


def _register(finder: RunFinder, found: FoundRun, name: str) -> RegisteredVersion:
    model_id = registry.model_of_run(finder.tracking, str(found.run_id))
    return registry.register(finder.tracking, model_id, name)


# -- the gate ----------------------------------------------------------------------------------------------------------


def _decide(settings: Settings, finder: RunFinder, found: FoundRun, standing: RegisteredVersion | None) -> Decision:
    """Put the gate's checks together."""
    limits = settings.promotion
    if limits is None:
        raise ConfigError("promotion is null, so there is no gate; say promotion=default")
    cache = finder.root / champion.MODELS_DIR / ".fetched"
    uri = found.version.uri if found.version else f"runs:/{found.run_id}"
    folder = registry.fetch(finder.tracking, uri, cache)
    candidate = finder.predictions(found).of_articles()
    if standing is None:
        checks = [*gate.check_against_baselines(candidate, limits, seed=settings.seed)]
    else:
        standing_dir = registry.fetch(finder.tracking, standing.uri, cache)
        checks = [*_against_champion(settings, finder, candidate, standing, standing_dir)]
        checks.append(gate.check_latency(bundle.load(folder), bundle.load(standing_dir), limits))
    checks += [gate.check_calibration(candidate, limits), gate.check_size(bundle.n_bytes(folder), limits)]
    version = found.version.version if found.version else None
    return Decision(
        candidate=Side(str(found.run_id), version, bundle.digest(folder)),
        champion=_side(standing) if standing else None,
        checks=tuple(checks),
        limits=limits,
        decided_at=_now(),
        decided_by=user(),
    )


def _side(version: RegisteredVersion) -> Side:
    return Side(version.run_id, version.version, version.tags.get(registry.DIGEST_TAG, ""))


def _against_champion(
    settings: Settings, finder: RunFinder, candidate: Predictions, standing: RegisteredVersion, folder: Path
) -> Iterator[Check]:
    """Compare with the champion on the same articles; where it was tested on others, it tags the candidate's now."""
    limits = settings.promotion
    assert limits is not None
    run = FoundRun(f"version {standing.version}", run_id=standing.run_id)
    said = "both were tested on them"
    try:
        champions = finder.predictions(run).of_articles()
        why = "; ".join(differing(candidate, champions, ("the candidate", "the champion")))
        champions = champions if why else in_order_of(candidate, champions)
    except TrackingError as error:
        why = str(error)
    if why:
        try:
            candidate, champions = _retag(settings, finder, candidate, run, folder)
        except DataError as error:
            yield Check(SAME, False, f"{error}; it was tested on others: {why}")
            return
        said = f"the champion tagged now those that it was not trained on, since it was tested on others: {why}"
    n_articles = len(set(candidate.article_ids))
    yield Check(SAME, True, f"{counted(len(candidate), 'paragraph')} of {counted(n_articles, 'article')}; {said}")
    yield from gate.check_against_champion(candidate, champions, limits, seed=settings.seed)


def _retag(
    settings: Settings, finder: RunFinder, candidate: Predictions, run: FoundRun, folder: Path
) -> tuple[Predictions, Predictions]:
    """Let the champion tag the candidate's held-out articles, except those that it was trained on.

    Raises
    ------
    DataError
        If the texts or the list of what the champion was trained on are missing, or no article is left.
    """
    if tuple(bundle.read_manifest(folder)["section_types"]) != candidate.section_types:
        raise DataError("the champion knows other section types, so the two cannot be compared")
    try:
        with finder.file(run, OUT_OF_FOLD) as path, np.load(path, allow_pickle=False) as content:
            learnt = {str(id_).rpartition("#")[0] for id_ in content["paragraph_id"]}
    except (TrackingError, OSError, ValueError, KeyError) as error:
        raise DataError("the champion's run does not say what it was trained on") from error
    left = [i for i, article_id in enumerate(candidate.article_ids) if article_id not in learnt]
    if not left:
        raise DataError("the champion was trained on every one of the candidate's held-out articles")
    rows = candidate.rows(left)
    tagger = bundle.load(folder)
    proba = tagger.predict_proba(_articles(settings.prepared_dir, rows))
    return rows, replace(rows, proba={"model": proba})


def _articles(prepared_dir: Path, rows: Predictions) -> list[list[str]]:
    """Return the texts of predicted paragraphs, article by article."""
    columns = labelled.columns_of(read_table(prepared_dir)["test"])
    texts = dict(zip(columns["paragraph_id"], columns["text"], strict=True))
    articles: list[list[str]] = []
    before = None
    for paragraph_id, article_id, digest in zip(rows.paragraph_ids, rows.article_ids, rows.text_digests, strict=True):
        if text_digest(texts.get(paragraph_id, "")) != digest:
            raise DataError(
                f"the paragraph table in {prepared_dir} does not hold the text of {paragraph_id!r} that the candidate "
                "was tested on; prepare its corpus again"
            )
        if article_id != before:
            articles.append([])
        articles[-1].append(texts[paragraph_id])
        before = article_id
    return articles


# -- the record --------------------------------------------------------------------------------------------------------


def _record(finder: RunFinder, found: FoundRun, decision: Decision) -> None:
    """Note the decision on the run, as files, and on the version, as tags; before anything is moved."""
    stem = f"promotion/{re.sub(r'[^0-9T]', '', decision.decided_at)}"
    word = "promoted" if decision.holds else "refused"
    with finder.tracking.run("promote", run_id=found.run_id) as run:
        run.log(
            [
                TextArtifact(f"{stem}.json", decision.to_json()),
                TextArtifact(f"{stem}.md", decision.to_markdown()),
                Tag("crosshead.promotion", word),
            ]
        )
    if found.version is not None:
        registry.set_version_tags(finder.tracking, found.version, dict(_tags(decision, word, stem)))


def _tags(decision: Decision, word: str, stem: str) -> Iterator[tuple[str, str]]:
    yield "promotion", word
    yield f"{word}_at", decision.decided_at
    yield f"{word}_by", decision.decided_by
    yield "promotion_file", f"{stem}.json of run {decision.candidate.run_id}"
    yield "promotion_figures", "; ".join(f"{c.name}: {c.said}" for c in decision.checks)[:4900]
    yield registry.DIGEST_TAG, decision.candidate.bundle_digest
    if decision.champion is not None:
        yield f"{'previous' if decision.holds else 'standing'}_bundle_digest", decision.champion.bundle_digest
    if decision.holds:
        yield PREVIOUS, str(decision.champion.version) if decision.champion else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

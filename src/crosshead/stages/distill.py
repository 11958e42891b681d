"""Distil: a saved tagger and text in, a small fast tagger out, measured beside its teacher on held-out articles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_summary, read_table
from crosshead.corpora.splits import folds
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.open import with_cache
from crosshead.encoders.static import N_DIMENSIONS, StaticEncoder, static_for
from crosshead.errors import DataError
from crosshead.evaluation.comparison import Comparison, paired_bootstrap
from crosshead.evaluation.scores import Scores, evaluate
from crosshead.loading import Model
from crosshead.records.lineage import git_state, learned_from, lineage
from crosshead.records.log_items import LogItem, Metric, Param, Tag, flatten
from crosshead.records.recording import ModelToRegister, record
from crosshead.records.tracking import Tracking
from crosshead.schema import Settings
from crosshead.settings import config_digest, to_yaml
from crosshead.tagging.tagger import Tagger
from crosshead.text import normalise
from crosshead.training.distilling import Speed, Student, distil, measure_speed, targets_of, unseen_proba
from crosshead.training.train import Paragraphs

Report = Callable[[str, int, int], None]
N_TIMED = 128
"""Held-out paragraphs that the teacher is timed on; the student takes them in many variations."""
N_CHECKED_ARTICLES = 4
"""Held-out articles on which the saved bundle must answer as the tagger in memory does."""


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Side:
    """One of the two taggers, on the held-out articles."""

    scores: Scores
    speed: Speed
    n_bytes: int


@dataclass(frozen=True)
class Distilled:
    """What the stage leaves behind."""

    bundle_dir: Path
    digest: str
    student: Student
    teacher_side: Side
    student_side: Side
    difference: Comparison
    """Macro-F1, the student's minus the teacher's."""
    n_labelled: int
    n_unlabelled: int
    n_left_out: int
    """Paragraphs of articles that are held out, or were labelled, and were not learned from as unlabelled."""
    notes: tuple[str, ...] = ()
    run_id: str | None = None
    unsent: str = ""
    """Why MLflow did not take the results, which then wait on disk."""

    @property
    def share_kept(self) -> float:
        """The student's macro-F1 as a share of the teacher's."""
        return self.student_side.scores.macro_f1.value / self.teacher_side.scores.macro_f1.value


def run(
    settings: Settings,
    teacher: Model,
    articles: Sequence[Sequence[str]] = (),
    *,
    output: Path,
    n_dimensions: int = N_DIMENSIONS,
    report: Report = _silent,
) -> Distilled:
    """Read the paragraph table, ask the teacher, teach a student, measure both on held-out articles, save, record.

    Parameters
    ----------
    articles
        Paragraphs of articles without labels, learned from besides.

    Raises
    ------
    DataError
        If the teacher knows other section types than the paragraph table, or no article is held out.
    """
    assert teacher.found is not None
    folder = teacher.found.folder
    summary, table = read_summary(settings.prepared_dir), read_table(settings.prepared_dir)
    columns = {split: labelled.columns_of(table[split]) for split in ("train", "test")}
    held_out = labelled.take(columns["test"], labelled.rows_where(columns["test"], "origin", "article"))
    paragraphs, asked = (labelled.to_paragraphs(c, teacher.tagger.section_types) for c in (columns["train"], held_out))
    _check(settings, teacher, asked)
    cut = folds(columns["train"]["group_id"], columns["train"]["section_type"], settings.folds, settings.seed)
    asking = _with_cache(teacher.tagger, settings, report)
    fresh, n_left_out = leave_out(articles, [*paragraphs.texts, *columns["test"]["text"]])
    unlabelled = [text for article in fresh for text in article]

    encoder, static_dir = _static(folder, settings, n_dimensions, report)
    own = unseen_proba(asking, bundle.load_estimators(folder), paragraphs, cut.splits, report)
    student = distil(
        asking,
        paragraphs,
        targets_of(paragraphs.y, own),
        encoder=encoder,
        folds=cut.splits,
        unlabelled=unlabelled,
        unlabelled_targets=asking.predict_proba(fresh) if unlabelled else None,
        seed=settings.seed,
        report=report,
    )
    both = {"teacher": asking, "student": student.tagger}
    proba = {name: tagger.predict_proba(asked.articles) for name, tagger in both.items()}
    scores = {
        name: evaluate(asked.y, rows, asked.article_ids, teacher.tagger.section_types, seed=settings.seed)
        for name, rows in proba.items()
    }
    digest = bundle.save(
        student.tagger,
        output,
        encoder_dir=static_dir if student.tagger.encoder is not None else None,
        about=_about(teacher, summary, student, scores),
        check=(asked.articles[:N_CHECKED_ARTICLES], _first(student.tagger, asked)),
    )
    speeds = _speeds(teacher.tagger, student.tagger, asked.texts, report)
    result = Distilled(
        bundle_dir=output,
        digest=digest,
        student=student,
        teacher_side=Side(scores["teacher"], speeds["teacher"], bundle.n_bytes(folder)),
        student_side=Side(scores["student"], speeds["student"], bundle.n_bytes(output)),
        difference=paired_bootstrap(asked.y, proba["teacher"], proba["student"], asked.article_ids, seed=settings.seed),
        n_labelled=len(paragraphs.texts),
        n_unlabelled=len(unlabelled),
        n_left_out=n_left_out,
        notes=_notes(teacher, summary, cut.warning),
    )
    return _record(settings, result, teacher, summary["digest"])


def _check(settings: Settings, teacher: Model, asked: Paragraphs) -> None:
    if tuple(settings.taxonomy.section_types) != teacher.tagger.section_types:
        raise DataError(
            f"the teacher knows the section types {list(teacher.tagger.section_types)}, but the project's taxonomy has "
            f"{list(settings.taxonomy.section_types)}; name another teacher with --model, or take its taxonomy: "
            "--set taxonomy=NAME"
        )
    if not asked.texts:
        raise DataError("the test split holds no article; prepare again with a larger corpus.test_share")


def _notes(teacher: Model, summary: Mapping[str, Any], warning: str | None) -> tuple[str, ...]:
    trained_on = teacher.manifest.get("about", {}).get("dataset_digest")
    other = (
        "the teacher was trained on another paragraph table, so it may have seen held-out articles and look better "
        "than it is; train it again: crosshead run"
        if trained_on != summary["digest"]
        else ""
    )
    return tuple(filter(None, (warning, other)))


def _first(tagger: Tagger, asked: Paragraphs) -> NDArray[np.float64]:
    return tagger.predict_proba(asked.articles[:N_CHECKED_ARTICLES])


def leave_out(articles: Sequence[Sequence[str]], known: Sequence[str]) -> tuple[list[list[str]], int]:
    """Leave out articles that share a paragraph with ``known``, and those that came before; count their paragraphs.

    Held-out articles would be learned from otherwise, with the teacher's word for a label.
    """
    seen = {normalise(text) for text in known}
    kept: list[list[str]] = []
    n_left_out = 0
    for article in articles:
        cleaned = [text for text in map(normalise, article) if text]
        if seen.isdisjoint(cleaned):
            kept.append(cleaned)
            seen.update(cleaned)
        else:
            n_left_out += len(cleaned)
    return [article for article in kept if article], n_left_out


def _with_cache(tagger: Tagger, settings: Settings, report: Report) -> Tagger:
    if not isinstance(tagger.encoder, GraphEncoder):
        return tagger
    cached = with_cache(tagger.encoder, settings.cache_dir, lambda done, total: report("encoding", done, total))
    return replace(tagger, encoder=cached)


def _static(
    folder: Path, settings: Settings, n_dimensions: int, report: Report
) -> tuple[StaticEncoder | None, Path | None]:
    """Distil the teacher's encoder; a static one is taken as it is, and without one there is none."""
    encoder_dir = folder / "encoder"
    if not encoder_dir.is_dir():
        return None, None
    found = bundle.load(folder).encoder
    if not isinstance(found, StaticEncoder):
        report("token vectors", 0, 1)
        most = found.n_dimensions if found is not None else n_dimensions
        encoder_dir = static_for(encoder_dir, settings.cache_dir / "graphs", n_dimensions=min(n_dimensions, most))
        report("token vectors", 1, 1)
    return StaticEncoder(encoder_dir), encoder_dir


def _about(
    teacher: Model, summary: Mapping[str, Any], student: Student, scores: Mapping[str, Scores]
) -> dict[str, Any]:
    about = teacher.manifest.get("about", {})
    return {
        "taxonomy": about.get("taxonomy"),
        "dataset_digest": summary["digest"],
        "encoder": f"static {about.get('encoder')}" if student.tagger.encoder is not None else None,
        "teacher": teacher.digest,
        "chosen": dict(student.chosen),
        "macro_f1": {name: found.macro_f1.as_dict() for name, found in scores.items()},
    }


def _speeds(teacher: Tagger, student: Tagger, texts: Sequence[str], report: Report) -> dict[str, Speed]:
    """Time both on the same paragraphs, one after the other."""
    report("timing", 0, 2)
    slow = measure_speed(teacher, texts[:N_TIMED], at_least_s=1.0)
    report("timing", 1, 2)
    fast = measure_speed(student, texts, at_least_s=2.0)
    report("timing", 2, 2)
    return {"teacher": slow, "student": fast}


def _record(settings: Settings, result: Distilled, teacher: Model, dataset_digest: str) -> Distilled:
    """Keep scores and student in a run of their own; it is not registered, because promotion compares equals."""
    if not settings.tracking.enabled:
        return result
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)
    recorded = record(
        tracking,
        settings.root,
        describe(settings, result, teacher, dataset_digest),
        name=f"distilled from {teacher.name} {teacher.version}".rstrip(),
        model=ModelToRegister(result.bundle_dir, result.digest, "") if settings.tracking.log_model else None,
    )
    return replace(result, run_id=recorded.run_id, unsent=recorded.unsent)


def describe(settings: Settings, result: Distilled, teacher: Model, dataset_digest: str) -> Iterator[LogItem]:
    """Say what the run should record."""
    yield from flatten(settings.resolved)
    yield from lineage(git_state(settings.root), config_digest(settings.resolved), to_yaml(settings.resolved))
    yield from learned_from(dataset_digest, result.n_labelled)
    yield Tag("crosshead.bundle_digest", result.digest)
    yield Tag("crosshead.teacher_digest", teacher.digest)
    yield Param("n_labelled", result.n_labelled)
    yield Param("n_unlabelled", result.n_unlabelled)
    for name, value in result.student.chosen.items():
        yield Param(f"chosen.{name}", value)
    for name, value in result.student_side.scores.metrics().items():
        yield Metric(f"test_{name}", value)
    yield Metric("test_teacher_macro_f1", result.teacher_side.scores.macro_f1.value)
    yield Metric("share_kept", result.share_kept)
    for name, side in (("", result.student_side), ("teacher_", result.teacher_side)):
        yield Metric(f"{name}paragraphs_per_s", side.speed.per_s)
        yield Metric(f"{name}bytes", side.n_bytes)

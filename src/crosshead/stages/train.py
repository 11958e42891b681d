"""Train: paragraph table in, bundle out, with the baselines that stand beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.svm import LinearSVC

from crosshead import bundle, estimator_files
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_summary, read_table, write_file
from crosshead.encoders.open import open_encoder
from crosshead.evaluation.scores import Scores, evaluate
from crosshead.records import made_with
from crosshead.records.lineage import git_state, learned_from, lineage
from crosshead.records.log_items import LogItem, Metric, Param, Tag, flatten
from crosshead.records.recording import RUN_FILE as RUN
from crosshead.records.recording import record
from crosshead.records.tracking import Tracking
from crosshead.schema import Settings
from crosshead.settings import config_digest, telling, to_yaml
from crosshead.tagging.calibration import fit_temperature
from crosshead.tagging.heads import ConstantHead
from crosshead.tagging.tagger import Tagger, TfidfView
from crosshead.tagging.tfidf import Tfidf
from crosshead.training.train import Folds, Paragraphs, TrainResult, train
from crosshead.training.views import ViewSpec, uses_encoder

Report = Callable[[str, int, int], None]
OUT_OF_FOLD, BUNDLE, BASELINES = "out_of_fold.npz", "bundle", "baselines"
CURVE = "learning_curve.json"
MAX_NAME, MAX_OVERRIDE = 120, 48
"""Characters of a run's name, and of each override in it."""
N_CHECKED_ARTICLES = 4
"""Held-out articles on which a saved bundle must answer as the tagger in memory does."""


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Trained:
    """What the stage leaves behind."""

    bundle_dir: Path
    digest: str
    run_id: str | None
    scores: Scores
    """Cross-validated on the training articles."""
    hit_rate: float | None
    """Share of texts whose vectors were in the cache; None without an encoder."""
    warnings: tuple[str, ...] = ()
    unsent: str = ""
    """Why MLflow did not take the results, which then wait on disk."""
    facts: dict[str, str] = field(default_factory=dict)


def baseline_view() -> ViewSpec:
    """Return the view that stands beside every model: the words alone.

    It is the same whatever is configured, the same terms and the same classifier, so that models of different
    configurations stand beside the same baseline.
    """
    return ViewSpec("tfidf", "tfidf", LinearSVC(C=1.0, random_state=0))


def _is_baseline(spec: ViewSpec) -> bool:
    """Whether a view of the model is the one that stands beside it, and need not be fitted again."""
    other = baseline_view()
    return (
        (spec.kind, spec.n_max, spec.min_df) == (other.kind, other.n_max, other.min_df)
        and type(spec.classifier) is type(other.classifier)
        and spec.classifier.get_params() == other.classifier.get_params()
    )


def run_name(settings: Settings) -> str:
    """Name a run so that it can be told from others: encoder, views, and the overrides that change something."""
    views = "+".join(spec.name for spec in settings.view_specs())
    said = {f"encoder={settings.encoder.name}", f"views={views}"}
    name = _clip(f"{settings.encoder.name} · {views}", MAX_NAME)
    for override in telling(settings):
        if override in said:
            continue
        part = f" · {_clip(override, MAX_OVERRIDE)}"
        if len(name) + len(part) > MAX_NAME - len(" · …"):
            return f"{name} · …" if len(name) < MAX_NAME - len(" · …") else name
        name += part
    return name


def _clip(text: str, n_characters: int) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= n_characters else f"{shown[: n_characters - 1]}…"


def describe(settings: Settings, result: Trained, summary: dict[str, Any], paragraphs: Paragraphs) -> Iterator[LogItem]:
    """Say what the run should record of training."""
    yield from flatten(settings.resolved)
    yield from lineage(git_state(settings.root), config_digest(settings.resolved), to_yaml(settings.resolved))
    yield from learned_from(summary["digest"], len(paragraphs.texts))
    yield Tag("crosshead.bundle_digest", result.digest)
    yield Param("n_train_paragraphs", len(paragraphs.texts))
    if result.hit_rate is not None:
        yield Metric("cache_hit_rate", result.hit_rate)
    for name, value in result.scores.metrics().items():
        yield Metric(f"cv_{name}", value)


def run(settings: Settings, report: Report = _silent, meanwhile: Callable[[], object] = lambda: None) -> Trained:
    """Read the paragraph table, train, write the bundle and its baselines, record.

    Importing what is needed afterwards takes seconds, and fitting leaves Python's lock free: so it is done then, and
    ``meanwhile`` is called too.
    """
    summary, table = read_summary(settings.prepared_dir), read_table(settings.prepared_dir)
    columns = {split: labelled.columns_of(table[split]) for split in ("train", "test")}
    section_types = settings.taxonomy.section_types
    labelled.refuse_seen(columns["test"], settings.encoder.tuned())
    paragraphs = labelled.to_paragraphs(columns["train"], section_types)
    specs = settings.view_specs()
    cut = labelled.folds_of(columns["train"], settings.folds, settings.seed, settings.encoder.tuned())
    encoder, graph_dir = _open_encoder(settings, specs, report)
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)

    def import_the_rest() -> None:
        estimator_files.import_writers()
        if settings.tracking.enabled:
            tracking.import_mlflow()
        meanwhile()

    result = _train(
        settings,
        paragraphs,
        specs,
        encoder,
        cut.splits,
        report,
        curve_shares=settings.curve_shares,
        meanwhile=import_the_rest,
    )
    held_out = labelled.as_articles(columns["test"])[:N_CHECKED_ARTICLES]
    digest = bundle.save(
        result.tagger,
        settings.model_dir / BUNDLE,
        encoder_dir=graph_dir,
        estimators=result.estimators,
        about=_about(settings, summary),
        check=(held_out, result.tagger.predict_proba(held_out)),
    )
    _save_baselines(settings, paragraphs, specs, cut.splits, result)
    judged = paragraphs.take(result.asked).judged
    asked = paragraphs.take(result.asked[judged])
    trained = Trained(
        bundle_dir=settings.model_dir / BUNDLE,
        digest=digest,
        run_id=None,
        scores=evaluate(asked.y, result.out_of_fold[judged], asked.article_ids, section_types, seed=settings.seed),
        hit_rate=encoder.use.hit_rate if encoder is not None else None,
        warnings=tuple(filter(None, (cut.warning, *result.warnings))),
    )
    _write_curve(settings.model_dir / CURVE, paragraphs, result, section_types)
    _write_out_of_fold(settings.model_dir / OUT_OF_FOLD, columns["train"], paragraphs, result)
    if settings.tracking.enabled:
        items = describe(settings, trained, summary, paragraphs)
        recorded = record(tracking, settings.root, items, name=run_name(settings))
        trained = replace(trained, run_id=recorded.run_id, unsent=recorded.unsent)
    prepared_with = summary["settings"].get("overrides")
    made = made_with.MadeWith(None if prepared_with is None else tuple(prepared_with), telling(settings))
    write_file(made_with.path(settings.root, digest), made_with.content(made))
    write_file(settings.model_dir / RUN, json.dumps({"run_id": trained.run_id, "bundle_digest": digest}).encode())
    return trained


def _open_encoder(settings: Settings, specs: Sequence[ViewSpec], report: Report) -> tuple[Any, Path | None]:
    chosen = settings.encoder
    if not uses_encoder(specs) or chosen.source is None:
        return None, None
    return open_encoder(
        chosen.source,
        settings.cache_dir,
        **chosen.options(),
        report=lambda done, total: report("encoding", done, total),
    )


def _train(
    settings: Settings,
    paragraphs: Paragraphs,
    specs: Sequence[ViewSpec],
    encoder: Any,
    splits: Folds,
    report: Report,
    *,
    curve_shares: Sequence[float] = (),
    meanwhile: Callable[[], object] = lambda: None,
) -> TrainResult:
    return train(
        paragraphs,
        section_types=settings.taxonomy.section_types,
        views=specs,
        encoder=encoder,
        folds=splits,
        decoder=settings.decoder.spec(),
        calibrate=settings.calibration.method == "temperature",
        risk=settings.calibration.risk,
        # A static encoder is chosen for speed, and its look-up is quicker than this would be.
        tells_novelty=settings.encoder.kind == "graph",
        curve_shares=curve_shares,
        seed=settings.seed,
        report=report,
        meanwhile=meanwhile,
    )


def _save_baselines(
    settings: Settings, paragraphs: Paragraphs, specs: Sequence[ViewSpec], splits: Folds, result: TrainResult
) -> None:
    """Save what stands beside the model as taggers of their own: the words alone, and the most frequent type.

    Neither depends on the model's views, classifier, decoder or calibration: only on the training articles and, in
    its stated confidence, on how they are cut into folds.
    """
    for name, tagger in (
        ("tfidf", _words_alone(settings, paragraphs, specs, splits, result)),
        ("majority", _majority(paragraphs, result.tagger)),
    ):
        alone = replace(tagger, name=name, transitions=tagger.transitions.muted())
        bundle.save(alone, settings.model_dir / BASELINES / name)


def _words_alone(
    settings: Settings, paragraphs: Paragraphs, specs: Sequence[ViewSpec], splits: Folds, result: TrainResult
) -> Tagger:
    """Return `baseline_view`, calibrated: the model's own where it has the same, else one fitted for this."""
    name = next((spec.name for spec in specs if _is_baseline(spec)), None)
    if name is None:
        name = baseline_view().name
        result = _train(settings, paragraphs, [baseline_view()], None, splits, _silent)
    view = replace(
        next(view for view in result.tagger.views if view.name == name), name=baseline_view().name, weight=1.0
    )
    temperature = fit_temperature(np.log(result.view_out_of_fold[name]), paragraphs.y[result.asked])
    return replace(result.tagger, views=(view,), encoder=None, temperature=temperature, novelty=None)


def _majority(paragraphs: Paragraphs, tagger: Tagger) -> Tagger:
    """Return a tagger that always says how frequent the section types are."""
    counts = np.bincount(paragraphs.y, minlength=len(tagger.section_types)) + 1.0
    nothing = Tfidf({}, np.zeros(0, dtype=np.float32), 1)
    view = TfidfView("majority", 1.0, ConstantHead(np.log(counts / counts.sum())), nothing)
    return replace(tagger, views=(view,), encoder=None, temperature=1.0, novelty=None)


def _about(settings: Settings, summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "taxonomy": settings.resolved.get("taxonomy"),
        "dataset_digest": summary["digest"],
        "config_digest": config_digest(settings.resolved),
        "encoder": settings.encoder.name,
    }


def _write_curve(path: Path, paragraphs: Paragraphs, result: TrainResult, section_types: Sequence[str]) -> None:
    """Keep the learning curve for the report, scored on the rows that the headline is scored on."""
    ids = np.asarray(paragraphs.article_ids)
    points = []
    for point in result.curve:
        own = np.isin(point.rows, paragraphs.judged)
        rows = point.rows[own]
        scores = evaluate(paragraphs.y[rows], point.proba[own], list(ids[rows]), section_types)
        points.append({"n_articles": point.n_articles, "macro_f1": scores.macro_f1.as_dict()})
    write_file(path, json.dumps(points).encode())


def _write_out_of_fold(path: Path, columns: dict[str, list[Any]], paragraphs: Paragraphs, result: TrainResult) -> None:
    """Keep the cross-validated probabilities: what says most about the training articles."""
    work = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        work,
        paragraph_id=np.array(columns["paragraph_id"])[result.asked],
        y=paragraphs.y[result.asked],
        proba=result.out_of_fold,
        n_truncated=result.n_truncated[result.asked],
    )
    work.replace(path)

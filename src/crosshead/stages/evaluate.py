"""Evaluate: the bundle and its baselines on the held-out articles; scores, plots, one report; the first champion."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import SUMMARY, read_summary, read_table, sources_told, write_file
from crosshead.encoders.open import open_encoder
from crosshead.errors import BundleError, DataError
from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.comparison import mcnemar, paired_bootstrap
from crosshead.evaluation.diagnosis import LENGTH_BUCKETS, errors, examples_right, length_buckets, reliability, slices
from crosshead.evaluation.methodology import Finding, check_scores
from crosshead.evaluation.scores import Scores, confusion, evaluate, set_accuracy
from crosshead.evaluation.selective import risk_coverage
from crosshead.records import model_scores, predictions, tested
from crosshead.records.log_items import FileArtifact, FolderArtifact, LogItem, Metric
from crosshead.records.predictions import Predictions
from crosshead.records.recording import RUN_FILE, ModelToRegister, record
from crosshead.records.tracking import Tracking
from crosshead.releases import champion
from crosshead.reporting.cards import FILE as CARD
from crosshead.reporting.cards import about, model_card
from crosshead.reporting.plots import LearningPoint
from crosshead.reporting.report import ReportData, Section, Table, write_report
from crosshead.schema import Settings
from crosshead.search import checks
from crosshead.settings import to_yaml
from crosshead.tagging.heads import LinearHead
from crosshead.tagging.tagger import Tagger, TfidfView

Report = Callable[[str, int, int], None]
REPORT, METRICS, PLOTS = "report.html", "metrics.json", "plots"
MODEL = predictions.MODEL
N_SLICES = 12
_HEADING_COLUMNS = ("The heading says", "paragraphs", "annotated the same", "share")


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Evaluated:
    """What the stage found out."""

    scores: Mapping[str, Scores]
    """On the held-out articles: the model, then its baselines."""
    set_accuracy: Mapping[str, Interval]
    """Share of held-out contrast sets tagged right as a whole."""
    findings: Sequence[Finding]
    n_truncated: int
    report: Path
    run_id: str | None = None
    registered: str | None = None
    """``name version`` in the registry; None where nothing was registered."""
    is_champion: bool = False
    unsent: str = ""
    """Why MLflow did not take everything; the rest then waits on disk."""


@dataclass(frozen=True)
class _Split:
    """Held-out rows with what each tagger says of them."""

    columns: dict[str, list[Any]]
    y: NDArray[np.int64]
    proba: dict[str, NDArray[np.float64]]
    n_truncated: NDArray[np.int64]


def run(settings: Settings, report: Report = _silent) -> Evaluated:
    """Read bundle and table, tag, score, write the report, record, register."""
    trained = read_record(settings.model_dir)
    summary, table = read_summary(settings.prepared_dir), read_table(settings.prepared_dir)
    columns, learnt = labelled.columns_of(table["test"]), labelled.columns_of(table["train"])
    taggers = load_taggers(settings)
    _check_same_corpus(settings.model_dir / "bundle", summary)
    articles = _tag(taggers, labelled.take(columns, labelled.rows_where(columns, "origin", "article")), report)
    contrast = _tag(taggers, labelled.take(columns, labelled.rows_where(columns, "origin", "contrast_set")), report)
    if not articles.y.size:
        raise DataError("the test split holds no article; prepare again with a larger corpus.test_share")
    report("scoring", 0, 1)
    data = _report_data(settings, taggers[MODEL], articles, contrast, summary, trained)
    data = checks.add(settings, data, learnt, columns, summary)
    path = write_report(settings.reports_dir / REPORT, data)
    _write_plots(settings.reports_dir / PLOTS, data)
    result = Evaluated(data.scores, data.set_accuracy, data.findings, int((articles.n_truncated > 0).sum()), path)
    _write_metrics(settings.reports_dir / METRICS, result)
    digest = str(trained["bundle_digest"])
    write_file(model_scores.path(settings.root, digest), model_scores.content(data.own.as_dict()))
    said = _predictions(taggers[MODEL], articles, contrast, summary)
    predictions.write(settings.reports_dir / predictions.FILE, said)
    write_file(tested.path(settings.root, digest), tested.content(predictions.held_out_digest(said)))
    card = model_card(data, about(settings, summary, trained))
    write_file(settings.reports_dir / CARD, card.encode("utf-8", "replace"))
    report("scoring", 1, 1)
    if settings.tracking.enabled:
        return _record(settings, result, trained, card, report)
    return replace(result, is_champion=_keep_first(settings, digest))


def read_record(model_dir: Path) -> dict[str, Any]:
    """Read what training noted beside its bundle.

    Raises
    ------
    BundleError
        If there is none, or it belongs to another bundle.
    """
    try:
        record: dict[str, Any] = json.loads((model_dir / RUN_FILE).read_text(encoding="utf-8"))
        same = record["bundle_digest"] == bundle.digest(model_dir / "bundle")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"there is no trained tagger in {model_dir.name!r}; train one: crosshead train") from error
    if not same:
        raise BundleError(f"{model_dir.name}/{RUN_FILE} belongs to another bundle; train again: crosshead train")
    return record


def load_taggers(settings: Settings) -> dict[str, Tagger]:
    """Load the bundle and its baselines; the bundle's encoder goes through the cache, its vectors are the same."""
    tagger = bundle.load(settings.model_dir / "bundle", engine=settings.encoder.engine)
    if tagger.encoder is not None and settings.encoder.source is not None:
        chosen = settings.encoder
        encoder, _ = open_encoder(
            chosen.source or "",
            settings.cache_dir,
            **chosen.options(),
        )
        if encoder.fingerprint == tagger.encoder.fingerprint:
            tagger = replace(tagger, encoder=encoder)
    baselines = sorted((settings.model_dir / "baselines").glob("*/manifest.json"), reverse=True)
    return {MODEL: tagger} | {path.parent.name: bundle.load(path.parent) for path in baselines}


def _check_same_corpus(folder: Path, summary: Mapping[str, Any]) -> None:
    trained_on = bundle.read_manifest(folder)["about"].get("dataset_digest")
    if trained_on != summary["digest"]:
        raise DataError(
            "the paragraph table has changed since the tagger was trained, so held-out articles may have been trained "
            "on; train again: crosshead train"
        )


def _tag(taggers: Mapping[str, Tagger], columns: dict[str, list[Any]], report: Report) -> _Split:
    report("tagging", 0, 1)
    section_types = taggers[MODEL].section_types
    paragraphs = labelled.to_paragraphs(columns, section_types)
    inputs = taggers[MODEL].read(paragraphs.texts)
    proba = {name: tagger.predict_proba_of(inputs, paragraphs.lengths) for name, tagger in taggers.items()}
    report("tagging", 1, 1)
    return _Split(columns, paragraphs.y, proba, inputs.n_truncated)


def _report_data(
    settings: Settings,
    tagger: Tagger,
    articles: _Split,
    contrast: _Split,
    summary: Mapping[str, Any],
    record: Mapping[str, Any],
) -> ReportData:
    """Measure everything that the report shows."""
    types, ids, y, own = tagger.section_types, articles.columns["article_id"], articles.y, articles.proba[MODEL]
    seed = settings.seed
    abstained = own.max(axis=1) < tagger.threshold
    scores = {
        name: evaluate(y, proba, ids, types, seed=seed, abstained=abstained if name == MODEL else None)
        for name, proba in articles.proba.items()
    }
    baselines = [name for name in scores if name != MODEL]
    told = (articles.columns["paragraph_id"], articles.columns["text"], articles.columns["headings"], y, own, types)
    return ReportData(
        title="How well the tagger tags",
        model=MODEL,
        made_of=f"{settings.encoder.name} · {'+'.join(view.name for view in tagger.views)}",
        scores=scores,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        descriptions={entry.name: entry.description for entry in settings.taxonomy.definitions},
        findings=check_scores(MODEL, scores),
        comparisons={
            name: paired_bootstrap(y, articles.proba[name], own, ids, section_types=types, seed=seed)
            for name in baselines
        },
        mcnemar={name: mcnemar(y, articles.proba[name].argmax(axis=1), own.argmax(axis=1)) for name in baselines},
        confusion=confusion(y, own.argmax(axis=1), types),
        reliability=reliability(y, own, ids, section_types=types, seed=seed),
        risk_coverage=risk_coverage(y, own, ids, section_types=types, seed=seed),
        threshold=tagger.threshold,
        risk=tagger.risk,
        slices={name: column[:N_SLICES] for name, column in _slices(articles, types, seed).items()},
        set_accuracy=_set_accuracy(contrast),
        n_truncated=int((articles.n_truncated > 0).sum()),
        headings=_headings_section(summary),
        telling_words=telling_words(tagger),
        learning_curve=_learning_curve(settings.model_dir),
        errors=errors(*told),
        right=examples_right(*told),
        facts=_facts(settings, tagger, summary, record),
        config=to_yaml(settings.resolved),
    )


def _slices(articles: _Split, types: Sequence[str], seed: int) -> dict[str, Any]:
    columns = {
        "length": length_buckets(articles.columns["text"]),
        "source of the label": articles.columns["label_source"],
        "setting": [value or "not said" for value in articles.columns["setting"]],
        "genre": [value or "not said" for value in articles.columns["genre"]],
    }
    cut = partial(slices, articles.y, articles.proba[MODEL], articles.columns["article_id"], types, seed=seed)
    return {
        name: cut(column, n_resamples=200, order=LENGTH_BUCKETS if name == "length" else ())
        for name, column in columns.items()
        if len(set(column)) > 1
    }


def telling_words(tagger: Tagger, n_words: int = 15) -> dict[str, list[str]]:
    """List the terms that speak most for each section type, where a view looks at words."""
    view = next((view for view in tagger.views if isinstance(view, TfidfView)), None)
    if view is None or not isinstance(view.head, LinearHead):
        return {}
    # A rare term can have a large weight; what counts is what it does in the texts that have it.
    strength = (view.head.coef - view.head.coef.mean(axis=0)) / view.tfidf.idf
    by_column = sorted(view.tfidf.vocabulary, key=lambda term: view.tfidf.vocabulary[term])
    return {
        name: [by_column[column] for column in np.argsort(-strength[i])[:n_words]]
        for i, name in enumerate(tagger.section_types)
    }


def _learning_curve(model_dir: Path) -> dict[str, list[LearningPoint]]:
    """Read the learning curve that training left; none where none was asked for."""
    try:
        points = json.loads((model_dir / "learning_curve.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    curve = [LearningPoint(point["n_articles"], Interval(**point["macro_f1"])) for point in points]
    return {MODEL: curve} if len(curve) > 1 else {}


def _headings_section(summary: Mapping[str, Any]) -> Section | None:
    """Say how far headings and annotations agree."""
    headings = summary.get("headings")
    if not headings or not headings["below_headings"]:
        return None
    rows = tuple(
        (name, str(found["n_by_heading"]), str(found["n_agreed"]), f"{found['share']:.0%}")
        for name, found in headings["agreement"].items()
        if found["share"] is not None
    )
    return Section(
        title="Headings as labels",
        text=(
            f"{headings['below_headings']:,} paragraphs stand below a heading; headings of {headings['labelled']:,} "
            "say a section type.",
        ),
        tables=(Table("How often the heading's section type is the annotated one", _HEADING_COLUMNS, rows),)
        if rows
        else (),
    )


def _set_accuracy(contrast: _Split) -> dict[str, Interval]:
    if not contrast.y.size:
        return {}
    ids = contrast.columns["article_id"]
    return {name: set_accuracy(contrast.y, proba.argmax(axis=1), ids) for name, proba in contrast.proba.items()}


def _facts(settings: Settings, tagger: Tagger, summary: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "encoder": f"{settings.encoder.name} ({tagger.encoder.fingerprint[:12]})" if tagger.encoder else "none",
        "views": ", ".join(f"{view.name} ({view.kind}, {view.head.kind})" for view in tagger.views),
        "temperature": f"{tagger.temperature:.3f}",
        "decoder": f"{tagger.transitions.kind}, weight {tagger.transitions.spec.weight:g}",
        "paragraph table": f"{str(summary['digest'])[:12]}, of {sources_told(summary)}",
        "bundle": str(record["bundle_digest"])[:12],
        "MLflow run": str(record.get("run_id") or "not recorded"),
    }


def _write_plots(folder: Path, data: ReportData) -> None:
    """Write the confusion matrix and the reliability diagram as the tables that ``dvc plots show`` draws."""
    types = [scores.section_type for scores in data.own.classes]
    assert data.confusion is not None
    assert data.reliability is not None
    pairs = [
        (types[i], types[j])
        for i in range(len(types))
        for j in range(len(types))
        for _ in range(int(data.confusion[i, j]))
    ]
    write_file(folder / "confusion.csv", _csv(("actual", "predicted"), pairs))
    bins = [(f"{b.confidence:.6f}", f"{b.accuracy.value:.6f}", b.n) for b in data.reliability.bins]
    write_file(folder / "reliability.csv", _csv(("confidence", "accuracy", "n"), bins))


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _write_metrics(path: Path, result: Evaluated) -> None:
    content: dict[str, Any] = {name: scores.as_dict() for name, scores in result.scores.items()}
    content |= {"set_accuracy": {name: interval.as_dict() for name, interval in result.set_accuracy.items()}}
    content |= {"n_truncated": result.n_truncated}
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _predictions(tagger: Tagger, articles: _Split, contrast: _Split, summary: Mapping[str, Any]) -> Predictions:
    """Put together what every tagger said of every held-out paragraph, articles first."""
    return predictions.from_columns(
        {name: [*articles.columns[name], *contrast.columns[name]] for name in articles.columns},
        {name: np.concatenate([articles.proba[name], contrast.proba[name]]) for name in articles.proba},
        section_types=tagger.section_types,
        dataset_digest=summary["digest"],
        threshold=tagger.threshold,
    )


def describe(settings: Settings, result: Evaluated) -> Iterator[LogItem]:
    """Say what the run should record of evaluation."""
    for name, scores in result.scores.items():
        prefix = "" if name == MODEL else f"{name}_"
        for metric, value in scores.metrics().items():
            if name == MODEL or metric in ("macro_f1", "accuracy", "log_loss"):
                yield Metric(f"test_{prefix}{metric}", value)
    for name, interval in result.set_accuracy.items():
        yield Metric("test_set_accuracy" if name == MODEL else f"test_{name}_set_accuracy", interval.value)
    yield Metric("test_truncated_share", result.n_truncated / max(result.scores[MODEL].n_paragraphs, 1))
    yield FileArtifact(result.report, "")
    yield FileArtifact(settings.reports_dir / METRICS, "")
    yield FileArtifact(settings.reports_dir / predictions.FILE, "")
    yield FileArtifact(settings.reports_dir / CARD, "")
    yield FileArtifact(settings.prepared_dir / SUMMARY, "")
    yield FolderArtifact(settings.reports_dir / PLOTS, PLOTS)
    yield FileArtifact(settings.model_dir / "out_of_fold.npz", "")


def _record(settings: Settings, result: Evaluated, trained: Mapping[str, Any], card: str, report: Report) -> Evaluated:
    """Add scores and model to the run of training, register the model, and make the first one the champion."""
    report("recording", 0, 1)
    tracking = Tracking.at(settings.root, settings.tracking.experiment, settings.tracking.uri)
    model = ModelToRegister(
        settings.model_dir / "bundle",
        trained["bundle_digest"],
        settings.tracking.registered_model,
        tags=_version_tags(result),
        card=card,
    )
    recorded = record(
        tracking,
        settings.root,
        describe(settings, result),
        name="evaluate",
        run_id=trained.get("run_id"),
        model=model if settings.tracking.log_model else None,
    )
    report("recording", 1, 1)
    made = recorded.registered
    return replace(
        result,
        run_id=recorded.run_id,
        registered=f"{made.name} {made.version}" if made else None,
        is_champion=recorded.is_champion or (bool(recorded.unsent) and _keep_first(settings, model.digest)),
        unsent=recorded.unsent,
    )


def _keep_first(settings: Settings, digest: str) -> bool:
    """Without a registry: make the bundle the champion if there is none."""
    if champion.find(settings.root) is None:
        champion.write(settings.root, champion.keep(settings.root, settings.model_dir / "bundle", digest), digest)
    standing = champion.find(settings.root)
    return standing is not None and standing.digest == digest


def _version_tags(result: Evaluated) -> dict[str, str]:
    own = result.scores[MODEL]
    return {"macro_f1": f"{own.macro_f1.value:.4f}", "ece": f"{own.ece.value:.4f}"}

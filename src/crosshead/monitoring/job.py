"""From names of files to results: which model, which paragraphs, and whether the two sides belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crosshead.errors import BundleError, DataError
from crosshead.loading import Model, load, project_root
from crosshead.monitoring.checks import Draws
from crosshead.monitoring.drift import Fitted, compare
from crosshead.monitoring.reading import Paragraph, Read, mark_learnt, read, read_prepared
from crosshead.monitoring.results import FALSE_ALARMS, TRAINED_WITH, Drift
from crosshead.monitoring.sample import Sample
from crosshead.monitoring.texts import with_counts
from crosshead.records import made_with
from crosshead.tagging.heads import Floats
from crosshead.tagging.tagger import Tag, Tagger, TfidfView

if TYPE_CHECKING:
    from pathlib import Path

    from crosshead.schema import Settings

MAX_ARTICLES = 1000
Report = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Wanted:
    """What is to be compared."""

    current: tuple[str, ...]
    reference: tuple[str, ...] = ()
    """Empty for what the model was trained on."""
    model: str | None = None
    false_alarms: float = FALSE_ALARMS
    max_articles: int = MAX_ARTICLES
    with_text: bool = True
    seed: int = 0
    draws: Draws | None = None


def monitor(wanted: Wanted, report: Report = _silent) -> Drift:
    """Read both sides, tag what is not tagged yet, and compare.

    Raises
    ------
    DataError
        If a side is empty, or the sides do not belong together.
    BundleError
        If there is no model, and one is needed.
    """
    settings = _settings()
    current = read(wanted.current, "current", max_articles=wanted.max_articles, seed=wanted.seed)
    given = None
    if wanted.reference:
        given = read(wanted.reference, "reference", max_articles=wanted.max_articles, seed=wanted.seed)
    model, why = _model(wanted, [side for side in (given, current) if side is not None], is_needed=given is None)
    reference = given or _prepared(settings, model, wanted)
    if given is not None:
        learnt = _learnt(settings, model)
        reference, current = mark_learnt(reference, learnt), mark_learnt(current, learnt)
    _check_one_model(reference, current, model)
    types = _section_types(reference, current, model)
    encoder = _with_cache(model, settings, report)
    both = (reference, "reference"), (current, "current")
    sides = [with_counts(sample_of(side, types, encoder, what), _vocabulary(model)) for side, what in both]
    draws = wanted.draws or Draws.enough_for(wanted.false_alarms, wanted.seed)
    root = settings.root if settings is not None else None
    fitted = Fitted(types, _prior(reference, types), _facts(model, reference, current, root))
    report("comparing", 0, 1)
    drift = compare(
        sides[0], sides[1], fitted, false_alarms=wanted.false_alarms, draws=draws, with_text=wanted.with_text
    )
    report("comparing", 1, 1)
    return replace(drift, notes=(*drift.notes, *([why] if why else []), *_unnamed(reference, current)))


def _settings() -> Settings | None:
    root = project_root()
    if root is None:
        return None
    from crosshead.settings import load_settings

    return load_settings([], root)


def _model(wanted: Wanted, sides: Sequence[Read], *, is_needed: bool) -> tuple[Model | None, str]:
    """Load the model if anything is to be tagged or encoded; say why not, where it would only have been of use."""
    untagged = is_needed or any(not side.articles[0].is_tagged for side in sides)
    has_text = any(side.articles[0].paragraphs[0].text is not None for side in sides)
    if not untagged and not has_text and wanted.model is None:
        return None, ""
    try:
        return load(wanted.model), ""
    except BundleError as error:
        if untagged or wanted.model is not None:
            raise
        return None, f"Embeddings and unknown words are left out: {error}"


def _prepared(settings: Settings | None, model: Model | None, wanted: Wanted) -> Read:
    assert model is not None
    if settings is None:
        raise DataError(
            "there is no reference: this is no crosshead project, so nobody knows what the model was trained on; "
            "name one: --reference FILES"
        )
    from crosshead.corpora.corpus import read_summary

    digest = read_summary(settings.prepared_dir)["digest"]
    if _trained_on(model) != digest:
        raise DataError(
            "the project's paragraph table is not the one that this model was trained on, so nobody knows which "
            f"paragraphs it has seen; prepare that corpus again: {_how_to_prepare(settings, model)}. Or name a "
            "reference: --reference FILES, or train and promote a model on this table"
        )
    return read_prepared(settings.prepared_dir, max_articles=wanted.max_articles, seed=wanted.seed)


def _how_to_prepare(settings: Settings, model: Model) -> str:
    made = made_with.read(settings.root, model.digest)
    command = made.prepare_command() if made is not None else None
    if command is None:
        return (
            "crosshead prepare, with the overrides that it was prepared with (whatever was said of corpus, taxonomy "
            "and seed), which are not recorded in this project; config.yaml of the model's MLflow run has them all"
        )
    return f"{command} (as it was then, if conf/ and the articles are as they were)"


def _trained_on(model: Model) -> str | None:
    about = model.manifest.get("about") or {}
    found = about.get("dataset_digest")
    return None if found is None else str(found)


def _learnt(settings: Settings | None, model: Model | None) -> set[str]:
    """Return the texts that the model was trained on, where the project still has them."""
    if settings is None or model is None or not (settings.prepared_dir / "corpus.json").is_file():
        return set()
    from crosshead.corpora.corpus import read_summary, read_table
    from crosshead.text import normalise

    if read_summary(settings.prepared_dir)["digest"] != _trained_on(model):
        return set()
    return {normalise(text) for text in read_table(settings.prepared_dir)["train"]["text"]}


def _check_one_model(reference: Read, current: Read, model: Model | None) -> None:
    digests = {"reference": reference.digests, "current": current.digests}
    for what, side in (("reference", reference), ("current", current)):
        if not side.articles[0].is_tagged and model is not None:
            digests[what] = {model.digest}
    every = digests["reference"] | digests["current"]
    if len(every) > 1:
        told = "; ".join(
            f"the {what} by {', '.join(sorted(d[:12] for d in found)) or 'one that is not named'}"
            for what, found in digests.items()
        )
        raise DataError(
            f"the sides were tagged by different models: {told}; compare answers of one model: tag both with it"
        )


def _section_types(reference: Read, current: Read, model: Model | None) -> tuple[str, ...]:
    """Return the taxonomy of both sides.

    Raises
    ------
    DataError
        If a side has section types that the other's taxonomy lacks.
    """
    scored = [tuple(side.articles[0].paragraphs[0].scores or ()) for side in (reference, current)]
    answered = {p.section_type for side in (reference, current) for p in _paragraphs(side)} - {None}
    by_model = model.tagger.section_types if model is not None else ()
    is_tagged_now = not (reference.articles[0].is_tagged and current.articles[0].is_tagged)
    known = by_model if is_tagged_now else next((s for s in (*scored, by_model) if s), ())
    known = known or tuple(sorted(str(name) for name in answered))
    unknown = sorted((answered | {name for names in scored for name in names}) - set(known), key=str)
    if unknown:
        raise DataError(
            f"a side was tagged with the section type {unknown[0]!r}, but the other's taxonomy has "
            f"{', '.join(known)}; compare answers of one taxonomy"
        )
    return tuple(known)


def _paragraphs(side: Read) -> Iterable[Paragraph]:
    return (paragraph for article in side.articles for paragraph in article.paragraphs)


def _vocabulary(model: Model | None) -> Any:
    if model is None:
        return None
    return next((view.tfidf for view in model.tagger.views if isinstance(view, TfidfView)), None)


def _prior(reference: Read, section_types: Sequence[str]) -> Floats | None:
    """Count the section types that were trained on."""
    counts = Counter(p.truth for p in _paragraphs(reference) if p.learnt and p.truth is not None)
    found = np.array([counts.get(name, 0) for name in section_types], dtype=np.float64)
    return found / found.sum() if (found > 0).all() else None


def _facts(model: Model | None, reference: Read, current: Read, root: Path | None) -> dict[str, str]:
    digests = sorted(reference.digests | current.digests)
    found = {"digest": digests[0]} if digests else {}
    if model is not None:
        version = f" {model.version}" if model.version else ""
        found = {"name": f"{model.name}{version}", "digest": model.digest}
    made = made_with.read(root, found.get("digest", ""))
    command = made.command() if made is not None else None
    return found if command is None else {**found, TRAINED_WITH: command}


def _unnamed(reference: Read, current: Read) -> list[str]:
    tagged = [("reference", reference), ("current", current)]
    return [
        f"The rows of the {what} do not say which model tagged them."
        for what, side in tagged
        if side.articles[0].is_tagged and not side.digests
    ]


def _with_cache(model: Model | None, settings: Settings | None, report: Report) -> Tagger | None:
    """Put the project's cache of vectors in front of the encoder: a reference is encoded once, ever."""
    if model is None:
        return None
    from crosshead.encoders.graph import GraphEncoder

    encoder = model.tagger.encoder
    if settings is None or not isinstance(encoder, GraphEncoder):
        return model.tagger
    from crosshead.encoders.open import with_cache

    cached = with_cache(encoder, settings.cache_dir, lambda done, total: report("encoding", done, total))
    return replace(model.tagger, encoder=cached)


# -- from what was read to a sample ------------------------------------------------------------------------------------


def sample_of(side: Read, section_types: tuple[str, ...], tagger: Tagger | None, what: str) -> Sample:
    """Lay out one side, tagging it and encoding its texts as far as ``tagger`` is at hand and needed."""
    rows = list(_paragraphs(side))
    lengths = [len(article.paragraphs) for article in side.articles]
    texts = tuple(row.text or "" for row in rows)
    has_text = all(row.text is not None for row in rows)
    bare = Sample(
        name=side.name,
        article=np.repeat(np.arange(len(lengths)), lengths),
        ids=tuple(row.id for row in rows),
        texts=texts if has_text else None,
        learnt=np.array([row.learnt for row in rows]),
        n_articles_seen=side.n_seen,
        n_failed=side.n_failed,
        notes=() if has_text else (f"The {what} holds no text: what needs texts is left out.",),
    )
    if side.articles[0].is_tagged:
        return _tagged_before(bare, rows, section_types, tagger)
    assert tagger is not None
    inputs = tagger.read(texts)
    tags = [tag for found in tagger.conclude(tagger.look_at(inputs), lengths) for tag in found]
    number = {name: i for i, name in enumerate(section_types)}
    truth = np.array([number.get(row.truth or "", -1) for row in rows])
    return _tagged_now(replace(bare, vectors=inputs.vectors, truth=truth), tags, section_types)


def _tagged_now(bare: Sample, tags: Sequence[Tag], section_types: Sequence[str]) -> Sample:
    number = {name: i for i, name in enumerate(section_types)}
    return replace(
        bare,
        answers=np.array([number[tag.section_type] for tag in tags]),
        confidence=np.array([tag.confidence for tag in tags]),
        proba=np.array([[tag.scores[name] for name in section_types] for tag in tags]),
        abstained=np.array([tag.abstained for tag in tags]),
        truncated=np.array([tag.truncated_tokens > 0 for tag in tags]),
    )


def _tagged_before(
    bare: Sample, rows: Sequence[Paragraph], section_types: Sequence[str], tagger: Tagger | None
) -> Sample:
    number = {name: i for i, name in enumerate(section_types)}
    with_scores = all(row.scores is not None for row in rows)
    vectors = None
    if bare.texts is not None and tagger is not None:
        vectors = tagger.read(bare.texts).vectors
    return replace(
        bare,
        vectors=vectors,
        answers=np.array([number[str(row.section_type)] for row in rows]),
        confidence=np.array([row.confidence for row in rows], dtype=np.float64),
        proba=np.array([[(row.scores or {}).get(name, 0.0) for name in section_types] for row in rows])
        if with_scores
        else None,
        abstained=_column([row.abstained for row in rows]),
        truncated=_column([None if row.truncated_tokens is None else row.truncated_tokens > 0 for row in rows]),
    )


def _column(values: Sequence[bool | None]) -> Any:
    return None if any(value is None for value in values) else np.array(values, dtype=bool)

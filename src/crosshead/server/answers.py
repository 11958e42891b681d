"""Tags as the API answers them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from crosshead.articles import Article
from crosshead.loading import Model, project_root
from crosshead.records import model_scores
from crosshead.tagging.explain import Effect, Explanation
from crosshead.tagging.tagger import Tag

_DROPPED = frozenset({"taxonomy", "scores", "encoder"})
"""Facts of a bundle that have a place of their own in the card, or none."""


def dumps(value: Any) -> bytes:
    """Write JSON as UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def scored(tag: Tag) -> dict[str, Any]:
    """Return what the tagger says of a paragraph."""
    return {**tag.as_dict(), "label_set": list(tag.label_set) or None, "out_of_distribution": tag.out_of_distribution}


def tag_answer(
    texts: Iterable[str], tags: Iterable[Tag], model: Mapping[str, str], article: Article | None, sent: str | None
) -> dict[str, Any]:
    """Answer ``POST /v1/tag``; ``sent`` is the text that ``article`` was read from."""
    places: Iterable[dict[str, Any]] = (
        ({"start": p.start, "end": p.end, "headings": p.headings} for p in article.paragraphs)
        if article is not None
        else ({"start": None, "end": None, "headings": None} for _ in iter(int, 1))
    )
    rows = zip(texts, places, tags, strict=False)
    return {
        "title": article.title if article is not None else None,
        "source": article.source if article is not None and article.source != sent else None,
        "paragraphs": [{"index": i, "text": text, **place, **scored(tag)} for i, (text, place, tag) in enumerate(rows)],
        "left_out": dict(article.left_out) if article is not None else None,
        "model": model,
    }


def explain_answer(found: Explanation, model: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``POST /v1/explain``."""
    return {
        **scored(found.tag),
        "sentences": [_part(effect) for effect in found.sentences],
        "words": [_part(effect) for effect in found.words],
        "model": model,
    }


def _part(effect: Effect) -> dict[str, Any]:
    return {"text": effect.text, "start": effect.start, "end": effect.end, "effect": round(effect.effect, 6)}


def card(model: Model) -> dict[str, Any]:
    """Answer ``GET /v1/model``, but for what the server adds. The project's scores stand in for a bundle's own."""
    tagger, about = model.tagger, dict(model.manifest.get("about", {}))
    quantile = tagger.conformal_quantile
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "section_types": [
            {"name": name, "description": text} for name, text in _descriptions(tagger.section_types, about).items()
        ],
        "threshold": tagger.threshold,
        "risk": tagger.risk,
        "label_set_coverage": None if quantile is None else 1 - tagger.conformal_alpha,
        "scores": about.get("scores") or model_scores.read(project_root(), model.digest),
        "encoder": _encoder(tagger.encoder, about),
        "about": {
            **{name: value for name, value in about.items() if name not in _DROPPED},
            "crosshead": model.manifest.get("crosshead"),
            "views": model.manifest.get("views", []),
        },
    }


def _descriptions(section_types: Iterable[str], about: Mapping[str, Any]) -> dict[str, str]:
    """Describe section types, in the tagger's order, by the taxonomy that the bundle was trained with."""
    taxonomy = about.get("taxonomy")
    entries = taxonomy.get("section_types") if isinstance(taxonomy, dict) else None
    told = {
        str(entry.get("name")): str(entry.get("description") or "")
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    }
    return {name: told.get(name, "") for name in section_types}


def _encoder(encoder: Any, about: Mapping[str, Any]) -> dict[str, Any] | None:
    if encoder is None:
        return None
    choice = getattr(encoder, "choice", None)
    return {
        "name": str(about.get("encoder") or ""),
        "fingerprint": encoder.fingerprint,
        "max_tokens": encoder.max_tokens,
        "engine": choice.engine if choice is not None else "",
        "precision": choice.precision if choice is not None else "",
    }

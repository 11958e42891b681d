"""The model card: what a registered model is and how good it is, from what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crosshead import bundle, measures
from crosshead.evaluation import Interval
from crosshead.records.mlflow_files import CARD
from crosshead.records.unsent import is_local
from crosshead.reporting.compare_report import difference
from crosshead.reporting.report import ReportData
from crosshead.reporting.report_text import markdown_cell, percent
from crosshead.schema import Settings
from crosshead.text import counted

FILE = CARD


@dataclass(frozen=True)
class About:
    """What a card says beside the scores."""

    name: str
    """Of the registered model."""
    manifest: Mapping[str, Any]
    """Of the bundle."""
    summary: Mapping[str, Any]
    """Of the paragraph table."""
    licence: str | None
    """Of the texts that it was trained on."""
    bundle_digest: str
    n_bytes: int
    """Of the bundle."""
    run_id: str | None = None


def about(settings: Settings, summary: Mapping[str, Any], trained: Mapping[str, Any]) -> About:
    """Say of the model in ``settings.model_dir`` what its card needs; ``trained`` is what training noted beside it."""
    folder = settings.model_dir / "bundle"
    return About(
        name=settings.tracking.registered_model,
        manifest=bundle.read_manifest(folder),
        summary=summary,
        licence=settings.corpus.licence,
        bundle_digest=trained["bundle_digest"],
        n_bytes=bundle.n_bytes(folder),
        run_id=trained.get("run_id"),
    )


def model_card(data: ReportData, facts: About) -> str:
    """Write the card, as Markdown."""
    agreement = facts.summary.get("headings", {}).get("agreement", {}).get("overall", {})
    return (
        _environment()
        .get_template(FILE)
        .render(
            name=facts.name,
            manifest=facts.manifest,
            section_types=facts.manifest["section_types"],
            descriptions=data.descriptions,
            created=data.created,
            own=data.own,
            model=data.model,
            scores=data.scores,
            measures=list(data.own.overall()),
            title=measures.title,
            explained=measures.explained(data.own.overall()),
            comparisons=data.comparisons,
            set_accuracy=data.set_accuracy,
            findings=data.findings,
            n_truncated=data.n_truncated,
            headings=agreement if agreement.get("share") is not None else None,
            splits=facts.summary["splits"],
            licence=facts.licence,
            facts=_facts(facts),
        )
    )


def _facts(about: About) -> dict[str, str]:
    manifest, described = about.manifest, about.manifest["about"]
    views = ", ".join(f"{v['name']} ({v['kind']}, {v['head']}, weight {v['weight']:g})" for v in manifest["views"])
    encoder = f"{described.get('encoder', '')} (fingerprint {manifest['encoder']})" if manifest["encoder"] else "none"
    return {
        "encoder": encoder,
        "views": views,
        "decoder": f"{manifest.get('decoder', 'neighbours')}, weight {manifest['decoder_weight']:g}",
        "bundle": f"sha256 {about.bundle_digest}, {about.n_bytes / 1e6:.1f} MB",
        "paragraph table": f"sha256 {about.summary['digest']}",
        "configuration": f"sha256 {described.get('config_digest', '')}",
        "MLflow run": "not recorded yet" if about.run_id and is_local(about.run_id) else about.run_id or "not recorded",
    }


@cache
def _environment() -> Environment:
    # Markdown, not HTML: `cell` makes a text of unknown origin harmless, and MLflow's page shows no raw HTML.
    made = Environment(
        loader=PackageLoader("crosshead"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(cell=markdown_cell, value=_value, percent=percent, difference=difference, counted=counted)
    return made


def _value(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.value:.3f}"

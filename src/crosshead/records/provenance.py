"""Where a model comes from: champion → version → run → configuration, code, data, encoder, bundle, links checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crosshead import bundle
from crosshead.corpora.corpus import SUMMARY, sources_told
from crosshead.errors import CrossheadError, TrackingError
from crosshead.records.mlflow_store import explained
from crosshead.records.runs import FoundRun, RunFinder
from crosshead.releases import champion, registry
from crosshead.releases.registry import RegisteredVersion
from crosshead.text import counted


@dataclass(frozen=True)
class Link:
    """One fact of the chain; ``holds`` is None where there is nothing to check it against."""

    name: str
    value: str
    holds: bool | None = None


@dataclass(frozen=True)
class Step:
    """One thing that the next one was made from."""

    title: str
    links: tuple[Link, ...]


def chain(finder: RunFinder, reference: str) -> list[Step]:
    """Follow a model back to what it was made from.

    Raises
    ------
    TrackingError
        If there is no such run or version.
    """
    finder.tracking.settle()
    found = finder.find(reference)
    if found.run_id is not None and found.version is None:
        found = replace(found, version=finder.last_version(found.run_id))
    if found.run_id is None:
        raise TrackingError(
            f"{reference!r} was not recorded in MLflow, so nothing leads back from it; name a run, a version or "
            "'champion', or train with tracking=local"
        )
    tracking = finder.tracking
    with explained(tracking.place, f"looking up run {found.run_id}"):
        run = tracking.find_run(found.run_id)
    if run is None:
        raise TrackingError(f"the run {found.run_id} is gone from {tracking.place.shown}; name another one")
    manifest, bundle_links = _bundle(finder, found)
    tags, about = dict(run.data.tags), dict(manifest.get("about", {}))
    steps = [
        Step("champion", tuple(_champion(finder, found.version))),
        Step("version", tuple(_version(found.version))),
        Step("run", tuple(_run(run))),
        Step("configuration", tuple(_configuration(tags, about))),
        Step("code", tuple(_code(tags))),
        Step("data", tuple(_data(finder, found, tags, about))),
        Step("encoder", tuple(_encoder(run.data.params, manifest))),
        Step("bundle", tuple(bundle_links)),
    ]
    return [step for step in steps if step.links]


def _champion(finder: RunFinder, version: RegisteredVersion | None) -> Iterator[Link]:
    if version is None:
        return
    standing = registry.find_version(finder.tracking, version.name, registry.CHAMPION)
    if standing is None or standing.version != version.version:
        told = f"version {standing.version}" if standing else "none"
        yield Link("is", f"{told}; this version is not the champion")
        return
    yield Link("is", "this version")
    try:
        pointer = champion.find(finder.root)
    except CrossheadError as error:
        yield Link("used here", str(error), False)
        return
    same = pointer is not None and (pointer.name, pointer.version) == (version.name, version.version)
    if same:
        yield Link("used here", "yes", True)
    else:
        here = f"{pointer.name or 'a bundle'} {pointer.version or ''}".strip() if pointer else "none"
        yield Link("used here", f"{here}; follow the registry: crosshead promote champion", False)


def _version(version: RegisteredVersion | None) -> Iterator[Link]:
    if version is None:
        return
    yield Link("name", f"{version.name} {version.version}")
    for tag, name in (("promoted_at", "promoted"), ("promoted_by", "by"), ("previous_champion", "instead of version")):
        if version.tags.get(tag):
            yield Link(name, version.tags[tag])


def _run(run: Any) -> Iterator[Link]:
    info, tags = run.info, run.data.tags
    yield Link("id", f"{info.run_id} ({info.run_name})")
    started = datetime.fromtimestamp(info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield Link(
        "started", f"{started} by {tags.get('mlflow.user', 'unknown')}, crosshead {tags.get('crosshead.version')}"
    )
    yield Link("status", info.status, info.status == "FINISHED")
    scores = {name: run.data.metrics.get(f"test_{name}") for name in ("macro_f1", "accuracy", "ece")}
    if any(scores.values()):
        yield Link("scores", ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if value is not None))


def _configuration(tags: Mapping[str, str], about: Mapping[str, Any]) -> Iterator[Link]:
    yield from _digest("digest", tags.get("crosshead.config_digest"), about.get("config_digest"))
    yield Link("file", "config.yaml of the run")


def _code(tags: Mapping[str, str]) -> Iterator[Link]:
    commit = tags.get("mlflow.source.git.commit")
    if commit is None:
        yield Link("git", "the project was no git repository")
        return
    dirty = tags.get("crosshead.git_dirty") == "true"
    yield Link("commit", f"{commit or 'none yet'} on {tags.get('mlflow.source.git.branch') or 'no branch'}")
    yield Link("changes", "there were some that are in no commit" if dirty else "none", not dirty)


def _data(finder: RunFinder, found: FoundRun, tags: Mapping[str, str], about: Mapping[str, Any]) -> Iterator[Link]:
    digest = tags.get("crosshead.dataset_digest")
    yield from _digest("paragraph table", digest, about.get("dataset_digest"))
    summary: dict[str, Any] = {}
    kept = FoundRun(found.shown, run_id=found.run_id)
    with suppress(CrossheadError, OSError, ValueError), finder.file(kept, SUMMARY) as path:
        summary = json.loads(path.read_text(encoding="utf-8"))
    if not summary:
        yield Link("corpus", "not recorded: the run was not evaluated")
        return
    told = f"{sources_told(summary)}, {counted(summary['paragraphs'], 'paragraph')}"
    yield Link("corpus", told, summary.get("digest") == digest)
    for split, counts in summary["splits"].items():
        types = ", ".join(f"{name} {n:,}" for name, n in counts["section_types"].items())
        yield Link(
            split, f"{counted(counts['paragraphs'], 'paragraph')} of {counted(counts['articles'], 'article')}: {types}"
        )


def _encoder(params: Mapping[str, str], manifest: Mapping[str, Any]) -> Iterator[Link]:
    yield Link("name", params.get("encoder.name", "unknown"))
    if params.get("encoder.sha256", "null") != "null":
        yield Link("weights", f"sha256 {params['encoder.sha256']}")
    if manifest.get("encoder"):
        yield Link("fingerprint", str(manifest["encoder"]))


def _bundle(finder: RunFinder, found: FoundRun) -> tuple[dict[str, Any], list[Link]]:
    """Read the registered bundle's manifest, and check every file of it."""
    version = found.version
    if version is None:
        return {}, [Link("bundle", "the run registered no model")]
    try:
        folder = registry.fetch(finder.tracking, version.uri, finder.root / champion.MODELS_DIR / ".fetched")
        manifest = bundle.read_manifest(folder)
        bundle.verify(folder, manifest)
    except CrossheadError as error:
        return {}, [Link("bundle", str(error), False)]
    digest = bundle.digest(folder)
    links = [
        Link("digest", digest, digest == version.tags.get(registry.DIGEST_TAG)),
        Link("files", f"{len(manifest['files'])}, each with the sha256 that the manifest gives", True),
        Link("size", f"{bundle.n_bytes(folder) / 1e6:.1f} MB in {_shown(folder, finder.root)}"),
    ]
    return manifest, links


def _digest(name: str, recorded: str | None, in_bundle: str | None) -> Iterator[Link]:
    if recorded is None:
        yield Link(name, "not recorded")
    elif in_bundle is None:
        yield Link(name, recorded)
    else:
        told = "" if recorded == in_bundle else f"; the bundle says {in_bundle}"
        yield Link(name, f"{recorded}{told}", recorded == in_bundle)


def _shown(path: Path, root: Path) -> str:
    home = root.resolve()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)

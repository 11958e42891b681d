"""What a reader of the scores should know of the data behind them: folds, lengths, headings, searches, repeated texts.

`evaluation.methodology` judges the scores themselves; docs/reference/experiments.md lists every code of both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosshead.corpora import labelled
from crosshead.corpora.corpus import write_file
from crosshead.evaluation.methodology import Finding
from crosshead.schema import Settings
from crosshead.settings import config_digest
from crosshead.training.train import Folds

if TYPE_CHECKING:
    from crosshead.reporting.report import ReportData

SEARCHES, SEARCH_FINDINGS = "models/search", "findings.json"
MIN_AGREEMENT = 0.95
"""Share of headings that should say what annotators say, where headings are learnt from."""
LARGE_TRUNCATION = 0.01
N_NAMED = 20
_NOT_DECIDING = ("tracking", "search", "promotion", "cache_dir", "prepared_dir", "model_dir", "reports_dir")
Columns = Mapping[str, Sequence[Any]]


def add(settings: Settings, data: ReportData, train: Columns, test: Columns, summary: Mapping[str, Any]) -> ReportData:
    """Add to a report what is to be known of the data behind its scores."""
    found = findings(settings, train, summary, data.n_truncated or 0, data.own.n_paragraphs)
    return replace(
        data,
        findings=[*data.findings, *found],
        duplicates=duplicates((train, test), summary.get("boilerplate") or 0),
        leaks=leaks(train, test),
    )


def findings(settings: Settings, train: Columns, summary: Mapping[str, Any], n_truncated: int, n: int) -> list[Finding]:
    """Look for reasons to distrust the scores in the data, the folds and the way the configuration was found.

    CH007 section type missing in a fold · CH008 fewer folds than asked for · CH009 texts cut off · CH010 headings noisy
    or unchecked · CH020 search edge reached · CH021 chosen by a search.
    """
    cut = labelled.folds_of(train, settings.folds, settings.seed, settings.encoder.tuned())
    return [
        *_folds(cut.splits, train["section_type"], settings.taxonomy.section_types),
        *([Finding("CH008", "warning", f"{cut.warning[0].upper()}{cut.warning[1:]}.")] if cut.warning else []),
        *_truncation(n_truncated, n),
        *_headings(summary),
        *search_findings(settings.root, settings.resolved),
    ]


def _folds(splits: Folds, y: Sequence[str], section_types: Sequence[str]) -> Iterator[Finding]:
    labels = np.asarray(y)
    for name in section_types:
        without = [str(i) for i, (_, asked) in enumerate(splits, start=1) if name not in labels[asked]]
        if without and name in labels:
            yield Finding(
                "CH007",
                "warning",
                f"No paragraph of {name} is in fold {', '.join(without)} of {len(splits)}; cross-validation says less "
                "about it. Label more articles with it, or lower folds.",
            )


def _truncation(n_truncated: int, n: int) -> Iterator[Finding]:
    if n_truncated:
        severe = n_truncated > LARGE_TRUNCATION * n
        yield Finding(
            "CH009",
            "warning" if severe else "note",
            f"{n_truncated:,} of {n:,} scored paragraphs are longer than the encoder reads; their ends were cut off.",
        )


def _headings(summary: Mapping[str, Any]) -> Iterator[Finding]:
    """Warn where headings are learnt from and do not say what annotators say, or nobody looked."""
    learnt = summary["splits"]["train"]["label_sources"].get("heading", 0)
    if not learnt:
        return
    agreement = (summary.get("headings") or {}).get("agreement", {}).get("overall", {})
    share, n = agreement.get("share"), agreement.get("n_by_heading", 0)
    if share is None:
        told = "no paragraph has both a heading and an annotation, so nobody knows how often the headings are right"
    elif share < MIN_AGREEMENT:
        told = f"of {n:,} that are annotated as well, headings name the annotated section type for {share:.0%}"
    else:
        return
    yield Finding("CH010", "warning", f"{learnt:,} training paragraphs have their label from a heading; {told}.")


# -- searches ----------------------------------------------------------------------------------------------------------


def deciding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a configuration that decide what is scored, and how."""
    return {name: value for name, value in resolved.items() if name not in _NOT_DECIDING}


def keep_search_findings(folder: Path, best: Mapping[str, Any], found: Sequence[Finding], n_trials: int) -> None:
    """Leave what is to be known of a search's best configuration where its report will find it."""
    told = f"This configuration is the best of {n_trials:,} tried by their cross-validated score, which flatters it."
    kept = [*found, Finding("CH021", "note", f"{told} The held-out articles had no part in the choice.")]
    content = {"config_digest": config_digest(deciding(best)), "findings": [asdict(finding) for finding in kept]}
    write_file(folder / SEARCH_FINDINGS, (json.dumps(content, indent=1) + "\n").encode())


def search_findings(root: Path, resolved: Mapping[str, Any]) -> list[Finding]:
    """Return what a search of this project said of a configuration that it found; nothing of any other."""
    digest = config_digest(deciding(resolved))
    for path in sorted((root / SEARCHES).glob(f"*/{SEARCH_FINDINGS}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["config_digest"] == digest:
                return [Finding(**finding) for finding in content["findings"]]
        except (ValueError, KeyError, TypeError):
            continue  # of a search that was broken off, or of another version: no reason to stop a report
    return []


# -- repeated texts ----------------------------------------------------------------------------------------------------


def duplicates(splits: Iterable[Columns], n_boilerplate: int) -> list[str]:
    """Say which articles repeat each other, and how much was left out because it returns everywhere."""
    told = [f"{n_boilerplate} paragraphs that return in many articles were left out"] if n_boilerplate else []
    members: dict[str, set[str]] = defaultdict(set)
    for columns in splits:
        for group, article, origin in zip(columns["group_id"], columns["article_id"], columns["origin"], strict=True):
            if origin == "article":
                members[group].add(article)
    together = sorted(sorted(articles) for articles in members.values() if len(articles) > 1)
    told += [f"{_and(articles)} share paragraphs, so they stand on one side" for articles in together[:N_NAMED]]
    if len(together) > N_NAMED:
        told.append(f"and {len(together) - N_NAMED} more groups of articles")
    return told


def leaks(train: Columns, test: Columns) -> list[str]:
    """Say what stands on both sides; preparing refuses to write such a table, so this is a second look at the file."""
    told = []
    for name, one, several in (
        ("article_id", "article", "articles"),
        ("group_id", "group of articles", "groups of articles"),
        ("text", "text", "texts"),
    ):
        if n := len(set(train[name]) & set(test[name])):
            what = f"1 {one} is" if n == 1 else f"{n:,} {several} are"
            told.append(f"{what} in the training split and in the test split")
    return told


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"

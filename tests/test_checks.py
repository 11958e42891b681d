"""Findings on the data behind the scores, each with its code, and the two lists of repeated texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from crosshead.evaluation.methodology import Finding
from crosshead.schema import Settings
from crosshead.search import checks
from crosshead.settings import load_settings

TYPES = ("ground_developments", "regional_stability", "international_role", "other")


@pytest.fixture(scope="module")
def settings(root: Path) -> Settings:
    return load_settings(["folds=3"], root)


def columns(types_of_articles: dict[str, list[str]], **others: list[Any]) -> dict[str, list[Any]]:
    rows = [(article, name) for article, names in types_of_articles.items() for name in names]
    return {
        "article_id": [article for article, _ in rows],
        "group_id": [article for article, _ in rows],
        "section_type": [name for _, name in rows],
        "origin": ["article"] * len(rows),
        "text": [f"Sentence {i} of {article}." for i, (article, _) in enumerate(rows)],
        **others,
    }


def summary(**sources: int) -> dict[str, Any]:
    return {"splits": {"train": {"label_sources": sources}}, "headings": {"agreement": {}}}


def codes(found: list[Finding]) -> dict[str, str]:
    return {finding.code: finding.message for finding in found}


EVERYWHERE = {f"a{i}": list(TYPES) for i in range(9)}


def test_sound_data_raises_nothing(settings: Settings, tmp_path: Path) -> None:
    apart = settings.model_copy(update={"root": tmp_path})
    assert checks.findings(apart, columns(EVERYWHERE), summary(annotation=36), 0, 100) == []


def test_a_section_type_that_a_fold_lacks_and_too_few_groups(settings: Settings) -> None:
    rare = {**{name: ["ground_developments", "other"] for name in EVERYWHERE}, "a1": list(TYPES), "a2": list(TYPES)}
    found = codes(checks.findings(settings, columns(rare), summary(annotation=22), 0, 100))
    assert re.match(r"No paragraph of \w+ is in fold \d of 3; cross-validation says less about it", found["CH007"])
    few = codes(checks.findings(settings, columns({"a": list(TYPES), "b": list(TYPES)}), summary(annotation=8), 0, 100))
    assert few["CH008"][0].isupper()


@pytest.mark.parametrize(("n_truncated", "severity"), [(1, "note"), (2, "warning")])
def test_texts_that_were_cut_off(settings: Settings, n_truncated: int, severity: str) -> None:
    found = checks.findings(settings, columns(EVERYWHERE), summary(annotation=36), n_truncated, 100)
    assert [(f.code, f.severity) for f in found if f.code == "CH009"] == [("CH009", severity)]


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        (None, "12 training paragraphs have their label from a heading; no paragraph has both"),
        ({"share": 0.8, "n_by_heading": 50}, "of 50 that are annotated as well, headings name .* for 80%"),
        ({"share": 0.97, "n_by_heading": 50}, None),
    ],
)
def test_headings_that_were_learnt_from(settings: Settings, agreement: dict[str, Any] | None, told: str | None) -> None:
    said = summary(annotation=24, heading=12)
    said["headings"]["agreement"] = {"overall": agreement} if agreement else {}
    found = codes(checks.findings(settings, columns(EVERYWHERE), said, 0, 100))
    assert ("CH010" in found) == (told is not None)
    if told is not None:
        assert re.search(told, found["CH010"])


def test_articles_that_share_paragraphs_are_named() -> None:
    many = {f"a{i:02d}": ["other"] for i in range(50)}
    train = columns(many, group_id=[f"g{i // 2}" for i in range(50)])
    told = checks.duplicates((train,), 3)
    assert told[0] == "3 paragraphs that return in many articles were left out"
    assert told[1] == "a00 and a01 share paragraphs, so they stand on one side"
    assert told[-1] == "and 5 more groups of articles"
    assert checks.duplicates((columns(many),), 0) == []
    sets = columns({"s1": ["other"], "s2": ["other"]}, group_id=["s", "s"], origin=["contrast_set"] * 2)
    assert checks.duplicates((sets,), 0) == []


def test_what_stands_on_both_sides_is_counted() -> None:
    train, test = columns({"a": ["other"], "b": ["other"]}), columns({"b": ["other"]}, text=["New."])
    assert checks.leaks(train, columns({"c": ["other"]})) == []
    assert checks.leaks(train, test) == [
        "1 article is in the training split and in the test split",
        "1 group of articles is in the training split and in the test split",
    ]
    same = columns({"c": ["other"]}, text=[train["text"][0]])
    assert checks.leaks(train, same) == ["1 text is in the training split and in the test split"]

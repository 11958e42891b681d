"""The model card: everything in it was measured."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np

from crosshead.evaluation import check_scores, evaluate, paired_bootstrap
from crosshead.releases.registry import MAX_DESCRIPTION
from crosshead.reporting.cards import About, model_card
from crosshead.reporting.report import ReportData
from test_compare import TYPES, make_predictions, some_wrong

MANIFEST: dict[str, Any] = {
    "crosshead": "0.1.0",
    "section_types": list(TYPES),
    "views": [{"name": "words", "kind": "tfidf", "head": "linear", "weight": 2.0}],
    "encoder": "f" * 64,
    "temperature": 0.87,
    "decoder_weight": 0.3,
    "threshold": 0.55,
    "risk": 0.1,
    "about": {"encoder": "small one", "config_digest": "c" * 64, "dataset_digest": "d" * 64},
}
SUMMARY: dict[str, Any] = {
    "digest": "d" * 64,
    "headings": {"agreement": {"overall": {"n_by_heading": 72, "share": 0.861}}},
    "splits": {
        split: {
            "paragraphs": 1234,
            "articles": 26,
            "contrast_sets": 11,
            "single_paragraphs": 123,
            "section_types": {"war": 500, "talks": 400, "rest": 334},
            "label_sources": {"annotation": 1000, "contrast": 234},
        }
        for split in ("train", "test")
    },
}
ABOUT = About("crosshead", MANIFEST, SUMMARY, "CC BY 4.0", "b" * 64, 91_500_000, "r" * 32)


def make_data() -> ReportData:
    own, other = make_predictions(some_wrong(1, 16)), make_predictions(some_wrong(0, 4))
    scores = {
        "model": evaluate(own.y, own.model, own.article_ids, TYPES, abstained=np.arange(48) < 6),
        "tfidf": evaluate(other.y, other.model, other.article_ids, TYPES),
    }
    return ReportData(
        title="",
        model="model",
        scores=scores,
        created="2031-05-01 12:00 UTC",
        descriptions={"war": "the fighting | itself", "talks": "<b>what</b> outsiders do"},
        findings=check_scores("model", scores),
        comparisons={"tfidf": paired_bootstrap(own.y, other.model, own.model, own.article_ids)},
        set_accuracy={"model": scores["model"].accuracy},
        n_truncated=3,
    )


def test_the_card_holds_what_was_measured() -> None:
    data = make_data()
    card = model_card(data, ABOUT)
    own = data.own
    for said in (
        "# crosshead: a tagger of paragraphs in articles",
        "Made by crosshead 0.1.0, 2031-05-01 12:00 UTC",
        "48 paragraphs of 12 held-out articles",
        f"| macro-F1 | {own.macro_f1} | {data.scores['tfidf'].macro_f1} |",
        f"| ECE ↓ | {own.ece} | {data.scores['tfidf'].ece} |",
        f"| contrast sets right | {own.accuracy} | – |",
        "\n\n- model − tfidf: macro-F1 +0.",
        f"| war | 24 | {own.classes[0].f1} |",
        "temperature 0.87",
        'It says "not sure" below 55.0 %, chosen so that at most 10 % of its answers are wrong: it answers 87.5 %',
        "- CH001: Only 12 articles were scored",
        "- 3 of the held-out paragraphs were longer than the encoder reads.",
        "- Headings of the articles agree with the annotations on 86 % of 72 paragraphs that have both.",
        "| train | 26 | 11 | 123 | 1,234 | annotation 1,000, contrast 234 |",
        "Trained on: war 500, talks 400, rest 334.",
        "Licence of the texts: CC BY 4.0.",
        f"| encoder | small one (fingerprint {'f' * 64}) |",
        "| views | words (tfidf, linear, weight 2) |",
        f"| bundle | sha256 {'b' * 64}, 91.5 MB |",
        f"| configuration | sha256 {'c' * 64} |",
        f"| MLflow run | {'r' * 32} |",
        "`crosshead tag --model models:/crosshead/VERSION article.md`",
    ):
        assert said in card, said
    assert "| coverage | 0.875" in card


def test_tables_are_tables() -> None:
    lines = model_card(make_data(), ABOUT).splitlines()
    tables: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    n_cells = [{len(re.findall(r"(?<!\\)\|", line.rstrip())) for line in table} for table in tables if table]
    assert len(n_cells) == 5
    assert all(len(widths) == 1 for widths in n_cells), n_cells
    assert not any(line.strip() == "" and after.strip() == "" for line, after in itertools.pairwise(lines))


def test_texts_of_the_taxonomy_stay_in_their_cells() -> None:
    card = model_card(make_data(), ABOUT)
    assert "| war | the fighting \\| itself |" in card
    assert "| talks | &lt;b>what&lt;/b> outsiders do |" in card
    assert "| rest | not said |" in card


def test_what_is_not_known_is_not_made_up() -> None:
    bare = replace(
        make_data(), findings=(), comparisons={}, set_accuracy={}, n_truncated=0, created="", descriptions={}
    )
    manifest = {**MANIFEST, "encoder": None, "about": {}, "threshold": 2.0}
    about = replace(ABOUT, manifest=manifest, licence=None, run_id=None, summary={**SUMMARY, "headings": {}})
    card = model_card(bare, about)
    for said in (
        "- No check of the evaluation found a reason to distrust the scores.",
        "Licence of the texts: not stated (corpus.licence).",
        "| encoder | none |",
        "| MLflow run | not recorded |",
        'It says "not sure" of every paragraph: no confidence kept mistakes below 10 %.',
    ):
        assert said in card, said
    assert "Headings of the articles" not in card
    assert "longer than the encoder reads" not in card
    waiting = model_card(bare, replace(about, run_id="unsent-abc"))
    assert "| MLflow run | not recorded yet |" in waiting


def test_the_card_of_an_ordinary_model_fits_into_a_description() -> None:
    assert len(model_card(make_data(), ABOUT)) < MAX_DESCRIPTION

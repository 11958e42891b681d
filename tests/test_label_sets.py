"""Label sets: from out-of-fold rows in training, through the bundle, to every answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from cli_parts import make_tagger
from crosshead import bundle
from crosshead.evaluation import conformal_quantile, label_sets
from crosshead.training.train import CONFORMAL_ALPHA

TEXTS = ["Shells fell on the river bank.", "The neighbours closed a border.", "The writer keeps bees.", "Snow."]


def test_training_takes_the_quantile_from_out_of_fold_rows(tiny_graph: Path) -> None:
    result = tiny.build_tagger(tiny_graph)
    _, y, _, _ = tiny.training_rows()
    assert result.tagger.conformal_alpha == CONFORMAL_ALPHA == 0.1
    assert result.tagger.conformal_quantile == conformal_quantile(y, result.out_of_fold, 0.1)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.7, 0.9, 1.0])
def test_a_tags_set_is_what_evaluation_says(quantile: float) -> None:
    tagger = replace(make_tagger(), conformal_quantile=quantile)
    marks = label_sets(tagger.predict_proba([TEXTS]), quantile)
    expected = [tuple(np.array(tagger.section_types)[row]) for row in marks]
    tags = tagger.tag_article(TEXTS)
    assert [tag.label_set for tag in tags] == expected
    assert all(tag.section_type in tag.label_set for tag in tags)


def test_a_score_on_the_bound_is_answered_and_belongs_to_the_set() -> None:
    tagger = make_tagger()
    for i, tag in enumerate(tagger.tag_article(TEXTS)):
        for threshold, abstained in ((tag.confidence, False), (float(np.nextafter(tag.confidence, 2)), True)):
            assert replace(tagger, threshold=threshold).tag_article(TEXTS)[i].abstained is abstained
        least = min(tag.scores, key=tag.scores.__getitem__)
        quantile = 1 - tag.scores[least]
        assert least in replace(tagger, conformal_quantile=quantile).tag_article(TEXTS)[i].label_set
        smaller = float(np.nextafter(quantile, 0))
        assert least not in replace(tagger, conformal_quantile=smaller).tag_article(TEXTS)[i].label_set


def test_without_a_quantile_nothing_is_promised_and_jsonl_stays_as_it_was() -> None:
    plain, promising = make_tagger(), replace(make_tagger(), conformal_quantile=0.5)
    assert {tag.label_set for tag in plain.tag_texts(TEXTS)} == {()}
    assert [tag.as_dict() for tag in plain.tag_texts(TEXTS)] == [tag.as_dict() for tag in promising.tag_texts(TEXTS)]


def test_the_bundle_keeps_the_promise_and_an_old_one_makes_none(tiny_bundle: Path) -> None:
    loaded = bundle.load(tiny_bundle)
    manifest = json.loads((tiny_bundle / bundle.MANIFEST).read_text())
    assert loaded.conformal_quantile == manifest["conformal_quantile"] is not None
    assert loaded.conformal_alpha == manifest["conformal_alpha"] == 0.1
    del manifest["conformal_quantile"], manifest["conformal_alpha"]
    (tiny_bundle / bundle.MANIFEST).write_text(json.dumps(manifest))
    assert bundle.load(tiny_bundle).conformal_quantile is None


def test_looking_in_pieces_changes_nothing(tiny_bundle: Path) -> None:
    tagger = bundle.load(tiny_bundle)
    pieces = [tagger.look(TEXTS[:1]), tagger.look(TEXTS[1:])]
    whole = tagger.look(TEXTS)
    assert np.array_equal(np.concatenate([piece.log_proba for piece in pieces]), whole.log_proba)
    assert tagger.conclude(whole, [1, 3]) == tagger.tag_articles([TEXTS[:1], TEXTS[1:]])
    assert tagger.conclude(tagger.look([]), []) == []
    assert tagger.conclude(tagger.look([]), [0, 0]) == [[], []]


def test_an_encoder_that_is_loaded_already_is_used_again(tiny_bundle: Path) -> None:
    first = bundle.load(tiny_bundle)
    assert bundle.load(tiny_bundle, reuse=first.encoder).encoder is first.encoder
    other = make_tagger().encoder
    assert bundle.load(tiny_bundle, reuse=other).encoder is not other

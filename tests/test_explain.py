"""Explanations: every effect is the difference that leaving the part out really makes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from cli_parts import make_tagger
from crosshead import bundle
from crosshead.errors import DataError
from crosshead.tagging.decoding import Chain, Transitions, n_features
from crosshead.tagging.explain import MAX_CHARACTERS, MAX_SENTENCES, MAX_WORDS, Effect, ask, explain
from crosshead.tagging.heads import ConstantHead, LinearHead
from crosshead.tagging.tagger import Tagger, TfidfView
from crosshead.tagging.tfidf import Tfidf
from crosshead.text import normalise, sentence_spans, sentences

BEFORE = ["Shells fell on the river bank at dawn.", "The columns crossed the river twice."]
AFTER = ["The writer keeps bees behind the mill."]
PARAGRAPH = "Envoys met in the lake town on Monday. The neighbours closed a border! Nobody asked the writer about it."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Tagger:
    return bundle.load(tiny.build_bundle(tmp_path_factory.mktemp("explain") / "tiny", tiny_graph))


def log_odds(tagger: Tagger, texts: list[str], position: int, section_type: str) -> float:
    proba = tagger.predict_proba([texts])[position, tagger.section_types.index(section_type)]
    return math.log(proba / (1 - proba))


def with_sequence(tagger: Tagger) -> Tagger:
    k, rng = len(tagger.section_types), np.random.default_rng(0)
    return replace(tagger, transitions=Chain(0.3 * rng.normal(size=(n_features(k), k)), rng.normal(size=(k, k))))


@pytest.mark.parametrize("name", ["hand", "trained", "sequence"])
def test_an_effect_is_what_the_tagger_says_without_the_part(name: str, trained: Tagger) -> None:
    tagger = {"hand": make_tagger(), "trained": trained, "sequence": with_sequence(trained)}[name]
    found = explain(tagger, PARAGRAPH, BEFORE, AFTER)
    assert found.tag == tagger.tag_article([*BEFORE, PARAGRAPH, *AFTER])[2]
    whole = log_odds(tagger, [*BEFORE, PARAGRAPH, *AFTER], 2, found.tag.section_type)
    assert len(found.sentences) == 3
    assert found.words
    for part in (*found.sentences, *found.words):
        assert PARAGRAPH[part.start : part.end] == part.text
        rest = PARAGRAPH[: part.start] + " " + PARAGRAPH[part.end :]
        without = log_odds(tagger, [*BEFORE, rest, *AFTER], 2, found.tag.section_type)
        assert part.effect == pytest.approx(whole - without, abs=1e-9)


def words_only(words: dict[str, int], coef: list[list[float]], *, n_max: int = 1) -> Tagger:
    """Make a tagger of two section types whose arithmetic fits in the head."""
    view = TfidfView(
        "words",
        1.0,
        LinearHead(np.array(coef, dtype=np.float32), np.zeros(2, dtype=np.float32)),
        Tfidf(words, np.ones(len(words), dtype=np.float32), n_max),
    )
    return Tagger(("war", "other"), (view,), None, 1.0, Transitions(np.zeros((2, 2)), 0.0), 0.5, 0.1)


def test_effects_worked_out_by_hand() -> None:
    # Two words of equal weight: tf-idf 1/√2 each, war 3/√2 and bees -1/√2 apart; alone each has weight 1.
    tagger = words_only({"shells": 0, "bees": 1}, [[3.0, 0.0], [0.0, 1.0]])
    found = explain(tagger, "Shells hit bees.")
    assert found.tag.section_type == "war"
    whole = (3 - 1) / math.sqrt(2)
    effects = {word.text: word.effect for word in found.words}
    assert effects["Shells"] == pytest.approx(whole - -1, abs=1e-6)
    assert effects["bees"] == pytest.approx(whole - 3, abs=1e-6)
    assert effects["hit"] == pytest.approx(0, abs=1e-9)
    assert [word.text for word in found.words] == ["Shells", "bees", "hit"], "the strongest first"
    (only,) = found.sentences
    assert only == Effect("Shells hit bees.", 0, 16, pytest.approx(whole, abs=1e-6)), (
        "against saying nothing: even odds"
    )


def test_a_paragraph_of_one_sentence_is_held_against_its_neighbours_alone() -> None:
    tagger = make_tagger()
    found = explain(tagger, "Shells fell.", BEFORE, AFTER)
    (only,) = found.sentences
    assert (only.start, only.end) == (0, 12)
    # With a flat row in its place, the neighbours alone decide.
    looked = tagger.look([*BEFORE, "Shells fell.", *AFTER])
    looked.log_proba[2] = -math.log(len(tagger.section_types))
    proba = tagger.decode(looked, [4])[2, tagger.section_types.index(found.tag.section_type)]
    whole = log_odds(tagger, [*BEFORE, "Shells fell.", *AFTER], 2, found.tag.section_type)
    assert only.effect == pytest.approx(whole - math.log(proba / (1 - proba)), abs=1e-9)


def test_every_occurrence_of_a_word_is_left_out_on_its_own() -> None:
    tagger = words_only({"shells": 0}, [[3.0], [0.0]])
    found = explain(tagger, "Shells and shells.")
    assert {(word.start, word.end) for word in found.words if word.text.lower() == "shells"} == {(0, 6), (11, 17)}


def test_the_words_that_are_tried_are_those_of_most_weight() -> None:
    padding = " ".join(f"padding{i:03d}" for i in range(3 * MAX_WORDS))
    tagger = words_only({"shells fell": 0, "shells": 1, "fell": 2}, [[3, 1, 1], [0, 0, 0]], n_max=2)
    found = explain(tagger, f"{padding} shells fell {padding}")
    assert len(found.words) == MAX_WORDS
    assert {"shells", "fell"} == {word.text for word in found.words[:2]}
    assert all(word.effect == pytest.approx(0, abs=1e-9) for word in found.words[2:])


def test_without_a_view_of_words_the_longest_are_tried() -> None:
    tagger = words_only({"shells": 0}, [[1.0], [0.0]])
    constant = TfidfView("words", 1.0, ConstantHead(np.log(np.array([0.6, 0.4]))), tagger.views[0].tfidf)  # type: ignore[union-attr]
    tagger = Tagger(("war", "other"), (constant,), None, 1.0, tagger.transitions, 0.5, 0.1)
    text = " ".join(["in", "Shells", "observatory"] * MAX_WORDS)
    found = explain(tagger, text)
    assert {word.text for word in found.words} == {"observatory"}
    assert all(word.effect == 0 for word in found.words)
    assert found.sentences[0].effect == pytest.approx(math.log(0.6 / 0.4)), "the whole, against saying nothing"


def test_many_sentences_are_taken_several_together() -> None:
    text = " ".join(f"The column number {i} crossed the river." for i in range(MAX_SENTENCES + 1))
    found = explain(make_tagger(), text)
    assert len(found.sentences) == 33
    assert found.sentences[0].text == "The column number 0 crossed the river. The column number 1 crossed the river."
    assert found.sentences[-1].end == len(text)


def test_what_cannot_be_explained() -> None:
    with pytest.raises(DataError, match=r"has 20,001 characters; at most 20,000 are explained; split it"):
        explain(make_tagger(), "a" * (MAX_CHARACTERS + 1))
    with pytest.raises(DataError, match="paragraph 0 holds no text"):
        explain(make_tagger(), "\u200b")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=120), st.lists(st.sampled_from(BEFORE), max_size=2))
def test_any_text_is_explained_in_its_own_characters(text: str, before: list[str]) -> None:
    tagger = make_tagger()
    if not normalise(text):
        return
    found = explain(tagger, text, before)
    assert found.tag == tagger.tag_article([*before, text])[-1]
    for part in (*found.sentences, *found.words):
        assert text[part.start : part.end] == part.text != ""
        assert math.isfinite(part.effect)


@given(st.text(alphabet='Aaé .!?…\n\t\u200b"”Mr', max_size=60))
def test_sentence_spans_cut_any_text(text: str) -> None:
    spans = sentence_spans(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert bool(spans) == bool(text.strip())
    cleaned = normalise(text)
    assert " ".join(sentences(cleaned)) == cleaned


def test_what_has_to_be_looked_at_is_the_article_and_what_is_left_of_it() -> None:
    question = ask(make_tagger(), "Shells fell. The neighbours closed a border in the night.", BEFORE, AFTER)
    assert question.texts[:4] == (*BEFORE, "Shells fell. The neighbours closed a border in the night.", *AFTER)
    assert (question.position, question.n_article) == (2, 4)

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.text import _ABBREVIATION, _join_short, _trimmed, normalise, sentence_spans, sentences, text_digest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("two  words\n wrapped", "two words wrapped"),
        ("the [ceasefire](https://example.org/a_b) held", "the ceasefire held"),
        ("**Kharkiv** and *Izium*, __both__", "Kharkiv and Izium, both"),
        ("snake_case_name and 2*3*4 stay", "snake_case_name and 2*3*4 stay"),
        ("zero\u200bwidth and \ufeffmark", "zerowidth and mark"),
        ("e\u0301tat", "état"),
        ("![map](front.png) of `sector`", "map of sector"),
        ("", ""),
        (" \u200b\n", ""),
    ],
)
def test_normalise_keeps_the_words(raw: str, words: str) -> None:
    assert normalise(raw) == words


@given(st.text())
def test_normalise_is_idempotent_and_single_spaced(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@given(st.text(alphabet="ab[]()*_` \n.", max_size=60))
def test_normalise_is_idempotent_on_markup(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


HOSTILE = {
    "nested links": lambda n: "[" * (n // 5) + "a" + "](x)" * (n // 5),
    "nested code": lambda n: "`" * (n // 2) + "a" + "`" * (n // 2),
    "emphasis": lambda n: "*_" * (n // 4) + "a" + "_*" * (n // 4),
    "open links": lambda n: '[a](b "' * (n // 7),
    "marks out of order": lambda n: "a" + "\u0f72\u0f71" * (n // 2),
    "marks that hide": lambda n: "a" + "\u0f73" * n,
    "marks and joiners": lambda n: "a" + "\u0f72\u200d\u0f71\u200d" * (n // 4),
    "initials": lambda n: "A. " * (n // 3),
    "dots": lambda n: "." * n + "x",
    "dots and quotes": lambda n: '."' * (n // 2) + "x",
    "wide gaps": lambda n: ("a." + " " * 50) * (n // 52),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_time_grows_with_the_length_alone(make: Callable[[int], str]) -> None:
    """Twenty times the text may take sixty times as long; four hundred times is what an attack would be after."""

    def seconds(text: str) -> float:
        began = time.process_time()
        cleaned = normalise(text)
        sentences(cleaned)
        sentences(text)
        return time.process_time() - began

    short, long = make(10_000), make(200_000)
    assert seconds(long) < 60 * max(min(seconds(short) for _ in range(3)), 0.005)
    assert normalise(normalise(long)) == normalise(long)


def test_nesting_that_nobody_writes_loses_its_marks() -> None:
    assert normalise("[" * 19 + "words" + "](x)" * 19) == "words"
    assert normalise("[" * 500 + "words" + "](x)" * 500 + " (and more)").startswith("words")
    assert "[" not in normalise("[" * 500 + "words" + "](x)" * 500)


def test_long_runs_of_combining_marks_are_cut() -> None:
    text = "e\u0301" + "\u0323" * 5000 + " and"
    assert len(normalise(text)) < 50
    assert normalise(text).endswith(" and")
    vietnamese = "Vie\u0323\u0302t Nam " * 300
    assert normalise(vietnamese) == ("Việt Nam " * 300).strip(), "people's text keeps its marks"


@given(st.text(alphabet=". A!?Mrx\"' \n", max_size=80))
def test_sentences_are_found_as_by_looking_at_the_whole_piece(text: str) -> None:
    """Looking at the last characters alone finds the same abbreviations."""
    spans, start = [], 0
    for match in re.finditer(r"""[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-ÞА-Я])""", text):
        if _ABBREVIATION.search(text[start : match.end()].strip()):
            continue
        spans.append(_trimmed(text, start, match.end()))
        start = match.end()
    if text[start:].strip():
        spans.append(_trimmed(text, start, len(text)))
    assert sentence_spans(text) == _join_short(spans)


def test_sentences_split_at_ends_but_not_at_abbreviations() -> None:
    text = "Gen. Marek Holt left the U.S. embassy at noon. He said nothing to the press! Was it over? Nobody knew."
    assert sentences(text) == [
        "Gen. Marek Holt left the U.S. embassy at noon.",
        "He said nothing to the press! Was it over? Nobody knew.",  # short pieces are joined
    ]


@given(st.text())
def test_sentences_lose_no_word(text: str) -> None:
    cleaned = normalise(text)
    pieces = sentences(cleaned)
    assert " ".join(pieces).split() == cleaned.split()
    assert bool(pieces) == bool(cleaned)


def test_text_digest_is_the_annotation_hash() -> None:
    assert text_digest("abc") == "ba7816bf8f01cfea"


@given(st.text(st.sampled_from("aB1 .,\t\n\u00a0\u00ad\u200b\u0301é*_`[]()\x07\x1c\u2003’—"), max_size=30))
@settings(max_examples=300)
def test_plain_texts_are_cleaned_as_all_others(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crosshead.text._is_plain", lambda text: False)
        expected = normalise(text)
    assert normalise(text) == expected

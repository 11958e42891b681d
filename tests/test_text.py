from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.text import normalise, sentences, text_digest


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

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crosshead.errors import ConfigError
from crosshead.taxonomy import Taxonomy, fold_heading

MAPPING: dict[str, Any] = {
    "name": "kitchen",
    "section_types": [
        {
            "name": "cooking",
            "description": "Heat, pans and recipes",
            "heading_phrases": ["oven", "roast", "slow roast", "crème brûlée"],
            "heading_patterns": [r"\bhow to (boil|fry)\b", r"°C"],
            "text_rules": [{"name": "heat", "phrases": ["simmer*", "low heat"], "patterns": [r"\d+ degrees"]}],
        },
        {"name": "shopping", "description": "Markets and budgets", "heading_phrases": ["market", "price of a roast"]},
        {"name": "other", "heading_phrases": ["about us"]},
    ],
}

TAXONOMY = Taxonomy.from_mapping(MAPPING)


@pytest.fixture
def taxonomy() -> Taxonomy:
    return TAXONOMY


def changed(**section_type: Any) -> dict[str, Any]:
    return {"section_types": [{"name": "first"}, {"name": "second", **section_type}]}


class TestMatching:
    @pytest.mark.parametrize(
        ("heading", "section_type"),
        [
            ("Oven", "cooking"),
            ("3. THE OVEN!", "cooking"),
            ("Creme  Brulee, at last", "cooking"),
            ("How to fry an egg", "cooking"),
            ("At 180 °C", "cooking"),
            ("The market's hours", "shopping"),
            ("About us", "other"),
            ("Ovens", None),
            ("Marketing", None),
            ("", None),
            ("—", None),
        ],
    )
    def test_whole_phrases_and_patterns_match(self, taxonomy: Taxonomy, heading: str, section_type: str | None) -> None:
        assert taxonomy.match_heading(heading).section_type == section_type

    def test_the_match_that_covers_most_words_wins(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.match_heading("The price of a roast").section_type == "shopping"
        assert taxonomy.match_heading("A slow roast from the market").section_type == "cooking"
        assert taxonomy.match_heading("How to fry what the market has").section_type == "cooking"

    def test_the_reason_names_the_rule(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.match_heading("A slow roast").reason == "phrase 'slow roast'"
        assert taxonomy.match_heading("How to boil rice").reason == r"pattern '\bhow to (boil|fry)\b'"
        assert taxonomy.match_heading("Weather").reason == "nothing matches"

    def test_a_tie_is_a_conflict_that_names_both(self, taxonomy: Taxonomy) -> None:
        match = taxonomy.match_heading("From market to oven")

        assert match.section_type is None
        assert match.candidates == ("cooking", "shopping")
        assert match.reason == "conflict: phrase 'oven' → cooking, phrase 'market' → shopping"

    @settings(deadline=None)
    @given(st.text(max_size=40))
    def test_any_heading_has_an_answer(self, heading: str) -> None:
        match = TAXONOMY.match_heading(heading)
        assert match.section_type in (*TAXONOMY.section_types, None)
        assert match.reason

    @settings(deadline=None)
    @given(st.text(st.characters(codec="ascii", categories=("P", "Z")), max_size=5))
    def test_case_and_punctuation_do_not_matter_to_phrases(self, noise: str) -> None:
        assert TAXONOMY.match_heading(f"{noise}SLOW{noise or ' '} roast{noise}").reason == "phrase 'slow roast'"

    @example("𝓐 İ ß")
    @settings(deadline=None)
    @given(st.text(max_size=40))
    def test_folding_twice_is_folding_once(self, heading: str) -> None:
        assert fold_heading(fold_heading(heading)) == fold_heading(heading)


class TestPaths:
    def test_the_innermost_heading_that_matches_decides(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.match_path(["Market", "Oven"]).section_type == "cooking"
        assert taxonomy.match_path(["Market", "Tuesday"]).section_type == "shopping"

    def test_a_conflict_is_not_settled_by_a_heading_further_out(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.match_path(["Oven", "From market to oven"]).section_type is None

    def test_no_heading_gives_nothing(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.match_path([]).reason == "no heading"

    def test_the_default_stands_in_only_where_nothing_matches(self) -> None:
        taxonomy = Taxonomy.from_mapping({**MAPPING, "default": "other"})
        assert taxonomy.match_path(["Market", "Tuesday"]).section_type == "shopping"
        assert taxonomy.match_path(["Tuesday"]).section_type == "other"
        assert taxonomy.match_heading("From market to oven").section_type is None
        assert taxonomy.match_path([]).section_type is None


class TestSuggestions:
    @pytest.mark.parametrize(
        ("heading", "suggestion"),
        [
            ("A recipe for rain", "cooking"),
            ("Budgeting", "shopping"),
            ("Recipes for the marketplace", None),
            ("Weather", None),
            ("It is so", None),
        ],
    )
    def test_an_unmapped_heading_gets_the_nearest_by_words(
        self, taxonomy: Taxonomy, heading: str, suggestion: str | None
    ) -> None:
        match = taxonomy.match_heading(heading)
        assert (match.section_type, match.suggestion) == (None, suggestion)

    def test_a_word_that_few_section_types_use_counts_more(self) -> None:
        described = [("first", "bread"), ("second", "bread"), ("third", "almonds")]
        types = [{"name": name, "description": description} for name, description in described]
        taxonomy = Taxonomy.from_mapping({"section_types": types})
        assert taxonomy.match_heading("Bread and almonds").suggestion == "third"


class TestMapping:
    def test_order_is_kept(self, taxonomy: Taxonomy) -> None:
        assert taxonomy.section_types == ("cooking", "shopping", "other")

    def test_plain_data_gives_the_same_taxonomy_back(self, taxonomy: Taxonomy) -> None:
        assert Taxonomy.from_mapping(taxonomy.as_mapping()) == taxonomy

    @pytest.mark.parametrize(
        ("mapping", "message"),
        [
            ([], r"taxonomy is \[\]; it must be a mapping"),
            ({}, "taxonomy.section_types is None; it must be a list"),
            ({"section_types": "all"}, "taxonomy.section_types is 'all'"),
            ({"section_types": []}, "0 section types; telling paragraphs apart needs at least 2"),
            ({"section_types": [{"name": "one"}]}, "1 section types"),
            ({"section_types": ["one", "two"]}, r"taxonomy.section_types\[0\] is 'one'; it must be a mapping"),
            ({"section_types": [{"name": 1}]}, r"taxonomy.section_types\[0\].name is 1; it must be a word"),
            ({"sections": []}, "unknown key 'sections'; allowed: .*did you mean 'section_types'"),
            (changed(phrases=["x"]), "unknown key 'phrases'"),
            (changed(heading_phrases="front"), "heading_phrases is 'front'; it must be a list"),
            (changed(heading_phrases=[True]), "holds True, which is no text; put it in quotes"),
            (changed(heading_phrases=["?!"]), r"heading phrase '\?!' of section type 'second' has no word"),
            (changed(heading_patterns=["(un"]), r"heading pattern '\(un' of section type 'second' is no regular"),
            (changed(heading_patterns=["x*"]), r"heading pattern 'x\*' .* matches an empty heading"),
            (changed(text_rules="fire"), r"section_types\[1\]\.text_rules is 'fire'; it must be a list of mappings"),
            (changed(text_rules=["fire"]), r"text_rules\[0\] is 'fire'; it must be a mapping"),
            (changed(text_rules=[{"name": "fire", "words": []}]), r"text_rules\[0\] has the unknown key 'words'"),
            (changed(text_rules=[{"name": "a", "phrases": [1]}]), r"text_rules\[0\]\.phrases holds 1"),
            (changed(text_rules=[{"name": " ", "phrases": ["x"]}]), "text rule ' ' .* a name that is empty or taken"),
            (changed(text_rules=[{"name": "a", "phrases": ["x"]}] * 2), "text rule 'a' .* empty or taken"),
            (changed(text_rules=[{"name": "a"}]), "text rule 'a' .* neither phrases nor patterns"),
            (changed(text_rules=[{"name": "a", "phrases": ["!*"]}]), r"phrase '!\*', which has no word in it"),
            (changed(text_rules=[{"name": "a", "patterns": ["("]}]), "pattern .* of text rule 'a' .* no regular expr"),
            (changed(text_rules=[{"name": "a", "patterns": ["x?"]}]), "text rule 'a' .* matches an empty paragraph"),
            (changed(name="two words"), "section type 'two words' cannot be a name"),
            (changed(name="First"), "two section types are named 'first' and 'First'"),
            (changed(name="first"), "two section types are named 'first' and 'first'"),
            ({**MAPPING, "default": "othr"}, "taxonomy.default is 'othr'.*did you mean 'other'"),
            (
                {
                    "section_types": [
                        {"name": "a", "heading_phrases": ["The Front"]},
                        {"name": "b", "heading_phrases": ["the front!"]},
                    ]
                },
                "heading phrase 'the front!' belongs to section types 'a' and 'b'",
            ),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, mapping: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Taxonomy.from_mapping(mapping)


@pytest.fixture(scope="module")
def conflict(root: Path) -> Taxonomy:
    text = (root / "conf" / "taxonomy" / "conflict.yaml").read_text(encoding="utf-8")
    return Taxonomy.from_mapping(yaml.safe_load(text))


class TestShippedTaxonomy:
    @pytest.mark.parametrize(
        ("heading", "section_type"),
        [
            ("Military situation", "ground_developments"),
            ("Situation on the Ground", "ground_developments"),
            ("Who controls what?", "ground_developments"),
            ("Implications for Regional Stability", "regional_stability"),
            ("The neighbors", "regional_stability"),
            ("Refugees", "regional_stability"),
            ("The Role of the International Community", "international_role"),
            ("Regional and international responses", "international_role"),
            ("What should Paris do?", "international_role"),
            ("Historical background", "other"),
            ("About the author", "other"),
            ("Key takeaways", None),
            ("Summary", None),
        ],
    )
    def test_plain_headings_map(self, conflict: Taxonomy, heading: str, section_type: str | None) -> None:
        assert conflict.match_heading(heading).section_type == section_type

    def test_every_section_type_describes_itself(self, conflict: Taxonomy) -> None:
        assert all(definition.description for definition in conflict.definitions)

    def test_every_section_type_has_text_rules(self, conflict: Taxonomy) -> None:
        assert all(len(definition.text_rules) >= 5 for definition in conflict.definitions)

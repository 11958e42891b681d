from __future__ import annotations

import itertools
import json
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation, check_annotations, count_votes, read_annotations
from crosshead.corpora.contrast_sets import ContrastParagraph, check_contrast_sets, read_contrast_sets
from crosshead.corpora.corpus import (
    Row,
    contrast_rows,
    digest_rows,
    make_table,
    read_summary,
    read_table,
    remove_summary,
    write_file,
    write_table,
)
from crosshead.corpora.duplicates import connected, group_articles, near_duplicates
from crosshead.corpora.heading_labels import label_by_headings, report_headings
from crosshead.corpora.leaks import find_leaks
from crosshead.corpora.splits import folds, split_test
from crosshead.errors import ConfigError, DataError
from crosshead.taxonomy import Taxonomy
from crosshead.text import text_digest

TYPES = ("war", "talks", "rest")
ARTICLE = Article.from_texts(["Guns fired.", "Envoys met.", "It rained."], article_id="a")
OTHER = Article.from_texts(["Guns fell silent."], article_id="b")


def an_annotation(paragraph: int, label: str, annotator: str = "ann", text: str | None = None) -> Annotation:
    digest = text_digest(ARTICLE.paragraphs[paragraph].text if text is None else text)
    return Annotation("a", paragraph, digest, label, annotator, line=paragraph + 2)


class TestReadAnnotations:
    def write(self, folder: Path, text: str) -> Path:
        path = folder / "annotations.csv"
        path.write_text(text, encoding="utf-8")
        return path

    def test_further_columns_are_kept(self, tmp_path: Path) -> None:
        text = "\ufeffnote,article_id,paragraph,text_sha256,section_type,annotator\nlate, a ,1,AB12,war,\n"
        assert read_annotations(self.write(tmp_path, text)) == [
            Annotation("a", 1, "ab12", "war", "", line=2, extra={"note": "late"})
        ]

    def test_lines_are_those_of_the_file(self, tmp_path: Path) -> None:
        text = 'article_id,paragraph,text_sha256,section_type,note\na,0,x,war,"two\nlines"\na,1,x,war,\n'
        assert [annotation.line for annotation in read_annotations(self.write(tmp_path, text))] == [3, 4]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "lack the column 'article_id'"),
            ("article_id;paragraph\n", r"lack the column .* separated by commas"),
            ("article_id,paragraph,text_sha256,section_type\na,first,x,war\n", "line 2 .* has the paragraph 'first'"),
        ],
    )
    def test_what_is_no_annotation_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_annotations(self.write(tmp_path, text))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.csv cannot be read: No such file.*set corpus\.annotations"):
            read_annotations(tmp_path / "gone.csv")

    def test_another_encoding_is_said(self, tmp_path: Path) -> None:
        path = tmp_path / "latin.csv"
        path.write_bytes("article_id,café".encode("latin-1"))
        with pytest.raises(DataError, match="are no CSV file in UTF-8"):
            read_annotations(path)


class TestCheckAnnotations:
    def test_fitting_annotations_pass(self) -> None:
        whole = Annotation("a", 1, text_digest("Envoys met.") + "0" * 48, "talks")
        check_annotations([an_annotation(0, "war"), an_annotation(0, "war"), whole], [ARTICLE], TYPES)

    @pytest.mark.parametrize(
        ("annotation", "message"),
        [
            (an_annotation(0, "wra"), "on line 2 .* 'wra'; allowed: war, talks, rest; did you mean 'war'"),
            (Annotation("c", 0, "x", "war"), r"paragraph 0 of 'c'\) is about an article that is not in the corpus"),
            (Annotation("a", 3, "x", "war"), "the article has 3 paragraphs, 0 to 2; no paragraph of the corpus"),
            (Annotation("a", -1, "x", "war"), "does not exist"),
            (
                Annotation("a", 7, text_digest("It rained."), "war"),
                "does not exist.*the annotated text is now paragraph 2 of 'a'",
            ),
            (
                an_annotation(0, "war", text="It rained."),
                f"{text_digest('It rained.')}.*now has '{text_digest('Guns fired.')}'; .*now paragraph 2 of 'a'",
            ),
            (an_annotation(0, "war", text="Guns fell silent."), "is now paragraph 0 of 'b'"),
            (an_annotation(0, "war", text="Gone."), "no paragraph of the corpus has the annotated text any more"),
        ],
    )
    def test_what_does_not_fit_is_named(self, annotation: Annotation, message: str) -> None:
        with pytest.raises(DataError, match=message):
            check_annotations([annotation], [ARTICLE, OTHER], TYPES)

    def test_one_annotator_with_two_labels_is_refused(self) -> None:
        rows = [an_annotation(1, "war"), Annotation("a", 1, text_digest("Envoys met."), "talks", "ann", line=9)]
        with pytest.raises(DataError, match=r"annotator 'ann' .* 'war' on line 3 and 'talks' on line 9"):
            check_annotations(rows, [ARTICLE], TYPES)


class TestVotes:
    def test_the_majority_decides_and_a_tie_does_not(self) -> None:
        votes = [
            an_annotation(0, "war", "x"),
            an_annotation(0, "rest", "y"),
            an_annotation(0, "rest", "z"),
            an_annotation(1, "war", "x"),
            an_annotation(1, "talks", "y"),
            an_annotation(2, "rest", "x"),
            an_annotation(2, "rest", "x"),
        ]

        verdicts = count_votes(votes)

        assert verdicts.section_types == {("a", 0): "rest", ("a", 2): "rest"}
        assert verdicts.disputed == (("a", 1),)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(TYPES), st.sampled_from("xyz"))))
    def test_the_order_of_the_file_does_not_matter(self, given_votes: list[tuple[int, str, str]]) -> None:
        one_each = {(place, who): an_annotation(place, label, who) for place, label, who in given_votes}
        forwards, backwards = (count_votes(votes) for votes in (one_each.values(), [*one_each.values()][::-1]))
        assert forwards.section_types == backwards.section_types
        assert set(forwards.disputed) == set(backwards.disputed)


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


GOOD = {"set_id": "s", "paragraph": 0, "text": "Told once.", "section_type": "war", "situation": "A siege"}


class TestContrastSets:
    def test_lines_become_paragraphs(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "sets.jsonl", GOOD, "", {**GOOD, "paragraph": 1, "setting": "real"})
        assert read_contrast_sets(path) == [
            ContrastParagraph("s", 0, "Told once.", "war", "A siege", None, line=1),
            ContrastParagraph("s", 1, "Told once.", "war", "A siege", "real", line=3),
        ]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "line 2 of contrast sets .* is no JSON"),
            ([1], "line 2 .* is list; it must be an object"),
            ({**GOOD, "text": None}, "line 2 .* has None for 'text'; it must be str"),
            ({**GOOD, "paragraph": "0"}, "has '0' for 'paragraph'; it must be int"),
            ({**GOOD, "text": " "}, "has an empty text"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, line: object, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_contrast_sets(write_lines(tmp_path / "sets.jsonl", GOOD, line))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.jsonl cannot be read: No such file"):
            read_contrast_sets(tmp_path / "gone.jsonl")

    def test_another_encoding_is_said(self, tmp_path: Path) -> None:
        path = tmp_path / "sets.jsonl"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match="are not in UTF-8"):
            read_contrast_sets(path)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                ContrastParagraph("s", 1, "T.", "wars", line=4),
                r"line 4 .*\(paragraph 1 of 's'\) has .* 'wars'",
            ),
            (ContrastParagraph("a", 1, "T.", "war", line=4), "has the name of an article"),
            (ContrastParagraph("s", 0, "T.", "war", line=4), "is already on line 1"),
        ],
    )
    def test_contradictions_are_refused(self, row: ContrastParagraph, message: str) -> None:
        with pytest.raises(DataError, match=message):
            check_contrast_sets([ContrastParagraph("s", 0, "T.", "war", line=1), row], ["a"], TYPES)

    def test_the_rows_of_a_set_stand_together_in_order(self) -> None:
        mixed = [ContrastParagraph(name, number, "T.", "war") for number in (1, 0) for name in "ts"]
        assert [row.paragraph_id for row in contrast_rows(mixed)] == ["t#0", "t#1", "s#0", "s#1"]


SAME = "The ferry to the northern islands will leave at noon on every day that the harbour master allows it to."


class TestDuplicates:
    def test_case_punctuation_and_spacing_do_not_matter(self) -> None:
        (pair,) = near_duplicates(["Something else.", SAME, SAME.upper().replace(" ", "\n ") + "!"])
        assert (pair.first, pair.second, pair.similarity) == (1, 2, 1.0)

    def test_one_changed_word_in_a_long_text_is_a_near_duplicate(self) -> None:
        words = [f"word{number}" for number in range(60)]
        changed = [*words[:-1], "different"]
        (pair,) = near_duplicates([" ".join(words), " ".join(changed)])
        assert pair.similarity == pytest.approx(55 / 57)

    def test_the_threshold_is_exact(self) -> None:
        words = [f"word{number}" for number in range(24)]  # 20 shingles; 1 of them is lost, and 1 new: 19 of 21
        texts = [" ".join(words), " ".join([*words[:-1], "other"])]
        assert near_duplicates(texts, threshold=19 / 21)
        assert not near_duplicates(texts, threshold=19 / 21 + 1e-9)

    def test_a_text_that_holds_the_other_is_compared_too(self) -> None:
        words = [f"word{number}" for number in range(29)]  # 25 shingles, of which the shorter text has 20
        (pair,) = near_duplicates([" ".join(words), " ".join(words[:24])], threshold=0.8)
        assert pair.similarity == 0.8

    def test_short_texts_are_the_same_only_when_equal(self) -> None:
        assert [(p.first, p.second) for p in near_duplicates(["Yes.", "No.", "yes", "", " - "])] == [(0, 2), (3, 4)]

    def test_nothing_has_no_duplicates(self) -> None:
        assert near_duplicates([]) == []

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(" ".join), max_size=12))
    def test_the_same_texts_are_connected_as_by_comparing_all_pairs(self, texts: list[str]) -> None:
        def shingles(text: str) -> set[tuple[str, ...]]:
            words = text.split()
            return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

        every = [
            (i, j)
            for i, j in itertools.combinations(range(len(texts)), 2)
            if len(shingles(texts[i]) & shingles(texts[j])) >= 0.8 * len(shingles(texts[i]) | shingles(texts[j]))
        ]
        found = [(pair.first, pair.second) for pair in near_duplicates(texts)]
        assert connected(len(texts), found) == connected(len(texts), every)

    def test_articles_are_connected_through_others(self) -> None:
        words = [f"w{number}" for number in range(60)]
        texts = [" ".join(words), " ".join([*words, "x"]), "Alone.", " ".join([*words, "x", "y"]), "Alone too."]

        grouping = group_articles(texts, ["c", "b", "b", "a", "d"])

        assert grouping.group_ids == ("a", "a", "a", "a", "d")
        assert grouping.boilerplate == frozenset()

    def test_pairs_inside_one_article_connect_nothing(self) -> None:
        assert group_articles([SAME, SAME], ["a", "a"]).pairs == ()

    def test_boilerplate_connects_nothing(self) -> None:
        grouping = group_articles([SAME, "One.", SAME, SAME], ["a", "a", "b", "c"], boilerplate_articles=2)
        assert grouping.boilerplate == {0, 2, 3}
        assert grouping.group_ids == ("a", "a", "b", "c")


labelled_groups = st.lists(
    st.tuples(st.sampled_from(string.ascii_lowercase[:9]), st.sampled_from(TYPES)), min_size=1, max_size=60
)


class TestSplit:
    def split(self, groups: Sequence[str], y: Sequence[str], **changed: Any) -> Any:
        return split_test(groups, y, **{"strata": y, "test_share": 0.3, "seed": 0, **changed})

    @settings(deadline=None)
    @given(labelled_groups, st.integers(0, 3))
    def test_groups_stay_whole_and_training_keeps_two_of_each_type(
        self, rows: list[tuple[str, str]], seed: int
    ) -> None:
        groups, y = zip(*rows, strict=True)
        try:
            split = self.split(groups, y, seed=seed)
        except DataError:
            return  # too small; the messages have tests of their own
        sides, kept = defaultdict(set), defaultdict(set)
        for group, label, is_test in zip(groups, y, split.is_test, strict=True):
            sides[group].add(bool(is_test))
            if not is_test:
                kept[label].add(group)
        assert all(len(found) == 1 for found in sides.values())
        assert split.is_test.any()
        assert all(len(kept[label]) >= 2 for label in y)
        untested = set(y) - {label for label, is_test in zip(y, split.is_test, strict=True) if is_test}
        assert len(split.notes) == len(untested)

    def test_the_share_is_met_in_every_stratum(self) -> None:
        groups = [f"g{number:03}" for number in range(200) for _ in range(8)]
        y = [TYPES[row % 3] for row in range(1600)]
        strata = [f"{label} {number % 2}" for number, label in enumerate(y)]

        split = self.split(groups, y, strata=strata, test_share=0.15)

        for stratum in set(strata):
            of_stratum = np.array([name == stratum for name in strata])
            assert split.is_test[of_stratum].mean() == pytest.approx(0.15, abs=0.02)

    def test_a_rare_type_does_not_make_the_test_split_large(self) -> None:
        groups = [f"g{number:03}" for number in range(300)]
        y = ["war" if number % 100 == 0 else "rest" for number in range(300)]

        split = self.split(groups, y, test_share=0.1)

        assert split.notes == ()
        assert split.is_test.sum() <= 45

    def test_a_type_of_two_groups_is_kept_for_training_and_said(self) -> None:
        split = self.split([*"abcdef"], ["war", "war", "rest", "rest", "rest", "rest"])
        assert split.is_test[:2].sum() == 0
        assert split.notes[0].startswith("section type 'war' stands in 2 groups of articles, none of them in the test")

    def test_the_seed_decides(self) -> None:
        groups = [f"g{number}" for number in range(40)]
        y = [TYPES[number % 3] for number in range(40)]
        drawn = [tuple(self.split(groups, y, seed=seed).is_test) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_a_type_of_one_group_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"'war' stands in one group of articles only \('a'\)"):
            self.split([*"aabc"], ["war", "rest", "rest", "rest"])

    def test_too_few_groups_are_refused(self) -> None:
        with pytest.raises(DataError, match="2 groups of articles, too few to hold any out"):
            self.split([*"ab"], ["war", "war"])

    @pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
    def test_a_share_that_is_none_is_refused(self, share: float) -> None:
        with pytest.raises(ConfigError, match=r"corpus\.test_share is .* between 0 and 1"):
            self.split([*"abc"], ["war"] * 3, test_share=share)


class TestFolds:
    @settings(deadline=None)
    @given(labelled_groups, st.integers(2, 6))
    def test_folds_partition_rows_keep_groups_and_train_every_type(
        self, rows: list[tuple[str, str]], n_folds: int
    ) -> None:
        groups, y = (np.array(column) for column in zip(*rows, strict=True))
        if min(len({g for g, label in rows if label == one}) for one in set(y.tolist())) < 2:
            with pytest.raises(DataError, match="stands in one group of articles only"):
                folds(groups, y, n_folds, seed=0)
            return

        splits, warning = folds(groups, y, n_folds, seed=0)

        assert (warning is None) == (len(splits) == n_folds)
        assert sorted(np.concatenate([test for _, test in splits]).tolist()) == list(range(len(rows)))
        for train, test in splits:
            assert len(train) + len(test) == len(rows)
            assert not set(groups[train]) & set(groups[test])
            assert set(y[train]) == set(y)

    def test_rows_that_may_not_be_tested_are_trained_on_in_every_fold(self) -> None:
        groups, y = [f"g{number}" for number in range(12)], [TYPES[number % 3] for number in range(12)]
        testable = np.arange(12) >= 3
        splits, warning = folds(
            [*groups, *"ab"], [*y, "war", "war"], 3, seed=0, testable=np.append(testable, [False] * 2)
        )
        assert (len(splits), warning) == (3, None)
        assert sorted(np.concatenate([test for _, test in splits]).tolist()) == list(range(3, 12))
        for train, test in splits:
            assert sorted([*train, *test]) == list(range(14))

    def test_fewer_folds_are_said_where_some_rows_are_trained_on_only(self) -> None:
        splits, warning = folds([*"abcd"], ["war"] * 4, 5, seed=0, testable=np.array([True, True, True, False]))
        assert len(splits) == 3
        assert (warning or "").startswith("cross-validation uses 3 folds instead of 5: there are 3 groups of articles")

    def test_fewer_folds_are_said(self) -> None:
        splits, warning = folds([*"abc"], ["war"] * 3, 5, seed=0)
        assert len(splits) == 3
        assert warning is not None
        assert warning.startswith("cross-validation uses 3 folds instead of 5: there are 3 groups of articles")

    def test_groups_that_only_one_each_can_separate(self) -> None:
        # Any two of the three groups hold both groups of some type, so two folds cannot do it.
        splits, warning = folds([*"aabbcc"], ["war", "talks", "war", "rest", "talks", "rest"], 2, seed=0)
        assert len(splits) == 3
        assert "3 folds instead of 2" in (warning or "")

    def test_types_are_spread_evenly(self) -> None:
        groups = [f"g{number}" for number in range(50) for _ in range(6)]
        y = [TYPES[number % 3] for number in range(300)]
        for _, test in folds(groups, y, 5, seed=3).splits:
            assert all(abs(count - 20) <= 2 for count in Counter(y[row] for row in test).values())

    def test_the_seed_decides(self) -> None:
        groups = [f"g{number}" for number in range(30)]
        y = [TYPES[number % 3] for number in range(30)]
        first, again, other = (folds(groups, y, 5, seed).splits[0][1].tolist() for seed in (0, 0, 1))
        assert first == again != other

    def test_one_fold_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="the number of folds is 1; it must be at least 2"):
            folds([*"ab"], ["war"] * 2, 1, seed=0)


class TestLeaks:
    def find(
        self, texts: Sequence[str], articles: Sequence[str], groups: Sequence[str], is_test: Sequence[bool]
    ) -> Any:
        return find_leaks(texts, [f"{name}#0" for name in articles], articles, groups, is_test)

    def test_a_clean_split_has_none(self) -> None:
        leaks = self.find(["One.", "Two."], ["a", "b"], ["a", "b"], [False, True])
        leaks.check()
        assert not leaks
        assert "same or nearly the same on both sides: none" in leaks.to_markdown()

    @pytest.mark.parametrize(
        ("texts", "articles", "groups", "message"),
        [
            (["One.", "Two."], ["a", "a"], ["a", "b"], "article 'a' is in both"),
            (["One.", "Two."], ["a", "b"], ["g", "g"], "group 'g' is in both"),
            ([SAME, SAME.lower()], ["a", "b"], ["a", "b"], "'b#0' of the train split is 100% 'a#0' of the test split"),
        ],
    )
    def test_a_leak_is_found_named_and_written(
        self, texts: list[str], articles: list[str], groups: list[str], message: str
    ) -> None:
        leaks = self.find(texts, articles, groups, [True, False])
        assert leaks
        with pytest.raises(DataError, match=message):
            leaks.check()

    def test_the_report_lists_pairs_and_quotes_nothing(self) -> None:
        report = self.find([SAME, SAME, "x", SAME], [*"abcd"], [*"abcd"], [True, False, False, False]).to_markdown()
        assert "| b#0 | a#0 | 1.00 |\n| d#0 | a#0 | 1.00 |" in report
        assert report.count("| train | test | similarity |") == 1
        assert "ferry" not in report

    def test_repeats_on_one_side_are_no_leak(self) -> None:
        assert not self.find([SAME, SAME, "x"], [*"abc"], [*"abc"], [False, False, True])


KITCHEN = Taxonomy.from_mapping(
    {
        "section_types": [
            {"name": "war", "heading_phrases": ["fighting"]},
            {"name": "talks", "heading_phrases": ["diplomacy"], "description": "Envoys and meetings"},
        ]
    }
)


class TestHeadingReport:
    @pytest.fixture
    def report(self) -> Any:
        first = Article.from_texts(
            ["A.", "B.", "C.", "D.", "E."],
            article_id="a",
            headings=[(), ("Fighting",), ("Fighting", "Bridges | roads"), ("FIGHTING",), ("Fighting and diplomacy",)],
        )
        second = Article.from_texts(["F.", "G."], article_id="b", headings=[("Meeting rooms",), ("Meeting rooms",)])
        truth = {("a", 0): "war", ("a", 1): "war", ("a", 2): "talks", ("a", 4): "talks", ("b", 0): "talks"}
        articles = [first, second]
        return report_headings(articles, KITCHEN, label_by_headings(articles, KITCHEN), truth)

    def test_every_heading_is_counted_once_whatever_its_case(self, report: Any) -> None:
        counted = {use.heading: (use.n_sections, use.n_articles, use.n_paragraphs) for use in report.uses}
        assert counted == {
            "FIGHTING": (2, 1, 2),
            "Bridges | roads": (1, 1, 1),
            "Fighting and diplomacy": (1, 1, 1),
            "Meeting rooms": (1, 1, 2),
        }
        assert (report.n_paragraphs, report.n_below_headings, report.n_labelled) == (7, 6, 3)

    def test_agreement_compares_what_has_both_labels(self, report: Any) -> None:
        assert report.confusion == {("war", "war"): 1, ("war", "talks"): 1}
        assert report.overall.share == 0.5
        by_type = report.by_section_type
        assert (by_type["war"].n_by_heading, by_type["war"].n_agreed, by_type["war"].share) == (2, 1, 0.5)
        assert (by_type["talks"].n_by_heading, by_type["talks"].n_by_annotation, by_type["talks"].share) == (0, 1, None)

    def test_the_report_reads_well(self, report: Any) -> None:
        text = report.to_markdown()
        assert "1 of 2 labels from headings are those of the annotations (50.0%)" in text
        assert (
            "| Meeting rooms | 1 | 2 | talks |\n| Bridges \\| roads | 1 | 1 |  |\n\n## Headings that map to more"
            in text
        )
        assert (
            "| Fighting and diplomacy | 1 | 1 | conflict: phrase 'fighting' → war, phrase 'diplomacy' → talks |" in text
        )
        assert "| FIGHTING | 2 | 2 | war | phrase 'fighting' | 1 of 1 |" in text

    def test_the_csv_has_a_line_for_each_heading(self, report: Any) -> None:
        lines = report.to_csv().splitlines()
        assert lines[0].split(",")[:5] == ["heading", "n_sections", "n_articles", "n_paragraphs", "section_type"]
        assert "Meeting rooms,1,1,2,,nothing matches,talks,0,0" in lines
        assert len(lines) == 5

    def test_without_annotations_nothing_is_compared(self) -> None:
        report = report_headings([ARTICLE], KITCHEN, {}, {})
        assert "No paragraph has both" in report.to_markdown()
        assert report.overall.share is None


def a_row(number: int, **changed: Any) -> Row:
    cells: dict[str, Any] = {
        "paragraph_id": f"a#{number}", "article_id": "a", "paragraph": number, "text": f"Text {number}, naïvely.",
        "headings": ("Outer", "Inner"), "start": 0, "end": 9, "section_type": "war", "label_source": "annotation",
        "heading_section_type": None, "genre": None, "setting": "real", "conflict": None, "date": None,
        "language": "en", "origin": "article", "group_id": "a",
    }  # fmt: skip
    return Row(**{**cells, **changed})


class TestTable:
    @pytest.fixture
    def rows(self) -> dict[str, list[Row]]:
        return {"train": [a_row(0), a_row(1)], "test": [a_row(2, genre="report", headings=())]}

    def test_what_is_written_is_read_again(self, rows: dict[str, list[Row]], tmp_path: Path) -> None:
        write_table(make_table(rows), {"digest": digest_rows(rows)}, tmp_path / "new" / "folder")

        table = read_table(tmp_path / "new" / "folder")

        for split, expected in rows.items():
            found = [Row(**{**row, "headings": tuple(row["headings"])}) for row in table[split]]
            assert found == expected
        assert read_summary(tmp_path / "new" / "folder")["digest"] == digest_rows(rows)

    def test_an_empty_split_keeps_its_columns(self, rows: dict[str, list[Row]], tmp_path: Path) -> None:
        write_table(make_table({**rows, "test": []}), {}, tmp_path)
        table = read_table(tmp_path)
        assert len(table["test"]) == 0
        assert table["test"].features == table["train"].features

    @pytest.mark.parametrize("column", [name for name in Row.__slots__ if name not in ("start", "end", "paragraph")])
    def test_the_digest_sees_every_column(self, rows: dict[str, list[Row]], column: str) -> None:
        before = digest_rows(rows)
        value = ("Outer",) if column == "headings" else "changed"
        assert digest_rows({**rows, "train": [a_row(0), a_row(1, **{column: value})]}) != before

    def test_the_digest_sees_the_split_and_the_order(self, rows: dict[str, list[Row]]) -> None:
        moved = {"train": rows["train"][:1], "test": rows["train"][1:] + rows["test"]}
        turned = {**rows, "train": rows["train"][::-1]}
        assert len({digest_rows(rows), digest_rows(moved), digest_rows(turned)}) == 3

    def test_a_folder_that_holds_nothing_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"holds no corpus\.json.*run: crosshead prepare"):
            read_table(tmp_path)

    @pytest.mark.parametrize(("content", "message"), [("{", "cannot be read"), ("[]", "names no files")])
    def test_a_broken_summary_is_said(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "corpus.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_summary(tmp_path)

    def test_a_missing_split_is_said(self, rows: dict[str, list[Row]], tmp_path: Path) -> None:
        write_table(make_table(rows), {}, tmp_path)
        (tmp_path / "test.parquet").unlink()
        with pytest.raises(DataError, match=r"test\.parquet cannot be read: No such file"):
            read_table(tmp_path)

    def test_a_changed_file_is_refused(self, rows: dict[str, list[Row]], tmp_path: Path) -> None:
        write_table(make_table(rows), {}, tmp_path)
        with (tmp_path / "test.parquet").open("ab") as file:
            file.write(b"\0")
        with pytest.raises(DataError, match=r"test\.parquet is not the file"):
            read_table(tmp_path)

    def test_a_removed_summary_makes_the_folder_unreadable(self, rows: dict[str, list[Row]], tmp_path: Path) -> None:
        write_table(make_table(rows), {}, tmp_path)
        remove_summary(tmp_path)
        with pytest.raises(DataError, match=r"holds no corpus\.json"):
            read_table(tmp_path)

    def test_a_summary_that_cannot_be_removed_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "corpus.json").mkdir()
        with pytest.raises(DataError, match=r"corpus\.json cannot be written"):
            remove_summary(tmp_path)

    def test_a_file_is_written_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.mkdir()
        with pytest.raises(DataError, match="cannot be written"):
            write_file(path, b"content")
        assert [found.name for found in tmp_path.iterdir()] == ["file"]

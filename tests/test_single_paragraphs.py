"""Labelled paragraphs of no article: read, checked, only trained on, and without a say in what is held out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import small_project
from crosshead.articles import Article
from crosshead.composing import compose
from crosshead.corpora import labelled
from crosshead.corpora.annotations import Annotation, read_annotations
from crosshead.corpora.contrast_sets import read_contrast_sets
from crosshead.corpora.corpus import Row, read_summary, read_table, sources_told
from crosshead.corpora.duplicates import near_duplicates
from crosshead.corpora.single_paragraphs import (
    SingleParagraph,
    check_single_paragraphs,
    read_single_paragraphs,
    single_rows,
)
from crosshead.errors import DataError
from crosshead.monitoring.reading import read_prepared
from crosshead.new_project import make_project
from crosshead.readers.files import read_articles
from crosshead.records import predictions
from crosshead.records.provenance import chain
from crosshead.records.runs import finder_of
from crosshead.settings import load_settings
from crosshead.stages.prepare import Prepared, prepare
from crosshead.taxonomy import Taxonomy
from crosshead.text import text_digest

TYPES = ("war", "talks", "rest")
TAXONOMY = Taxonomy.from_mapping({"section_types": [{"name": name, "heading_phrases": [name]} for name in TYPES]})
PLACES = ("Arvan", "Belmora", "Cestrin", "Dovik", "Estra", "Fulmar", "Gorvane", "Hestia")
GOOD = {"paragraph_id": "s1", "text": "Told once.", "section_type": "war"}
NEW = "Nobody had swept the stairs of the old customs house since the harbour closed and the clerks went home for good."


def an_article(place: str, footer: str = "") -> Article:
    texts = [
        f"Gunners outside {place} fired through the night and {place} lost its last bridge over the wide river.",
        f"Envoys flew to {place} and asked both councils of {place} to sign before Friday, which neither of them did.",
        f"The founders of {place} arrived by river and built {place} around a salt market that nobody remembers today.",
    ]
    return Article.from_texts([*texts, footer] if footer else texts, article_id=place.lower())


ARTICLES = [an_article(place) for place in PLACES]


def single(name: str, text: str, section_type: str | None = "war", **more: Any) -> SingleParagraph:
    return SingleParagraph(name, text, section_type, line=int(name[1:]), **more)


def prepared_with(
    singles: Sequence[SingleParagraph], articles: Sequence[Article] = tuple(ARTICLES), **changed: Any
) -> Prepared:
    annotations = [
        Annotation(article.article_id, p.index, text_digest(p.text), TYPES[min(p.index, 2)], "reader")
        for article in articles
        for p in article.paragraphs
    ]
    options = {"labels": "annotations", "test_share": 0.3, "seed": 1, **changed}
    return prepare(articles, annotations, [], TAXONOMY, single_paragraphs=singles, **options)


def held_out(prepared: Prepared) -> list[Row]:
    return list(prepared.rows["test"])


def singles_of(prepared: Prepared) -> dict[str, Row]:
    return {row.article_id: row for row in prepared.rows["train"] if row.origin == "single"}


def nearly(text: str) -> str:
    """Change the last word of a text: its 5-grams are still four fifths the same."""
    return text.rsplit(" ", 1)[0] + " again."


# -- the file ----------------------------------------------------------------------------------------------------------


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    more = {"votes": {"anna": "war", "ben": "talks"}, "batch": "b", "setting": "real", "about": "A siege", "note": 1}
    divided = {**GOOD, "paragraph_id": "s2", "text": "Told\u2028again.", "section_type": None, "batch": None, **more}
    assert read_single_paragraphs(write(tmp_path / "singles.jsonl", GOOD, "", divided)) == [
        SingleParagraph("s1", "Told once.", "war", line=1),
        SingleParagraph("s2", "Told\u2028again.", None, {"anna": "war", "ben": "talks"}, "b", "real", "A siege", 3),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"^line 2 of single paragraphs .* is no JSON"),
        ('{"text": "\\ud800"}', r"^line 2 of single paragraphs .* holds half of a surrogate pair"),
        ([1], r"^line 2 .* is list; it must be an object with paragraph_id, text, section_type"),
        ({**GOOD, "paragraph_id": 7}, r"has 7 for 'paragraph_id'; it must be str"),
        ({**GOOD, "paragraph_id": " "}, r"has an empty paragraph_id; give each paragraph one of its own"),
        ({"paragraph_id": "s2", "section_type": "war"}, r"has None for 'text'; it must be str"),
        ({**GOOD, "text": "\n "}, r"has an empty text; write one or remove the line"),
        ({"paragraph_id": "s2", "text": "T."}, r"has no section_type; name one, or null where readers disagree"),
        ({**GOOD, "section_type": ["war"]}, r"has \['war'\] for 'section_type'; it must be str"),
        ({**GOOD, "votes": ["war"]}, r"has \['war'\] for 'votes'; it must give each reader's section type"),
        ({**GOOD, "votes": {"anna": None}}, r"for 'votes'; it must give each reader's section type"),
        ({**GOOD, "votes": 0}, r"has 0 for 'votes'; it must give each"),
        ({**GOOD, "batch": 1}, r"has 1 for 'batch'; it must be str"),
        ({**GOOD, "setting": 1}, r"has 1 for 'setting'; it must be str"),
        ({**GOOD, "about": {}}, r"has \{\} for 'about'; it must be str"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_single_paragraphs(write(tmp_path / "singles.jsonl", GOOD, line))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.jsonl"
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read: No such file.*; set corpus\.single_paragraphs"):
        read_single_paragraphs(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"^single paragraphs .* are not in UTF-8: .*; save the file again as that"):
        read_single_paragraphs(path)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            single("s4", "T.", "wars"),
            r"^line 4 of the single paragraphs \('s4'\) has the section type 'wars'; allowed: ",
        ),
        (single("s4", "T.", None, votes={"anna": "wars"}), r"has the section type 'wars'; allowed: war, talks, rest"),
        (single("s9", "T."), r"^line 9 .* has the name of an article or of a contrast set; rename it"),
        (dataclasses.replace(single("s1", "T."), line=4), r"^line 4 .* has the paragraph_id of line 1; give each"),
        (single("s4", "Told  once."), r"^line 4 .* has the text of line 1; remove one of the two"),
    ],
)
def test_contradictions_are_refused(item: SingleParagraph, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_single_paragraphs([single("s1", "Told once."), item], ["s9"], TYPES)


def test_the_names_of_articles_and_contrast_sets_are_taken(root: Path) -> None:
    with pytest.raises(DataError, match=r"\('arvan'\) has the name of an article"):
        prepared_with([SingleParagraph("arvan", NEW, "war", line=1)])
    sets = read_contrast_sets(root / "data" / "contrast_sets.jsonl")[:1]
    with pytest.raises(DataError, match="has the name of an article or of a contrast set"):
        prepare(
            ARTICLES,
            [],
            [dataclasses.replace(sets[0], section_type="war")],
            TAXONOMY,
            single_paragraphs=[SingleParagraph(sets[0].set_id, NEW, "war", line=1)],
            labels="headings",
            test_share=0.3,
            seed=1,
        )


# -- the table ---------------------------------------------------------------------------------------------------------


def test_each_is_a_training_row_of_its_own() -> None:
    (row,) = singles_of(prepared_with([single("s1", NEW, "rest", setting="real", about="A harbour")])).values()
    assert (row.paragraph_id, row.article_id, row.group_id, row.paragraph) == ("s1#0", "s1", "s1", 0)
    assert (row.text, row.start, row.end, row.section_type) == (NEW, 0, len(NEW), "rest")
    assert (row.origin, row.label_source, row.setting, row.conflict) == ("single", "single", "real", "A harbour")


def test_they_are_counted_and_the_disputed_ones_left_out() -> None:
    prepared = prepared_with([single("s1", NEW), single("s2", "Another told once.", None, votes={"a": "war"})])
    assert list(singles_of(prepared)) == ["s1"]
    assert [prepared.counts[name] for name in ("single_paragraphs", "paragraphs", "unlabelled", "disputed")] == [
        1,
        25,
        1,
        1,
    ]
    assert [prepared.summary["splits"][split]["single_paragraphs"] for split in ("train", "test")] == [1, 0]
    assert prepared.summary["splits"]["train"]["articles"] == prepared_with([]).summary["splits"]["train"]["articles"]
    assert prepared.notes == [
        "1 paragraph has no label and is left out of the table",
        "1 of them because its readers are divided",
    ]
    assert sources_told(prepared.summary) == "8 articles, 1 single paragraph"
    assert sources_told({"articles": 1, "contrast_sets": 2, "single_paragraphs": 1076}) == (
        "1 article, 2 contrast sets, 1,076 single paragraphs"
    )


def test_a_section_type_that_only_they_have_is_learned_and_not_told_as_missing() -> None:
    prepared = prepared_with(
        [single(f"s{n}", f"{NEW} {n}", "talks") for n in (1, 2)],
        labels="headings",
        articles=[
            Article.from_texts(article.texts, article_id=article.article_id, headings=[("War",), ("Rest",), ("Rest",)])
            for article in ARTICLES
        ],
    )
    assert not [note for note in prepared.notes if "talks" in note]


# -- what is held out --------------------------------------------------------------------------------------------------

SOURCES = [paragraph.text for article in ARTICLES for paragraph in article.paragraphs]
TEXTS = st.one_of(
    st.sampled_from(SOURCES),
    st.sampled_from(SOURCES).map(nearly),
    st.sampled_from(SOURCES).map(str.upper),
    st.integers(0, 99).map(lambda n: f"{NEW} {n}"),
)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from([*TYPES, None])), max_size=12, unique_by=lambda pair: pair[0]),
    st.integers(0, 20),
    st.sampled_from(["leave_out", "keep"]),
)
def test_the_split_is_the_same_with_and_without_them(
    told: list[tuple[str, str | None]], seed: int, boilerplate: str
) -> None:
    singles = [single(f"s{n}", text, section_type) for n, (text, section_type) in enumerate(told, 1)]
    options: dict[str, Any] = {"seed": seed, "boilerplate": boilerplate}
    with_them, without = prepared_with(singles, **options), prepared_with([], **options)

    assert with_them.rows["test"] == without.rows["test"]
    kept = [row for row in with_them.rows["train"] if row.origin != "single"]
    assert [dataclasses.replace(row, group_id="") for row in kept] == [
        dataclasses.replace(row, group_id="") for row in without.rows["train"]
    ]
    assert with_them.rows["train"][: len(kept)] == kept, "single paragraphs stand behind the rest"
    assert not with_them.leaks
    n_labelled = sum(item.section_type is not None for item in singles)
    assert len(singles_of(with_them)) + len(with_them.left_out) == n_labelled


def test_what_repeats_a_held_out_paragraph_is_left_out_and_told() -> None:
    first, second = held_out(prepared_with([]))[:2]
    changed = nearly(second.text)
    singles = [
        single("s1", first.text),
        single("s2", NEW),
        single("s3", changed),
        single("s4", changed.upper()),
    ]
    prepared = prepared_with(singles)

    assert list(singles_of(prepared)) == ["s2"]
    left = {name: other for name, other, _ in prepared.left_out}
    assert left == {"s1#0": first.paragraph_id, "s3#0": second.paragraph_id, "s4#0": second.paragraph_id}
    (note,) = prepared.notes
    assert note.startswith("3 single paragraphs repeat held-out paragraphs and are left out, such as 's1#0' of ")
    assert f"| s1#0 | {first.paragraph_id} | 1.00 |" in prepared.leaks_markdown()
    assert "## Single paragraphs that were left out" in prepared.leaks_markdown()
    assert "left out" not in prepared_with([single("s2", NEW)]).leaks_markdown()
    assert prepared_with(singles[:1]).notes[0].startswith("1 single paragraph repeats a held-out paragraph and is left")


def test_with_articles_held_out_by_name_it_is_left_out_as_well() -> None:
    prepared = prepared_with([single("s1", ARTICLES[3].texts[0]), single("s2", NEW)], test_ids={"dovik"})
    assert list(singles_of(prepared)) == ["s2"]
    assert [name for name, _, _ in prepared.left_out] == ["s1#0"]


def test_near_duplicates_among_training_rows_are_one_group() -> None:
    trained = prepared_with([]).rows["train"]
    base, other = trained[0], next(row for row in trained if row.article_id != trained[0].article_id)
    bridge = f"{nearly(base.text)} {other.text}"  # half of each: repeats neither
    singles = [single("s1", nearly(base.text)), single("s2", bridge), single("s3", NEW), single("s4", nearly(NEW))]
    prepared = prepared_with(singles)
    found = singles_of(prepared)

    assert found["s1"].group_id == base.group_id
    assert found["s2"].group_id == "s2"
    assert found["s3"].group_id == found["s4"].group_id == "s3"
    assert (base.paragraph_id, "s1#0") in [pair[:2] for pair in prepared.kept_together]
    columns = prepared.table["train"].to_dict()
    for learned, tested in labelled.folds_of(columns, 3, 0).splits:
        groups = np.asarray(columns["group_id"])
        assert not set(groups[learned]) & set(groups[tested])


def test_articles_that_repeat_one_single_paragraph_are_one_group() -> None:
    words = [f"word{n}" for n in range(40)]
    said = " ".join(words)
    texts = [" ".join(["before", *words[2:]]), " ".join([*words[:-2], "after"])]
    (pair,) = near_duplicates(texts, 0.8)
    threshold = pair.similarity + 0.01  # so near to what was said, and not to each other
    assert len(near_duplicates([said, *texts], threshold)) == 2
    articles = [an_article(place, text) for place, text in zip(PLACES, [*texts, *[""] * 6], strict=True)]
    options: dict[str, Any] = {"duplicate_threshold": threshold, "articles": articles, "test_ids": {"hestia"}}
    prepared = prepared_with([single("s1", said, "rest")], **options)
    groups = {row.article_id: row.group_id for row in prepared.rows["train"]}
    assert groups["arvan"] == groups["belmora"] == groups["s1"] == "arvan"
    assert len(set(groups.values())) == 6


def test_boilerplate_that_is_kept_ties_nothing_together() -> None:
    footer = "All rights of this report are reserved by the newsroom that wrote it and by nobody else in the world."
    articles = [an_article(place, footer) for place in (*PLACES, "Irvana", "Jolm", "Kestin", "Lurov")]
    options: dict[str, Any] = {"articles": articles, "boilerplate": "keep", "test_ids": {"arvan"}}
    before = prepared_with([], **options)
    assert len({row.group_id for row in before.rows["train"]}) == 11
    after = prepared_with([single("s1", nearly(footer), "rest"), single("s2", footer)], **options)
    assert [name for name, _, _ in after.left_out] == ["s2#0", "s1#0"]
    options["articles"] = [an_article("Arvan"), *articles[1:]]
    after = prepared_with([single("s1", nearly(footer), "rest")], **options)
    assert len({row.group_id for row in after.rows["train"]}) == 12


def test_the_shipped_corpus_holds_out_the_same_articles(root: Path) -> None:
    mapping = yaml.safe_load((root / "conf" / "taxonomy" / "conflict.yaml").read_text(encoding="utf-8"))
    read = (
        read_articles(root / "data" / "articles").read_all(),
        read_annotations(root / "data" / "annotations.csv"),
        read_contrast_sets(root / "data" / "contrast_sets.jsonl"),
        Taxonomy.from_mapping(mapping),
    )
    shipped = read_single_paragraphs(root / "data" / "single_paragraphs.jsonl")
    options: dict[str, Any] = {"labels": "annotations", "test_share": 0.15, "seed": 0}
    without = prepare(*read, **options)
    repeats = [row.text for row in (*without.rows["test"][::50], *without.rows["train"][::50])]
    singles = [*shipped, *(SingleParagraph(f"repeat-{n}", text, "other") for n, text in enumerate(repeats))]
    with_them = prepare(*read, single_paragraphs=singles, **options)

    assert with_them.rows["test"] == without.rows["test"]
    assert [row for row in with_them.rows["train"] if row.origin != "single"] == without.rows["train"]
    n_repeats = len(without.rows["test"][::50])
    assert len([name for name, _, _ in with_them.left_out if name.startswith("repeat-")]) == n_repeats
    n_labelled = sum(item.section_type is not None for item in singles)
    assert with_them.counts["single_paragraphs"] == n_labelled - len(with_them.left_out)


# -- training and what comes after -------------------------------------------------------------------------------------


def test_each_counts_as_an_article_of_one_paragraph() -> None:
    rows = [*prepared_with([]).rows["train"][:3], *single_rows([single("s1", "A."), single("s2", "B.")])]
    columns = {name: [getattr(row, name) for row in rows] for name in ("text", "section_type", "article_id", "origin")}
    made = labelled.to_paragraphs(columns, TYPES)
    assert made.lengths == [3, 1, 1]
    assert made.is_single is not None
    assert made.is_single.tolist() == [False, False, False, True, True]
    taken = made.take(np.array([0, 1, 2, 4]))
    assert taken.is_single is not None
    assert (taken.lengths, taken.is_single.tolist()) == ([3, 1], [False, False, False, True])


TOLD = [
    {"paragraph_id": "s1", "text": f"{NEW} One.", "section_type": "other", "votes": {"anna": "other"}},
    {"paragraph_id": "s2", "text": "Envoys of three capitals met by the lake.", "section_type": "international_role"},
    {"paragraph_id": "s3", "text": "Nobody could say what it was.", "section_type": None},
]  # fmt: skip


def test_a_run_names_them_and_tests_the_same_paragraphs(tmp_path: Path) -> None:
    root = small_project.make(tmp_path / "project")
    small_project.run(root, "tracking=none", "curve_shares=[0.5]", stages=("prepare", "train", "evaluate"))
    said = predictions.read(root / "reports" / predictions.FILE)
    curve = json.loads((root / "models" / "latest" / "learning_curve.json").read_text())
    write(root / "data" / "single_paragraphs.jsonl", *TOLD)
    small_project.run(root, "curve_shares=[0.5]", stages=("prepare", "train", "evaluate"))

    after = predictions.read(root / "reports" / predictions.FILE)
    assert (after.paragraph_ids, after.origins) == (said.paragraph_ids, said.origins)
    points = json.loads((root / "models" / "latest" / "learning_curve.json").read_text())
    assert [point["n_articles"] for point in points] == [point["n_articles"] for point in curve]
    with np.load(root / "models" / "latest" / "out_of_fold.npz") as stored:
        assert {"s1#0", "s2#0"} <= set(stored["paragraph_id"])
    card = (root / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "| | articles | contrast sets | single paragraphs | paragraphs | labels |" in card
    assert ", single 2 |" in card
    told = "36 articles, 16 contrast sets, 2 single paragraphs"
    assert told in (root / "reports" / "report.html").read_text(encoding="utf-8")
    assert read_summary(root / "data" / "prepared")["single_paragraphs"] == 2
    assert set(read_table(root / "data" / "prepared")["test"]["origin"]) == {"article", "contrast_set"}
    assert read_prepared(root / "data" / "prepared", max_articles=1000, seed=0).n_seen == 36
    links = [link for step in chain(finder_of(small_project.settings(root)), "last") for link in step.links]
    assert f"{told}, 492 paragraphs" in [link.value for link in links]


def test_a_new_project_has_none(tmp_path: Path, root: Path) -> None:
    make_project(tmp_path / "mine")
    own = yaml.safe_load((tmp_path / "mine" / "conf" / "corpus" / "own.yaml").read_text(encoding="utf-8"))
    assert own["single_paragraphs"] is None
    older = tmp_path / "mine" / "conf" / "corpus" / "own.yaml"
    older.write_text(older.read_text(encoding="utf-8").replace("single_paragraphs: null\n", ""), encoding="utf-8")
    assert "single_paragraphs" not in compose([], tmp_path / "mine")["corpus"]
    assert load_settings([], tmp_path / "mine").corpus.single_paragraphs is None
    assert compose([], root)["corpus"]["single_paragraphs"] == "data/single_paragraphs.jsonl"

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from crosshead.articles import Article
from crosshead.cli import main
from crosshead.corpora.annotations import Annotation, read_annotations
from crosshead.corpora.contrast_sets import ContrastParagraph, read_contrast_sets
from crosshead.corpora.corpus import Row, read_summary, read_table, write_table
from crosshead.corpora.single_paragraphs import read_single_paragraphs
from crosshead.corpora.splits import TestSplit, check_apart
from crosshead.errors import ConfigError, DataError
from crosshead.readers.files import read_articles
from crosshead.settings import load_settings
from crosshead.stages import prepare as stage
from crosshead.stages.prepare import Prepared, prepare
from crosshead.taxonomy import Taxonomy
from crosshead.text import text_digest

TAXONOMY = Taxonomy.from_mapping(
    {
        "section_types": [
            {"name": "war", "heading_phrases": ["fighting"]},
            {"name": "talks", "heading_phrases": ["diplomacy"]},
            {"name": "rest", "heading_phrases": ["background"]},
        ]
    }
)
PLACES = ("Arvan", "Belmora", "Cestrin", "Dovik", "Estra", "Fulmar", "Gorvane", "Hestia")
HEADINGS = [("Fighting",), ("Diplomacy",), ("Background",), ("Odds and ends",)]
TRUTH = ("war", "talks", "rest", "rest")


def an_article(place: str, *, footer: str | None = None) -> Article:
    texts = [
        f"Gunners outside {place} fired through the night and {place} lost its last bridge.",
        f"Envoys flew to {place} and asked both councils of {place} to sign before Friday.",
        f"The founders of {place} arrived by river and built {place} around a salt market.",
        f"Bakers in {place} still open at five, and the cats of {place} know it.",
    ]
    headings: list[tuple[str, ...]] = list(HEADINGS)
    if footer:
        texts.append(footer)
        headings.append(("Background",))
    metadata = {"genre": "report", "setting": "invented", "date": "2031-05-01", "language": "en"}
    return Article.from_texts(texts, article_id=place.lower(), headings=headings, metadata=metadata)


def annotate(articles: Sequence[Article], truth: Sequence[str] = TRUTH) -> list[Annotation]:
    return [
        Annotation(a.article_id, p.index, text_digest(p.text), label, "reader", line)
        for a in articles
        for line, (p, label) in enumerate(zip(a.paragraphs, truth, strict=False), 2)
    ]


def prepare_small(articles: Sequence[Article], **changed: Any) -> Prepared:
    options: dict[str, Any] = {"labels": "annotations", "test_share": 0.2, "seed": 1}
    annotations = changed.pop("annotations", None)
    contrast_sets = changed.pop("contrast_sets", [])
    given = annotate(articles) if annotations is None else annotations
    return prepare(articles, given, contrast_sets, TAXONOMY, **{**options, **changed})


def all_rows(prepared: Prepared) -> list[Row]:
    return [*prepared.rows["train"], *prepared.rows["test"]]


@pytest.fixture
def articles() -> list[Article]:
    return [an_article(place) for place in PLACES]


def named(article: Article, labels: Sequence[str | None] = (*TRUTH,)) -> Article:
    """Give an article the section types of its paragraphs, as its own table would."""
    return dataclasses.replace(
        article, metadata={**article.metadata, "section_types": list(labels)[: len(article.paragraphs)]}
    )


class TestLabelsOfTheArticlesOwnTable:
    def test_they_label_like_annotations(self, articles: list[Article]) -> None:
        given = prepare_small([named(article) for article in articles], labels="given", annotations=[])

        def told(prepared: Prepared) -> list[tuple[str, str, str]]:
            return sorted((row.paragraph_id, row.section_type, row.label_source) for row in all_rows(prepared))

        assert told(given) == told(prepare_small(articles))
        assert given.summary["settings"]["labels"] == "given"

    def test_null_leaves_a_paragraph_without_a_label(self, articles: list[Article]) -> None:
        first, *rest = [named(article) for article in articles]
        partly = named(first, [None, *TRUTH[1:]])

        prepared = prepare_small([partly, *rest], labels="given", annotations=[])

        assert f"{first.article_id}#0" not in {row.paragraph_id for row in all_rows(prepared)}
        assert prepared.counts["unlabelled"] == 1

    def test_articles_without_any_are_refused(self, articles: list[Article]) -> None:
        with pytest.raises(ConfigError, match=r"corpus\.labels is 'given' but no article has section types"):
            prepare_small(articles, labels="given", annotations=[])

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["war"], r"has 1 section type for 4 paragraphs; give one for each"),
            ("war", r"has section_types 'war'; give a list"),
            ([1, 2, 3, 4], r"has section_types \[1, 2, 3, 4\]; give a list"),
        ],
    )
    def test_a_list_that_does_not_fit_is_refused(self, articles: list[Article], labels: Any, message: str) -> None:
        wrong = dataclasses.replace(articles[0], metadata={"section_types": labels})
        with pytest.raises(DataError, match=message):
            prepare_small([wrong, *articles[1:]], labels="given", annotations=[])

    def test_a_name_that_the_taxonomy_lacks_is_refused(self, articles: list[Article]) -> None:
        wrong = named(articles[0], ["wr", *TRUTH[1:]])
        with pytest.raises(
            DataError,
            match=r"^the label that its table gives to paragraph 0 of .* 'wr'; allowed: war, talks, rest.*'war'",
        ):
            prepare_small([wrong, *articles[1:]], labels="given", annotations=[])

    def test_an_article_without_any_is_told(self, articles: list[Article]) -> None:
        given = prepare_small([articles[0], *map(named, articles[1:])], labels="given", annotations=[])
        assert given.notes[:2] == [
            f"1 of {len(articles)} articles has no section_types, such as {articles[0].article_id!r}: nothing is "
            "learned from it",
            "4 paragraphs have no label and are left out of the table",
        ]

    def test_a_reader_called_given_is_another_voice(self, articles: list[Article]) -> None:
        table = [named(article) for article in articles]
        (one, *_) = annotate(articles)
        other = dataclasses.replace(one, annotator="given", section_type="rest" if TRUTH[0] != "rest" else "war")
        prepared = prepare_small(table, labels="given", annotations=[other])
        assert "1 paragraph has no label and is left out of the table" in prepared.notes
        assert "1 of them because its readers are divided" in prepared.notes

    def test_one_section_type_is_too_few(self, articles: list[Article]) -> None:
        table = [named(article, ["war"] * len(article.paragraphs)) for article in articles]
        with pytest.raises(
            DataError,
            match=r"have 1 section type \(war\), .*labels=given; .* name other section types in the table too",
        ):
            prepare_small(table, labels="given", annotations=[])


class TestArticlesHeldOutByTheUser:
    def test_a_section_type_that_only_they_have_is_told(self, articles: list[Article]) -> None:
        first, *rest = articles
        plain = [named(article, ["war" if label == "rest" else label for label in TRUTH]) for article in rest]
        given = prepare_small([named(first), *plain], labels="given", annotations=[], test_ids={first.article_id})
        assert (
            "section type 'rest' stands in corpus.test_articles alone: it is tested and cannot be learned"
            in given.notes
        )

    def test_what_is_named_twice_is_refused(self) -> None:
        check_apart(["a", "b"], ["c"])
        with pytest.raises(
            DataError, match=r"^article 'b' stands both in corpus\.articles and in corpus\.test_articles"
        ):
            check_apart(["a", "b"], ["b"])
        with pytest.raises(DataError, match=r"^2 articles, such as 'a', stand both .* leave it out of one of them"):
            check_apart(["a", "b"], ["b", "a"])

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("corpus.test_articles=[]", r"^corpus\.test_articles is \[\]: name the articles to hold out, or null"),
            ("corpus.test_articles=['']", r"^corpus\.test_articles\.0 is '': name a file, a folder or a pattern"),
            ("corpus.articles=[a,' ']", r"^corpus\.articles\.1 is ' ': name a file, a folder or a pattern"),
        ],
    )
    def test_an_empty_name_is_not_the_whole_project(self, root: Path, override: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            load_settings(["corpus=own", override], root)

    def test_the_command_refuses_an_article_on_both_sides(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(root / "conf", tmp_path / "conf")
        row = {
            "article_id": "a1",
            "paragraphs": ["Two columns crossed.", "It rained."],
            "section_types": ["other", None],
        }
        for name in ("train.jsonl", "dev.jsonl"):
            (tmp_path / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
        monkeypatch.setenv("CROSSHEAD_ROOT", str(tmp_path))
        named_both = ["corpus.articles=[train.jsonl]", "corpus.test_articles=[dev.jsonl]"]
        assert main(["prepare", "corpus=own", "corpus.labels=given", *named_both]) == 3
        assert "article 'a1' stands both in corpus.articles and in corpus.test_articles" in capsys.readouterr().err

    def test_they_are_the_test_split(self, articles: list[Article]) -> None:
        chosen = {articles[2].article_id, articles[5].article_id}

        prepared = prepare_small(articles, test_ids=chosen)

        assert {row.article_id for row in prepared.rows["test"]} == chosen
        assert not chosen & {row.article_id for row in prepared.rows["train"]}

    def test_what_stands_on_both_sides_is_told(self, articles: list[Article]) -> None:
        twin = dataclasses.replace(an_article(PLACES[0]), article_id="twin")

        prepared = prepare_small([*articles, twin], test_ids={"twin"})

        assert any("near-duplicate pairs of paragraphs stand on both sides" in note for note in prepared.notes)
        assert prepared.leaks.duplicates

    @pytest.mark.parametrize(("everything", "side"), [(True, "train on"), (False, "test on")])
    def test_an_empty_side_is_refused(self, articles: list[Article], everything: bool, side: str) -> None:
        chosen = {article.article_id for article in articles} if everything else {"nowhere"}
        with pytest.raises(DataError, match=f"so nothing is left to {side}; name "):
            prepare_small(articles, test_ids=chosen)


class TestLabels:
    def test_annotations_label_every_annotated_paragraph(self, articles: list[Article]) -> None:
        rows = all_rows(prepare_small(articles))

        assert Counter(row.section_type for row in rows) == {"war": 8, "talks": 8, "rest": 16}
        assert {row.label_source for row in rows} == {"annotation"}

    def test_headings_label_what_they_map(self, articles: list[Article]) -> None:
        prepared = prepare_small(articles, labels="headings", annotations=[])

        assert Counter(row.section_type for row in all_rows(prepared)) == {"war": 8, "talks": 8, "rest": 8}
        assert {row.label_source for row in all_rows(prepared)} == {"heading"}
        assert prepared.counts["unlabelled"] == 8
        assert prepared.notes == ["8 paragraphs have no label and are left out of the table"]

    def test_with_both_an_annotation_wins_over_a_heading(self, articles: list[Article]) -> None:
        first = annotate(articles[:1], truth=("rest",))

        rows = {row.paragraph_id: row for row in all_rows(prepare_small(articles, labels="both", annotations=first))}

        row = rows["arvan#0"]
        assert (row.section_type, row.label_source, row.heading_section_type) == ("rest", "annotation", "war")
        assert (rows["arvan#1"].section_type, rows["arvan#1"].label_source) == ("talks", "heading")

    def test_a_tie_leaves_a_paragraph_out_whatever_its_heading_says(self, articles: list[Article]) -> None:
        votes = annotate(articles[:1], truth=("war",))
        votes.append(dataclasses.replace(votes[0], annotator="second reader", section_type="rest"))

        prepared = prepare_small(articles, labels="both", annotations=votes)

        assert "arvan#0" not in {row.paragraph_id for row in all_rows(prepared)}
        assert "1 of them because its readers are divided" in prepared.notes

    def test_annotations_without_any_are_refused(self, articles: list[Article]) -> None:
        with pytest.raises(ConfigError, match=r"corpus\.labels is 'annotations' but there are none"):
            prepare_small(articles, annotations=[])

    def test_headings_that_map_to_nothing_are_refused_with_advice(self) -> None:
        article = Article.from_texts(["Rain fell."], article_id="a", headings=[("Weather",)])
        with pytest.raises(DataError, match=r"0 section types \(none\).*add phrases to the taxonomy"):
            prepare_small([article], labels="headings", annotations=[])

    def test_a_section_type_without_paragraphs_is_said_out_loud(self, articles: list[Article]) -> None:
        prepared = prepare_small(articles, annotations=annotate(articles, truth=("war", "rest", "rest", "rest")))
        assert prepared.notes == ["section type 'talks' labels no paragraph: it can be neither learned nor tagged"]


class TestTable:
    def test_rows_of_an_article_stand_together_in_order(self, articles: list[Article]) -> None:
        for rows in prepare_small(articles).rows.values():
            ids = [row.article_id for row in rows]
            assert [row.paragraph for row in rows] == [0, 1, 2, 3] * (len(rows) // 4)
            assert ids == [name for name in dict.fromkeys(ids) for _ in range(4)]

    def test_offsets_give_the_text(self, articles: list[Article]) -> None:
        sources = {article.article_id: article.source for article in articles}
        for row in all_rows(prepare_small(articles)):
            assert sources[row.article_id][row.start : row.end] == row.text

    def test_a_contrast_set_is_a_group_of_its_own(self, articles: list[Article]) -> None:
        sets = [
            ContrastParagraph(
                f"set{n}", i, f"Told about {PLACES[n]} as version {i} of {PLACES[n]} alone.", label, line=i
            )
            for i, label in enumerate(TRUTH)
            for n in range(8)
        ]

        prepared = prepare_small(articles, contrast_sets=sets)

        found = [row for row in all_rows(prepared) if row.origin == "contrast_set"]
        assert len(found) == 32
        assert all(row.group_id == row.article_id and row.label_source == "contrast" for row in found)
        for rows in prepared.rows.values():
            assert set(Counter(row.article_id for row in rows).values()) == {4}

    def test_the_digest_depends_on_every_row(self, articles: list[Article]) -> None:
        before = prepare_small(articles).summary["digest"]
        changed = articles[-1].source.replace("five", "six").split("\n\n")
        articles[-1] = Article.from_texts(changed, article_id=articles[-1].article_id, headings=HEADINGS)

        assert before == prepare_small([an_article(place) for place in PLACES]).summary["digest"]
        assert before != prepare_small(articles).summary["digest"]


class TestGroups:
    def test_articles_that_repeat_a_paragraph_stay_together(self, articles: list[Article]) -> None:
        shared = "The council will meet again on the first Monday after the harvest fair ends in the lower town."
        articles[1] = an_article("Belmora", footer=shared)
        articles[6] = an_article("Gorvane", footer=shared.upper())

        for seed in range(5):
            prepared = prepare_small(articles, annotations=annotate(articles, truth=(*TRUTH, "rest")), seed=seed)
            groups = {row.article_id: row.group_id for row in all_rows(prepared)}
            assert groups["gorvane"] == groups["belmora"] == "belmora"
            assert ("belmora#4", "gorvane#4", 1.0) in prepared.kept_together
            assert "| belmora#4 | gorvane#4 | 1.00 |" in prepared.leaks_markdown()
            sides = {name for name, rows in prepared.rows.items() for row in rows if row.group_id == "belmora"}
            assert len(sides) == 1

    def test_boilerplate_of_many_articles_is_left_out_and_connects_none(self) -> None:
        places = [f"{place}{number}" for place in PLACES for number in range(2)]
        articles = [an_article(place, footer="Subscribe to our letter, free every Friday.") for place in places]

        prepared = prepare_small(articles, annotations=annotate(articles, truth=(*TRUTH, "rest")))

        assert prepared.counts["boilerplate"] == 16
        assert len({row.group_id for row in all_rows(prepared)}) == 16
        assert not any("Subscribe" in row.text for row in all_rows(prepared))
        assert "16 paragraphs return in many articles, such as 'arvan0#4'" in prepared.notes[0]

    def test_boilerplate_may_be_kept(self) -> None:
        footer = "Write to the desk by Friday for a free copy of the harbour almanac."
        articles = [an_article(f"{place}{i}", footer=footer) for place in PLACES for i in range(2)]
        labels = (*TRUTH, "rest")

        prepared = prepare_small(articles, annotations=annotate(articles, labels), boilerplate="keep")

        assert prepared.counts["boilerplate"] == 0
        assert sum(row.text == footer for row in all_rows(prepared)) == 16
        assert len({row.group_id for row in all_rows(prepared)}) == 16

    def test_a_corpus_tied_together_by_one_text_is_refused_with_the_reason(self) -> None:
        articles = [an_article(place, footer="Subscribe to our letter, free every Friday.") for place in PLACES]
        with pytest.raises(DataError, match=r"one group of articles only .*repeat one another's paragraphs"):
            prepare_small(articles, annotations=annotate(articles, truth=(*TRUTH, "rest")))

    def test_a_split_that_leaks_is_refused(self, articles: list[Article], monkeypatch: pytest.MonkeyPatch) -> None:
        def every_other_row(group_ids: Sequence[str], *_: Any, **__: Any) -> TestSplit:
            return TestSplit(np.arange(len(group_ids)) % 2 == 0)

        monkeypatch.setattr(stage, "split_test", every_other_row)
        with pytest.raises(DataError, match="article 'arvan' is in both the train and the test split"):
            prepare_small(articles)


class TestSmallCorpora:
    def test_three_articles_are_enough(self, articles: list[Article]) -> None:
        prepared = prepare_small(articles[:3])
        assert {name: len(rows) for name, rows in prepared.rows.items()} == {"train": 8, "test": 4}

    def test_two_articles_are_too_few(self, articles: list[Article]) -> None:
        with pytest.raises(DataError, match="2 groups of articles, too few to hold any out"):
            prepare_small(articles[:2])

    def test_no_article_is_refused(self) -> None:
        with pytest.raises(DataError, match="the corpus has no article"):
            prepare_small([], annotations=[], labels="headings")

    def test_a_section_type_of_one_article_is_refused(self, articles: list[Article]) -> None:
        few = [*annotate(articles, truth=("war", "rest", "rest")), *annotate(articles[:1])[1:2]]
        few = [a for a in few if (a.article_id, a.paragraph, a.section_type) != ("arvan", 1, "rest")]
        with pytest.raises(DataError, match="section type 'talks' stands in one group of articles only"):
            prepare_small(articles, annotations=few)

    def test_articles_without_an_id_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"article 1 \('Rain'\) has no id"):
            prepare_small([Article.from_texts(["It rained."], title="Rain")], labels="headings", annotations=[])

    def test_two_articles_of_one_name_are_refused(self, articles: list[Article]) -> None:
        with pytest.raises(DataError, match="articles 1 and 3 of 3 have the same id 'arvan'"):
            prepare_small([*articles[:2], articles[0]], labels="headings", annotations=[])


@pytest.fixture
def project(tmp_path: Path, articles: list[Article]) -> SimpleNamespace:
    """A folder with articles and annotations, and settings that name them."""
    folder = tmp_path / "corpus [draft]" / "articles"
    folder.mkdir(parents=True)
    lines = ["article_id,paragraph,text_sha256,section_type,annotator"]
    for article in articles:
        parts = [f"## {path[0]}\n\n{text}" for path, text in zip(HEADINGS, article.texts, strict=True)]
        (folder / f"{article.article_id}.md").write_text("\n\n".join(parts), encoding="utf-8")
    lines += [f"{a.article_id},{a.paragraph},{a.text_sha256},{a.section_type},reader" for a in annotate(articles)]
    (folder.parent / "annotations.csv").write_text("\n".join(lines), encoding="utf-8")
    corpus = SimpleNamespace(
        articles=["articles/*.md"],
        annotations=Path("annotations.csv"),
        contrast_sets=None,
        single_paragraphs=None,
        labels="annotations",
        test_articles=None,
        test_share=0.2,
        boilerplate="leave_out",
        duplicate_threshold=0.8,
    )
    return SimpleNamespace(
        overrides=(),
        root=folder.parent,
        prepared_dir=tmp_path / "prepared",
        corpus=corpus,
        taxonomy=TAXONOMY,
        seed=1,
        on_unreadable="stop",
    )


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


class TestRun:
    def test_it_writes_the_table_and_the_reports(self, project: Any) -> None:
        prepared = stage.run(project)

        folder = project.prepared_dir
        expected = {"train.parquet", "test.parquet", "corpus.json", "headings.md", "headings.csv", "leaks.md"}
        assert {path.name for path in folder.iterdir()} == expected
        table = read_table(folder)
        assert table["test"][0]["text"] == prepared.rows["test"][0].text
        assert table["train"].features == prepared.table["train"].features
        summary = read_summary(folder)
        assert summary["digest"] == prepared.summary["digest"]
        assert summary["splits"]["train"]["paragraphs"] == len(table["train"])
        assert "articles on both sides: none" in (folder / "leaks.md").read_text(encoding="utf-8")
        assert "| Odds and ends | 8 | 8 |" in (folder / "headings.md").read_text(encoding="utf-8")

    def test_the_same_input_gives_the_same_bytes_in_another_process(self, project: Any) -> None:
        stage.run(project)
        before = hashes(project.prepared_dir)
        code = (
            "import json, sys; from pathlib import Path; from types import SimpleNamespace as N\n"
            "from crosshead.stages import prepare; from crosshead.taxonomy import Taxonomy\n"
            "s = json.loads(sys.argv[1]); c = N(**s['corpus']); c.annotations = Path(c.annotations)\n"
            "prepare.run(N(overrides=(), root=Path(s['root']), prepared_dir=Path(s['out']), corpus=c, seed=s['seed'],\n"
            "              taxonomy=Taxonomy.from_mapping(s['taxonomy']), on_unreadable='stop'))"
        )
        told = {
            "root": str(project.root),
            "out": str(project.prepared_dir.with_name("again")),
            "corpus": {**vars(project.corpus), "annotations": "annotations.csv"},
            "seed": project.seed,
            "taxonomy": TAXONOMY.as_mapping(),
        }
        subprocess.run([sys.executable, "-c", code, json.dumps(told)], check=True, timeout=120)

        assert hashes(project.prepared_dir.with_name("again")) == before

    def test_a_changed_paragraph_is_named(self, project: Any) -> None:
        path = project.root / "articles" / "dovik.md"
        path.write_text(path.read_text(encoding="utf-8").replace("Friday", "Monday"), encoding="utf-8")
        with pytest.raises(DataError, match=r"paragraph 1 of 'dovik'.*annotate it again"):
            stage.run(project)

    def test_what_cannot_be_read_stops_or_is_passed_over_with_its_annotations(self, project: Any) -> None:
        (project.root / "articles" / "dovik.md").write_bytes(b"\x00\x01\x02" * 100)
        with pytest.raises(DataError, match=r"dovik\.md"):
            stage.run(project)

        project.on_unreadable = "skip"
        prepared = stage.run(project)

        assert [Path(item.path).name for item in prepared.unreadable] == ["dovik.md"]
        assert prepared.notes == ["1 input could not be read and was passed over"]
        assert prepared.counts["articles"] == 7

    def test_an_interrupted_run_leaves_nothing_that_can_be_mistaken(self, project: Any) -> None:
        prepared = stage.run(project)
        other = prepare_small([an_article(place) for place in PLACES], seed=5)
        content = (project.prepared_dir / "train.parquet").read_bytes()
        write_table(other.table, other.summary, project.prepared_dir)
        (project.prepared_dir / "train.parquet").write_bytes(content)
        assert prepared.summary["digest"] != other.summary["digest"]

        with pytest.raises(DataError, match=r"train\.parquet is not the file that corpus\.json was written for"):
            read_table(project.prepared_dir)

    def test_a_run_that_dies_while_writing_leaves_no_table_behind(
        self, project: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def dies(*_: Any) -> None:
            raise KeyboardInterrupt

        stage.run(project)
        monkeypatch.setattr(stage, "write_table", dies)
        with pytest.raises(KeyboardInterrupt):
            stage.run(project)
        with pytest.raises(DataError, match=r"holds no corpus\.json"):
            read_table(project.prepared_dir)

    def test_a_disk_that_cannot_be_written_is_said(self, project: Any) -> None:
        project.prepared_dir.write_text("in the way", encoding="utf-8")
        with pytest.raises(DataError, match=r"cannot be written: .*prepared_dir"):
            stage.run(project)


@pytest.fixture(scope="module")
def shipped(root: Path) -> Prepared:
    mapping = yaml.safe_load((root / "conf" / "taxonomy" / "conflict.yaml").read_text(encoding="utf-8"))
    return prepare(
        read_articles(root / "data" / "articles").read_all(),
        read_annotations(root / "data" / "annotations.csv"),
        read_contrast_sets(root / "data" / "contrast_sets.jsonl"),
        Taxonomy.from_mapping(mapping),
        single_paragraphs=read_single_paragraphs(root / "data" / "single_paragraphs.jsonl"),
        labels="annotations",
        test_share=0.15,
        seed=0,
    )


@pytest.fixture(scope="module")
def card(root: Path) -> str:
    return (root / "data" / "README.md").read_text(encoding="utf-8")


def a_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def by_setting(rows: Sequence[Row], section_types: Sequence[str]) -> str:
    n_of = Counter((row.section_type, row.setting) for row in rows)
    body = [(s, n_of[s, "real"], n_of[s, "invented"], n_of[s, "real"] + n_of[s, "invented"]) for s in section_types]
    total = ("all", *(sum(line[column] for line in body) for column in (1, 2, 3)))
    return a_table(["section type", "real", "invented", "all"], [*body, total])


def by_genre(rows: Sequence[Row], section_types: Sequence[str]) -> str:
    head = ["genre, setting", "articles", *section_types]
    kinds = sorted({(str(row.genre), str(row.setting)) for row in rows})
    body = []
    for kind in kinds:
        chosen = [row for row in rows if (row.genre, row.setting) == kind]
        n_of = Counter(row.section_type for row in chosen)
        body.append([", ".join(kind), len({row.article_id for row in chosen}), *(n_of[s] for s in section_types)])
    return a_table(head, body)


def by_batch(rows: Sequence[Row], section_types: Sequence[str]) -> str:
    n_of = Counter((row.article_id.partition("-")[0], row.section_type) for row in rows)
    batches = sorted({batch for batch, _ in n_of})
    return a_table(["batch", *section_types], [[b, *(n_of[b, s] for s in section_types)] for b in batches])


def agreement(prepared: Prepared) -> str:
    body = [
        (name, found.n_by_heading, found.n_agreed, f"{found.share:.1%}")
        for name, found in [*prepared.headings.by_section_type.items(), ("all", prepared.headings.overall)]
    ]
    return a_table(["the heading says", "paragraphs", "annotated so", "share"], body)


def by_split(prepared: Prepared) -> str:
    splits = prepared.summary["splits"]
    columns = ("paragraphs", "articles", "contrast_sets", "single_paragraphs", "groups")
    return a_table(["split", *columns], [[name, *(splits[name][column] for column in columns)] for name in splits])


class TestShippedCorpus:
    def test_every_annotation_fits_its_paragraph(self, shipped: Prepared) -> None:
        assert shipped.counts["unlabelled"] == shipped.counts["disputed"] == 47 + 7
        assert not shipped.leaks
        assert shipped.kept_together == []
        assert len(shipped.notes) == 2  # how many are unlabelled, and why

    def test_the_test_split_is_balanced(self, shipped: Prepared) -> None:
        for column in ("section_type", "origin", "setting"):
            counts = Counter(getattr(row, column) for row in all_rows(shipped) if row.origin != "single")
            held_out = Counter(getattr(row, column) for row in shipped.rows["test"])
            for value, count in counts.items():
                assert held_out[value] / count == pytest.approx(0.15, abs=0.02), (column, value)

    def test_the_card_has_the_counts(self, shipped: Prepared, card: str) -> None:
        rows = all_rows(shipped)
        from_articles = [row for row in rows if row.origin == "article"]
        from_sets = [row for row in rows if row.origin == "contrast_set"]

        assert by_setting(from_articles, shipped.section_types) in card
        assert by_setting(from_sets, shipped.section_types) in card
        assert by_genre(from_articles, shipped.section_types) in card
        assert by_split(shipped) in card
        singles = [row for row in rows if row.origin == "single"]
        assert by_batch(singles, shipped.section_types) in card
        n_words = statistics.median(len(row.text.split()) for row in singles)
        assert f"{len(singles)} single paragraphs in the table, {n_words:.0f} words in the median" in card
        for part, name in ((from_articles, "articles"), (from_sets, "contrast sets")):
            n_words = statistics.median(len(row.text.split()) for row in part)
            n_articles = len({row.article_id for row in part})
            assert f"{n_articles} {name} with {len(part)} paragraphs, {n_words:.0f} words in the median" in card

    def test_the_card_has_the_agreement_of_headings(self, shipped: Prepared, card: str) -> None:
        headings = shipped.headings
        assert agreement(shipped) in card
        with_headings = {row.article_id for row in all_rows(shipped) if row.headings}
        assert f"{len(with_headings)} articles have headings" in card
        assert f"{headings.n_below_headings} paragraphs stand below one" in card
        assert f"{headings.n_labelled} of them ({headings.n_labelled / headings.n_below_headings:.0%})" in card

"""All paragraphs at hand: what headings and annotations say of each, and which were read."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation
from crosshead.errors import ArticleError, DataError
from crosshead.labelling.pool import make_pool, read_pool
from crosshead.settings import load_settings
from crosshead.text import text_digest
from label_parts import TAXONOMY, make_project


def article(article_id: str, *texts: str, heading: str = "") -> Article:
    return Article.from_texts(texts, article_id=article_id, headings=[(heading,) if heading else ()] * len(texts))


def annotation(article_id: str, paragraph: int, text: str, section_type: str, annotator: str = "anna") -> Annotation:
    return Annotation(article_id, paragraph, text_digest(text), section_type, annotator)


ARTICLES = [article("a", "one", "two", "three"), article("b", "four", heading="At the quay")]


def test_paragraphs_stand_in_order_with_what_is_known_of_them() -> None:
    pool = make_pool(ARTICLES, [annotation("a", 1, "two", "school"), annotation("b", 0, "four", "weather")], TAXONOMY)
    assert pool.texts == ["one", "two", "three", "four"]
    assert pool.lengths == [3, 1]
    assert pool.article.tolist() == [0, 0, 0, 1]
    assert pool.article_ids == ["a", "a", "a", "b"]
    assert pool.annotated.tolist() == [-1, 1, -1, 2]
    assert pool.by_heading.tolist() == [-1, -1, -1, 0]
    assert pool.read.tolist() == [False, True, False, True]
    assert len(pool) == 4


def test_divided_annotators_give_no_label_but_have_read() -> None:
    votes = [annotation("a", 0, "one", "school"), annotation("a", 0, "one", "harbour", "ben")]
    pool = make_pool(ARTICLES, votes, TAXONOMY)
    assert (pool.annotated[0], pool.read[0]) == (-1, True)


def test_a_label_for_another_text_labels_nothing_and_one_that_moved_marks_its_text_as_read() -> None:
    pool = make_pool(
        ARTICLES, [annotation("a", 0, "edited since", "school"), annotation("gone", 7, "three", "school")], TAXONOMY
    )
    assert pool.annotated.tolist() == [-1, -1, -1, -1]
    assert pool.read.tolist() == [False, False, True, False]


def test_no_article_and_unknown_section_types_are_refused() -> None:
    with pytest.raises(DataError, match="there is no article"):
        make_pool([], [], TAXONOMY)
    with pytest.raises(DataError, match="hold the section type 'opera'; allowed: harbour, school, weather"):
        make_pool(ARTICLES, [annotation("a", 0, "one", "opera")], TAXONOMY)


def test_articles_come_from_the_configuration_or_from_what_is_named(tmp_path: Path, root: Path) -> None:
    project = make_project(tmp_path / "project [1]", root / "conf")
    settings = load_settings([], project)
    assert len(read_pool(settings)) == 12
    assert read_pool(settings, [str(project / "data" / "articles" / "bread.md")]).article_ids == ["bread"] * 3
    (project / "data" / "articles" / "broken.csv").write_bytes(b"\xff\xfe\x00nothing")
    with pytest.raises(ArticleError):
        read_pool(settings)
    skipping = read_pool(load_settings(["on_unreadable=skip"], project))
    assert (len(skipping), len(skipping.unreadable)) == (12, 1)

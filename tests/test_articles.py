"""Articles: what a paragraph promises, and what is refused."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article, Paragraph
from crosshead.errors import ArticleError, CrossheadError

SOURCE = "Shells fell at dawn.\n\nEnvoys met in Geneva."
FIRST = Paragraph("Shells fell at dawn.", 0, (), 0, 20)
SECOND = Paragraph("Envoys met in Geneva.", 1, ("Abroad",), 22, 43)


def test_paragraphs_are_slices_of_the_source() -> None:
    article = Article("a", "Dawn", (FIRST, SECOND), SOURCE)
    assert article.texts == ("Shells fell at dawn.", "Envoys met in Geneva.")
    assert [SOURCE[p.start : p.end] for p in article.paragraphs] == list(article.texts)
    assert (article.metadata, article.left_out) == ({}, {})


@pytest.mark.parametrize(
    ("paragraphs", "message"),
    [
        ((Paragraph("Shells fell at dusk.", 0, (), 0, 20),), r"paragraph 0 of article 'a' has offsets 0:20"),
        ((Paragraph("Shells fell at dawn.", 0, (), 1, 21),), r"offsets 1:21.*source\[start:end\] must equal text"),
        ((Paragraph("fell at dawn. ", 0, (), 7, 21),), "without white space"),
        ((Paragraph("", 0, (), 5, 5),), "offsets 5:5"),
        ((Paragraph("Shells fell at dawn.", 3, (), 0, 20),), "has index 3; indexes count from 0"),
        ((SECOND, FIRST), "paragraph 0 of article 'a' has index 1"),
        ((FIRST, Paragraph("dawn.", 1, (), 15, 20)), "paragraph 1 .* offsets 15:20"),
        ((), "article 'a' holds no paragraph, and nothing was left out"),
    ],
)
def test_an_article_that_contradicts_itself_is_refused(paragraphs: tuple[Paragraph, ...], message: str) -> None:
    with pytest.raises(ArticleError, match=message):
        Article("a", "", paragraphs, SOURCE)


def test_an_empty_article_says_what_was_left_out() -> None:
    with pytest.raises(ArticleError, match="the article holds no paragraph, left out were: code 2, table 1;"):
        Article("", "", (), SOURCE, {}, {"table": 1, "code": 2})


def test_articles_are_errors_of_crosshead_and_values() -> None:
    assert issubclass(ArticleError, CrossheadError)
    assert issubclass(ArticleError, ValueError)


def test_from_texts_joins_with_an_empty_line() -> None:
    article = Article.from_texts(
        [" Shells fell at dawn.\n", "Envoys met in Geneva."],
        article_id="a",
        title="Dawn",
        headings=[[], ["Abroad"]],
        metadata={"date": "2020-01-02"},
    )
    assert article == Article("a", "Dawn", (FIRST, SECOND), SOURCE, {"date": "2020-01-02"})


def test_from_texts_names_the_empty_text() -> None:
    with pytest.raises(ArticleError, match="paragraph 1 of article 'a' is empty; give it text or take it out"):
        Article.from_texts(["One.", " \n"], article_id="a")
    with pytest.raises(ArticleError, match="holds no paragraph"):
        Article.from_texts([])


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_from_texts_always_slices_back(texts: list[str]) -> None:
    article = Article.from_texts(texts)
    assert list(article.texts) == [text.strip() for text in texts]
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text


def test_articles_travel_between_processes_and_hide_their_source() -> None:
    article = Article("a", "Dawn", (FIRST, SECOND), SOURCE, {"n": 1}, {"code": 2})
    assert copy.deepcopy(article) == article  # by the same protocol that process pools use
    assert "source" not in repr(article)


def test_importing_the_readers_imports_none_of_the_libraries_behind_them() -> None:
    heavy = "trafilatura lxml pyarrow markdown_it charset_normalizer numpy pandas datasets"
    code = (
        f"import sys, crosshead.articles, crosshead.readers\nprint(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

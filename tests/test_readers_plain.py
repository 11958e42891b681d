"""Plain text → Article, and telling the formats apart."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.errors import ArticleError
from crosshead.readers import read_article
from crosshead.readers.formats import detect_format, format_of, stem_of
from crosshead.readers.headings import bold_heading, ends_sentence, is_caps_heading, is_short_line

LONG = "The brigade held the ridge above the ferry port for nine days and then left it in the night, with its guns and "
LONG += "with the two bulldozers that it had taken from the town."


def read(source: str) -> Article:
    article = read_article(source, format="text")
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text
    return article


def outline(article: Article) -> list[tuple[tuple[str, ...], str]]:
    return [(paragraph.headings, paragraph.text) for paragraph in article.paragraphs]


def test_paragraphs_stand_between_empty_lines_and_short_lines_are_headings() -> None:
    article = read(
        "Ferry port shut\n\nBefore dawn two drones\nhit the port.\n \t\nOn the ground\n\n  Crews left.\n\n"
        "THE WIDER REGION\nLorries waited.\n\nReaction:\n\nEnvoys met.\n\nAnna Writer, Geneva\n"
    )
    assert article.title == "Ferry port shut"
    assert outline(article) == [
        ((), "Before dawn two drones\nhit the port."),
        (("On the ground",), "Crews left."),
        (("THE WIDER REGION",), "Lorries waited."),
        (("Reaction",), "Envoys met."),
        (("Reaction",), "Anna Writer, Geneva"),
    ]


def test_without_an_empty_line_long_lines_are_paragraphs() -> None:
    article = read(f"On the ground\n{LONG}\n{LONG}\nAbroad\n{LONG}")
    assert article.title == "On the ground"
    assert outline(article) == [((), LONG), ((), LONG), (("Abroad",), LONG)]


def test_without_an_empty_line_sentences_on_three_lines_are_paragraphs() -> None:
    assert read("One went.\nTwo stayed?\n“Three hid.”").texts == ("One went.", "Two stayed?", "“Three hid.”")


def test_a_wrapped_paragraph_stays_whole() -> None:
    wrapped = "The brigade held the ridge above\nthe ferry port for nine days. Then\nit left in the night."
    assert read(wrapped).texts == (wrapped,)
    assert read("One went.\nTwo stayed.").texts == ("One went.\nTwo stayed.",)


def test_a_list_of_names_is_no_row_of_headings() -> None:
    article = read("Lasmar\n\nOld Town\n\nNew Town\n\nHarbour\n\nAll four were shelled.")
    assert article.texts == ("Lasmar", "Old Town", "New Town", "Harbour", "All four were shelled.")


def test_rows_of_ornaments_are_left_out() -> None:
    article = read("One.\n\n* * *\n\nTwo.")
    assert (article.texts, article.left_out) == (("One.", "Two."), {"ornament": 1})


def test_markdown_means_nothing_in_plain_text() -> None:
    assert read("# One.\n\n- two, three.\n\n> four").texts == ("# One.", "- two, three.", "> four")


@pytest.mark.parametrize("source", ["ONLY A HEADING", "TWO OF\n\nTHEM THERE", "***"])
def test_text_without_a_paragraph_is_refused(source: str) -> None:
    with pytest.raises(ArticleError, match="holds no"):
        read(source)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="aB.\n \tC1"),
        st.lists(st.sampled_from(["On the ground", "WIDE REGION", "One went.", LONG, "", "* *", "so it"])).map(
            "\n".join
        ),
    )
)
def test_every_letter_is_in_a_paragraph_or_a_heading(source: str) -> None:
    try:
        article = read(source)
    except ArticleError:
        return
    ends = [0, *(paragraph.end for paragraph in article.paragraphs)]
    starts = [*(paragraph.start for paragraph in article.paragraphs), len(article.source)]
    for end, start in zip(ends, starts, strict=True):
        for line in article.source[end:start].split("\n"):
            assert is_short_line(line) or is_caps_heading(line) or not any(map(str.isalnum, line))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("On the ground", True),
        ("Phase 2", True),
        ("Reaction:", True),
        ("战地动态", True),
        ("Envoys met.", False),
        ("What next?", False),
        ("and then they left", False),
        ("“Quoted line”", False),
        ("The general of the coastal brigade said this:", False),
        ("one " * 11, False),
        ("A" * 81, False),
        ("A line that goes on,", False),
        ("", False),
    ],
)
def test_short_lines(line: str, answer: bool) -> None:
    assert is_short_line(line) is answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("THE WIDER REGION", True),
        ("BACKGROUND", True),
        ("ОБСТАНОВКА НА ФРОНТЕ", True),
        ("UN", False),
        ("NATO AND THE EU SAID NO AGAIN.", False),
        ("The WIDER region", False),
        ("2022 - 2023", False),
        ("«ALL GONE»", False),
        ("", False),
    ],
)
def test_lines_of_capitals(line: str, answer: bool) -> None:
    assert is_caps_heading(line) is answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("**Abroad**", "Abroad"),
        ("__Abroad__:", "Abroad"),
        ("***Abroad.***", "Abroad."),
        ("**What happens to the ferry port now?**", "What happens to the ferry port now?"),
        ("**The brigade left the ridge.**", None),
        ("**a** and **b**", None),
        ("** a **", None),
        ("**" + "word " * 15 + "x**", None),
        ("**:**", None),
        ("Abroad", None),
    ],
)
def test_bold_lines(line: str, answer: str | None) -> None:
    assert bold_heading(line) == answer


def test_the_end_of_a_sentence_is_seen_through_quotation_marks() -> None:
    assert ends_sentence("“It is gone.”)")
    assert not ends_sentence("It is gone, he")
    assert not ends_sentence("”")


@pytest.mark.parametrize(
    ("source", "format"),
    [
        ("  <!DOCTYPE html><html>", "html"),
        ("<p>One.</p>", "html"),
        ("<?xml version='1.0'?><html/>", "html"),
        ("One.\n\n## Two\n\nThree.", "markdown"),
        ("---\ntitle: x\n---\nOne.", "markdown"),
        ("\ufeffOne\r\n====\r\n", "markdown"),
        ("**Two**\n\nThree", "markdown"),
        ("a | b\n--- | ---", "markdown"),
        ("One [two](http://a.b).", "markdown"),
        ("One.\n\n```\ncode\n```", "markdown"),
        ("One < two.\n\nTHREE FOUR\n\n#hashtag - five", "text"),
        ("- Yes, he said.\n- No, she said.", "text"),
        ("A rule of dashes stands below this sentence.\n\n---\n\nTwo.", "text"),
    ],
)
def test_the_format_shows_in_the_text(source: str, format: str) -> None:
    assert detect_format(source) == format


def test_auto_reads_as_the_format_that_shows() -> None:
    assert read_article("# T\n\n- left out\n\nOne.").left_out == {"list": 1}
    assert read_article("<p>One &amp; two.</p>").texts == ("One & two.",)
    assert read_article("- One.\n\n- Two.").texts == ("- One.", "- Two.")


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ArticleError, match="format is 'docx'; one document is 'auto', 'markdown', 'html' or 'text'"):
        read_article("One.", format="docx")


def test_formats_and_stems_of_file_names() -> None:
    names = ["a.md", "a.b.HTM", "a.txt.gz", "a.tsv", "a.pdf", "a", "a.gz", "a.v2.jsonl"]
    assert [format_of(PurePath(name)) for name in names] == [
        *("markdown", "html", "text", "csv", None, None, None, "jsonl")
    ]
    assert [stem_of(PurePath(name)) for name in names] == ["a", "a.b", "a", "a", "a.pdf", "a", "a", "a.v2"]


@given(st.text())
def test_auto_raises_article_errors_only(source: str) -> None:
    try:
        article = read_article(source)
    except ArticleError:
        return
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text

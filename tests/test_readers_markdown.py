"""Markdown → Article."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.errors import ArticleError
from crosshead.readers import read_article, read_articles
from crosshead.readers.frontmatter import read_front_matter

DATA = Path(__file__).parents[1] / "data"


def read(source: str, **options: str) -> Article:
    article = read_article(dedent(source), format="markdown", **options)
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text
    return article


def outline(article: Article) -> list[tuple[tuple[str, ...], str]]:
    return [(paragraph.headings, paragraph.text) for paragraph in article.paragraphs]


def test_headings_make_a_path_and_the_title_is_not_in_it() -> None:
    article = read("""\
        # The raid on *Lasmar*

        Lead.

        ## On the ground ##

        First.

        ### In the [north](http://a.b) `x_1`

        Second.

        Across the strait
        -----------------

        Third.

        Another part
        ============

        Fourth.
        """)
    assert article.title == "The raid on Lasmar"
    assert outline(article) == [
        ((), "Lead."),
        (("On the ground",), "First."),
        (("On the ground", "In the north x_1"), "Second."),
        (("Across the strait",), "Third."),
        (("Another part",), "Fourth."),
    ]
    assert [paragraph.index for paragraph in article.paragraphs] == [0, 1, 2, 3, 4]


def test_bold_lines_and_lines_of_capitals_are_headings_below_the_numbered_ones() -> None:
    article = read("""\
        ## Week 12

        **On the ground:**

        First.

        __Abroad__
        Second stands right below.

        THE WIDER REGION

        Third.

        ## Week 13

        Fourth.
        """)
    assert outline(article) == [
        (("Week 12", "On the ground"), "First."),
        (("Week 12", "Abroad"), "Second stands right below."),
        (("Week 12", "THE WIDER REGION"), "Third."),
        (("Week 13",), "Fourth."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "**Nobody in the village was left to say what had happened there.**",
        "**The brigade** held the ridge.",
        "**Iron Line**\nwas what they called the ridge.",
        "UN",
        "NOBODY WAS LEFT TO SAY WHAT HAD HAPPENED THERE.",
        "Text goes on\n**Iron Line**\nuntil here.",
        "\\*\\*Not bold\\*\\*",
        "The ridge was held by two brigades that had been there since May.\n---",
        "The ridge was held\nby two brigades\n---",
        "[Smith]: Yes, we did.",
    ],
)
def test_what_only_resembles_a_heading_is_a_paragraph(text: str) -> None:
    article = read(f"{text}\n\nLast.")
    assert outline(article) == [((), text.removesuffix("\n---")), ((), "Last.")]


def test_what_is_no_running_text_is_left_out_with_a_count() -> None:
    article = read("""\
        First.

        - one
        - two

        1. one
        2. two

        > A quotation.

        | a | b |
        |---|---|
        | 1 | 2 |

        ```
        code
        ```

            indented code

        <div>HTML</div>

        [^1]: A note at the foot.

        [1]: https://example.org "A place"
        [2]: <somewhere>

        ![A map](map.png)

        * * *

        \u2014 \u2014 \u2014

        Last[^1] with ![a picture](p.png) in it.
        """)
    assert article.texts == ("First.", "Last[^1] with ![a picture](p.png) in it.")
    assert article.left_out == {
        **{"list": 2, "quote": 1, "table": 1, "code": 2, "html": 1},
        **{"footnote": 1, "link_definition": 1, "image": 1, "ornament": 1},
    }


def test_numbered_paragraphs_are_paragraphs() -> None:
    long = (
        "The team at sea cleared five vessels of eleven in the week, and the mean wait was now sixteen days for each."
    )
    article = read(f"1. {long}\n\n2. {long}\n   {long}\n\n   > Quoted.\n\nLast.\n\n1. Short.\n\n2. Short.\n\n1) {long}")
    assert article.texts == (f"1. {long}", f"2. {long}\n   {long}", "Last.", f"1) {long}")
    assert article.left_out == {"quote": 1, "list": 1}


def test_inline_markup_and_wrapped_lines_stay_in_the_text() -> None:
    article = read("  One *two* [three](x)  \nfour &amp; five.  \n\n\nSix.")
    assert article.texts == ("One *two* [three](x)  \nfour &amp; five.", "Six.")
    assert article.paragraphs[0].start == 2


def test_front_matter_is_metadata_and_gives_the_title() -> None:
    article = read("""\
        ---
        title: "The \\"raid\\" on Lasmar"
        date: 2023-04-05   # a Wednesday
        genre: 'reporter''s notes'
        tags: [war, "ferry, port"]
        places:
          - Lasmar
          - 'Old Town'
        summary: >
          Two lines
          of text.
        empty:
        ---

        # The "raid" on  LASMAR

        ## Ground

        Text.
        """)
    assert article.title == 'The "raid" on Lasmar'
    assert article.metadata == {
        "title": 'The "raid" on Lasmar',
        "date": "2023-04-05",
        "genre": "reporter's notes",
        "tags": ["war", "ferry, port"],
        "places": ["Lasmar", "Old Town"],
        "summary": "Two lines of text.",
        "empty": "",
    }
    assert outline(article) == [(("Ground",), "Text.")]


def test_toml_front_matter() -> None:
    article = read('+++\ntitle = "Lasmar"\ndate = 2023-04-05\nn = 3\n[more]\nx = [nan]\n+++\nText.')
    assert article.title == "Lasmar"
    assert article.metadata == {"title": "Lasmar", "date": "2023-04-05", "n": 3, "more": {"x": [None]}}
    assert article.texts == ("Text.",)


@pytest.mark.parametrize(
    "source",
    [
        "---\nA paragraph between two rules.\n\n---\n\nAnother.",
        "---\ntitle: never closed\n\nText.",
        "---\n---\nText.",
        "---\ntitle: x\nprose that is no YAML\n---\nText.",
        "+++\nnot = = toml\n+++\nText.",
        "Text.\n---\ntitle: x\n---\n",
        "",
    ],
)
def test_what_is_no_front_matter_stays_text(source: str) -> None:
    assert read_front_matter(source) == ({}, 0)


def test_a_title_given_goes_before_and_a_different_first_heading_stays() -> None:
    article = read("---\ntitle: From the file\n---\n# On the ground\n\nText.", title="From the row")
    assert article.title == "From the row"
    assert outline(article) == [(("On the ground",), "Text.")]
    assert read("Lead.\n\n# Late\n\nText.").title == ""
    assert outline(read("Lead.\n\n## Ground\n\nText.", title="Ground"))[1] == (("Ground",), "Text.")


def test_line_ends_and_marks_are_normalised() -> None:
    article = read("\ufeff# T\r\n\r\nOne\r\ntwo.\r\rThree \ud800.")
    assert article.source == "# T\n\nOne\ntwo.\n\nThree \ufffd."
    assert article.texts == ("One\ntwo.", "Three \ufffd.")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the article holds no text; give at least one paragraph"),
        ("\n * \n", "the article holds no text"),
        ("a\0b", "NUL characters, so it is not text"),
        ("# Only\n\n- a list\n\n    and code", r"holds no paragraph, left out were: list 1"),
        ("a\n" * 100_001, "has 100002 lines; at most 100000 are read"),
        ("a" * (8 * 1024**2 + 1), "has 8388609 characters; at most 8388608"),
    ],
)
def test_what_is_no_article_is_refused(source: str, message: str) -> None:
    with pytest.raises(ArticleError, match=message):
        read(source)


MARKUP = st.lists(
    st.sampled_from(
        [
            *("# A b", "## C", "**D e**", "FF GG", "Word one.", "two, three", "- x", "> q", "```", "    y", "| a |"),
            *(
                "|---|",
                "---",
                "===",
                "<div>",
                "[^1]: n",
                "[a]: b.c",
                "![i](j)",
                "1. z",
                "",
                "",
                "",
                "\t",
                "\\",
                "é\u2028",
            ),
        ]
    ),
    max_size=20,
).map("\n".join)


@given(st.one_of(st.text(), MARKUP, st.text(alphabet="#*_-=>|`[]()! \n\tab1.<&\r\x0b\x1c\u2028")))
def test_any_text_gives_slices_or_an_article_error(source: str) -> None:
    try:
        article = read_article(source, format="markdown")
    except ArticleError:
        return
    reached = 0
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text == paragraph.text.strip()
        assert any(map(str.isalnum, paragraph.text))
        assert paragraph.start >= reached
        reached = paragraph.end


def test_the_shipped_articles_have_exactly_the_annotated_paragraphs() -> None:
    wanted: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)  # several annotators may read one paragraph
    with (DATA / "annotations.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            wanted[row["article_id"]][row["paragraph"], row["text_sha256"]] = None
    found = {
        article.article_id: [
            (str(p.index), hashlib.sha256(p.text.encode()).hexdigest()[:16]) for p in article.paragraphs
        ]
        for article in read_articles(DATA / "articles")
    }
    assert len(found) == 442
    assert found == {article_id: list(rows) for article_id, rows in wanted.items()}

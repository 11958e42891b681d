"""HTML → Article."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.errors import ArticleError
from crosshead.readers import read_article, read_articles

PAGE = Path(__file__).parent / "data" / "page.html"
SENTENCE = "The brigade held the ridge above the ferry port for nine days and then left it in the night, {}."


def read(source: str, **options: str) -> Article:
    article = read_article(source, format="html", **options)
    for paragraph in article.paragraphs:
        assert article.source[paragraph.start : paragraph.end] == paragraph.text
    return article


def outline(article: Article) -> list[tuple[tuple[str, ...], str]]:
    return [(paragraph.headings, paragraph.text) for paragraph in article.paragraphs]


def sentences(count: int, first: int = 0) -> list[str]:
    return [SENTENCE.format(f"company {n} last of all") for n in range(first, first + count)]


def test_a_page_gives_its_article() -> None:
    article = next(read_articles(PAGE))
    assert (article.article_id, article.title) == ("page", "Ferry port shut after night raid")
    assert article.metadata == {
        "author": "Ines Arnau",
        "date": "2023-04-05",
        "language": "en",
        "encoding": "utf-8",
    }
    assert [(headings, text[:30]) for headings, text in outline(article)] == [
        ((), "Two drones hit the ferry port "),
        (("On the ground",), "1. Soldiers of the Coastal Bri"),
        (("On the ground",), "Gunners on the ridge fired at "),
        (("On the ground", "Across the strait"), "The neighbouring island closed"),
        (("What outsiders said",), "Envoys of three states asked f"),
    ]
    assert article.texts[1].endswith(
        "both quays & told crews to leave their ships; nobody would say how many of them were hurt."
    )
    assert "< 10 minutes,\na fisherman said" in article.texts[2]
    assert article.left_out == {"quote": 1, "table": 1, "list": 1, "code": 1}
    for unwanted in ("Home", "never read this", "All rights kept", "margin"):
        assert unwanted not in article.source


def test_the_source_is_laid_out_like_markdown() -> None:
    source = next(read_articles(PAGE)).source
    for line in (
        "# Ferry port shut after night raid",
        "## On the ground",
        "> We counted the seconds and then the windows went, said a baker who lives above the quay.",
        "- A first point of a list. A second point of a list.",
    ):
        assert line in source.split("\n")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("<p>One.</p>", [((), "One.")]),
        ("One.<br><br>Two.", [((), "One."), ((), "Two.")]),
        ("just text", [((), "just text")]),
        ("<h2>Ground</h2><p>One.</p><h2>Abroad</h2><p>Two.", [(("Ground",), "One."), (("Abroad",), "Two.")]),
        ("<div><h3>Ground</h3>One.<div>Two.</div></div>", [(("Ground",), "One."), (("Ground",), "Two.")]),
        ("<P>One <I>two</I><SPAN> three</SPAN></P>", [((), "One two three")]),
        ("<p>One <code>x = 1</code> two.</p>", [((), "One x = 1 two.")]),
        ("<p>ON THE GROUND</p><p>One.</p>", [(("ON THE GROUND",), "One.")]),
    ],
)
def test_fragments_and_short_documents(source: str, wanted: list[tuple[tuple[str, ...], str]]) -> None:
    assert outline(read(source)) == wanted


def test_a_section_heading_of_a_fragment_is_not_its_title() -> None:
    assert read("<h2>Ground</h2><p>One.</p>").title == ""
    assert read("<h1>Ground</h1><p>One.</p>").title == "Ground"
    assert read("<h2>Ground</h2><p>One.</p>", title="Given").title == "Given"


def test_headings_survive_whatever_way_the_text_was_found() -> None:
    one, two, three = sentences(3)
    page = (
        f"<html><head><title>Ridge</title></head><body><div><h2>Ground</h2><div><p>{one}</p></div></div>"
        f"<div><div><h2>Abroad</h2></div><p>{two}</p><p>{three}</p></div></body></html>"
    )
    assert outline(read(page)) == [(("Ground",), one), (("Abroad",), two), (("Abroad",), three)]


def test_headings_that_the_extraction_lost_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    one, two, three = sentences(3)
    page = (
        f"<html><body><h2>Menu</h2><p>Unwanted</p><h3>Ground</h3><h4>North</h4><p>{one}</p><p>{two}</p></body></html>"
    )

    def lose_headings(tree: object, **options: object) -> object:
        document = original(f"<html><body><p>{one}</p><p>{two}</p><p>{three}</p></body></html>", **options)
        assert not document.body.findall(".//head")
        return document

    original = trafilatura.bare_extraction
    monkeypatch.setattr(trafilatura, "bare_extraction", lose_headings)
    path = ("Ground", "North")
    assert outline(read(page)) == [(path, one), (path, two), (path, three)]


@pytest.mark.parametrize(
    "line",
    [
        "<p><strong><u>Abroad:</u></strong></p>",
        '<p><span style="font-weight: 700">Abroad</span></p>',
        '<p style="font-weight:bold">Abroad:</p>',
        "<p><b>Abr</b><em><b>oad</b></em> </p>",
    ],
)
def test_bold_in_any_dress_is_a_heading(line: str) -> None:
    one, two, three = sentences(3)
    page = f"<html><body><div><p>{one}</p>{line}<p>{two}</p><p><b>Abroad</b> {three}</p></div></body></html>"
    assert outline(read(page)) == [((), one), (("Abroad",), two), (("Abroad",), f"Abroad {three}")]


def test_a_failing_extraction_falls_back_on_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def fail(*_: object, **__: object) -> None:
        raise AttributeError("odd markup")

    monkeypatch.setattr(trafilatura, "bare_extraction", fail)
    page = "<html><body><nav>Menu</nav><h2>Ground</h2><p>One.</p><ul><li>x</li></ul><script>y</script></body></html>"
    article = read(page)
    assert (outline(article), article.left_out) == ([(("Ground",), "One.")], {"list": 1})


def test_line_breaks_cut_as_in_plain_text() -> None:
    one, two, three = (f"{a[:-1]}, {b[:-1]}, {c}" for a, b, c in (sentences(3, n) for n in (0, 3, 6)))
    page = f"<html><body><div>{one}<br><br>{two}<br><b>Abroad</b><br>{three}</div></body></html>"
    assert outline(read(page)) == [((), one), ((), two), (("Abroad",), three)]


def test_a_table_that_lays_out_the_page_is_no_table() -> None:
    one, two = sentences(2)
    layout = f"<html><body><table><tr><td>Menu<td><h2>Ground</h2><p>{one}<p>{two}</table></body></html>"
    assert outline(read(layout))[-2:] == [(("Ground",), one), (("Ground",), two)]
    data = f"<html><body><p>{one}<p>{two}<table><tr><td><p>Day</p><td><p>14</p></table></body></html>"
    assert (read(data).texts, read(data).left_out) == ((one, two), {"table": 1})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("<html><body></body></html>", "holds no"),
        ("<ul><li>x</ul>", "holds no paragraph, left out were: list 1"),
        ("<script>x = 1</script>", "holds no paragraph"),
        ("", "holds no text"),
        ("<p>" + "a" * 5_000_001, "has 500[0-9]{4} characters, embedded data not counted; at most 5000000"),
        ("<p " + "a=1 " * 20_000 + ">One.</p>", "has a tag of 80003 characters; at most 50000"),
        ("<p a='>' " + "b='<>' " * 10_000 + ">One.</p>", "has a tag of 700.. characters"),
        ("<i>" * 100_001 + "One.", "cannot be parsed|elements; at most 100000|holds no paragraph"),
        ("<br>" * 100_001 + "One.", "has 10000[0-9] elements; at most 100000 are read"),
        ("<div>" * 60_000 + "<p>One.", "holds no paragraph|too deeply"),
    ],
    ids=range(10),
)
def test_what_is_no_article_is_refused(source: str, message: str) -> None:
    with pytest.raises(ArticleError, match=message):
        read(source)


@pytest.mark.parametrize("tag", ["div", "span", "b", "ul><li", "table><tr><td", "blockquote", "a", "q", "form", "svg"])
@pytest.mark.parametrize("depth", [200, 3000])
def test_deep_nesting_ends_in_an_article_or_an_article_error(tag: str, depth: int) -> None:
    try:
        article = read(f"<p>First.</p>{f'<{tag}>' * depth}<p>Deep.</p>")
    except ArticleError:
        return
    assert article.texts[0].startswith("First.")


def test_a_stack_that_runs_out_is_an_article_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def recurse(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr(trafilatura, "bare_extraction", recurse)
    with pytest.raises(ArticleError, match="nests its elements too deeply to be read; simplify it"):
        read("<p>One.</p>")


def test_markup_that_no_parser_takes_is_an_article_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    monkeypatch.setattr(trafilatura, "load_html", lambda _: None)
    with pytest.raises(ArticleError, match="the HTML cannot be parsed; save the page again"):
        read("<p>One.</p>")


def test_embedded_pictures_do_not_count() -> None:
    one, two = sentences(2)
    picture = f'<img src="data:image/png;base64,{"A" * 6_000_000}">'
    assert read(f"<p>{one}</p>{picture}<p>{two}</p>").texts == (one, two)


def test_nothing_is_fetched_and_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    one, two = sentences(2)
    with caplog.at_level(logging.DEBUG):
        read(
            '<html><head><link rel="canonical" href="http://example.org/x"><base href="http://example.org">'
            f'<meta http-equiv="refresh" content="0;url=http://example.org"></head><body><p>{one}</p>'
            f'<iframe src="http://example.org"></iframe><img src="http://example.org/a.png"><p>{two}</p></body></html>'
        )
        with pytest.raises(ArticleError):
            read("<html></html>")
    assert not caplog.records


TAGS = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<div>",
            "</div>",
            "<h1>",
            "</h1>",
            "<h2>",
            "<b>",
            "</b>",
            "<br>",
            "<ul><li>",
            "</ul>",
            "<table>",
        ),
        *(
            "<tr><td>",
            "</table>",
            "<blockquote>",
            "<!--",
            "-->",
            "<![CDATA[",
            "<script>",
            "</script>",
            "<head>",
            "<title>",
        ),
        *(
            "</title>",
            "&lt;",
            "&#0;",
            "&#xD800;",
            "<",
            ">",
            '"',
            "word ",
            "One went. ",
            "HEAD LINE",
            "\n",
            "<svg>",
            "<body>",
        ),
        *("<?xml ?>", "<html>", "</html>", "<a href='x'>", "</a>", "<span", "<code>", "<p class=", "\x01", "\u2028"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(TAGS, max_size=25).map("".join), st.text()))
def test_any_markup_gives_slices_or_an_article_error(source: str) -> None:
    try:
        article = read(source)
    except ArticleError:
        return
    assert all(any(map(str.isalnum, text)) for text in article.texts)


def test_a_short_page_keeps_its_paragraphs_and_headings_apart() -> None:
    article = read_article(
        "<html><body><h1>The lock</h1><p>The lock is shut.</p>"
        "<h2>Boats</h2><p>Six boats wait below it.</p></body></html>",
        format="html",
    )
    assert article.title == "The lock"
    assert article.texts == ("The lock is shut.", "Six boats wait below it.")
    assert article.paragraphs[1].headings == ("Boats",)

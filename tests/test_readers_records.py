"""Rows of JSONL, JSON, CSV and Parquet → articles."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import random
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.errors import ArticleError, DataError
from crosshead.readers import Unreadable, read_articles
from crosshead.readers.records import MAX_LINE_BYTES


def write(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def collect(path: Path) -> tuple[list[Article], list[tuple[str, str]]]:
    stream = read_articles(path, on_error="collect")
    return stream.read_all(), [(problem.where, problem.reason) for problem in stream.unreadable]


def ids(articles: list[Article]) -> list[str]:
    return [article.article_id for article in articles]


def test_a_row_may_hold_a_whole_article(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lines(
            {"id": "a", "text": "# T\n\n## Ground\n\nOne.", "date": "2020-01-02", "n": 3, "tags": ["x"]},
            {"article_id": 7, "text": "<p>One &amp; two.</p>", "title": "Given", "note": None},
            {"text": "# One.\r\n\r\nTwo.", "format": "text"},
        ),
    )
    first, second, third = read_articles(path)
    assert (first.article_id, first.title, first.texts) == ("a", "T", ("One.",))
    assert first.paragraphs[0].headings == ("Ground",)
    assert first.metadata == {"date": "2020-01-02", "n": 3, "tags": ["x"]}
    assert (second.article_id, second.title, second.texts) == ("7", "Given", ("One & two.",))
    assert second.metadata == {}
    assert (third.article_id, third.texts) == ("rows:3", ("# One.", "Two."))


def test_a_row_may_hold_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path, lines({"article_id": "a", "paragraphs": [" One\r\ntwo. ", "THREE"], "genre": "g"}))
    (article,) = read_articles(path)
    assert article.texts == ("One\ntwo.", "THREE")
    assert article.source == "One\ntwo.\n\nTHREE"
    assert article.metadata == {"genre": "g"}


def test_a_paragraph_of_an_article_that_is_cut_may_be_a_sign(tmp_path: Path) -> None:
    (article,) = read_articles(
        write(tmp_path, lines({"id": "a", "paragraphs": ["One.", "”"], "section_types": ["x", None]}))
    )
    assert article.texts == ("One.", "”")
    assert article.metadata == {"section_types": ["x", None]}


def test_rows_of_one_paragraph_are_put_together_in_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lines(
            {"article_id": "b", "paragraph": 1, "text": "B one.", "genre": "g", "section_type": "x"},
            {"article_id": "a", "paragraph": 0, "text": "A nought.", "title": "A"},
            {
                "article_id": "b",
                "paragraph": 0.0,
                "text": "B nought.",
                "genre": "g",
                "section_type": "y",
                "headings": ["Ground", "North"],
            },
        ),
    )
    second, first = read_articles(path)
    assert (second.article_id, second.texts) == ("b", ("B nought.", "B one."))
    assert [paragraph.headings for paragraph in second.paragraphs] == [("Ground", "North"), ()]
    assert second.metadata == {"genre": "g", "section_types": ["y", "x"]}
    assert (first.article_id, first.title) == ("a", "A")


ROWS = [
    ('{"text": ', "not valid JSON .*; write one object a line"),
    ("[1]", "a row is list \\[1\\]; a row holds 'text'"),
    ('"One."', "a row is str 'One.'"),
    ('{"body": "One."}', "a row has the fields \\['body'\\]; a row holds 'text'"),
    ('{"text": 3}', "'text' is int 3; it must be text"),
    ('{"text": " "}', "the article holds no text"),
    ('{"text": "a\\u0000"}', "NUL"),
    ('{"text": "One.", "id": true}', "'article_id' is bool True; it must be text or a whole number"),
    ('{"text": "One.", "id": [1]}', "'article_id' is list"),
    ('{"text": "One.", "title": 3}', "'title' is int 3; it must be text"),
    ('{"text": "One.", "format": "docx"}', "format is 'docx'"),
    ('{"paragraphs": "One."}', "'paragraphs' is str 'One.'; it must be a list of at least one text"),
    ('{"paragraphs": []}', "'paragraphs' is list \\[\\]"),
    ('{"paragraphs": ["One.", 2]}', "paragraph 1 is int 2; it must be text"),
    ('{"paragraphs": ["One.", " "]}', "paragraph 1 is empty; give it text or take it out"),
    ('{"paragraph": 0, "text": "One."}', "a row of one paragraph has no 'article_id'"),
    ('{"article_id": "x", "paragraph": -1, "text": "One."}', "'paragraph' is int -1; it must be a whole number"),
    ('{"article_id": "x", "paragraph": "i", "text": "One."}', "'paragraph' is str 'i'"),
    ('{"article_id": "x", "paragraph": 0, "text": "One.", "headings": [1]}', "'headings' is list \\[1\\]"),
    ("[" * 100_000, "not valid JSON|nested too deeply"),
    ('{"text": ' * 100_000, "not valid JSON|nested too deeply"),
    ("9" * 5000, "not valid JSON|a row is int"),
]


@pytest.mark.parametrize(("row", "message"), ROWS, ids=range(len(ROWS)))
def test_a_bad_row_is_named_and_the_rest_goes_on(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path, lines({"id": "a", "text": "One."}) + f"\n{row}\n" + lines({"id": "b", "text": "Two."}))
    articles, problems = collect(path)
    assert ids(articles) == ["a", "b"]
    assert [where for where, _ in problems] == ["line 3"]
    with pytest.raises(ArticleError, match=f"rows.jsonl, line 3: .*({message})"):
        read_articles(path).read_all()


def test_paragraphs_that_contradict_each_other(tmp_path: Path) -> None:
    row = {"article_id": "a", "paragraph": 0, "text": "One."}
    _, problems = collect(write(tmp_path, lines(row, row)))
    reason = "paragraph 0 of article 'a' was already given in line 1; keep one of the two"
    assert problems == [("line 2", reason)]
    _, problems = collect(write(tmp_path, lines(row, {**row, "paragraph": 2}), "gap.jsonl"))
    reason = "article 'a' has 2 paragraphs but none with number 1; number them from 0 without a gap"
    assert problems == [("line 1", reason)]


def test_the_same_id_twice_is_refused_naming_both_places(tmp_path: Path) -> None:
    path = write(tmp_path, lines({"id": "a", "text": "One."}, {"id": "b", "text": "One."}, {"id": "a", "text": "Two."}))
    for on_error in ("raise", "collect"):
        with pytest.raises(
            DataError, match=r"id 'a' stands twice: in .*rows.jsonl, line 1 and in .*rows.jsonl, line 3"
        ):
            read_articles(path, on_error=on_error).read_all()  # type: ignore[arg-type]


def test_a_line_of_50_mb_is_passed_over(tmp_path: Path) -> None:
    huge = b'{"id": "b", "text": "' + b"x" * 50_000_000 + b'"}\n'
    path = write(
        tmp_path, lines({"id": "a", "text": "One."}).encode() + huge + lines({"id": "c", "text": "Two."}).encode()
    )
    articles, problems = collect(path)
    assert ids(articles) == ["a", "c"]
    assert problems == [
        ("line 2", f"the line is longer than {MAX_LINE_BYTES} bytes, the most that is read; cut the article")
    ]
    path.write_bytes(huge.rstrip(b"\n"))
    del huge
    tracemalloc.start()
    assert [where for where, _ in collect(path)[1]] == ["line 1"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MAX_LINE_BYTES


def test_a_bad_byte_spoils_its_line_only(tmp_path: Path) -> None:
    rows = [lines({"id": f"{n}", "text": "Né." + "x" * 1000}).encode() for n in range(500)]
    rows[-2] = rows[-2].replace("é".encode(), b"\xe9")
    articles, problems = collect(write(tmp_path, b"".join(rows)))
    assert len(articles) == len(rows) - 1
    reason = "byte 0xe9 at position 24 of the line is not utf-8; save it as UTF-8"
    assert problems == [("line 499", reason)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, line_end: str) -> None:
    rows = [{"id": "a", "text": "L’armée a quitté la crête."}, {"id": "b", "text": "Où est-elle allée ?"}]
    told = lines(*rows).replace("\n", line_end)
    assert [article.texts[0] for article in read_articles(write(tmp_path, told.encode(encoding)))] == [
        row["text"] for row in rows
    ]
    table = "id,text\na,L’armée a quitté la crête.\nb,Où est-elle allée ?\n".replace("\n", line_end)
    assert ids(read_articles(write(tmp_path, table.encode(encoding), "t.csv")).read_all()) == ["a", "b"]


def test_blank_lines_are_no_rows_and_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    assert ids(collect(write(tmp_path, "\n \n" + lines({"text": "One."})))[0]) == ["rows:3"]
    for name, content, message in [
        ("a.jsonl", "\n \n", "it holds no text"),
        ("b.csv", "id,text\n", "it holds no rows; a row holds 'text'"),
        ("c.json", "[]", "it holds no rows"),
        ("d.jsonl", b"{\0}", "it holds NUL"),
    ]:
        with pytest.raises(ArticleError, match=f"{name}: {message}"):
            read_articles(write(tmp_path, content, name)).read_all()


def test_json(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "One."}, 3, {"text": "Two."}]
    articles, problems = collect(write(tmp_path, json.dumps(rows, indent=1), "rows.json"))
    assert ids(articles) == ["a", "rows:3"]
    assert problems[0][0] == "row 2"
    assert ids(collect(write(tmp_path, json.dumps(rows[0]), "one.json"))[0]) == ["a"]
    with pytest.raises(ArticleError, match=r"bad.json: it is not valid JSON"):
        read_articles(write(tmp_path, "{", "bad.json")).read_all()


def test_csv(tmp_path: Path) -> None:
    table = (
        'article_id; paragraph;text;genre;headings\r\na;0;"One; and ""two"".";g;Ground\r\n\r\n'
        'a;1;"Three\r\nfour.";g;"[""Ground"", ""North""]"\r\nb;0;Five.;;[x\r\n'
    )
    first, second = read_articles(write(tmp_path, table, "t.csv"))
    assert first.texts == ('One; and "two".', "Three\nfour.")
    assert [paragraph.headings for paragraph in first.paragraphs] == [("Ground",), ("Ground", "North")]
    assert first.metadata == {"genre": "g"}
    assert second.paragraphs[0].headings == ("[x",)
    (article,) = read_articles(write(tmp_path, 'id\tparagraphs\nz\t["One.", "Two."]\n', "t.tsv"))
    assert (article.article_id, article.texts) == ("z", ("One.", "Two."))


def test_bad_rows_of_csv_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    table = 'id,text\na,One.\nb,One,two.\nc,"quoted" wrongly\n"d\nd",""\n\nb\ne,Two.\n'
    articles, problems = collect(write(tmp_path, table, "t.csv"))
    assert ids(articles) == ["a", "e"]
    assert [(where, reason[:34]) for where, reason in problems] == [
        ("line 3", "it has 3 fields but the header nam"),
        ("line 4", "it is not valid CSV (',' expected "),
        ("line 5", "a row has the fields ['id']; a row"),
        ("line 8", "it has 1 fields but the header nam"),
    ]
    articles, problems = collect(write(tmp_path, 'id,paragraphs\na,One.\nb,"[""x""]"\n', "p.csv"))
    assert ids(articles) == ["b"]
    assert problems == [("line 2", "'paragraphs' is not a JSON list; in CSV give one paragraph a row")]


def test_long_fields_and_lines_of_csv(tmp_path: Path) -> None:
    table = f"id,text\na,{'x' * 200_000}.\nb,{'x' * (MAX_LINE_BYTES + 1)}\nc,Two.\n"
    articles, problems = collect(write(tmp_path, table, "t.csv"))
    assert ids(articles) == ["a", "c"]
    assert [where for where, _ in problems] == ["line 3"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,body\na,One.\n", "its columns are \\['id', 'body'\\]; a row holds 'text'"),
        ("id,text,text\na,One.,Two.\n", "it names the columns \\['text'\\] more than once; rename the columns"),
        ('"id"x,text\na,One.\n', "it is not valid CSV"),
        ("x" * (MAX_LINE_BYTES + 1) + "\n", "longer than"),
    ],
    ids=range(4),
)
def test_a_table_with_the_wrong_columns_is_refused_once(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ArticleError, match=f"t.csv: .*{message}"):
        read_articles(write(tmp_path, table, "t.csv")).read_all()
    assert len(collect(tmp_path / "t.csv")[1]) == 1


def write_parquet(path: Path, columns: dict[str, list[object]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "t.parquet",
        {
            "id": ["a", "b", None],
            "text": ["One.", None, "Three."],
            "day": [dt.date(2020, 1, 2)] * 3,
            "share": [float("nan"), 0.5, None],
            "sum": [Decimal("1.5")] * 3,
        },
    )
    articles, problems = collect(path)
    assert ids(articles) == ["a", "t:3"]
    assert articles[0].metadata == {"day": "2020-01-02", "share": None, "sum": "1.5"}
    assert [where for where, _ in problems] == ["row 2"]
    with path.open("rb") as file:
        assert ids(list(read_articles("-", format="parquet", stdin=file, on_error="collect")))[0] == "a"


def test_a_parquet_file_goes_round(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "t.parquet",
        {
            "article_id": ["a", "a"],
            "paragraph": [0, 1],
            "text": ["One.", "Two."],
            "headings": [["Ground"], []],
        },
    )
    (article,) = read_articles(path)
    assert [(p.text, p.headings) for p in article.paragraphs] == [("One.", ("Ground",)), ("Two.", ())]


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", {"text": ["One."]})
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"PAR1", b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ArticleError, match=r"t.parquet: it is not a whole Parquet file \(.*\); write it again"):
            read_articles(path).read_all()
    with pytest.raises(ArticleError, match=r"u\.parquet: its columns are"):
        read_articles(write_parquet(tmp_path / "u.parquet", {"body": ["One."]})).read_all()


def test_packed_rows(tmp_path: Path) -> None:
    draws = random.Random(0)
    rows = lines(*({"id": str(n), "text": f"One {draws.random()} " * 20} for n in range(900)))
    packed = gzip.compress(rows.encode())
    assert len(read_articles(write(tmp_path, packed, "rows.jsonl.gz")).read_all()) == 900
    assert (
        len(read_articles(write(tmp_path, packed + gzip.compress(b'{"text": "Last."}'), "rows.jsonl")).read_all())
        == 901
    )
    path = write(tmp_path, packed[:-1000], "cut.jsonl.gz")
    articles, problems = collect(path)
    assert 0 < len(articles) < 900
    assert problems[-1][1].startswith("it is a damaged gzip file (")


def test_standard_input_is_read_row_by_row() -> None:
    stdin = io.BytesIO(lines({"id": "a", "text": "One."}, {"text": "Two."}).encode())
    stream = read_articles("-", stdin=stdin)
    assert ids(stream.read_all()) == ["a", "stdin:2"]
    assert not stdin.closed


def test_an_unreadable_row_names_its_place() -> None:
    assert str(Unreadable("a.csv", "it is bad; mend it", "line 3")) == "a.csv, line 3: it is bad; mend it"
    assert Unreadable("a.csv", "it is bad").place == "a.csv"


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "parquet"])
@given(data=st.one_of(st.binary(), st.text().map(str.encode), st.text(alphabet='{}[]",:\n text1').map(str.encode)))
def test_any_bytes_give_articles_or_article_errors(format: str, data: bytes) -> None:
    stream = read_articles("-", format=format, stdin=io.BytesIO(data), on_error="collect")
    assert stream.read_all() or stream.unreadable

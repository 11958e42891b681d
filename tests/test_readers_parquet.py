"""Parquet → rows in memory that does not depend on what a file unpacks to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_parts import build_words_bundle
from cli_parts import process_environ
from crosshead.articles import Article
from crosshead.errors import ArticleError
from crosshead.readers import parquet, read_articles

TEXT = "The relief column reached the town before dark. " * 20_000
"""About a megabyte."""


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1024**3, **options)
    return path


def bomb(path: Path, n: int, text: str = TEXT, **options: Any) -> Path:
    """Write a few kilobytes that say the same long text ``n`` times."""
    path = write(path, pa.table({"id": [f"a{i}" for i in range(n)], "text": [text] * n}), **options)
    assert path.stat().st_size < 50_000
    return path


def read(path: Path) -> tuple[list[Article], list[tuple[str, str]]]:
    stream = read_articles(path, on_error="collect")
    return stream.read_all(), [(problem.where, problem.reason) for problem in stream.unreadable]


PEAK = """
import sys
from pathlib import Path
from crosshead.cli import main
code = main(["tag", sys.argv[1], "--output", sys.argv[2], "--model", sys.argv[3]])
assert code == 0, code
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_mib(feed: Path, output: str, bundle: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, feed, output, bundle],
        cwd=feed.parent,
        env=process_environ(feed.parent),
        capture_output=True,
        check=True,
    )
    return int(done.stdout) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_small_file_that_unpacks_to_much_takes_little_memory(tmp_path: Path) -> None:
    bundle = build_words_bundle(tmp_path / "bundle")
    few, many = (bomb(tmp_path / f"{n}.parquet", n, TEXT[:140_000]) for n in (40, 300))
    assert peak_mib(many, "many.jsonl", bundle) < peak_mib(few, "few.jsonl", bundle) + 60


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_tagged_into_a_folder_it_takes_no_more_than_the_same_lines(tmp_path: Path) -> None:
    bundle, text = build_words_bundle(tmp_path / "bundle"), TEXT[:140_000]
    packed, lines = bomb(tmp_path / "rows.parquet", 400, text), tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps({"article_id": f"a{i}", "paragraphs": [text]}) + "\n" for i in range(400)))
    assert peak_mib(packed, "packed/", bundle) < 1.3 * peak_mib(lines, "lines/", bundle)


def test_a_column_that_unpacks_as_no_text_does_is_refused(tmp_path: Path) -> None:
    articles, problems = read(bomb(tmp_path / "plain.parquet", 70, use_dictionary=False))
    assert not articles
    ((_, reason),) = problems
    assert "as no text does; if it is all right, write it again with fewer rows in a group, or as JSONL" in reason
    articles, problems = read(bomb(tmp_path / "groups.parquet", 70, use_dictionary=False, row_group_size=30))
    assert (len(articles), problems) == (70, [])


def test_a_row_that_is_too_long_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    paragraphs = [["Rain fell."], [TEXT] * 9, ["It stopped.", "Sun."]]
    path = write(tmp_path / "t.parquet", pa.table({"id": ["a", "b", "c"], "paragraphs": paragraphs}))
    articles, problems = read(path)
    assert [article.article_id for article in articles] == ["a", "c"]
    ((where, reason),) = problems
    assert where == "row 2"
    assert reason.startswith("the row is longer than 8388608 bytes (")
    assert reason.endswith("), the most that is read; cut the article")


def test_long_rows_are_read_few_at_a_time_and_in_order(tmp_path: Path) -> None:
    texts = [f"{i} {TEXT}" if i % 3 else f"{i} short." for i in range(40)]
    for options in ({}, {"use_dictionary": False}, {"row_group_size": 7}):
        path = write(tmp_path / "t.parquet", pa.table({"text": texts}), **options)
        with path.open("rb") as stream:
            sizes = [batch.num_rows for batch in parquet.batches_of(parquet.open_parquet(stream))]
        assert max(sizes) <= 16
        articles, problems = read(path)
        assert not problems
        assert [article.texts[0].split()[0] for article in articles] == [str(i) for i in range(40)]


def test_more_values_than_rows_may_hold(tmp_path: Path) -> None:
    values = pa.nulls(9_000_000, pa.string())
    path = write(tmp_path / "t.parquet", pa.table({"paragraphs": pa.ListArray.from_arrays([0, 9_000_000], values)}))
    assert path.stat().st_size < 10_000
    with pytest.raises(ArticleError, match=r"it holds 9,000,000 values in 1 rows that stand together, more than rows"):
        read_articles(path).read_all()


texts = st.none() | st.text(max_size=20)
nested = st.fixed_dictionaries(
    {
        "text": texts,
        "large": texts,
        "n": st.none() | st.integers(0, 9),
        "raw": st.none() | st.binary(max_size=9),
        "list": st.none() | st.lists(texts, max_size=3),
        "pair": st.lists(texts, min_size=2, max_size=2),
        "map": st.none() | st.lists(st.tuples(st.text(max_size=9), texts), max_size=3),
        "parts": st.none() | st.fixed_dictionaries({"a": texts, "b": st.lists(texts, max_size=2)}),
    }
)
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "large": pa.large_string(),
        "n": pa.int64(),
        "raw": pa.binary(),
        "list": pa.list_(pa.string()),
        "pair": pa.list_(pa.string(), 2),
        "map": pa.map_(pa.string(), pa.string()),
        "parts": pa.struct({"a": pa.string(), "b": pa.list_(pa.string())}),
    }
)


def n_bytes(value: Any) -> int:
    """Count the bytes of all text in a value."""
    if isinstance(value, str | bytes):
        return len(value.encode() if isinstance(value, str) else value)
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(n_bytes, value)) if isinstance(value, list | tuple) else 0


@given(rows=st.lists(nested, min_size=1, max_size=12), start=st.integers(0, 5), use_dictionary=st.booleans())
def test_rows_come_as_they_were_written_and_are_never_longer_than_was_counted(
    rows: list[dict[str, Any]], start: int, use_dictionary: bool
) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=use_dictionary)
    found: list[Any] = []
    for batch in parquet.batches_of(parquet.open_parquet(pa.BufferReader(sink.getvalue()))):
        found += parquet.rows_of(batch)
        part = batch.slice(start)
        counted = parquet.row_bytes(part).tolist()
        assert all(least <= size for least, size in zip(map(n_bytes, part.to_pylist()), counted, strict=True))
        assert all(size <= 2000 for size in counted)
    assert found == table.to_pylist()

"""`crosshead tag … --output FOLDER`: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_parts import (
    ARTICLE,
    TEXTS,
    content_of,
    errors_of,
    paragraph_rows,
    rows_of,
    told_by_batch,
    told_by_tag,
    write_archive,
    write_feed,
)
from crosshead.batch.inputs import find_sources
from crosshead.batch.plan import Plan, make_plan
from crosshead.batch.reading import Reader, lines_of
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.environment import DEFAULTS
from crosshead.errors import DataError
from crosshead.feeds.items import Item


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSHEAD_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)


class Run:
    """One call of the command, with what it wrote."""

    def __init__(self, capsysbinary: pytest.CaptureFixture[bytes], *arguments: str | Path) -> None:
        self.code = main(["tag", *map(str, arguments), "--model", "tiny_bundle"])
        captured = capsysbinary.readouterr()
        self.out, self.err = captured.out, captured.err.decode()


@pytest.fixture
def tag(tiny_bundle: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    return lambda *arguments: Run(capsysbinary, *arguments)


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_answers_are_those_of_the_plain_command(format: str, tag: Any, tmp_path: Path) -> None:
    write_archive(tmp_path / "archive")
    plain = tag("archive", "nowhere.md", "--format", "jsonl")
    done = tag("archive", "nowhere.md", "--format", format, "--output", "out", "--rows-per-part", 13)
    rows, errors = told_by_tag(plain.out.replace(f"{tmp_path}/".encode(), b""))
    found, failed = told_by_batch(tmp_path / "out")
    assert found == rows
    assert len(found) > 200
    assert sorted(failed) == sorted(errors)
    assert len(failed) > 10
    assert (plain.code, done.code, done.out) == (Exit.FAILED_INPUTS, Exit.FAILED_INPUTS, b"")
    assert f"crosshead: {len(failed)} inputs could not be tagged; out/errors.jsonl says which, and why" in done.err


def test_rows_say_where_they_come_from(tag: Any, tmp_path: Path) -> None:
    (tmp_path / "river.md").write_text(ARTICLE)
    (tmp_path / "feed.jsonl").write_text(json.dumps({"id": 7, "text": TEXTS[0]}) + "\n" + json.dumps({"text": "Bees."}))
    done = tag("river.md", "feed.jsonl", "--output", "out/")
    assert done.code == 0
    river = [row for row in rows_of(tmp_path / "out") if row["file"] == "river.md"]
    assert [ARTICLE[row["start"] : row["end"]] for row in river] == [row["text"] for row in river]
    assert [(row["article_id"], row["paragraph"], row["line"], row["headings"]) for row in river] == [
        ("river", 0, None, []),
        ("river", 1, None, ["Reactions abroad"]),
        ("river", 2, None, ["Reactions abroad"]),
    ]
    feed = [row for row in rows_of(tmp_path / "out") if row["file"] == "feed.jsonl"]
    assert [(row["line"], row["id"], row["text"], row["start"]) for row in feed] == [
        (1, "7", TEXTS[0], None),
        (2, None, "Bees.", None),
    ]
    assert all(abs(sum(row["scores"].values()) - 1) < 1e-5 for row in river + feed)


def test_without_text_the_rest_is_the_same(tag: Any, tmp_path: Path) -> None:
    write_feed(tmp_path / "feed.jsonl", 30)
    tag("feed.jsonl", "--output", "with", "--text")
    tag("feed.jsonl", "--output", "without", "--no-text")
    rows = rows_of(tmp_path / "with")
    assert all(row.pop("text") for row in rows)
    assert rows_of(tmp_path / "without") == rows


def test_bytes_are_the_same_whatever_the_batch_size_and_the_number_of_workers(tag: Any, tmp_path: Path) -> None:
    write_archive(tmp_path / "archive")
    tag("archive", "-o", "one", "--rows-per-part", 20)
    for name, options in {"small": ["--batch-size", 3], "two": ["--workers", 2], "three": ["--workers", 3]}.items():
        done = tag("archive", "-o", name, "--rows-per-part", 20, *options)
        assert done.code == Exit.FAILED_INPUTS
        assert content_of(tmp_path / name) == content_of(tmp_path / "one")


def test_parts_can_be_read_as_one_table(tag: Any, tmp_path: Path) -> None:
    write_feed(tmp_path / "feed.jsonl", 100)
    done = tag("feed.jsonl", "-o", "out", "--rows-per-part", 10)
    table = pq.read_table(tmp_path / "out" / "parts")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert table.num_rows == manifest["finished"]["paragraphs"] == len(rows_of(tmp_path / "out"))
    assert [part["records"] for part in manifest["parts"]] == [10] * 10
    assert manifest["finished"]["errors"] == len(errors_of(tmp_path / "out"))
    assert "in 10 parts in out" in done.err


def test_a_failing_line_is_named_by_file_line_and_reason(tag: Any, tmp_path: Path) -> None:
    (tmp_path / "feed.jsonl").write_text('{"id": "a", "text": "Bees."}\n{"id": "b", "text": 3}\n')
    (tmp_path / "rows.csv").write_text("id,text\n1,Bees sleep.\n2,a,b\n")
    assert tag("feed.jsonl", "rows.csv", "-o", "out").code == Exit.FAILED_INPUTS
    assert errors_of(tmp_path / "out") == [
        {"file": "feed.jsonl", "line": 2, "id": "b", "error": "text is a number; give a string"},
        {
            "file": "rows.csv",
            "line": 3,
            "error": "it has 3 fields but the header names 2; quote fields that hold the delimiter",
        },
    ]
    assert tag("feed.jsonl", "-o", "other", "--keep-going").code == Exit.OK
    (tmp_path / "good.jsonl").write_text('{"text": "Bees."}\n')
    assert tag("good.jsonl", "-o", "good").code == Exit.OK
    assert not (tmp_path / "good" / "errors.jsonl").exists()


def test_a_dataset_folder_gives_what_its_rows_give(tag: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = paragraph_rows(20)
    splits = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows[:30]), "test": datasets.Dataset.from_list(rows[30:])}
    )
    splits.save_to_disk(tmp_path / "archive" / "set", num_shards={"train": 2, "test": 1})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert tag("archive", "-o", "out").code == Exit.OK, errors_of(tmp_path / "out")
    tag("rows.parquet", "-o", "table")
    files = {row["file"] for row in rows_of(tmp_path / "out")}
    assert len(files) == 3
    key = ("article_id", "text")
    assert {tuple(row[k] for k in key) for row in rows_of(tmp_path / "out")} == {
        tuple(row[k] for k in key) for row in rows_of(tmp_path / "table")
    }


def test_a_damaged_dataset_or_table_is_an_error_of_that_file(tag: Any, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text("no JSON")
    (folder / "data-0.arrow").write_bytes(b"no Arrow")
    (folder / "data-1.arrow").write_bytes(b"")
    pq.write_table(pa.Table.from_pylist(paragraph_rows(3000)), tmp_path / "rows.parquet", row_group_size=1000)
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 2000] = bytes(2000)
    (tmp_path / "rows.parquet").write_bytes(content)
    pq.write_table(pa.table({"words": ["Bees."]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    assert tag("set", "rows.parquet", "other.parquet", "none.parquet", "-o", "out").code == Exit.FAILED_INPUTS
    told = {Path(error["file"]).name: error["error"] for error in errors_of(tmp_path / "out")}
    assert told.keys() == {"data-0.arrow", "data-1.arrow", "rows.parquet", "other.parquet", "none.parquet"}
    assert "it is not a whole Arrow file" in told["data-0.arrow"]
    assert "it is not a whole Parquet or Arrow file" in told["rows.parquet"]
    assert "its columns are ['words']" in told["other.parquet"]
    assert "it holds no rows" in told["none.parquet"]
    assert len(rows_of(tmp_path / "out")) > 3000
    tag("rows.parquet", "-o", "one", "--rows-per-part", 700)
    tag("rows.parquet", "-o", "two", "--rows-per-part", 700, "--workers", 2)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")
    assert 1000 < len(rows_of(tmp_path / "one")) < 7500


def test_text_rows_and_paragraph_rows_may_stand_in_one_table(tag: Any, tmp_path: Path) -> None:
    lines = [
        {"article_id": "a", "paragraph": 1, "text": TEXTS[1], "paragraphs": None},
        {"article_id": "a", "paragraph": 0, "text": TEXTS[0], "paragraphs": None},
        {"article_id": "b", "paragraph": None, "text": TEXTS[2] + "\n\n" + TEXTS[3], "paragraphs": None},
        {"article_id": "c", "paragraph": None, "text": None, "paragraphs": TEXTS[4:6]},
        {"article_id": "d", "paragraph": None, "text": None, "paragraphs": None},
        {"article_id": "e", "paragraph": 0, "text": TEXTS[6], "paragraphs": None},
    ]
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "mixed.parquet")
    assert tag("mixed.parquet", "-o", "out").code == Exit.FAILED_INPUTS
    assert [(row["article_id"], row["paragraph"], row["text"], row["line"]) for row in rows_of(tmp_path / "out")] == [
        ("a", 0, TEXTS[0], 1),
        ("a", 1, TEXTS[1], 1),
        ("b", 0, TEXTS[2], 3),
        ("b", 1, TEXTS[3], 3),
        ("c", 0, TEXTS[4], 4),
        ("c", 1, TEXTS[5], 4),
        ("e", 0, TEXTS[6], 6),
    ]
    (error,) = errors_of(tmp_path / "out")
    assert (error["file"], error["line"]) == ("mixed.parquet", 5)


# -- units -----------------------------------------------------------------------------------------------------------


def plan_of(*names: Path, **limits: int) -> Plan:
    return make_plan(find_sources([str(name) for name in names], "auto").found, **limits)


def items_of(plan: Plan, order: list[int]) -> dict[int, list[Item]]:
    reader = Reader()
    found = {number: list(reader.read(plan.units[number])) for number in order}
    reader.close()
    return found


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 70), size=st.integers(200, 20_000), data=st.data())
def test_however_units_are_cut_and_ordered_the_items_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, data: st.DataObject
) -> None:
    archive = tmp_path_factory.getbasetemp() / "cut_archive"
    if not archive.exists():
        write_archive(archive)
    whole = plan_of(archive, rows_per_part=10**9, bytes_per_part=10**9)
    (expected,) = items_of(whole, [0]).values()
    plan = plan_of(archive, rows_per_part=rows, bytes_per_part=size)
    order = data.draw(st.permutations(range(len(plan.units))))
    found = items_of(plan, order)
    assert [item for number in sorted(found) for item in found[number]] == expected
    assert plan.n_records == whole.n_records
    for unit in plan.units:
        articles = {segment.source.place for segment in unit.segments if "parquet" in segment.source.place}
        assert unit.n_records <= max(rows, 4) or articles


def test_a_part_has_as_many_lines_as_it_may(tmp_path: Path) -> None:
    write_feed(tmp_path / "feed.jsonl", 95)
    assert [unit.n_records for unit in plan_of(tmp_path / "feed.jsonl", rows_per_part=20).units] == [20] * 4 + [15]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("size", [99, 100, 101, 3 * 1024**2])
def test_a_line_is_kept_up_to_the_limit(size: int, end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\n" + b"x" * size + end)
    with path.open("rb") as stream:
        found = list(lines_of(stream, max_bytes=100))
    assert found == [(b"a", 2), (b"x" * size if size <= 100 else None, size + len(end))]


def test_a_line_of_fifty_megabytes_is_named_and_passed_over(tag: Any, tmp_path: Path) -> None:
    with (tmp_path / "long.jsonl").open("wb") as file:
        file.write(b'{"text": "Bees."}\n{"text": "' + b"x" * 50 * 1024**2 + b'"}\n{"text": "Guns."}\n')
    assert tag("long.jsonl", "-o", "out").code == Exit.FAILED_INPUTS
    assert [row["line"] for row in rows_of(tmp_path / "out")] == [1, 3]
    assert errors_of(tmp_path / "out") == [
        {"file": "long.jsonl", "line": 2, "error": "the line is longer than 10,485,760 bytes; split it"}
    ]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_of_a_damaged_packed_feed_the_good_lines_are_tagged(suffix: str, tag: Any, tmp_path: Path) -> None:
    import gzip

    write_feed(tmp_path / "feed.jsonl", 20_000)
    content = (tmp_path / "feed.jsonl").read_bytes()
    packed = gzip.compress(content) if suffix == "gz" else pa.compress(content, "zstd", asbytes=True)
    (tmp_path / f"cut.jsonl.{suffix}").write_bytes(packed[: len(packed) * 2 // 3])
    assert tag(f"cut.jsonl.{suffix}", "-o", "out", "--rows-per-part", 5000).code == Exit.FAILED_INPUTS
    assert len(rows_of(tmp_path / "out")) > 3000
    kind = {"gz": "gzip", "zst": "zstd"}[suffix]
    assert f"it is a damaged {kind} file" in errors_of(tmp_path / "out")[-1]["error"]


# -- odd and bad inputs ----------------------------------------------------------------------------------------------


def test_an_empty_folder_and_an_empty_feed(tag: Any, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "feed.jsonl").write_bytes(b"")
    assert tag("nothing", "-o", "out").code == Exit.FAILED_INPUTS
    assert "the folder holds no file that can be read" in errors_of(tmp_path / "out")[0]["error"]
    done = tag("feed.jsonl", "-o", "none")
    assert (done.code, done.err) == (Exit.OK, "crosshead: 0 paragraphs in 0 parts in none\n")


def test_the_same_input_twice_is_tagged_once(tag: Any, tmp_path: Path) -> None:
    (tmp_path / "river.md").write_text(ARTICLE)
    (tmp_path / "link.md").symlink_to("river.md")
    assert tag("river.md", "river.md", "link.md", tmp_path / "river.md", "-o", "out").code == Exit.OK
    assert len(rows_of(tmp_path / "out")) == 3


def test_odd_names_and_links_in_circles(tag: Any, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["new\nline.txt", "quote'\"s.txt", "\u202eodd.txt", "a b [1].txt", os.fsdecode(b"bytes\xff.txt")]
    for name in names:
        (folder / name).write_text(TEXTS[0])
    (folder / "loop").symlink_to(folder)
    (folder / "self.txt").symlink_to("self.txt")
    (folder / "dead.md").symlink_to("nowhere.md")
    for format in ("parquet", "jsonl"):
        done = tag("odd", "-o", f"out_{format}", "--format", format)
        assert done.code == Exit.FAILED_INPUTS
        rows = rows_of(tmp_path / f"out_{format}")
        assert {row["file"] for row in rows} == {f"odd/{name}" for name in names[:4]} | {"odd/bytes\\udcff.txt"}
        assert {error["file"] for error in errors_of(tmp_path / f"out_{format}")} == {"odd/self.txt", "odd/dead.md"}
    assert tag("odd", "-o", "out_jsonl", "--format", "jsonl", "--resume").code == Exit.FAILED_INPUTS


def test_an_output_inside_the_input_folder_is_no_input(tag: Any, tmp_path: Path) -> None:
    write_feed(tmp_path / "archive.jsonl", 10)
    (tmp_path / "archive").mkdir()
    shutil.move(tmp_path / "archive.jsonl", tmp_path / "archive" / "feed.jsonl")
    first = tag("archive", "-o", "archive/tagged", "--format", "jsonl")
    before = content_of(tmp_path / "archive" / "tagged")
    again = tag("archive", "-o", "archive/tagged", "--format", "jsonl", "--resume")
    assert (first.code, again.code) == (0, 0)
    assert content_of(tmp_path / "archive" / "tagged") == before
    assert "tagged" not in str([row["file"] for row in rows_of(tmp_path / "archive" / "tagged")])


def test_a_file_that_may_not_be_read_is_an_error_of_that_file(
    tag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "river.md").write_text(ARTICLE)
    (tmp_path / "secret.md").write_text(ARTICLE)
    really = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "secret.md":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root, who may read everything
    assert tag("river.md", "secret.md", "-o", "out").code == Exit.FAILED_INPUTS
    (error,) = errors_of(tmp_path / "out")
    assert "permission denied" in error["error"]
    assert len(rows_of(tmp_path / "out")) == 3


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-", "-o", "out/"], Exit.DATA, "standard input cannot be tagged into a folder"),
        (["a.md", "-o", "full"], Exit.DATA, "'full' is there and is not empty; name a new folder"),
        (["a.md", "-o", "full", "--resume"], Exit.DATA, "holds no manifest.json, so it is no job's"),
        (["a.md", "-o", "a.md", "--resume"], Exit.DATA, "--output 'a.md' is a file; name a folder"),
        (["a.md", "-o", "out/", "--format", "csv"], Exit.USAGE, "--format csv goes into a file"),
        (["a.md", "-o", "out/", "--stop"], Exit.USAGE, "--stop goes with a file"),
        (["a.md", "--resume"], Exit.USAGE, "--resume goes with --output FOLDER"),
        (["a.md", "--no-text"], Exit.USAGE, "--no-text goes with --output FOLDER"),
        (["a.md", "--format", "parquet"], Exit.USAGE, "--format parquet goes with --output FOLDER"),
        (["a.md", "-o", "out/", "--workers", "0"], Exit.USAGE, "0 is not in the range"),
        (["a.md", "-o", "/proc/out/"], Exit.DATA, "/proc/out"),
        (["a.md", "-o", "nope://x/out"], Exit.DATA, "begins with nope://, which no library here can read"),
    ],
)
def test_what_is_refused(arguments: list[str], code: int, message: str, tag: Any, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(ARTICLE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    done = tag(*arguments)
    assert (done.code, done.out) == (code, b"")
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_without_a_model_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text(ARTICLE)
    assert main(["tag", "a.md", "-o", "out/", "--model", "nowhere"]) == Exit.MODEL
    assert "the saved tagger 'nowhere' is not there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_input_that_changes_while_the_job_runs_ends_it(
    tag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = write_feed(tmp_path / "feed.jsonl", 100)
    plan = plan_of(feed, rows_per_part=10)
    feed.write_bytes(feed.read_bytes() + b"\n")
    with pytest.raises(DataError, match=r"feed\.jsonl was changed while the job ran.*tag it again into a new folder"):
        items_of(plan, [0])
    feed.unlink()
    with pytest.raises(DataError, match=r"was there when the job began.*go on with --resume"):
        items_of(plan, [0])


def test_progress_has_rate_and_time_left(tag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosshead.cli.archive import _Bar, _duration

    class Shown:
        def __init__(self) -> None:
            self.fields: dict[str, Any] = {}

        def add_task(self, *args: Any, **fields: Any) -> int:
            return 0

        def update(self, task: int, **fields: Any) -> None:
            self.fields.update(fields)

    shown = Shown()
    bar = _Bar(shown)
    clock = iter([100.0, 110.0])
    bar._clock = lambda: next(clock)
    bar.looked(3 * 1024**2)
    assert shown.fields["told"] == "3 MiB"
    bar.planned(1000, 400)
    bar.tagged(200, 500)
    assert shown.fields["told"] == "500 paragraphs, 50/s, 0:20 left"
    assert (_duration(59.6), _duration(3725)) == ("1:00", "1:02:05")

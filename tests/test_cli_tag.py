"""`crosshead tag`: files in, answers out, in every format."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_parts import ARTICLE, SECTION_TYPES, block_network, make_tagger
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.cli.words import percent
from crosshead.environment import DEFAULTS
from crosshead.loading import Model
from crosshead.readers import read_article
from crosshead.releases import champion
from crosshead.tagging.tagger import Tagger

LINES = [
    '{"id": 1, "text": "Shells fell on the river bank."}',
    "nonsense",
    '{"article_id": "a", "paragraphs": ["The neighbours closed a border.", "The writer keeps bees."]}',
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "CROSSHEAD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tagger(monkeypatch: pytest.MonkeyPatch) -> Tagger:
    """Let every command use the tagger that is built by hand."""
    tagger = make_tagger()
    monkeypatch.setattr("crosshead.loading.load", lambda model: Model(tagger, "hand", "1", "0" * 64))
    return tagger


@pytest.fixture
def article(tmp_path: Path) -> Path:
    path = tmp_path / "river.md"
    path.write_text(ARTICLE)
    return path


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.jsonl"
    path.write_text("\n".join(LINES) + "\n")
    return path


class Run:
    """One call of the command, with what it wrote."""

    def __init__(self, capsysbinary: pytest.CaptureFixture[bytes], *arguments: str | Path) -> None:
        self.code = main(["tag", *map(str, arguments)])
        captured = capsysbinary.readouterr()
        self.out, self.err = captured.out, captured.err.decode()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.split(b"\n")[:-1]]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]


# -- inputs ----------------------------------------------------------------------------------------------------------


def test_a_document_gives_its_paragraphs_with_offsets_that_slice(
    tagger: Tagger, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article)
    (record,) = done.records
    expected = read_article(ARTICLE, format="markdown")
    tags = tagger.tag_article(expected.texts)
    assert (done.code, done.err) == (0, "")
    assert {key: record[key] for key in record if key != "paragraphs"} == {
        "article_id": "river",
        "title": "River line",
        "file": str(article),
        "left_out": {},
    }
    assert len(record["paragraphs"]) == 3
    for paragraph, given, tag in zip(expected.paragraphs, record["paragraphs"], tags, strict=True):
        place = {"index": paragraph.index, "headings": list(paragraph.headings)}
        assert given == {
            **place,
            "start": paragraph.start,
            "end": paragraph.end,
            "text": ARTICLE[paragraph.start : paragraph.end],
            **tag.as_dict(),
        }


def test_folders_patterns_and_several_kinds_of_file(
    tagger: Tagger, tmp_path: Path, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / "archive"
    for name, text in {"b.md": ARTICLE, "a.txt": "Shells fell at dawn on the bank.\n", "inner/b.md": ARTICLE}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "rows.csv").write_text("article_id,text\nc1,Shells fell at dawn.\nc2,The writer keeps bees.\n")
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(feed.read_bytes()))
    done = Run(capsysbinary, folder, "arch*/b.md", packed)
    assert [record.get("article_id", record.get("id")) for record in done.records] == [
        "a",
        "b",
        "c1",
        "c2",
        "inner/b",
        1,
        None,
        "a",
    ]
    assert done.code == Exit.FAILED_INPUTS
    assert done.records[6] == {
        "error": "the line is not JSON: Expecting value (character 1)",
        "line": 2,
        "file": str(packed),
    }
    assert "crosshead: passed over 1 file of a kind that is not read: picture.png\n" in done.err
    assert done.err.endswith(
        f"crosshead: {packed}, line 2: {done.records[6]['error']}\ncrosshead: 1 of 8 inputs could not be tagged\n"
    )


def test_what_cannot_be_read_is_named_in_its_place_and_the_rest_goes_on(
    tagger: Tagger, tmp_path: Path, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    bad = {
        "empty.md": b"",
        "binary.md": b"%PDF-1.7\0\0",
        "headings.md": b"# Only a heading\n",
        "cut.jsonl.gz": b"\x1f\x8b\x08\0\0",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "twice.csv").write_text("article_id,text\nx,Shells fell at dawn.\nx,Bees sleep in winter.\n")
    done = Run(capsysbinary, "nowhere.md", *bad, "twice.csv", article)
    assert done.code == Exit.FAILED_INPUTS
    by_file = {str(record["file"]): record for record in done.records}
    assert "no such file" in by_file["nowhere.md"]["error"]
    assert "holds no text" in by_file["empty.md"]["error"]
    assert "PDF" in by_file["binary.md"]["error"]
    assert "no paragraph" in by_file["headings.md"]["error"]
    assert "damaged gzip" in by_file["cut.jsonl.gz"]["error"]
    assert by_file[str(article)]["article_id"] == "river"
    assert [
        record["article_id"] for record in done.records if record.get("file") == "twice.csv" and "article_id" in record
    ]
    for name in bad:
        assert f"crosshead: {name}: " in done.err
    assert "of 8 inputs could not be tagged" in done.err


def test_a_paragraph_that_is_too_long_spoils_no_other_article(
    tagger: Tagger, tmp_path: Path, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "long.txt").write_text("word " * 50_000)
    done = Run(capsysbinary, article, "long.txt", article)
    assert [record.get("article_id") for record in done.records] == ["river", None]
    assert "at most 200,000 are tagged as one paragraph" in done.records[1]["error"]


@pytest.mark.parametrize(
    ("data", "options", "first"),
    [
        ("\n".join(LINES).encode(), [], ("id", 1)),
        (b"\xef\xbb\xbf \n" + LINES[0].encode(), [], ("error", "the line is empty")),
        (b"broken\n" + LINES[0].encode(), ["--input-format", "jsonl"], ("line", 1)),
        (ARTICLE.encode(), [], ("title", "River line")),
        (ARTICLE.encode("utf-16"), [], ("title", "River line")),
        (b"<html><body><h1>River</h1><p>Shells fell on the bank at dawn.</p></body></html>", [], ("title", "River")),
        (b"article_id,text\nc1,Shells fell at dawn.\n", ["--input-format", "csv"], ("article_id", "c1")),
    ],
    ids=["jsonl", "jsonl with a mark", "bad jsonl", "markdown", "utf-16", "html", "csv"],
)
def test_standard_input(
    data: bytes,
    options: list[str],
    first: tuple[str, object],
    tagger: Tagger,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    give_stdin(monkeypatch, data)
    done = Run(capsysbinary, "-", *options)
    assert done.records[0][first[0]] == first[1]


def test_an_empty_standard_input_is_an_error(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    give_stdin(monkeypatch, b"")
    done = Run(capsysbinary, "-")
    assert done.code == Exit.FAILED_INPUTS
    assert done.err.startswith("crosshead: standard input: it holds no text")
    give_stdin(monkeypatch, b"")
    done = Run(capsysbinary, "-", "--input-format", "jsonl")
    assert (done.code, done.out, done.err) == (0, b"", ""), "a feed may be empty"


@pytest.mark.parametrize(("option", "code"), [([], 1), (["--keep-going"], 0), (["--stop"], 1)])
def test_keep_going_and_stop(
    option: list[str], code: int, tagger: Tagger, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, feed, *option)
    assert done.code == code
    assert len(done.records) == (1 if option == ["--stop"] else 3)
    last = "stopped at the first input that could not be tagged" if option == ["--stop"] else "1 of 3 inputs could not"
    assert last in done.err.splitlines()[-1]


def test_many_failures_are_counted_and_not_all_named(
    tagger: Tagger, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "bad.jsonl").write_text("x\n" * 40)
    done = Run(capsysbinary, "bad.jsonl")
    assert len(done.records) == 40
    assert len(done.err.splitlines()) == 11
    assert done.err.endswith("crosshead: 40 of 40 inputs could not be tagged\n")


# -- formats ---------------------------------------------------------------------------------------------------------


def test_json_is_one_list_of_what_jsonl_has_in_lines(
    tagger: Tagger, article: Path, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    lines = Run(capsysbinary, article, feed).records
    assert json.loads(Run(capsysbinary, article, feed, "--format", "json").out) == lines
    (feed.parent / "empty.jsonl").write_bytes(b"")
    assert Run(capsysbinary, "empty.jsonl", "-f", "json").out == b"[]\n"


def test_csv_has_a_row_a_paragraph(
    tagger: Tagger, article: Path, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article, feed, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out.decode(), newline="")))
    tags = tagger.tag_article(read_article(ARTICLE).texts)
    assert [(row["file"], row["line"], row["paragraph"]) for row in rows] == [
        (str(article), "", "0"),
        (str(article), "", "1"),
        (str(article), "", "2"),
        (str(feed), "1", "0"),
        (str(feed), "2", ""),
        (str(feed), "3", "0"),
        (str(feed), "3", "1"),
    ]
    assert [row["article_id"] for row in rows] == ["river", "river", "river", "", "", "a", "a"]
    assert rows[3]["id"] == "1"
    assert rows[1]["headings"] == "Reactions abroad"
    assert rows[4]["error"] == "the line is not JSON: Expecting value (character 1)"
    assert rows[4]["section_type"] == rows[4]["text"] == ""
    for row, tag in zip(rows, tags, strict=False):
        assert (row["section_type"], row["abstained"]) == (tag.section_type, str(tag.abstained))
        assert [float(row[f"score_{name}"]) for name in SECTION_TYPES] == list(tag.as_dict()["scores"].values())


def test_markdown_is_the_article_with_a_label_before_each_paragraph(
    tagger: Tagger, article: Path, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    tags = tagger.tag_article(read_article(ARTICLE).texts)
    labels = [f"**[{'not sure: ' * tag.abstained}{tag.section_type} {percent(tag.confidence)}]**" for tag in tags]
    assert {tag.abstained for tag in tags} == {True, False}, "the example must show both looks"
    texts = read_article(ARTICLE).texts
    expected = (
        f"# River line\n\n{labels[0]} {texts[0]}\n\n## Reactions abroad\n\n"
        f"{labels[1]} {texts[1]}\n\n{labels[2]} {texts[2]}\n"
    )
    done = Run(capsysbinary, article, "--format", "markdown")
    assert done.out.decode() == expected
    again = read_article(expected, format="markdown")
    assert [paragraph.headings for paragraph in again.paragraphs] == [(), ("Reactions abroad",), ("Reactions abroad",)]
    assert "> feed.jsonl, line 2: the line is not JSON" in Run(capsysbinary, feed.name, "-f", "markdown").out.decode()


def test_table_shows_shape_headings_and_paragraphs(
    tagger: Tagger,
    article: Path,
    feed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = Run(capsysbinary, article, feed, "--format", "table")
    told = done.out.decode()
    lines = [line.rstrip() for line in told.splitlines()]
    tags = tagger.tag_article(read_article(ARTICLE).texts)
    assert "River line" in lines
    assert "".join("┊" if tag.abstained else "█" for tag in tags) in lines
    rows = [line for line in lines if line.startswith(("▌", "┊")) and "%" in line]
    for row, tag, text in zip(rows, tags, read_article(ARTICLE).texts, strict=False):
        bar, name = ("┊", f"{tag.section_type}?") if tag.abstained else ("▌", tag.section_type)
        assert row.split()[:4] == [bar, name, f"{percent(tag.confidence)}", text.split()[0]]
    (heading,) = [line for line in lines if line.strip() == "Reactions abroad"]
    assert lines.index(rows[0]) < lines.index(heading) < lines.index(rows[1])
    assert rows[3].endswith("% 1: Shells fell on the river bank.")
    assert f"✗ {feed}, line 2: the line is not JSON: Expecting value (character 1)" in " ".join(told.split())
    assert done.err == "crosshead: 1 of 4 inputs could not be tagged\n"
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("columns", [30, 48, 64, 80, 200])
def test_table_fits_the_terminal(
    columns: int,
    tagger: Tagger,
    article: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    told = Run(capsysbinary, article, "--format", "table").out.decode()
    assert max(map(len, told.splitlines())) <= columns
    for name in {tag.section_type for tag in tagger.tag_article(read_article(ARTICLE).texts)}:
        assert name in told
    for text in read_article(ARTICLE).texts:
        assert text[:20] in told


def test_table_colours_unless_told_not_to(
    tagger: Tagger, article: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert b"\x1b[" not in Run(capsysbinary, article, "-f", "table").out, "not a terminal"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert b"\x1b[38;5;" in Run(capsysbinary, article, "-f", "table").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert b"\x1b[38;5;" not in Run(capsysbinary, article, "-f", "table").out


def test_table_obeys_no_text(
    tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "bad.md").write_text(
        "# A \x1b[2J title\n\n## Head \x9b31m\n\nShells \x1b]0;x\x07 fell \u202e on [bold]red[/bold].\n"
    )
    told = Run(capsysbinary, "bad.md", "-f", "table").out.decode()
    assert not {character for character in told if not character.isprintable()} - {"\n"}
    assert "[bold]red[/bold]" in told


# -- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("a.jsonl", b"{"),
        ("a.json", b"[\n{"),
        ("a.CSV", b"file,"),
        ("a.md", b"# River"),
        ("a.txt", "───".encode()),
    ],
)
def test_the_ending_of_the_output_chooses_the_format(
    name: str, begins: bytes, tagger: Tagger, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article, "--output", name)
    assert (done.code, done.out, done.err) == (0, b"", "")
    written = (article.parent / name).read_bytes()
    assert written.startswith(begins)
    assert b"\x1b" not in written
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((article.parent / name).stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.xlsx",
            "ends in '.xlsx', which says no format; known endings are .jsonl, .ndjson, .json, .csv, .md, .txt; ",
        ),
        ("a.jsonl.gz", "ends in '.gz', which says no format"),
        ("a.b.parquet", "Parquet goes into a folder, part by part; name one: --output a.b/"),
    ],
)
def test_an_ending_that_says_no_format_is_refused_unless_a_format_is_said(
    name: str, message: str, tagger: Tagger, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article, "--output", name)
    assert done.code == Exit.USAGE
    assert message in done.err
    assert not (article.parent / name).exists()
    assert Run(capsysbinary, article, "--output", name, "--format", "csv").code == Exit.OK
    assert (article.parent / name).read_bytes().startswith(b"file,")


def test_output_is_the_same_as_on_standard_output_and_keeps_the_files_mode(
    tagger: Tagger, article: Path, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    target = article.parent / "out.jsonl"
    target.write_text("old")
    target.chmod(0o600)
    (article.parent / "link").symlink_to("out.jsonl")
    shown = Run(capsysbinary, article, feed, "--output", "-")
    assert Run(capsysbinary, article, feed, "-o", "link").code == shown.code == Exit.FAILED_INPUTS
    assert target.read_bytes() == shown.out
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (article.parent / "link").is_symlink()


@pytest.mark.parametrize("how", ["stop", "crash", "interrupt"])
def test_an_output_that_is_not_finished_leaves_the_old_file(
    how: str, tagger: Tagger, feed: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    target = feed.parent / "out.jsonl"
    target.write_text("old")
    if how != "stop":
        error: BaseException = MemoryError() if how == "crash" else KeyboardInterrupt()

        def fail(*args: object) -> None:
            raise error

        monkeypatch.setattr("crosshead.feeds.items.answer", fail)
    done = Run(capsysbinary, feed, "--output", target, *(["--stop"] if how == "stop" else []))
    assert done.code == {"stop": 1, "crash": 70, "interrupt": 130}[how]
    assert target.read_text() == "old"
    assert sorted(path.name for path in feed.parent.glob("*out*")) == ["out.jsonl"]
    assert not list(feed.parent.glob(".out*"))


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("nowhere/out.csv", Exit.DATA, "nowhere/out.csv': No such file or directory; correct the name"),
        (".", Exit.DATA, "--output '.' is there and is not empty; name a new folder, or empty this one"),
        ("feed.jsonl", Exit.USAGE, "--output 'feed.jsonl' is one of the inputs; name another file"),
    ],
)
def test_an_output_that_cannot_be_written(
    output: str, code: int, message: str, tagger: Tagger, feed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = feed.read_bytes()
    done = Run(capsysbinary, feed, "--output", output)
    assert done.code == code
    assert message in done.err
    assert feed.read_bytes() == before


# -- which tagger ----------------------------------------------------------------------------------------------------


def make_project(folder: Path) -> Path:
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text("seed: 0\n")
    return folder


def test_without_a_champion_it_says_what_to_type(
    tmp_path: Path, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article)
    assert done.code == Exit.MODEL
    assert "this is no crosshead project" in done.err
    make_project(tmp_path)
    done = Run(capsysbinary, article)
    assert done.code == Exit.MODEL
    assert "; type: crosshead run, or name a saved tagger with --model FOLDER" in done.err
    (tmp_path / "models" / "latest" / "bundle").mkdir(parents=True)
    done = Run(capsysbinary, article)
    assert done.code == Exit.MODEL
    assert "and none is the champion yet; type: crosshead evaluate, which makes the first one the champion" in done.err
    assert done.err.endswith("--model " + str(tmp_path / "models" / "latest" / "bundle") + "\n")


def test_the_champion_tags_from_anywhere_below_the_project_and_by_its_root(
    tmp_path: Path,
    article: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    expected = Run(capsysbinary, article, "--model", tiny_bundle).out
    project = make_project(tmp_path / "project")
    champion.write(project, champion.keep(project, tiny_bundle, "a" * 64), "a" * 64, name="tags", version=3)
    (project / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "er")
    assert Run(capsysbinary, article).out == expected
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    assert Run(capsysbinary, article).out == expected


def test_the_project_is_the_one_that_the_settings_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosshead.errors import ConfigError
    from crosshead.loading import project_root
    from crosshead.settings import find_root

    assert project_root() is None
    with pytest.raises(ConfigError, match="no crosshead project"):
        find_root()
    project = make_project(tmp_path / "project")
    monkeypatch.setenv("CROSSHEAD_ROOT", str(project / "conf"))
    assert project_root() == find_root() == project


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        (
            "nowhere",
            Exit.MODEL,
            "the saved tagger 'nowhere' is not there; give the folder that `crosshead train` wrote",
        ),
        ("river.md", Exit.MODEL, "the saved tagger 'river.md' is a file"),
        (".", Exit.MODEL, "is no saved tagger: it holds no manifest.json"),
        ("models:/nobody@champion", Exit.TRACKING, "there is no models:/nobody@champion"),
        ("models:/", Exit.TRACKING, "allowed are models:/NAME@ALIAS"),
    ],
)
def test_a_model_that_is_not_there(
    model: str, code: int, message: str, article: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    done = Run(capsysbinary, article, "--model", model)
    assert (done.code, done.out) == (code, b"")
    assert message in done.err


def test_tagging_asks_no_network(
    article: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (article.parent / "page.html").write_text(
        f"<html><body><p>{'Shells fell on the bank at dawn. ' * 12}</p></body></html>"
    )
    block_network(monkeypatch)
    done = Run(capsysbinary, article, "page.html", "--model", tiny_bundle)
    assert (done.code, len(done.records)) == (0, 2)


def test_a_damaged_bundle_tags_nothing(
    article: Path, tiny_bundle: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with (tiny_bundle / "heads.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    done = Run(capsysbinary, article, "--model", tiny_bundle)
    assert (done.code, done.out) == (Exit.MODEL, b"")
    assert "'heads.safetensors' does not have the sha256" in done.err

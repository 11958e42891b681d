"""Files, folders, patterns and stdin; encodings; what cannot be read."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.errors import ArticleError, ConfigError, DataError
from crosshead.readers import read_articles
from crosshead.readers.encodings import decode

FRENCH = (
    "L’armée a quitté la crête dans la nuit, a déclaré un officier – « sans combat ». Les réfugiés attendent à l’aube."
)
RUSSIAN = "Армия сообщила в понедельник, что три деревни были отбиты после ночного обстрела. Беженцы пересекли границу."


def fill(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def reasons(inputs: object, **options: str) -> dict[str, str]:
    stream = read_articles(inputs, on_error="collect", **options)  # type: ignore[arg-type]
    stream.read_all()
    return {Path(problem.path).name: problem.reason for problem in stream.unreadable}


def test_a_folder_is_read_in_order_with_the_folders_in_it(tmp_path: Path) -> None:
    fill(
        tmp_path,
        b_dot_md="# B\n\nOne.",
        a__z_dot_txt="Two.",
        a__c_dot_HTML="<p>Three.</p>",
        a_dot_jsonl='{"id": "row", "text": "Four."}',
        _dot_hidden_dot_md="Not read.",
        _dot_git__x_dot_md="Not read.",
        notes_dot_pdf="Not read.",
    )
    stream = read_articles(tmp_path)
    assert stream.n_files == 4
    assert [(a.article_id, a.texts) for a in stream] == [
        ("row", ("Four.",)),
        ("b", ("One.",)),
        ("c", ("Three.",)),
        ("z", ("Two.",)),
    ]
    assert stream.unreadable == []
    assert stream.ignored == [tmp_path / "notes.pdf"]


def test_articles_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_md="One.", b_dot_md="Two.")
    stream = read_articles(tmp_path)
    assert next(stream).article_id == "a"
    (tmp_path / "b.md").write_text("Three.")
    assert next(stream).texts == ("Three.",)


def test_patterns_lists_and_names_that_look_like_patterns(tmp_path: Path) -> None:
    fill(
        tmp_path,
        a1_dot_md="One.",
        a2_dot_md="Two.",
        a3_dot_pdf="x",
        deep__er__a4_dot_md="Four.",
        **{"b[1]_dot_md": "Five."},
    )
    assert [a.article_id for a in read_articles(f"{tmp_path}/a?.*")] == ["a1", "a2"]
    assert [a.article_id for a in read_articles(f"{tmp_path}/**/a*.md")] == ["a1", "a2", "a4"]
    assert [a.article_id for a in read_articles(f"{tmp_path}/de*")] == ["a4"]
    assert [a.article_id for a in read_articles(str(tmp_path / "b[1].md"))] == ["b[1]"]
    (tmp_path / "void").mkdir()
    assert len(read_articles(f"{tmp_path}/**", on_error="raise").read_all()) == 4
    both = [tmp_path / "a2.md", str(tmp_path / "a1.md")]
    assert [a.article_id for a in read_articles(iter(both))] == ["a2", "a1"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_md="One.")
    (tmp_path / "link.md").symlink_to(tmp_path / "a.md")
    inputs = [tmp_path / "a.md", tmp_path, f"{tmp_path}/*.md", tmp_path / "." / "a.md"]
    assert [a.article_id for a in read_articles(inputs)] == ["a"]


def test_articles_of_one_stem_are_named_by_their_paths(tmp_path: Path) -> None:
    fill(
        tmp_path,
        x__r_dot_md="One.",
        y__r_dot_md="Two.",
        y__s_dot_md="Three.",
        y__s_dot_txt="Four.",
        z__u_dot_md="Five.",
    )
    assert [a.article_id for a in read_articles(tmp_path)] == ["x/r", "y/r", "y/s.md", "y/s.txt", "u"]
    two = [a.article_id for a in read_articles([tmp_path / "x", tmp_path / "y" / "r.md"])]
    assert two == [(tmp_path / "x" / "r.md").as_posix(), (tmp_path / "y" / "r.md").as_posix()]


def test_an_id_in_a_row_and_a_file_of_that_name_collide(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_md="One.", b_dot_jsonl='{"id": "a", "text": "Two."}')
    with pytest.raises(
        DataError, match=r"article id 'a' stands twice: in .*a\.md and in .*b\.jsonl, line 1; give every"
    ):
        read_articles(tmp_path).read_all()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    (article,) = read_articles("-", stdin=io.BytesIO(b"# T\n\n- x\n\nOne."))
    assert (article.article_id, article.title, article.left_out) == ("stdin", "T", {"list": 1})
    (article,) = read_articles("-", format="text", stdin=io.BytesIO(b"# T.\n\n- x"))
    assert article.texts == ("# T.", "- x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"Packed."))))
    assert next(read_articles(["-", "-"])).texts == ("Packed.",)


def test_stdin_tells_parquet_by_its_first_bytes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pq.write_table(pa.table({"text": ["One."]}), tmp_path / "t")
    (article,) = read_articles("-", stdin=Pipe((tmp_path / "t").read_bytes()))
    assert article.article_id == "stdin:1"
    assert next(read_articles(tmp_path / "t")).article_id == "t:1"


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    fill(tmp_path, empty__notes_dot_pdf="x")
    (tmp_path / "broken.md").symlink_to(tmp_path / "gone.md")
    found = reasons([tmp_path / "none.md", f"{tmp_path}/*.htm", tmp_path / "empty", tmp_path / "broken.md", "a\0b"])
    assert found == {
        "none.md": "there is no such file or folder; check the path",
        "*.htm": "no file matches the pattern; check it, and quote it in a shell",
        "empty": "the folder holds no file that can be read; read are .md .markdown .mdown .mkd .html .htm .xhtml "
        ".txt .text .jsonl .ndjson .csv .tsv .parquet .pq .json, each also with .gz or .zst; check the path",
        "broken.md": f"it is a link to {str(tmp_path / 'gone.md')!r}, which does not exist; mend or remove the link",
        "a\0b": found["a\0b"],
    }
    assert "broken.md" in reasons(tmp_path)
    with pytest.raises(ArticleError, match=r"none.md: there is no such file or folder; check the path"):
        read_articles(tmp_path / "none.md")


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    fill(
        tmp_path,
        a_dot_md="One.",
        empty_dot_md="",
        blank_dot_txt=" \n\t",
        heading_dot_md="# Only a heading",
        nul_dot_txt=b"a\0b",
        controls_dot_txt=b"\x01\x02\x03abcdefgh" * 9,
        pdf_dot_txt=b"%PDF-1.7 ...",
        word_dot_md=b"PK\x03\x04...",
        z_dot_md="Two.",
        packed_dot_md_dot_gz=b"\x1f\x8b\x08broken",
        twice_dot_md=gzip.compress(gzip.compress(b"One.")),
        huge_dot_txt=b"a" * (8 * 1024**2 + 1),
        bomb_dot_md_dot_gz=gzip.compress(b"a" * 50_000_000),
        odd_dot_txt=bytes(range(128, 256)) * 4,
    )
    stream = read_articles(tmp_path, on_error="collect")
    assert [article.article_id for article in stream] == ["a", "z"]
    found = {Path(problem.path).name: problem.reason for problem in stream.unreadable}
    for name, reason in {
        "empty.md": "it holds no text (0 bytes); give a file with at least one paragraph",
        "blank.txt": "it holds no text (3 bytes)",
        "heading.md": "article 'heading' holds no paragraph, and nothing was left out",
        "nul.txt": "it holds NUL or many control characters, so it is binary, or UTF-16 without a byte order mark",
        "controls.txt": "it holds NUL or many control characters",
        "pdf.txt": "it is a PDF document, not text; convert it",
        "word.md": "it is a zip archive or an office document, not text",
        "packed.md.gz": "it is a damaged gzip file (",
        "twice.md": "it is a gzip file, not text",
        "huge.txt": "it is larger than 8388608 bytes, the most that is read as one document",
        "bomb.md.gz": "it is larger than 8388608 bytes",
        "odd.txt": "it is not text in an encoding that can be told from its bytes; save it as UTF-8",
    }.items():
        assert found.pop(name).startswith(reason)
    assert found == {}
    with pytest.raises(ArticleError, match=r"blank\.txt: it holds no text"):
        read_articles(tmp_path / "blank.txt").read_all()


def test_a_line_of_50_mb_in_a_text_file_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_md=b"word " * 10_000_000)
    assert reasons(tmp_path)["a.md"].startswith("it is larger than")


def test_a_suffix_that_nobody_reads_is_refused_unless_the_format_is_given(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_rst="One.", plain="Two.")
    found = reasons(tmp_path / "a.rst")["a.rst"]
    assert found.startswith("its suffix is '.rst'; read are .md")
    assert found.endswith("convert it, or say its format")
    assert [a.article_id for a in read_articles(tmp_path, format="text")] == ["a.rst", "plain"]
    assert next(read_articles(tmp_path / "plain")).texts == ("Two.",)


def test_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_error is 'skip'; it must be 'raise' or 'collect'"):
        read_articles(tmp_path, on_error="skip")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="format is 'docx'; it must be one of auto, markdown, html, text, jsonl"):
        read_articles(tmp_path, format="docx")


def test_files_without_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, a_dot_md="One.", b_dot_md="Two.", c_dot_md="Three.")
    errors = {"a.md": PermissionError(13, "Permission denied"), "b.md": OSError(5, "Input/output error")}

    def refuse(self: Path, *options: str) -> io.BufferedReader:
        if self.name in errors:
            raise errors[self.name]
        if self.name == "c.md":
            self.unlink()
        return io.open(self, *options)  # type: ignore[return-value]  # noqa: UP020

    monkeypatch.setattr(Path, "open", refuse)
    assert reasons(tmp_path) == {
        "a.md": "it may not be read: permission denied; change its permissions",
        "b.md": "the system cannot read it: Input/output error; check the path and the disk",
        "c.md": "it is no longer there; check the path",
    }


def test_folders_without_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, a_dot_md="One.", locked__b_dot_md="Two.")
    scan = os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert reasons(tmp_path) == {"locked": "it may not be read: permission denied; change its permissions"}


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (FRENCH.encode(), FRENCH, "utf-8"),
        (FRENCH.encode("utf-8-sig"), FRENCH, "utf-8"),
        (FRENCH.encode("utf-16"), FRENCH, "utf-16"),
        (b"\xfe\xff" + FRENCH.encode("utf-16-be"), FRENCH, "utf-16"),
        (FRENCH.encode("utf-32"), FRENCH, "utf-32"),
        (FRENCH.encode("cp1252"), FRENCH, "cp1252"),
        ("Café owners fled.".encode("latin-1"), "Café owners fled.", "cp1252"),
        (RUSSIAN.encode("cp1251"), RUSSIAN, "cp1251"),
        (RUSSIAN.encode("koi8_r"), RUSSIAN, "koi8_r"),
        ("军方周一表示，三个村庄已被收复。难民在黎明时分越过边界。".encode("gb18030"), None, "gb18030"),
        ((FRENCH * 2).encode() + b"\xff" + FRENCH.encode(), FRENCH * 2 + "\ufffd" + FRENCH, "utf-8, 1 unreadable"),
        (
            b'<meta charset="iso-8859-2">' + "Żółw".encode("iso-8859-2"),
            '<meta charset="iso-8859-2">Żółw',
            "iso8859_2",
        ),
        (b"<meta charset=utf-16>" + FRENCH.encode("cp1252"), "<meta charset=utf-16>" + FRENCH, "cp1252"),
        (b"<meta charset=nonsense>" + FRENCH.encode("cp1252"), "<meta charset=nonsense>" + FRENCH, "cp1252"),
        (b"<meta charset=latin1>" + "Ł’é".encode("cp1250"), "<meta charset=latin1>£’é", "cp1252"),
    ],
)
def test_encodings_of_the_real_world(data: bytes, text: str | None, encoding: str) -> None:
    decoded = decode(data)
    assert decoded.encoding == encoding
    assert text is None or decoded.text.lstrip("\ufeff") == text


def test_the_encoding_is_told_and_offsets_count_characters(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_txt=f"{FRENCH}\r\n\r\n{FRENCH}\r\n".encode("cp1252"))
    (article,) = read_articles(tmp_path)
    assert article.metadata == {"encoding": "cp1252"}
    assert article.source == f"{FRENCH}\n\n{FRENCH}\n"
    assert article.paragraphs[1].start == len(FRENCH) + 2


def test_a_file_of_utf_16_cut_in_the_middle_is_an_article_error() -> None:
    with pytest.raises(ArticleError, match=r"it is not text in an encoding|NUL"):
        read_articles("-", stdin=io.BytesIO("One.".encode("utf-16")[:-1])).read_all()


@given(st.binary(), st.sampled_from(["auto", "markdown", "text", "html"]))
def test_any_bytes_give_an_article_or_an_article_error(data: bytes, format: str) -> None:
    stream = read_articles("-", format=format, stdin=io.BytesIO(data), on_error="collect")
    assert len(stream.read_all()) + len(stream.unreadable) >= 1


def test_a_stream_dropped_halfway_leaves_nothing_open(tmp_path: Path) -> None:
    fill(tmp_path, a_dot_jsonl='{"text": "One."}\n{"text": "Two."}\n')
    stdin = io.BytesIO(b'{"text": "One."}\n{"text": "Two."}\n')
    for stream in (read_articles(tmp_path), read_articles("-", stdin=stdin)):
        assert next(stream).texts == ("One.",)
        del stream
    assert not stdin.closed

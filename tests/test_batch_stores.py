"""Inputs and outputs in an object store: a real server that speaks S3, on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_parts import ARTICLE, build_words_bundle, content_of, write_archive, write_feed
from crosshead.batch import stores
from crosshead.batch.folder import OutputFolder
from crosshead.batch.inputs import find_sources
from crosshead.batch.job import Options, tag_archive
from crosshead.batch.parts import Part, Shape
from crosshead.batch.remote_store import RemoteStore
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.errors import DataError, MissingExtraError

pytest.importorskip("s3fs", reason="the optional part [scale] is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server], a part of [dev], is not installed")
pytestmark = pytest.mark.filterwarnings(
    # Of botocore and moto, which nobody here can mend.
    "ignore::DeprecationWarning:botocore",
    "ignore::DeprecationWarning:moto",
    "ignore::DeprecationWarning:werkzeug",
)


@pytest.fixture(scope="module")
def _server() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make an empty bucket; give the file system that sees it."""
    import fsspec
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", _server)
    s3fs.S3FileSystem.clear_instance_cache()
    system = fsspec.filesystem("s3")
    if system.exists("archive"):
        system.rm("archive", recursive=True)
    system.mkdir("archive")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_words_bundle(tmp_path_factory.mktemp("words") / "words")


def do(names: list[str], output: str, bundle: Path, **options: Any) -> Any:
    sources = find_sources(names, "auto", output=output).found
    return tag_archive(sources, output, str(bundle), Options(**{"rows_per_part": 20, **options}))


def content(system: Any, folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): system.cat_file(path) for path in system.find(folder)}


def test_an_archive_in_a_store_gives_what_it_gives_here(bucket: Any, bundle: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "in")
    bucket.put(str(tmp_path / "in"), "archive/in", recursive=True)
    here = do([str(tmp_path / "in")], str(tmp_path / "out"), bundle)
    there = do(["s3://archive/in"], "s3://archive/out", bundle)
    assert (there.n_paragraphs, there.n_errors) == (here.n_paragraphs, here.n_errors)
    parts = content(bucket, "archive/out")
    assert parts.keys() == content_of(tmp_path / "out").keys()
    # The names of the files are in the rows, so bytes are compared where inputs have the same names.
    do([str(tmp_path / "in")], "s3://archive/copy", bundle)
    assert content(bucket, "archive/copy") == content_of(tmp_path / "out")


def test_patterns_packed_feeds_and_files_apart(bucket: Any, bundle: Path, tmp_path: Path) -> None:
    import gzip

    bucket.pipe_file("archive/a/one.md", ARTICLE.encode())
    bucket.pipe_file("archive/b/one.md", ARTICLE.encode())
    bucket.pipe_file("archive/feed.jsonl.gz", gzip.compress(write_feed(tmp_path / "f", 90).read_bytes()))
    bucket.pipe_file("archive/a/.hidden.md", ARTICLE.encode())
    bucket.pipe_file("archive/a/picture.png", b"\x89PNG")
    found = find_sources(["s3://archive/*/one.md", "s3://archive/feed.jsonl.gz"], "auto").found
    assert [source.place for source in found] == [
        "s3://archive/a/one.md",
        "s3://archive/b/one.md",
        "s3://archive/feed.jsonl.gz",
    ]
    assert len({source.article_id for source in found}) == 3
    assert [source.place for source in find_sources(["s3://archive/a"], "auto").found] == ["s3://archive/a/one.md"]
    assert do(["s3://archive/feed.jsonl.gz"], str(tmp_path / "out"), bundle).n_paragraphs > 100


def test_a_job_in_a_store_goes_on_where_it_was(
    bucket: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = write_feed(tmp_path / "feed.jsonl", 200)
    do([str(feed)], "s3://archive/whole", bundle)
    really, written = OutputFolder.add, []

    def add(self: OutputFolder, number: int, part: Part) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(number)
        really(self, number, part)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "add", add)
        with pytest.raises(KeyboardInterrupt):
            do([str(feed)], "s3://archive/out", bundle)
    with pytest.raises(DataError, match=r"holds a job already; go on with it by --resume"):
        do([str(feed)], "s3://archive/out", bundle)
    assert OutputFolder("s3://archive/out", Shape()).finished_units() == {0, 1, 2, 3}
    do([str(feed)], "s3://archive/out", bundle, resume=True)
    assert content(bucket, "archive/out") == content(bucket, "archive/whole")
    bucket.pipe_file("archive/mine/note.txt", b"mine")
    with pytest.raises(DataError, match="is there and is not empty"):
        do([str(feed)], "s3://archive/mine", bundle)


def test_what_is_not_there_or_not_reached_is_said(bucket: Any, bundle: Path, tmp_path: Path) -> None:
    (source,) = find_sources(["s3://archive/nowhere.md"], "auto").found
    assert source.problem == "there is no such file or folder"
    bucket.pipe_file("archive/a/picture.png", b"\x89PNG")
    (source,) = find_sources(["s3://archive/a"], "auto").found
    assert source.problem == "nothing there can be read as articles or rows; check the name"
    (tmp_path / "a.md").write_text(ARTICLE)
    with pytest.raises((DataError), match=r"s3://no-such-bucket"):
        do([str(tmp_path / "a.md")], "s3://no-such-bucket/out", bundle)


def test_an_object_that_changes_while_the_job_runs_ends_it(bucket: Any, tmp_path: Path) -> None:
    from crosshead.batch.plan import make_plan
    from crosshead.batch.reading import Reader

    bucket.pipe_file("archive/feed.jsonl", write_feed(tmp_path / "f", 30).read_bytes())
    plan = make_plan(find_sources(["s3://archive/feed.jsonl"], "auto").found)
    bucket.pipe_file("archive/feed.jsonl", write_feed(tmp_path / "f", 30, seed=5).read_bytes())
    bucket.invalidate_cache()
    with pytest.raises(DataError, match="was changed while the job ran"):
        list(Reader().read(plan.units[0]))


def test_the_store_reads_writes_lists_and_removes(bucket: Any) -> None:
    store = RemoteStore("s3://archive/out/")
    assert store.is_empty()
    assert store.names("parts") == {}
    assert store.read("parts/a") is None
    store.write("parts/a", b"12")
    store.write_blocks("b", iter([b"1", b"23"]))
    assert (store.names("parts"), store.names(""), store.read("b")) == ({"a": 2}, {"b": 3}, b"123")
    assert not store.is_empty()
    store.remove("b")
    store.remove("b")
    store.tidy()
    assert store.names("") == {}


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def refuse(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingExtraError, match=r"s3:// needs the optional part \[scale\]"):
        stores.file_system("s3://archive/a")
    (tmp_path / "a.md").write_text(ARTICLE)
    assert main(["tag", str(tmp_path / "a.md"), "-o", "s3://archive/out"]) == Exit.MISSING_EXTRA
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3:// needs the optional part \[scale\]"):
        stores.file_system("s3://archive/a")


def test_the_command_takes_urls(bucket: Any, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.pipe_file("archive/in/river.md", ARTICLE.encode())
    arguments = ["tag", "s3://archive/in", "-o", "s3://archive/tagged", "--model", str(bundle), "--format", "jsonl"]
    assert main(arguments) == Exit.OK
    assert capsys.readouterr().err == "crosshead: 3 paragraphs in 1 part in s3://archive/tagged\n"
    (first, *_) = bucket.cat_file("archive/tagged/parts/part-000000.jsonl").splitlines()
    assert json.loads(first)["file"] == "s3://archive/in/river.md"


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("gs://b/a.jsonl", "gcsfs", "gcs"), ("hf://datasets/a/b/c.jsonl", "huggingface_hub", "scale")],
)
def test_other_stores_without_their_library_name_the_extra(
    url: str,
    module: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As fsspec itself finds out that a library is not there; tests reach no such store."""
    from fsspec.registry import _registry

    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    (tmp_path / "a.md").write_text(ARTICLE)
    told = f"{url.partition(':')[0]}:// needs the optional part [{extra}]; install it: pip install 'crosshead[{extra}]'"
    assert main(["tag", url, "-o", str(tmp_path / "out")]) == Exit.MISSING_EXTRA
    assert told in capsys.readouterr().err
    assert main(["tag", str(tmp_path / "a.md"), "-o", f"{url.rpartition('/')[0]}/out"]) == Exit.MISSING_EXTRA
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_hub_that_is_not_asked_says_how_to_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="the optional part [scale] is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with (
        pytest.raises(DataError, match=r"hf://datasets/a/b/.* says: .*; set HF_HUB_OFFLINE=0 to read from the hub"),
        stores.told("hf://datasets/a/b/*.parquet"),
    ):
        raise ConnectionError("offline mode is enabled")
    with (
        pytest.raises(DataError, match=r"c\.parquet was not looked for on the hub; set HF_HUB_OFFLINE=0"),
        stores.told("hf://datasets/a/b/c.parquet"),
    ):
        raise FileNotFoundError

"""Corrections: acknowledged means on the disk, once, in the format that `crosshead prepare` reads."""

from __future__ import annotations

import random
import signal
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet

import small_project
from crosshead.articles import Article
from crosshead.cli import main
from crosshead.corpora.annotations import check_annotations, read_annotations
from crosshead.server.keys import Keys
from server_parts import JSON, SECRET, TAGGER, TEXTS, ServerProcess, client_of, make_project, posix, serving, until

ARTICLE = Article.from_texts(TEXTS, article_id="river-line")


def correction(paragraph: int = 1, section_type: str = "other", **more: Any) -> dict[str, Any]:
    text = ARTICLE.texts[paragraph]
    return {"article_id": "river-line", "paragraph": paragraph, "text": text, "section_type": section_type, **more}


def send(client: TestClient, body: Any, key: str | None = None, **headers: str) -> Any:
    key_header = {} if key is None else {"idempotency-key": key}
    return client.post("/v1/corrections", json=body, headers={**key_header, **headers})


def test_a_correction_becomes_an_annotation_that_fits_its_article(tmp_path: Path) -> None:
    file = tmp_path / "new" / "annotations.csv"
    with client_of(corrections=file) as client:
        response = send(client, correction(annotator="ana", note="they act\n from outside"), "k1")
        second = send(client, correction(2), "k2")
        numbers = client.get("/metrics").text
    assert (response.status_code, second.status_code) == (201, 201)
    assert response.json()["id"] != second.json()["id"]
    first, other = read_annotations(file)
    assert (first.article_id, first.paragraph, first.section_type, first.annotator) == ("river-line", 1, "other", "ana")
    assert first.text_sha256 == sha256(TEXTS[1].encode()).hexdigest()[:16]
    assert (first.extra["source"], first.extra["note"]) == ("served page", "they act from outside")
    assert first.extra["time"].endswith("Z")
    assert other.annotator == ""
    check_annotations([first, other], [ARTICLE], TAGGER.section_types)
    assert 'crosshead_corrections_total{section_type="other"} 2.0' in numbers


def test_the_same_key_is_kept_once_also_by_another_process(tmp_path: Path) -> None:
    file = tmp_path / "annotations.csv"
    ids = []
    for _ in range(2):
        with client_of(corrections=file) as client:
            ids += [send(client, correction(), "k1").json()["id"] for _ in range(2)]
    assert len(set(ids)) == 1
    assert len(read_annotations(file)) == 1


def test_a_key_of_another_correction_is_a_conflict(tmp_path: Path) -> None:
    with client_of(corrections=tmp_path / "a.csv") as client:
        send(client, correction(1), "k1")
        response = send(client, correction(2), "k1")
    assert (response.status_code, response.json()["error"]["kind"]) == (409, "conflict")
    assert "river-line" not in response.text
    assert len(read_annotations(tmp_path / "a.csv")) == 1


def test_keys_of_different_clients_are_different(tmp_path: Path) -> None:
    keys = {name: name * 16 for name in ("a", "b")}
    settings = Keys({name: sha256(key.encode()).digest() for name, key in keys.items()})
    with client_of(corrections=tmp_path / "a.csv", keys=settings) as client:
        for paragraph, key in enumerate(keys.values()):
            assert send(client, correction(paragraph), "k1", **{"x-api-key": key}).status_code == 201
    assert [annotation.annotator for annotation in read_annotations(tmp_path / "a.csv")] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "key", "where", "message"),
    [
        (correction(), None, "header.idempotency-key", "Field required"),
        (correction(), "a b", "header.idempotency-key", "pattern"),
        (correction(), "x" * 201, "header.idempotency-key", "at most 200"),
        (correction(section_type=""), "k", "section_type", "at least 1"),
        (correction() | {"paragraph": -1}, "k", "paragraph", "greater than or equal to 0"),
        (correction() | {"paragraph": 10_000}, "k", "paragraph", "less than 10000"),
        (correction() | {"article_id": f"{SECRET}\n"}, "k", "article_id", "pattern"),
        (correction(annotator=f"{SECRET}\r"), "k", "annotator", "pattern"),
        (correction(note=SECRET * 200), "k", "note", "at most 2000"),
        (correction(text=""), "k", "text", "at least 1"),
        (correction() | {SECRET: 1}, "k", "", "allowed are article_id, paragraph, text, section_type, annotator, note"),
    ],
)
def test_a_correction_that_cannot_be_used(body: Any, key: str | None, where: str, message: str, tmp_path: Path) -> None:
    with client_of(corrections=tmp_path / "a.csv") as client:
        response = send(client, body, key)
    assert response.status_code == 422
    (problem,) = response.json()["error"]["problems"]
    assert problem["where"] == where
    assert message in problem["message"]
    assert SECRET not in response.text
    assert not (tmp_path / "a.csv").exists()


def test_a_section_type_must_be_the_models(tmp_path: Path) -> None:
    with client_of(corrections=tmp_path / "a.csv") as client:
        response = send(client, correction(section_type=SECRET), "k")
    assert response.status_code == 422
    assert response.json()["error"]["message"] == (
        "section_type is none of this model's: ground_developments, regional_stability, other"
    )
    assert not (tmp_path / "a.csv").exists()


def test_without_a_file_corrections_are_refused() -> None:
    with client_of() as client:
        response = send(client, correction(), "k")
    assert (response.status_code, response.json()["error"]["kind"]) == (503, "no_corrections")


@pytest.mark.parametrize("broken", ["folder", "table"])
def test_what_cannot_be_written_is_not_acknowledged(
    broken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.csv"
    if broken == "folder":
        file.mkdir()
    else:
        file.write_text("something,else\n1,2\n", encoding="utf-8")
    with client_of(corrections=file) as client:
        response = send(client, correction(), "k")
        assert (response.status_code, response.json()["error"]["kind"]) == (503, "disk")
        assert response.headers["retry-after"] == "10"
        assert str(tmp_path) not in response.text
        (file.rmdir if broken == "folder" else file.unlink)()
        assert send(client, correction(), "k").status_code == 201, "it goes on when the disk does"
    assert any(record.getMessage() == "a correction cannot be written" for record in caplog.records)


def test_many_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with client_of(corrections=file) as client, ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda i: send(client, correction(annotator=f"reader {i}"), f"k{i}").status_code, range(40))
        assert set(statuses) == {201}
    assert sorted(a.annotator for a in read_annotations(file)) == sorted(f"reader {i}" for i in range(40))


# -- back to training --------------------------------------------------------------------------------------------------


def without_annotations_of(root: Path, article_id: str) -> None:
    path = root / "data" / "annotations.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(f"{article_id},")), encoding="utf-8")


def test_corrections_reach_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Served page → corrections file → `crosshead data import` → `crosshead prepare`."""
    root = small_project.make(tmp_path / "project")
    monkeypatch.chdir(root)
    pasted = sorted((root / "data" / "articles").glob("*.md"))[3]
    without_annotations_of(root, pasted.stem)
    file = root / "corrections" / "annotations.csv"
    with client_of(corrections=file) as client:
        tagged = client.post("/v1/tag", json={"text": pasted.read_text(encoding="utf-8")}).json()["paragraphs"]
        unknown = client.post("/v1/tag", json={"text": "A text that no corpus has."}).json()["paragraphs"]
        for n, (article_id, found) in enumerate([("page-a-1", p) for p in tagged] + [("page-b-2", p) for p in unknown]):
            body = {"article_id": article_id, "paragraph": found["index"], "text": found["text"], "annotator": "ana"}
            for again, name in enumerate(("other", "regional_stability")):  # a reader changes her mind
                assert send(client, {**body, "section_type": name}, f"{n}-{again}").status_code == 201
    written = file.read_bytes()

    assert main(["data", "import", "corrections/annotations.csv"]) == 0
    told = capsys.readouterr().out
    assert f"{len(tagged)} added, 0 there already, {len(tagged)} overruled by a later correction" in told
    assert "set aside, and left in their files: 2 corrections" in told
    assert "page-b-2#0: no paragraph of the corpus has its text" in told
    assert file.read_bytes() == written

    assert main(["prepare", *small_project.WORDS]) == 0
    rows = [
        (row["paragraph"], row["section_type"], row["label_source"])
        for split in ("train", "test")
        for row in parquet.read_table(root / "data" / "prepared" / f"{split}.parquet").to_pylist()
        if row["article_id"] == pasted.stem
    ]
    assert rows == [(i, "regional_stability", "annotation") for i in range(len(tagged))]


# -- kill -9 -----------------------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Sends corrections one after the other, each until it is acknowledged, and remembers which were."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.reader = name
        self.acknowledged: list[int] = []
        self.waiting: tuple[int, str] | None = None
        self.server: ServerProcess | None = None
        self.ends = False

    def run(self) -> None:
        n = 0
        while not self.ends:
            server = self.server
            if server is None:
                time.sleep(0.001)
                continue
            self.waiting = self.waiting or (n, str(uuid.uuid4()))
            number, key = self.waiting
            body = correction(number % 3, annotator=self.reader, note=str(number))
            try:
                status = server.ask("POST", "/v1/corrections", body, {**JSON, "idempotency-key": key})[0]
            except (OSError, ValueError, EOFError):  # also what http.client makes of an answer that was cut off
                continue
            except Exception as error:
                if type(error).__module__ != "http.client":
                    raise
                continue
            if status == 201:
                self.acknowledged.append(number)
                self.waiting, n = None, n + 1


def tear(file: Path, n_bytes: int, number: int) -> bytes:
    """Leave of one more row what a power cut may leave: its first bytes."""
    last = file.read_bytes().splitlines()[-1]
    torn = last.replace(b"river-line", f"torn-{number}".encode())[:n_bytes]
    with file.open("ab") as stream:
        stream.write(torn)
    return torn


def kill_during_corrections(tmp_path: Path, bundle: Path, n_kills: int) -> None:
    root = make_project(tmp_path / "project")
    file = root / "corrections" / "annotations.csv"
    readers = [Reader(f"reader {i}") for i in range(3)]
    chance = random.Random(0)
    torn: list[bytes] = []
    for reader in readers:
        reader.start()
    try:
        for number in range(n_kills):
            before = sum(len(reader.acknowledged) for reader in readers)
            with serving(tmp_path, "--model", bundle, cwd=root) as server:
                for reader in readers:
                    reader.server = server
                until(lambda before=before: sum(len(r.acknowledged) for r in readers) > before + chance.randrange(6))
                time.sleep(chance.random() * 0.02)
                assert server.stop(signal.SIGKILL) == -signal.SIGKILL
                for reader in readers:
                    reader.server = None
            acknowledged = {(reader.reader, str(n)) for reader in readers for n in list(reader.acknowledged)}
            kept = [(a.annotator, a.extra["note"]) for a in read_annotations(file)]
            assert acknowledged <= set(kept)
            assert b"torn-" not in file.read_bytes()
            assert len(kept) == len(set(kept)), "what was sent again after a kill is kept once"
            if number < n_kills - 1:
                torn.append(tear(file, chance.randrange(1, 60), number))
    finally:
        for reader in readers:
            reader.ends = True
    set_aside = Counter(file.with_name("annotations.csv.torn").read_bytes().splitlines())
    assert not Counter(torn) - set_aside, "what was torn is set aside, none of it thrown away"
    assert all(reader.acknowledged == list(range(len(reader.acknowledged))) for reader in readers)


@posix
def test_nothing_acknowledged_is_lost_under_kill_9(tmp_path: Path, tiny_bundle: Path) -> None:
    kill_during_corrections(tmp_path, tiny_bundle, 2)


@posix
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_under_fifty_kills(tmp_path: Path, tiny_bundle: Path) -> None:
    kill_during_corrections(tmp_path, tiny_bundle, 50)

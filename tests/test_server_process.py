"""The server as a process: it starts, answers, takes new models under load, and ends in order."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from crosshead import bundle
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.corpora.annotations import read_annotations
from crosshead.releases import champion
from crosshead.tagging.tagger import Tagger
from server_parts import JSON, SECRET, TEXTS, ServerProcess, make_project, posix, serving, until

pytestmark = posix
KEY = "kq3Jd0aX9vLw2mZt"


class Models:
    """A project with bundles to promote."""

    def __init__(self, root: Path, graph: Path) -> None:
        self.root = make_project(root)
        self._tagger = tiny.build_tagger(graph).tagger
        self._graph = graph
        self.taggers: dict[str, Tagger] = {}

    def make(self, version: str, **changes: Any) -> Path:
        """Save a variant of the tiny tagger and keep it as promotion does."""
        folder = self.root / "models" / f"made-{version}"
        digest = bundle.save(replace(self._tagger, version=version, **changes), folder, encoder_dir=self._graph)
        kept = champion.keep(self.root, folder, digest)
        self.taggers[digest] = bundle.load(kept)
        return kept

    def promote(self, folder: Path) -> str:
        digest = bundle.digest(folder)
        champion.write(self.root, folder, digest, name="crosshead", version=1)
        return digest


@pytest.fixture
def models(tmp_path: Path, tiny_graph: Path) -> Models:
    return Models(tmp_path / "project", tiny_graph)


def scores_of(answer: dict[str, Any]) -> list[dict[str, float]]:
    return [paragraph["scores"] for paragraph in answer["paragraphs"]]


def expected(tagger: Tagger, texts: list[str]) -> list[dict[str, float]]:
    return [tag.as_dict()["scores"] for tag in tagger.tag_article(texts)]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_answers_as_the_tagger_does_and_ends_when_told(
    how: int, code: int, tmp_path: Path, tiny_bundle: Path
) -> None:
    with serving(tmp_path, "--model", tiny_bundle) as server:
        status, answer, headers = server.ask("POST", f"/v1/tag?{SECRET}", {"paragraphs": [*TEXTS, SECRET]})
        assert status == 200
        assert server.stop(how) == code
    tagger = bundle.load(tiny_bundle)
    assert scores_of(answer) == expected(tagger, [*TEXTS, SECRET])
    assert answer["model"] == {"name": tagger.name, "version": tagger.version, "digest": bundle.digest(tiny_bundle)}
    assert SECRET not in server.log()
    assert "Traceback" not in server.log()
    assert "interrupted" not in server.log(), "to end a server is no failure"
    told = [line for line in server.records() if line.get("route") == "/v1/tag"]
    assert [(line["method"], line["status"], line["request_id"]) for line in told] == [
        ("POST", 200, headers["x-request-id"])
    ]


def test_keys_from_the_environment_close_the_doors(tmp_path: Path, tiny_bundle: Path) -> None:
    with serving(tmp_path, "--model", tiny_bundle, CROSSHEAD_API_KEYS=f"page:{KEY}") as server:
        assert server.ask("POST", "/v1/tag", {"texts": TEXTS})[0] == 401
        assert server.ask("POST", "/v1/tag", {"texts": TEXTS}, {"x-api-key": KEY})[0] == 200
        assert server.ask("POST", "/v1/corrections", {}, {"x-api-key": KEY})[0] == 422
    assert KEY not in server.log()
    assert "page" in {line.get("key") for line in server.records()}


def test_with_keys_other_machines_may_be_served(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("crosshead.cli.serve._listen", lambda host, port: socket.create_server(("127.0.0.1", 0)))
    monkeypatch.setattr("crosshead.server.process.run", lambda *given, **more: served.append((given, more)))
    monkeypatch.delenv("CROSSHEAD_API_KEYS", raising=False)
    (tmp_path / "keys").write_text(KEY, encoding="utf-8")
    arguments = ["serve", "--host", "0.0.0.0", "--api-keys", str(tmp_path / "keys"), "--model", str(tiny_bundle)]
    assert main(arguments) == Exit.OK
    ((_, _, model, settings), more) = served[0]
    assert (model, more) == (str(tiny_bundle), {"workers": 1})
    assert (settings.requests_per_s, settings.keys.name_of(KEY) is not None) == (50.0, True)


def test_who_reads_along_is_told_that_it_has_stopped(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crosshead.server.process.run", stop)
    monkeypatch.chdir(tmp_path)
    arguments = ["serve", "--port", "0", "--model", str(tiny_bundle), "--log-format", "text"]
    assert main(arguments) == Exit.INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1] == "crosshead: stopped"


def test_no_model_is_loaded_for_a_port_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr("crosshead.loading.load_aside", loaded.append)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == Exit.USAGE
    assert "cannot be used (Address already in use" in capsys.readouterr().err
    assert not loaded


# -- new models ------------------------------------------------------------------------------------------------------


@contextmanager
def load(server: ServerProcess, n_clients: int = 4) -> Iterator[list[tuple[int, list[str], Any]]]:
    """Ask without a pause, each client on a connection of its own; collect status, texts and answer."""
    answers: list[tuple[int, list[str], Any]] = []
    failures: list[Exception] = []
    ends = threading.Event()

    def ask(client: int) -> None:
        connection = server.connect()
        n = 0
        try:
            while not ends.is_set():
                texts = [f"{TEXTS[n % 3]} {client} {n}", TEXTS[(n + 1) % 3]]
                connection.request("POST", "/v1/tag", json.dumps({"paragraphs": texts}), JSON)
                response = connection.getresponse()
                answers.append((response.status, texts, json.loads(response.read())))
                n += 1
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(n_clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)
    assert failures == []


@pytest.mark.slow
def test_a_new_champion_is_taken_under_load_and_a_broken_one_is_not(models: Models, tmp_path: Path) -> None:
    versions = [models.make("one"), models.make("two", temperature=2.0), models.make("three", temperature=0.5)]
    broken = models.make("broken", threshold=0.5)
    (broken / bundle.HEADS_FILE).write_bytes(b"damaged")
    first = models.promote(versions[0])
    with serving(tmp_path, cwd=models.root) as server, load(server) as answers:
        digests = [first]

        def answered_by(digest: str) -> bool:
            return any(answer["model"]["digest"] == digest for _, _, answer in answers[-4:])

        until(lambda: answered_by(first))
        for folder in (*versions[1:], versions[0]):
            digests.append(models.promote(folder))
            until(lambda: answered_by(digests[-1]))
        refused = models.promote(broken)
        until(lambda: "new model refused" in server.log())
        status, told, _ = server.ask("POST", "/v1/reload")
        assert (status, told["error"]["kind"]) == (409, "broken_model")
        assert str(models.root) not in json.dumps(told)
        n_answers = len(answers)
        until(lambda: len(answers) > n_answers + 20)
        last = models.promote(versions[1])
        assert server.ask("POST", "/v1/reload")[1]["model"]["digest"] == last
        until(lambda: answered_by(last))
        assert server.ask("POST", "/v1/reload")[1]["changed"] is False
    assert {status for status, _, _ in answers} == {200}
    assert refused not in {answer["model"]["digest"] for _, _, answer in answers}
    for _, texts, answer in answers:
        tagger = models.taggers[answer["model"]["digest"]]
        assert scores_of(answer) == expected(tagger, texts), "the scores are those of the model that is named"


@pytest.mark.slow
def test_a_folder_that_is_trained_again_is_taken(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "latest"
    shutil.copytree(models.make("one"), folder)
    with serving(tmp_path, "--model", folder) as server:
        before = server.ask("GET", "/v1/model")[1]["digest"]
        shutil.move(folder, tmp_path / "old")
        until(lambda: "no model to be found" in server.log())
        shutil.copytree(models.make("two", temperature=2.0), tmp_path / "new")
        (tmp_path / "new").rename(folder)
        until(lambda: server.ask("GET", "/v1/model")[1]["digest"] == bundle.digest(folder) != before)
    assert server.log().count("no model to be found") == 1, "told once, not every second"


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_server_that_is_told_to_stop_finishes_what_it_took(tmp_path: Path, tiny_bundle: Path) -> None:
    def ask(server: ServerProcess, i: int) -> int:
        texts = [f"Column {i} number {j} crossed the river before dawn and held both banks." for j in range(400)]
        return server.ask("POST", "/v1/tag", {"paragraphs": texts})[0]

    with serving(tmp_path, "--model", tiny_bundle) as server, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, server, i) for i in range(8)]
        until(lambda: server.metric("crosshead_queue_seconds_count") >= 8)
        assert server.stop() == -signal.SIGTERM
        assert [request.result() for request in asked] == [200] * 8
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "/healthz")


def test_a_stream_is_answered_while_it_comes_and_ended_with_a_word_when_the_server_stops(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    with serving(tmp_path, "--model", tiny_bundle) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as wire:
            wire.sendall(
                b"POST /v1/tag/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            answers = wire.makefile("rb")
            while answers.readline() != b"\r\n":
                pass
            for i, text in enumerate(TEXTS):
                line = json.dumps({"id": i, "text": text}).encode() + b"\n"
                wire.sendall(b"%x\r\n%s\r\n" % (len(line), line))
                assert json.loads(_chunk(answers))["id"] == i
            server.process.send_signal(signal.SIGTERM)
            assert json.loads(_chunk(answers)) == {
                "error": "the server is stopping; send this line and those after it again",
                "line": 4,
            }
            assert _chunk(answers) == b"", "the answer has its proper end"
        assert server.process.wait(30) == -signal.SIGTERM


def _chunk(answers: Any) -> bytes:
    size = int(answers.readline(), 16)
    content: bytes = answers.read(size)
    answers.readline()
    return content


# -- several workers -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_workers_share_the_load_the_numbers_and_the_corrections(models: Models, tmp_path: Path) -> None:
    first, second = models.make("one"), models.make("two", temperature=2.0)
    models.promote(first)
    with serving(tmp_path, "--workers", "2", cwd=models.root) as server:
        until(lambda: server.log().count("model taken") == 2)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(server.ask, "POST", "/v1/tag", {"texts": [f"{TEXTS[i % 3]} {i}"]}) for i in range(60)]
            assert {request.result()[0] for request in asked} == {200}
            body = {"article_id": "a", "paragraph": 0, "text": TEXTS[0], "section_type": "other"}
            sent = [
                pool.submit(server.ask, "POST", "/v1/corrections", body, {"idempotency-key": f"k{i // 2}"})
                for i in range(20)
            ]
            assert {request.result()[0] for request in sent} == {201}
        assert len(read_annotations(models.root / "corrections" / "annotations.csv")) == 10
        assert server.metric("crosshead_paragraphs_total") == 60, "whichever worker is asked"
        digest = models.promote(second)
        until(lambda: server.log().count("model taken") == 4)
        assert {server.ask("GET", "/v1/model")[1]["digest"] for _ in range(8)} == {digest}
        assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.slow
def test_workers_read_the_keys_themselves(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "keys").write_text(f"page:{KEY}", encoding="utf-8")
    with serving(tmp_path, "--model", tiny_bundle, "--workers", "2", "--api-keys", tmp_path / "keys") as server:
        assert {server.ask("GET", "/v1/model")[0] for _ in range(6)} == {401}
        assert {server.ask("GET", "/v1/model", None, {"x-api-key": KEY})[0] for _ in range(6)} == {200}

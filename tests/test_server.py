"""The HTTP application: answers, errors that repeat nothing, limits, logs without text; and `crosshead serve`."""

from __future__ import annotations

import importlib.util
import json
import logging
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli_parts import ARTICLE, SECTION_TYPES, block_network, make_tagger, process_environ
from crosshead import __version__
from crosshead.cli import main
from crosshead.cli.environment import DEFAULTS
from crosshead.cli.exits import Exit
from crosshead.limits import MAX_INPUT_BYTES, MAX_PARAGRAPHS
from crosshead.loading import Model
from crosshead.readers import read_article
from crosshead.server.app import create_app
from crosshead.text import MAX_CHARACTERS

TAGGER = make_tagger()
MODEL = Model(TAGGER, "hand", "3", "f" * 64)
TEXTS = ["Shells fell on the river bank.", "The neighbours closed a border.", "The writer keeps bees."]
LONG = " ".join(["Shells fell on the river bank at dawn, and two columns crossed before noon."] * 8)
SECRET = "Xylographic"
"""A word that no error, log or message may repeat."""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(lambda: MODEL)) as client:
        yield client


def tag(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/tag", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


# -- answers ---------------------------------------------------------------------------------------------------------


def test_paragraphs_are_one_article(client: TestClient) -> None:
    answer = tag(client, paragraphs=TEXTS)
    assert answer["model"] == {"name": "hand", "version": "3", "digest": "f" * 64}
    assert answer["paragraphs"] == [
        {"index": i, "start": None, "end": None, "headings": None, **expected.as_dict()}
        for i, expected in enumerate(TAGGER.tag_article(TEXTS))
    ]
    assert (answer["title"], answer["left_out"], answer["source"]) == (None, None, None)


def test_texts_are_tagged_each_on_its_own(client: TestClient) -> None:
    answer = tag(client, texts=TEXTS)
    assert [given["scores"] for given in answer["paragraphs"]] == [
        expected.as_dict()["scores"] for expected in TAGGER.tag_texts(TEXTS)
    ]
    assert answer != tag(client, paragraphs=TEXTS), "neighbours inform each other in an article only"


@pytest.mark.parametrize("format", ["auto", "markdown"])
def test_an_article_gives_offsets_into_what_was_sent(format: str, client: TestClient) -> None:
    answer = tag(client, text=ARTICLE, format=format)
    texts = [ARTICLE[given["start"] : given["end"]] for given in answer["paragraphs"]]
    assert tuple(texts) == read_article(ARTICLE).texts
    assert [given["headings"] for given in answer["paragraphs"]] == [[], ["Reactions abroad"], ["Reactions abroad"]]
    assert (answer["title"], answer["left_out"], answer["source"]) == ("River line", {}, None)
    expected = TAGGER.tag_article(texts)
    assert [given["section_type"] for given in answer["paragraphs"]] == [found.section_type for found in expected]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (f"<html><body><article><h1>River</h1><p>{LONG}</p><p>{TEXTS[1]}</p></article></body></html>", "html"),
        (f"{LONG}\r\n\r\n{TEXTS[1]}\r\n", "text"),
    ],
)
def test_offsets_into_another_text_come_with_that_text(text: str, format: str, client: TestClient) -> None:
    answer = tag(client, text=text, format=format)
    assert answer["source"] != text
    assert [answer["source"][given["start"] : given["end"]] for given in answer["paragraphs"]] == [LONG, TEXTS[1]]


def test_offsets_count_characters_not_bytes(client: TestClient) -> None:
    text = f"Łódź 🙂 é.\n\n{TEXTS[0]}"
    answer = tag(client, text=text, format="text")
    assert text[answer["paragraphs"][-1]["start"] :] == TEXTS[0]


def test_nothing_in_gives_nothing_out(client: TestClient) -> None:
    assert tag(client, paragraphs=[])["paragraphs"] == tag(client, texts=[])["paragraphs"] == []


def test_healthz(client: TestClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_model_is_loaded_once_and_at_the_start() -> None:
    calls: list[int] = []

    def load() -> Model:
        calls.append(1)
        return MODEL

    app = create_app(load)
    assert not calls
    with TestClient(app) as client:
        tag(client, texts=TEXTS)
        tag(client, texts=TEXTS)
    assert len(calls) == 1


def test_openapi_describes_it_with_examples_that_work(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["info"]["version"] == __version__
    schemas = document["components"]["schemas"]
    for example in schemas["TagRequest"]["examples"]:
        answer = tag(client, **example)
        assert len(answer["paragraphs"]) == 2
        assert set(answer) == set(schemas["TagResponse"]["properties"]) >= set(schemas["TagResponse"]["examples"][0])
    assert set(document["paths"]["/v1/tag"]["post"]["responses"]) == {"200", "400", "413", "422", "500"}
    assert client.get("/docs").status_code == 404, "that page loads scripts from elsewhere"


# -- errors ----------------------------------------------------------------------------------------------------------

BAD = [
    ({}, "", "give one of text, paragraphs and texts; got none of them"),
    ({"text": SECRET, "texts": [SECRET]}, "", "got text and texts"),
    ({"text": ""}, "text", "at least 1 character"),
    ({"text": 3}, "text", "valid string"),
    ({"text": SECRET, "format": SECRET}, "format", "'auto', 'markdown', 'html' or 'text'"),
    ({"texts": SECRET}, "texts", "valid list"),
    ({"texts": [SECRET, 3]}, "texts.1", "valid string"),
    ({"paragraphs": [SECRET, ""]}, "paragraphs.1", "at least 1 character"),
    ({"paragraphs": [SECRET * (MAX_CHARACTERS // 10)]}, "paragraphs.0", "at most 200000 characters"),
    ({"texts": ["a"] * (MAX_PARAGRAPHS + 1)}, "texts", "at most 10000 items"),
    ({"texts": ["a"], SECRET: 1}, "", "a field is not known; allowed are text, format, paragraphs, texts"),
    ([SECRET], "", "valid dictionary"),
]


@pytest.mark.parametrize(("body", "where", "message"), BAD, ids=[message[:30] for _, _, message in BAD])
def test_a_request_that_cannot_be_used(body: Any, where: str, message: str, client: TestClient) -> None:
    response = client.post("/v1/tag", json=body)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["message"] == "the request cannot be used"
    (problem,) = error["problems"]
    assert problem["where"] == where
    assert message in problem["message"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "# Only a heading", "format": "markdown"}, "holds no paragraph"),
        ({"text": " \n "}, "holds no text"),
        ({"text": "a\0b"}, "NUL"),
        ({"paragraphs": [SECRET, "\u200b"]}, "paragraph 1 holds no text"),
    ],
)
def test_text_that_is_no_article(body: dict[str, Any], message: str, client: TestClient) -> None:
    response = client.post("/v1/tag", json=body)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"text": "caf\xe9"}', b"[" * 100_000, f'{{"text": "{SECRET}'.encode()],
    ids=["empty", "cut", "not UTF-8", "deep", "unterminated"],
)
def test_a_body_that_is_no_json(body: bytes, client: TestClient) -> None:
    response = client.post("/v1/tag", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["error"]["message"]
    assert SECRET not in response.text


def test_half_of_a_surrogate_pair_is_refused(client: TestClient) -> None:
    response = client.post("/v1/tag", content=b'{"texts": ["\\ud83d"]}', headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_many_problems_are_counted(client: TestClient) -> None:
    error = client.post("/v1/tag", json={"texts": [3] * 50}).json()["error"]
    assert len(error["problems"]) == 20
    assert error["message"] == "the request cannot be used (30 more problems)"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", f"/{SECRET}", 404), ("GET", "/v1/tag", 405)])
def test_what_is_not_there(method: str, path: str, status: int, client: TestClient) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert "/openapi.json" in response.json()["error"]["message"]
    assert SECRET not in response.text


def test_a_body_above_the_limit_is_refused_announced_or_not() -> None:
    with TestClient(create_app(lambda: MODEL, max_body_bytes=1000)) as client:
        fits = json.dumps({"texts": ["a" * 900]}).encode()
        json_type = {"content-type": "application/json"}
        assert client.post("/v1/tag", content=fits, headers=json_type).status_code == 200
        large = json.dumps({"texts": [SECRET * 200]}).encode()
        pieces = (large[start : start + 500] for start in range(0, len(large), 500))
        for content in (large, pieces):
            response = client.post("/v1/tag", content=content, headers=json_type)
            assert response.status_code == 413
            assert response.json()["error"]["message"].startswith("the body is larger than 1,000 bytes")
    assert MAX_INPUT_BYTES == 10 * 1024**2


# -- logs ------------------------------------------------------------------------------------------------------------


def test_the_log_names_routes_and_times_but_no_text(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="crosshead.server"):
        tag(client, text=f"{SECRET} fell on the river bank at dawn.")
        client.post(f"/v1/tag?q={SECRET}", json={"text": SECRET, SECRET: 1})
        client.get(f"/{SECRET}")
    told = [record.getMessage() for record in caplog.records if record.name == "crosshead.server"]
    assert [line.rsplit(" ", 2)[0] for line in told] == ["POST /v1/tag 200", "POST /v1/tag 422", "GET (no route) 404"]
    assert SECRET not in caplog.text


def test_a_mistake_in_the_server_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def tag_articles(self, articles: object) -> object:
            raise IndexError(SECRET)

    with TestClient(create_app(lambda: Model(Broken(), "broken", "", ""))) as client:  # type: ignore[arg-type]
        response = client.post("/v1/tag", json={"texts": ["a"]})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "a mistake in the server; its log says where"
    assert SECRET not in caplog.text
    assert "unexpected IndexError" in caplog.text
    assert "tag_articles" in caplog.text


def test_an_encoder_that_is_gone_is_a_500_with_its_message() -> None:
    from crosshead.errors import EncoderError

    class Gone:
        def tag_articles(self, articles: object) -> object:
            raise EncoderError("the graph is gone")

    with TestClient(create_app(lambda: Model(Gone(), "gone", "", ""))) as client:  # type: ignore[arg-type]
        response = client.post("/v1/tag", json={"texts": ["a"]})
    assert (response.status_code, response.json()["error"]["message"]) == (500, "the graph is gone")


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_process")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_other_machines_are_not_served(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", host]) == Exit.USAGE
    assert "only this machine is served, until requests can carry an API key" in capsys.readouterr().err


@pytest.mark.usefixtures("_process")
def test_a_port_that_is_taken_is_told(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosshead.loading.load", lambda model: MODEL)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == Exit.USAGE
    assert f"port {port} of 127.0.0.1 cannot be used (" in capsys.readouterr().err


@pytest.mark.usefixtures("_process")
def test_without_fastapi_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fastapi" else found(name))
    assert main(["serve"]) == Exit.MISSING_EXTRA
    assert "pip install 'crosshead[serve]'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
def test_serve_answers_as_the_tagger_does_and_ends_with_ctrl_c(tmp_path: Path, tiny_bundle: Path) -> None:
    from crosshead import bundle

    command = [sys.executable, "-m", "crosshead", "serve", "--port", "0", "--model", str(tiny_bundle)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=process_environ(tmp_path)) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith("crosshead tags at http://127.0.0.1:"), told
        place = told.split(" with ")[0].split()[-1]
        body = json.dumps({"paragraphs": [*TEXTS, SECRET]}).encode()
        request = urllib.request.Request(f"{place}/v1/tag", body, {"content-type": "application/json"})
        answer = json.load(_open(request))
        assert json.load(_open(f"{place}/healthz?{SECRET}")) == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == Exit.INTERRUPTED
        log = process.stderr.read()
    expected = bundle.load(tiny_bundle)
    assert [given["scores"] for given in answer["paragraphs"]] == [
        found.as_dict()["scores"] for found in expected.tag_article([*TEXTS, SECRET])
    ]
    assert answer["model"] == {"name": expected.name, "version": expected.version, "digest": bundle.digest(tiny_bundle)}
    assert "Traceback" not in log
    assert SECRET not in log
    assert [line.split(" INFO ")[1].rsplit(" ", 2)[0] for line in log.splitlines() if " INFO " in line] == [
        "POST /v1/tag 200",
        "GET /healthz 200",
    ]


def _open(request: Any) -> Any:
    """Ask, waiting for a server that has said where it is and is about to answer."""
    for _ in range(100):
        try:
            return urllib.request.urlopen(request, timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


def test_serving_asks_no_network(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosshead.loading import load

    block_network(monkeypatch)
    with TestClient(create_app(lambda: load(str(tiny_bundle)))) as client:
        assert len(tag(client, text=ARTICLE)["paragraphs"]) == 3


def test_section_types_are_those_of_the_tagger(client: TestClient) -> None:
    assert tuple(tag(client, texts=["Snow."])["paragraphs"][0]["scores"]) == SECTION_TYPES

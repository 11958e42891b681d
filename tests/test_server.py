"""The API: answers, errors that repeat nothing, limits, logs and numbers without text; and the command's own words."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import tiny
from cli_parts import ARTICLE, SECTION_TYPES, HashingEncoder, block_network, make_tagger
from crosshead import __version__, bundle, loading
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.environment import DEFAULTS
from crosshead.errors import BundleError, EncoderError
from crosshead.limits import MAX_INPUT_BYTES, MAX_PARAGRAPHS
from crosshead.loading import Model
from crosshead.readers import read_article
from crosshead.records import model_scores
from crosshead.server.logs import FIELDS, JsonFormatter, TextFormatter
from crosshead.tagging.explain import MAX_CHARACTERS as MAX_EXPLAINED
from crosshead.tagging.explain import explain
from crosshead.tagging.tagger import Encoded
from crosshead.text import MAX_CHARACTERS
from server_parts import JSON, MODEL, SECRET, TAGGER, TEXTS, client_of

LONG = " ".join(["Shells fell on the river bank at dawn, and two columns crossed before noon."] * 8)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of() as client:
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
        {
            "index": i,
            "text": text,
            "start": None,
            "end": None,
            "headings": None,
            **expected.as_dict(),
            "label_set": None,
            "out_of_distribution": None,
        }
        for i, (text, expected) in enumerate(zip(TEXTS, TAGGER.tag_article(TEXTS), strict=True))
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


def test_label_sets_come_with_every_paragraph_where_the_model_promises_them() -> None:
    tagger = replace(TAGGER, conformal_quantile=0.9999)
    with client_of(lambda: Model(tagger, "hand", "3", "f" * 64)) as client:
        answer = tag(client, paragraphs=TEXTS)
        assert client.get("/v1/model").json()["label_set_coverage"] == 0.9
    assert [given["label_set"] for given in answer["paragraphs"]] == [
        list(found.label_set) for found in tagger.tag_article(TEXTS)
    ]
    assert any(len(given["label_set"]) > 1 for given in answer["paragraphs"]), "the test would show nothing otherwise"


def test_an_explanation_is_the_taggers_own(client: TestClient) -> None:
    paragraph = "Envoys met in the lake town on Monday. The neighbours closed a border in the night."
    answer = client.post("/v1/explain", json={"paragraph": paragraph, "before": TEXTS[:1], "after": TEXTS[2:]}).json()
    found = explain(TAGGER, paragraph, TEXTS[:1], TEXTS[2:])
    assert (answer["section_type"], answer["scores"]) == (found.tag.section_type, found.tag.as_dict()["scores"])
    for name, effects in (("sentences", found.sentences), ("words", found.words)):
        assert answer[name] == [
            {"text": e.text, "start": e.start, "end": e.end, "effect": pytest.approx(e.effect, abs=1e-6)}
            for e in effects
        ]
    assert len(answer["sentences"]) == 2
    assert answer["model"]["name"] == "hand"


def test_an_explanation_needs_no_neighbours(client: TestClient) -> None:
    answer = client.post("/v1/explain", json={"paragraph": TEXTS[0]}).json()
    assert answer["section_type"] == TAGGER.tag_texts(TEXTS[:1])[0].section_type


def test_the_card_of_the_model(tmp_path: Path, tiny_graph: Path) -> None:
    about = {
        "taxonomy": {"section_types": [{"name": "other", "description": "Anything else.", "heading_phrases": ["x"]}]},
        "scores": {"macro_f1": 0.81},
        "encoder": "tiny",
        "dataset_digest": "d" * 64,
    }
    result = tiny.build_tagger(tiny_graph)
    bundle.save(result.tagger, tmp_path / "b", encoder_dir=tiny_graph, about=about)
    with client_of(lambda: loading.load(str(tmp_path / "b")), corrections=tmp_path / "c.csv") as client:
        card = client.get("/v1/model").json()
    assert [entry["name"] for entry in card["section_types"]] == list(tiny.SECTION_TYPES)
    assert card["section_types"][-1]["description"] == "Anything else."
    assert card["digest"] == bundle.digest(tmp_path / "b")
    assert (card["threshold"], card["risk"]) == (result.tagger.threshold, result.tagger.risk)
    assert (card["scores"], card["label_set_coverage"]) == ({"macro_f1": 0.81}, 0.9)
    assert (card["encoder"]["name"], card["encoder"]["max_tokens"]) == ("tiny", 64)
    assert card["about"]["dataset_digest"] == "d" * 64
    assert [view["kind"] for view in card["about"]["views"]] == ["paragraph", "sentence", "tfidf"]
    assert card["takes_corrections"] is True
    assert card["limits"]["body_bytes"] == MAX_INPUT_BYTES


def test_a_model_without_a_bundle_has_a_card_too(client: TestClient) -> None:
    card = client.get("/v1/model").json()
    assert (card["scores"], card["label_set_coverage"], card["takes_corrections"]) == (None, None, False)
    assert [entry["description"] for entry in card["section_types"]] == [""] * 3


def test_the_card_has_what_the_project_measured_of_this_very_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    measured = {
        "n_articles": 4,
        "macro_f1": {"value": 0.81, "low": 0.7, "high": 0.9},
        "ece": {"value": 0.1, "low": None, "high": None},
        "risk": {"value": math.nan, "low": 0.1, "high": 0.2},
        "classes": {"other": {"support": 3}},
    }
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    monkeypatch.setenv("CROSSHEAD_ROOT", str(tmp_path))
    kept, other = (model_scores.path(tmp_path, digit * 64) for digit in "fe")
    kept.parent.mkdir(parents=True)
    other.write_bytes(model_scores.content(measured))
    assert client.get("/v1/model").json()["scores"] is None
    other.rename(kept)
    expected = {"n_articles": 4, "macro_f1": measured["macro_f1"], "ece": 0.1}
    assert client.get("/v1/model").json()["scores"] == expected


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff", b"[1]", b"{}", b'{"ece": NaN}', b'{"ece": "0.1"}', b'{"ece": true}', b'{"ece": {"value": 1}}'],
)
def test_scores_that_cannot_be_read_are_none(
    damaged: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    monkeypatch.setenv("CROSSHEAD_ROOT", str(tmp_path))
    kept = model_scores.path(tmp_path, "f" * 64)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(damaged)
    response = client.get("/v1/model")
    assert (response.status_code, response.json()["scores"]) == (200, None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_what_watches_over_servers(path: str, client: TestClient) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_page_is_there_with_its_own_policy(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]


def test_every_other_answer_lets_nothing_be_loaded(client: TestClient) -> None:
    for response in (client.post("/v1/tag", json={"texts": TEXTS}), client.get("/nothing"), client.get("/metrics")):
        assert response.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def test_the_model_is_loaded_once_and_at_the_start() -> None:
    calls: list[int] = []

    def load() -> Model:
        calls.append(1)
        return MODEL

    client = client_of(load)
    assert not calls
    with client:
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
    assert set(document["paths"]["/v1/tag"]["post"]["responses"]) == {
        *("200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503", "504")
    }
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
BAD_ELSEWHERE = [
    ("/v1/explain", {"paragraph": ""}, "paragraph", "at least 1 character"),
    ("/v1/explain", {"paragraph": SECRET * 2000}, "paragraph", f"at most {MAX_EXPLAINED} characters"),
    ("/v1/explain", {"paragraph": SECRET, "before": [3]}, "before.0", "valid string"),
    ("/v1/explain", {"paragraph": SECRET, SECRET: 1}, "", "allowed are paragraph, before, after"),
]


@pytest.mark.parametrize(("path", "body", "where", "message"), BAD_ELSEWHERE)
def test_other_requests_that_cannot_be_used(path: str, body: Any, where: str, message: str, client: TestClient) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 422
    (problem,) = response.json()["error"]["problems"]
    assert problem["where"] == where
    assert message in problem["message"]
    assert SECRET not in response.text


@pytest.mark.parametrize(("body", "where", "message"), BAD, ids=[message[:30] for _, _, message in BAD])
def test_a_request_that_cannot_be_used(body: Any, where: str, message: str, client: TestClient) -> None:
    response = client.post("/v1/tag", json=body)
    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["kind"], error["message"]) == ("invalid", "the request cannot be used")
    (problem,) = error["problems"]
    assert problem["where"] == where
    assert message in problem["message"]
    assert SECRET not in response.text


def test_no_field_is_offered_that_the_path_does_not_take(client: TestClient) -> None:
    response = client.post("/v1/tag", json={"texts": ["a"], SECRET: 1})
    (problem,) = response.json()["error"]["problems"]
    assert problem["message"] == "a field is not known; allowed are text, format, paragraphs, texts"


@pytest.mark.parametrize("path", ["/v1/tag", "/v1/explain", "/v1/corrections"])
@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_is_not_said_to_be_json(kind: str | None, path: str, client: TestClient) -> None:
    """As `curl -d` sends it without a header."""
    content = json.dumps({"texts": [SECRET]}).encode()
    response = client.post(path, content=content, headers={"content-type": kind} if kind else {})
    error = response.json()["error"]
    assert (response.status_code, error["kind"]) == (415, "wrong_type")
    assert "send content-type: application/json" in error["message"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "# Only a heading", "format": "markdown"}, "holds no paragraph"),
        ({"text": " \n "}, "holds no text"),
        ({"text": "a\0b"}, "NUL"),
        ({"paragraphs": [SECRET, "\u200b"]}, "paragraph 1 holds no text"),
        ({"texts": [SECRET] * 99 + ["[](x)"]}, "paragraph 99 holds no text"),
        ({"text": "Snow.\n\n" * (MAX_PARAGRAPHS + 1), "format": "text"}, "has more than 10,000 paragraphs"),
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
    response = client.post("/v1/tag", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["message"]
    assert SECRET not in response.text


def test_an_explanation_of_nothing_names_the_place(client: TestClient) -> None:
    for body, where in (
        ({"paragraph": "\u200b"}, "paragraph"),
        ({"paragraph": SECRET, "before": [SECRET, "\u200b"]}, "before.1"),
        ({"paragraph": SECRET, "after": ["\u200b"]}, "after.0"),
    ):
        response = client.post("/v1/explain", json=body)
        assert response.status_code == 422
        assert response.json()["error"]["message"].startswith(f"{where} holds no text")
        assert SECRET not in response.text


@pytest.mark.parametrize(
    "text",
    [
        "‏הכוחות חצו את הנהר לפני עלות השחר.",
        "تقدمت القوات‮ عبر النهر‬ قبل الفجر.",
        "S​he​ll​s fe﻿ll o­n the river bank.",
        "部队在黎明前渡过了河流。",
        "🛡️" * 40 + " é" * 40,
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
    ],
    ids=["Hebrew", "Arabic, overridden", "zero width", "Chinese", "emoji and combining", "markup"],
)
def test_text_of_any_kind_comes_back_as_it_was(text: str, client: TestClient) -> None:
    answer = tag(client, paragraphs=[text, TEXTS[0]])
    assert [given["text"] for given in answer["paragraphs"]] == [text, TEXTS[0]]
    explained = client.post("/v1/explain", json={"paragraph": text, "after": [TEXTS[0]]}).json()
    assert explained["section_type"] == answer["paragraphs"][0]["section_type"]
    assert all(text[part["start"] : part["end"]] == part["text"] for part in explained["words"])


def test_ten_thousand_paragraphs_are_one_article(client: TestClient) -> None:
    texts = [
        f"Column {i} crossed the river, and the neighbours closed border post {i % 7}." for i in range(MAX_PARAGRAPHS)
    ]
    answer = tag(client, paragraphs=texts)
    expected = TAGGER.tag_article(texts)
    assert [given["section_type"] for given in answer["paragraphs"]] == [found.section_type for found in expected]
    assert [given["confidence"] for given in answer["paragraphs"]] == [round(found.confidence, 6) for found in expected]


def test_too_many_tokens_are_refused() -> None:
    with client_of(max_tokens=100) as client:
        response = client.post("/v1/tag", json={"texts": [SECRET * 20] * 3})
    assert response.status_code == 413
    assert response.json()["error"]["message"].startswith("the texts have about ")
    assert "at most 100 are taken" in response.json()["error"]["message"]


def test_half_of_a_surrogate_pair_is_refused(client: TestClient) -> None:
    response = client.post("/v1/tag", content=b'{"texts": ["\\ud83d"]}', headers=JSON)
    assert response.status_code == 422


def test_a_heap_of_fields_is_one_problem(client: TestClient) -> None:
    for path in ("/v1/tag", "/v1/explain", "/v1/corrections"):
        body = {"texts": [SECRET], **{f"{SECRET}{i}": i for i in range(100_000)}}
        error = client.post(path, json=body, headers={"idempotency-key": "k"}).json()["error"]
        assert [problem["message"] for problem in error["problems"]] == [
            "has more than 100 fields; /openapi.json lists those there are"
        ]
        assert SECRET not in str(error)


def test_text_that_is_made_to_take_long_holds_nobody_up(client: TestClient) -> None:
    """Deep nesting and long runs cost what their length does: `tests/test_text.py` has more of them."""
    for text in ("[" * 39_000 + "a" + "](x)" * 39_000, "a" + "\u0f72\u0f71" * 99_000, "." * 199_000 + "x"):
        assert len(tag(client, texts=[text])["paragraphs"]) == 1
    assert client.post("/v1/explain", json={"paragraph": "A. " * 6_000}).status_code == 200


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
    with client_of(max_body_bytes=1000) as client:
        fits = json.dumps({"texts": ["a" * 900]}).encode()
        assert client.post("/v1/tag", content=fits, headers=JSON).status_code == 200
        large = json.dumps({"texts": [SECRET * 200]}).encode()
        pieces = (large[start : start + 500] for start in range(0, len(large), 500))
        for content in (large, pieces):
            response = client.post("/v1/tag", content=content, headers=JSON)
            assert response.status_code == 413
            assert response.json()["error"]["message"].startswith("the body is larger than 1,000 bytes")
    assert MAX_INPUT_BYTES == 10 * 1024**2


# -- logs and numbers ------------------------------------------------------------------------------------------------


class Faulty(HashingEncoder):
    """Fails at texts that hold a certain word."""

    def __init__(self, error: Exception, word: str) -> None:
        self._error = error
        self._word = word

    def encode(self, texts: Sequence[str]) -> Encoded:
        if any(self._word in text for text in texts):
            raise self._error
        return super().encode(texts)


def faulty(error: Exception, word: str = SECRET) -> Model:
    return Model(replace(make_tagger(), encoder=Faulty(error, word)), "faulty", "1", "0" * 64)


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [{"event": r.getMessage(), **getattr(r, FIELDS, {})} for r in caplog.records if r.name == "crosshead.server"]


def test_the_log_names_routes_and_times_but_no_text(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="crosshead.server"):
        tag(client, text=f"{SECRET} fell on the river bank at dawn.")
        client.post(f"/v1/tag?q={SECRET}", json={"text": SECRET, SECRET: 1})
        client.get(f"/{SECRET}")
        client.get(f"/page/{SECRET}.js")
        client.request(SECRET, "/v1/tag")
    lines = [(line["method"], line["route"], line["status"], line.get("error")) for line in told(caplog)]
    assert lines == [
        ("POST", "/v1/tag", 200, None),
        ("POST", "/v1/tag", 422, "invalid"),
        ("GET", "(no route)", 404, "not_found"),
        ("GET", "/page/{path:path}", 404, "not_found"),
        ("OTHER", "/v1/tag", 405, "wrong_method"),
    ]
    assert all(line["ms"] >= 0 and line["request_id"] for line in told(caplog))
    for formatter in (JsonFormatter(), TextFormatter()):
        assert not any(SECRET.lower() in formatter.format(record).lower() for record in caplog.records)


def test_logs_are_one_object_a_line(caplog: pytest.LogCaptureFixture, client: TestClient) -> None:
    with caplog.at_level(logging.INFO, logger="crosshead.server"):
        client.get("/healthz", headers={"x-request-id": "abc-1.2_3"})
    line = JsonFormatter().format(caplog.records[0])
    assert "\n" not in line
    found = json.loads(line)
    assert found["time"].endswith("Z")
    assert (found["level"], found["event"], found["request_id"]) == ("info", "request", "abc-1.2_3")
    assert "request request_id=abc-1.2_3 method=GET route=/healthz status=200" in TextFormatter().format(
        caplog.records[0]
    )


def test_requests_have_ids(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for odd in ("a b", "x" * 65, "é"):
        given = client.get("/healthz", headers={"x-request-id": odd.encode()}).headers["x-request-id"]
        assert given != odd
        assert len(given) == 16
    assert client.get("/healthz").headers["x-request-id"] != client.get("/healthz").headers["x-request-id"]


def test_a_mistake_in_the_server_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with client_of(lambda: faulty(IndexError(SECRET))) as client:
        response = client.post("/v1/tag", json={"texts": [SECRET]})
        assert client.post("/v1/tag", json={"texts": TEXTS}).status_code == 200, "it goes on"
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "a mistake in the server; its log says where"
    (line,) = [line for line in told(caplog) if line["event"] == "unexpected"]
    assert line["exception"] == "IndexError"
    assert "in encode" in line["frames"]
    shown = [formatter.format(record) for record in caplog.records for formatter in (JsonFormatter(), TextFormatter())]
    assert not any(SECRET in text for text in shown)
    assert any("in encode\n" in text for text in shown), "frames of a traceback stay readable"


def test_an_encoder_that_is_gone_is_a_500_with_its_message() -> None:
    with client_of(lambda: faulty(EncoderError("the graph is gone"))) as client:
        response = client.post("/v1/tag", json={"texts": [SECRET]})
    assert (response.status_code, response.json()["error"]["message"]) == (500, "the graph is gone")


def test_numbers_count_what_was_answered_and_hold_no_text() -> None:
    tagger = replace(TAGGER, threshold=0.9)
    with client_of(lambda: Model(tagger, "hand", "3", "f" * 64)) as client:
        long = "word " * 20
        tag(client, paragraphs=[*TEXTS, long])
        client.post("/v1/tag", json={"texts": [SECRET, 3]})
        client.get(f"/{SECRET}")
        response = client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert SECRET.lower() not in response.text.lower()
    numbers = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    tags = tagger.tag_article([*TEXTS, long])
    for section_type in SECTION_TYPES:
        count = sum(found.section_type == section_type for found in tags)
        assert float(numbers.get(f'crosshead_paragraphs_total{{section_type="{section_type}"}}', 0)) == count
    assert float(numbers["crosshead_abstained_total"]) == sum(found.abstained for found in tags) > 0
    assert float(numbers["crosshead_truncated_total"]) == 1
    assert numbers['crosshead_requests_total{method="POST",route="/v1/tag",status="200"}'] == "1.0"
    assert numbers['crosshead_requests_total{method="GET",route="(no route)",status="404"}'] == "1.0"
    assert numbers['crosshead_errors_total{kind="invalid"}'] == "1.0"
    assert numbers['crosshead_model_info{digest="ffffffffffffffff",name="hand",version="3"}'] == "1.0"
    assert float(numbers["crosshead_batch_paragraphs_sum"]) == 4
    assert numbers["crosshead_queue_requests"] == "0.0"


def test_a_model_that_gives_no_probabilities_is_not_served() -> None:
    broken = replace(make_tagger(), temperature=math.nan)
    with (
        pytest.raises(BundleError, match="gives no probabilities for a plain sentence"),
        client_of(lambda: Model(broken, "nan", "1", "")),
    ):
        pass


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSHEAD_API_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_process")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_other_machines_are_not_served_without_keys(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", host]) == Exit.USAGE
    assert "without API keys only this machine is served: give --api-keys FILE" in capsys.readouterr().err


@pytest.mark.usefixtures("_process")
def test_a_port_that_is_taken_is_told(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--model", str(tiny_bundle)]) == Exit.USAGE
    assert f"port {port} of 127.0.0.1 cannot be used (" in capsys.readouterr().err


@pytest.mark.usefixtures("_process")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_a_model_it_does_not_start(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--model", "nowhere", "--workers", workers]) == Exit.MODEL
    assert "the saved tagger 'nowhere' is not there" in capsys.readouterr().err


@pytest.mark.usefixtures("_process")
def test_without_fastapi_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fastapi" else found(name))
    assert main(["serve"]) == Exit.MISSING_EXTRA
    assert "pip install 'crosshead[serve]'" in capsys.readouterr().err


def test_serving_asks_no_network(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block_network(monkeypatch)
    with client_of(lambda: loading.load(str(tiny_bundle))) as client:
        assert len(tag(client, text=ARTICLE)["paragraphs"]) == 3


def test_section_types_are_those_of_the_tagger(client: TestClient) -> None:
    assert tuple(tag(client, texts=["Snow."])["paragraphs"][0]["scores"]) == SECTION_TYPES

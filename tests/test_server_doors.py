"""Who is let in: keys, the names and pages that a server without keys answers to, and the rate of each key."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from crosshead.errors import ConfigError
from crosshead.server import keys as keys_module
from crosshead.server.keys import Keys, RateLimit, read_keys
from crosshead.server.logs import FIELDS
from crosshead.server.settings import ServerSettings
from server_parts import TEXTS, client_of

KEY, OTHER = "kq3Jd0aX9vLw2mZt", "Zt8uWm4Rb1Ns6Yc0Qe"
BODY = {"texts": TEXTS}

# -- keys ------------------------------------------------------------------------------------------------------------


def test_keys_come_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\narchive:{OTHER}  # nightly\n\n", encoding="utf-8")
    keys = read_keys(file, {"CROSSHEAD_API_KEYS": f"{KEY}, page:{KEY}x\n"})
    assert keys is not None
    assert [*keys.digests][1:] == ["page", "archive"]
    assert keys.name_of(OTHER) == "archive"
    assert keys.name_of(f"{KEY}x") == "page"
    assert str(keys.name_of(KEY)).startswith("key-")
    assert keys.name_of("") is keys.name_of(KEY[:-1]) is keys.name_of(f"{KEY}y") is None
    assert KEY not in repr(keys), "the keys themselves are not kept"
    assert read_keys(None, {}) is None
    assert read_keys(None, {"CROSSHEAD_API_KEYS": " ,\n"}) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the key file keys holds no key; write one a line; make one with: python"),
        ("# none\n", "holds no key"),
        ("short", "has a key of 5 characters; a key has 16 to 256 visible ASCII"),
        ("me:short", r"has a key \(me\) of 5 characters"),
        ("clé:" + KEY, "has a key whose name is none"),
        ("é" * 20, "has a key of 20 characters"),
        (f"a:{KEY}\na:{OTHER}", "gives the key 'a' twice"),
        (f"a:{KEY}\nb:{KEY}", "gives the key 'b' twice"),
        (b"\xff\xfe", "cannot be read: it is not UTF-8; correct --api-keys"),
    ],
)
def test_a_key_file_that_cannot_be_used(content: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message) as error:
        read_keys(file, {})
    assert KEY not in str(error.value)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_keys(tmp_path / "gone", {})


def test_every_key_is_compared_whole_and_always(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return left == right

    keys = Keys({"a": _digest(KEY), "b": _digest(OTHER)})
    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    for told in ("", KEY, OTHER, KEY * 9):
        compared.clear()
        keys.name_of(told)
        assert compared == [(32, 32)] * 2


def _digest(key: str) -> bytes:
    return keys_module.hashlib.sha256(key.encode()).digest()


def test_settings_go_to_workers_without_their_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSHEAD_API_KEYS", f"env:{KEY}")
    file = tmp_path / "keys"
    file.write_text(f"file:{OTHER}", encoding="utf-8")
    told = ServerSettings(keys=read_keys(file), keys_file=file, corrections=tmp_path / "c.csv", timeout_s=7.5)
    text = told.dumps()
    assert KEY not in text
    assert OTHER not in text
    assert ServerSettings.loads(text) == told
    monkeypatch.delenv("CROSSHEAD_API_KEYS")
    assert ServerSettings.loads(ServerSettings().dumps()) == ServerSettings()


# -- the doors ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys() -> Keys:
    return Keys({"page": _digest(KEY), "archive": _digest(OTHER)})


def test_with_keys_nothing_is_answered_without_one(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    with client_of(keys=keys) as client, caplog.at_level(logging.INFO, logger="crosshead.server"):
        for path in ("/v1/tag", "/v1/tag/stream", "/v1/explain", "/v1/corrections", "/v1/reload", "/invocations"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": KEY[:-1]}, {"authorization": KEY}):
                response = client.post(path, json=BODY, headers=headers)
                assert (response.status_code, response.json()["error"]["kind"]) == (401, "no_key")
                assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/model").status_code == client.get("/metrics").status_code == 401
        for path in ("/", "/page/app.js", "/healthz", "/readyz", "/ping", "/health", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        caplog.clear()
        for headers in ({"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"x-api-key": OTHER}):
            assert client.post("/v1/tag", json=BODY, headers=headers).status_code == 200
    told = [getattr(record, FIELDS) for record in caplog.records]
    assert [line["key"] for line in told if line.get("route") == "/v1/tag"] == ["page", "page", "archive"]
    assert KEY not in caplog.text


def test_with_keys_any_name_and_page_will_do(keys: Keys) -> None:
    with client_of(keys=keys) as client:
        headers = {"x-api-key": KEY, "host": "tags.example.org", "origin": "https://news.example.org"}
        assert client.post("/v1/tag", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost"}, 200),
        ({"host": "LOCALHOST:8000"}, 200),
        ({"host": "127.0.0.1:9"}, 200),
        ({"host": "[::1]:9"}, 200),
        ({"host": "tagger.internal"}, 200),
        ({"host": "evil.example:8000"}, 403),  # DNS rebinding: a name of theirs that leads to this machine
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "127.0.0.1@evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_without_keys_only_programs_and_the_page_of_this_machine_are_served(
    headers: dict[str, str], status: int
) -> None:
    with client_of(hosts=("localhost", "127.0.0.1", "::1", "tagger.internal")) as client:
        response = client.post("/v1/tag", json=BODY, headers=headers)
        assert response.status_code == status
        if status == 403:
            assert response.json()["error"]["kind"] == "forbidden"
        by_name = status == 200 or "host" not in headers
        assert client.get("/healthz", headers=headers).status_code == (200 if by_name else 403), "reading harms nobody"


def test_forms_of_other_pages_cannot_send_json(keys: Keys) -> None:
    """A browser sends text/plain to anybody without asking; such a body is not read as JSON."""
    with client_of() as client:
        response = client.post("/v1/tag", content=b'{"texts": ["a"]}', headers={"content-type": "text/plain"})
    assert response.status_code == 415


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_key_may_ask_for_ten_seconds_worth_at_once_and_then_at_its_rate() -> None:
    now = [0.0]
    limit = RateLimit(2.0, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(20)] == [0.0] * 20
    assert limit.take("a") == 0.5
    assert limit.take("b") == 0.0, "each key has a bucket of its own"
    now[0] = 0.25
    assert limit.take("a") == 0.25
    now[0] = 0.5
    assert limit.take("a") == 0.0
    assert limit.take("a") == 0.5
    now[0] = 1000.0
    assert [limit.take("a") for _ in range(20)] == [0.0] * 20
    assert limit.take("a") > 0, "it never holds more than it can"


def test_a_slow_rate_still_lets_one_in() -> None:
    now = [0.0]
    limit = RateLimit(0.01, clock=lambda: now[0])
    assert limit.take("a") == 0.0
    assert limit.take("a") == pytest.approx(100.0)


def test_without_a_rate_there_is_none() -> None:
    assert [RateLimit(None).take("a") for _ in range(10_000)] == [0.0] * 10_000


def test_a_key_above_its_rate_is_told_when_to_come_again(keys: Keys) -> None:
    with client_of(keys=keys, requests_per_s=0.1) as client:
        statuses = [client.post("/v1/tag", json=BODY, headers={"x-api-key": KEY}).status_code for _ in range(2)]
        refused = client.post("/v1/tag", json=BODY, headers={"x-api-key": KEY})
        other = client.post("/v1/tag", json=BODY, headers={"x-api-key": OTHER})
        health = client.get("/healthz", headers={"x-api-key": KEY})
    assert statuses == [200, 429]
    assert refused.json()["error"]["kind"] == "rate"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert (other.status_code, health.status_code) == (200, 200)

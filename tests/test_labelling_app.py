"""The label page's server: what it tells, what it writes, whom it answers, and that nothing acknowledged is lost."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from crosshead.errors import DataError
from crosshead.labelling import durable
from crosshead.labelling.app import HEADERS, MAX_BODY_BYTES, create_app
from crosshead.labelling.durable import lock_path
from crosshead.labelling.log import Marks, read_events
from crosshead.labelling.session import LONGEST_PAUSE_S, Session, pace
from labelling_parts import NAMES, queue, session

LOCAL = "http://127.0.0.1:8321"
COUNTER = itertools.count()


def client_of(given: Session) -> TestClient:
    return TestClient(create_app(given), base_url=LOCAL)


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return client_of(session(tmp_path))


def act(client: TestClient, event: str, index: int = 0, **fields: Any) -> Any:
    item = queue()[index]
    body = {
        "key": f"key-{next(COUNTER):06}",
        "event": event,
        "article_id": item.article_id,
        "paragraph": item.paragraph,
        "text_sha256": item.text_sha256,
        **fields,
    }
    return client.post("/api/events", json=body)


def label(client: TestClient, index: int, name: str, **fields: Any) -> dict[str, Any]:
    response = act(client, "label", index, section_type=name, **fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


# -- a sitting ---------------------------------------------------------------------------------------------------------


def test_a_label_is_in_the_log_when_it_is_acknowledged(tmp_path: Path, client: TestClient) -> None:
    assert label(client, 1, "talks") == {"index": 1, "mark": 1, "note": "", "pace": None}
    (found,) = Marks(read_events(tmp_path / "anna.jsonl")).annotations()
    assert (found.article_id, found.paragraph, found.section_type, found.annotator) == ("ford", 1, "talks", "anna")
    assert found.extra["source"] == "label_page"


def test_work_goes_on_where_it_was(tmp_path: Path, client: TestClient) -> None:
    label(client, 4, "rest")
    label(client, 0, "war_front")
    act(client, "skip", 2)
    act(client, "note", 3, note="  two\nlines ")
    for again in (client, client_of(session(tmp_path))):
        told = again.get("/api/session").json()
        assert told["marks"] == [0, -1, -2, -1, 2, -1, -1]
        assert told["history"] == [4, 0, 2]
        assert [item["note"] for item in again.get("/api/items?start=2&n=2").json()] == ["", "two lines"]


def test_undo_brings_back_what_was_before(client: TestClient) -> None:
    label(client, 0, "talks")
    label(client, 0, "rest")
    assert act(client, "undo", 0).json()["mark"] == 1
    assert act(client, "undo", 0).json()["mark"] == -1
    assert act(client, "undo", 0).json()["mark"] == -1, "what is taken back already stays so"


def test_an_event_that_is_sent_again_changes_nothing(tmp_path: Path, client: TestClient) -> None:
    for _ in range(3):
        assert label(client, 0, "talks", key="the-same-key")["mark"] == 1
    label(client, 0, "rest")
    for _ in range(3):
        assert act(client, "undo", 0, key="another-key").json()["mark"] == 1
    assert len(list(read_events(tmp_path / "anna.jsonl"))) == 3


def test_the_session_names_everything_the_page_needs(client: TestClient) -> None:
    told = client.get("/api/session").json()
    assert (told["annotator"], told["mode"], told["suggestions"]) == ("anna", "label", False)
    assert [definition["name"] for definition in told["section_types"]] == list(NAMES)
    (first, *_) = client.get("/api/items?start=0&n=100").json()
    assert first == {
        "index": 0,
        "article_id": "ford",
        "paragraph": 0,
        "text_sha256": queue()[0].text_sha256,
        "title": "The ford",
        "headings": [],
        "begins_section": False,
        "before": [],
        "text": "Guns fired at the ford.",
        "after": ["Envoys met by the lake.", "It rained on the hay."],
        "note": "",
    }
    assert client.get("/api/items?start=9&n=5").json() == []


def test_a_label_of_a_section_type_that_is_gone_is_asked_again(tmp_path: Path, client: TestClient) -> None:
    label(client, 0, "talks")
    from crosshead.labelling.log import LabelLog
    from crosshead.taxonomy import SectionType

    other = Session(queue(), LabelLog(tmp_path / "anna.jsonl", "anna"), [SectionType("cost"), SectionType("care")])
    assert other.overview()["marks"][0] == -1


def test_a_sitting_needs_a_paragraph(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no paragraph to read"):
        Session([], session(tmp_path)._log, [])


# -- what must not be seen ---------------------------------------------------------------------------------------------


def everything_told(client: TestClient) -> str:
    paths = ["/api/session", "/api/items?start=0&n=100", "/", "/label.js"]
    return "".join(client.get(path).text for path in [*paths, *(f"/api/suggestions/{i}" for i in range(7))])


def test_suggestions_come_only_when_they_are_asked_for(tmp_path: Path) -> None:
    client = client_of(session(tmp_path, items=queue(suggestions=True)))
    assert client.get("/api/session").json()["suggestions"] is True
    assert "confidence" not in client.get("/api/items?start=0&n=100").text
    assert client.get("/api/suggestions/0").json()["suggestion"]["confidence"] == 0.7
    assert client.get("/api/suggestions/99").json() == {"suggestion": None}
    label(client, 0, "talks", suggestion_shown=True)
    label(client, 1, "talks", suggestion_shown=False)
    sources = [found.extra["source"] for found in Marks(read_events(tmp_path / "anna.jsonl")).annotations()]
    assert sources == ["label_page_suggestion", "label_page"]


@pytest.mark.parametrize("mode", ["second", "label"])
def test_nobody_sees_what_another_said(tmp_path: Path, mode: str) -> None:
    items = [
        type(item)(
            **{f: getattr(item, f) for f in item.__slots__} | {"votes": {"zoë": "rest"}, "notes": {"zoë": "Hm."}}
        )
        for item in queue(suggestions=True)
    ]
    first = client_of(session(tmp_path, "zoë"))
    label(first, 0, "rest")
    act(first, "note", 0, note="Hm.")
    client = client_of(session(tmp_path, "ben", items=items, mode=mode))
    told = client.get("/api/session").json()
    assert told["marks"] == [-1] * 7
    assert told["history"] == []
    assert "zoë" not in everything_told(client)
    assert "Hm." not in everything_told(client)
    assert told["suggestions"] is (mode == "label")
    suggestion = client.get("/api/suggestions/0").json()["suggestion"]
    assert (suggestion is None) is (mode == "second")


def test_adjudication_shows_the_votes_and_says_what_it_is(tmp_path: Path) -> None:
    items = [
        type(item)(**{f: getattr(item, f) for f in item.__slots__} | {"votes": {"a": "rest"}, "notes": {"a": "Hm."}})
        for item in queue(suggestions=True)
    ]
    client = client_of(session(tmp_path, "ben", items=items, mode="adjudicate"))
    (first, *_) = client.get("/api/items?start=0&n=1").json()
    assert first["votes"] == [{"annotator": "a", "section_type": "rest", "note": "Hm."}]
    assert client.get("/api/session").json()["suggestions"] is False
    label(client, 0, "talks", suggestion_shown=True)
    (found,) = Marks(read_events(tmp_path / "ben.jsonl")).annotations()
    assert found.extra["source"] == "adjudication"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "fields", "status", "message"),
    [
        ("label", {"section_type": "nonsense"}, 409, "the section type is 'nonsense'; allowed are war_front, talks"),
        ("label", {"section_type": "talks", "text_sha256": "0" * 16}, 409, "this paragraph is not in the queue"),
        ("label", {"section_type": "talks", "key": "short"}, 422, r"the request cannot be used \(key\)"),
        ("shout", {}, 422, r"\(event\)"),
        ("note", {"note": "x" * 2001}, 422, r"\(note\)"),
        ("skip", {"mood": "glad"}, 422, r"\(mood\)"),
    ],
)
def test_what_is_no_event_is_refused(
    client: TestClient, tmp_path: Path, event: str, fields: dict[str, Any], status: int, message: str
) -> None:
    response = act(client, event, **fields)
    assert response.status_code == status
    assert re.search(message, response.json()["error"])
    assert not (tmp_path / "anna.jsonl").exists()


def test_a_disk_that_does_not_take_it_is_a_reason_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(durable, "LOCK_SECONDS", 0.05)
    client = client_of(session(tmp_path))
    with FileLock(lock_path(tmp_path / "anna.jsonl")):
        assert act(client, "label", section_type="talks").status_code == 507
    assert act(client, "label", section_type="talks").status_code == 200


def test_only_this_machines_own_page_is_answered(tmp_path: Path, client: TestClient) -> None:
    body = json.dumps({"key": "key-000000"})
    for headers, status in (
        ({"host": "evil.example:8321"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 415),
    ):
        given = {"content-type": "application/json", **headers}
        response = client.post("/api/events", content=body, headers=given)
        assert response.status_code == status, headers
        assert response.json()["error"]
    for host in ("localhost:8321", "[::1]:8321", "127.0.0.1"):
        assert client.get("/api/session", headers={"host": host, "origin": f"http://{host}"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert not (tmp_path / "anna.jsonl").exists()


def test_large_bodies_are_refused_unread(client: TestClient) -> None:
    response = client.post(
        "/api/events", content=b" " * (MAX_BODY_BYTES + 1), headers={"content-type": "application/json"}
    )
    assert response.status_code == 413

    def endless() -> Iterator[bytes]:
        yield b"{"

    response = client.post("/api/events", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413, "a body of unknown length is not read"


def test_every_answer_carries_the_pages_rules(client: TestClient) -> None:
    for path in ("/", "/label.css", "/label.js", "/view.js", "/outbox.js", "/icon.svg", "/api/session", "/nothing.js"):
        response = client.get(path)
        assert response.status_code == (404 if "nothing" in path else 200)
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for path in ("/docs", "/openapi.json", "/../app.py", "/page/label.js"):
        assert client.get(path).status_code == 404


def test_the_page_loads_nothing_from_elsewhere() -> None:
    folder = Path(durable.__file__).parent / "page"
    files = [path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")]
    assert len(files) == 6
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text), path.name
    page = (folder / "label.html").read_text(encoding="utf-8")
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)| on[a-z]+=", page)


# -- pace --------------------------------------------------------------------------------------------------------------


def times(*seconds: float) -> list[str]:
    from datetime import UTC, datetime, timedelta

    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [(start + timedelta(seconds=s)).isoformat() for s in seconds]


def test_pace_is_labels_an_hour_without_pauses() -> None:
    assert pace(times(0, 12, 24, 36)) == pytest.approx(300)
    assert pace(times(0, 12, 24, 24 + LONGEST_PAUSE_S + 1, 36 + LONGEST_PAUSE_S + 1)) == pytest.approx(300)
    assert pace(times(0, 12, 24)) is None
    assert pace([]) is None
    assert pace(times(0, 12, -3600, -3588, -3576, -3564)) == pytest.approx(300), "a clock that was put back"


# -- kills -------------------------------------------------------------------------------------------------------------

SERVE = """
import sys
from pathlib import Path
import uvicorn
sys.path.insert(0, sys.argv[1])
from crosshead.labelling.app import create_app
from labelling_parts import session
app = create_app(session(Path(sys.argv[2])))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="critical", lifespan="off")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def post(url: str, body: dict[str, Any]) -> bool:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("run", range(4))
def test_no_acknowledged_label_is_lost_when_the_server_is_killed(tmp_path: Path, run: int) -> None:
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(Path(__file__).parent), str(tmp_path), str(port)]
    process = subprocess.Popen(command)
    acknowledged: list[str] = []
    stop = threading.Event()

    def press(window: int) -> None:
        for i in itertools.count():
            item = queue()[i % 7]
            body = {"article_id": item.article_id, "paragraph": item.paragraph, "text_sha256": item.text_sha256}
            key = f"window{window}-{i}"
            if post(
                f"http://127.0.0.1:{port}/api/events", {"key": key, "event": "label", "section_type": "talks", **body}
            ):
                acknowledged.append(key)
            else:
                time.sleep(0.02)  # it has not begun, or is dead
            if stop.is_set():
                return

    windows = [threading.Thread(target=press, args=(window,)) for window in range(2)]
    for window in windows:
        window.start()
    try:
        while len(acknowledged) < 10 + run:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stop.set()
        for window in windows:
            window.join()
    written = [found.key for found in read_events(tmp_path / "anna.jsonl")]
    assert set(acknowledged) <= set(written)
    assert len(written) == len(set(written))
    again = client_of(session(tmp_path))
    assert label(again, 0, "rest")["mark"] == 2

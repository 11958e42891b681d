"""The label page in a real browser: by keyboard alone, on a phone, dark and light, through reloads and dead servers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from crosshead.articles import Article
from crosshead.labelling.app import create_app
from crosshead.labelling.codebook import describe
from crosshead.labelling.log import Marks, read_events
from crosshead.labelling.queue import QueueItem, Suggestion, article_items
from crosshead.labelling.session import Session
from crosshead.text import text_digest
from labelling_parts import NAMES, TYPES, queue, session

if TYPE_CHECKING:
    from conftest import Serious, Serve, Visit

PHONE = {"width": 360, "height": 740, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
NO_SERVER = ("Failed to load resource",)


def sitting(folder: Path, annotator: str = "anna", **options: Any) -> Session:
    return session(folder, annotator, codebook=describe(TYPES), **options)


@pytest.fixture
def begin(tmp_path: Path, serve: Serve, visit: Visit) -> Callable[..., Any]:
    """Open the page of a sitting and wait until it is ready; ``window`` goes to `visit`, the rest to the session."""

    def opened(annotator: str = "anna", *, window: dict[str, Any] | None = None, url: str = "", **options: Any) -> Any:
        page = visit(url or serve(create_app(sitting(tmp_path, annotator, **options))), **(window or {}))
        page.wait_for_selector("body[data-ready]")
        return page

    return opened


class Server:
    """An application on a port of this machine, that can be stopped in the middle of a test."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the application did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._listener.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Start servers that the test may stop; stop the others at its end."""
    running: list[Server] = []

    def started(app: Any, port: int = 0) -> Server:
        running.append(Server(app, port))
        return running[-1]

    yield started
    for server in running:
        server.stop()


def press(page: Any, keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def wait_until_saved(page: Any) -> None:
    page.wait_for_selector("#saving[data-state=saved]")


def labels(folder: Path, annotator: str = "anna") -> list[tuple[str, int, str]]:
    found = Marks(read_events(folder / f"{annotator}.jsonl")).annotations()
    return sorted((a.article_id, a.paragraph, a.section_type) for a in found)


def at(page: Any) -> str:
    return str(page.text_content("#number"))


def text(page: Any) -> str:
    return str(page.text_content("#paragraph"))


# -- keys --------------------------------------------------------------------------------------------------------------


def test_wrapped_lines_flow_and_hard_breaks_stay(begin: Callable[..., Any]) -> None:
    texts = ["Guns fired\nat the ford.", "The river sings,  \nthe guns\nreply."]
    article = Article.from_texts(texts, article_id="ford")
    page = begin(items=list(article_items(article)))
    assert page.inner_text("#paragraph") == "Guns fired at the ford."
    assert page.inner_text("#after") == "The river sings,\nthe guns reply."
    press(page, "1")
    assert page.inner_text("#paragraph") == "The river sings,\nthe guns reply."
    assert page.inner_text("#before") == "Guns fired at the ford."


def test_a_whole_queue_by_keyboard_alone(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin()
    assert (at(page), text(page)) == ("1 / 7", "Guns fired at the ford.")
    assert page.text_content("#before") == "The ford", "an article begins with its title"
    press(page, "12")
    assert text(page) == "It rained on the hay."
    assert page.text_content("#headings") == "Talks › Weather"
    assert page.text_content("#title") == "The ford › Talks › Weather"
    assert "Envoys met by the lake." in page.text_content("#before")
    assert page.is_visible("#headings")
    press(page, ["ArrowLeft", "ArrowLeft"])  # type: ignore[arg-type]
    assert page.is_hidden("#headings")
    press(page, ["ArrowRight", "ArrowRight"])  # type: ignore[arg-type]
    press(page, "3s")
    assert at(page) == "5 / 7"
    press(page, "uu")
    assert at(page) == "3 / 7", "undo goes back to what it took back"
    press(page, "s122")
    press(page, "3")
    assert page.text_content("#finish-title") == "All read"
    assert str(page.text_content("#finish-command")).startswith("crosshead data import ")
    assert page.text_content("#finish-told") == "6 labelled, 1 skipped."
    page.get_by_role("button", name="Look at the skipped ones").focus()
    press(page, ["Enter"])  # type: ignore[arg-type]
    assert text(page) == "It rained on the hay."
    press(page, "3")
    assert page.text_content("#finish-told") == "7 labelled."
    assert page.is_hidden("#again")
    wait_until_saved(page)
    assert labels(tmp_path) == [
        ("bridge", 0, "war_front"), ("bridge", 1, "talks"), ("draft", 0, "talks"), ("draft", 1, "rest"),
        ("ford", 0, "war_front"), ("ford", 1, "talks"), ("ford", 2, "rest"),
    ]  # fmt: skip


def test_looking_back_and_labelling_anew(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin()
    press(page, "12")
    press(page, ["ArrowLeft"])  # type: ignore[arg-type]
    assert at(page) == "2 / 7"
    assert page.get_by_role("button", name="Talks").get_attribute("aria-pressed") == "true"
    press(page, "3")
    assert at(page) == "3 / 7"
    press(page, "u")
    wait_until_saved(page)
    page.wait_for_function("document.querySelector('[data-type=\"1\"]').getAttribute('aria-pressed') === 'true'")
    assert labels(tmp_path) == [("ford", 0, "war_front"), ("ford", 1, "talks")], "the earlier label holds again"


def test_a_note_is_kept_with_its_label(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin()
    press(page, "n")
    page.keyboard.type("1 u s: keys are letters here")
    press(page, ["Enter"])  # type: ignore[arg-type]
    press(page, "2n")
    page.keyboard.type("not this one")
    press(page, ["Escape"])  # type: ignore[arg-type]
    press(page, "1")
    wait_until_saved(page)
    found = Marks(read_events(tmp_path / "anna.jsonl")).annotations()
    assert [(a.section_type, a.extra["note"]) for a in found] == [
        ("talks", "1 u s: keys are letters here"),
        ("war_front", ""),
    ]


def test_keys_that_must_not_label(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin()
    page.keyboard.press("Control+1")
    page.keyboard.press("Alt+2")
    press(page, "4 9 0 x")
    assert at(page) == "1 / 7"
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true, bubbles: true}))")
    assert at(page) == "1 / 7", "a key that is held down labels once"
    press(page, "?1")
    assert at(page) == "1 / 7", "the list of keys is open"
    page.get_by_label("Keys without Ctrl or Alt are on").uncheck()
    page.get_by_role("button", name="Close", exact=True).click()
    press(page, "1")
    assert at(page) == "1 / 7", "keys are off"
    page.get_by_role("button", name="Talks").focus()
    page.keyboard.press("Enter")
    assert at(page) == "2 / 7"
    wait_until_saved(page)
    assert labels(tmp_path) == [("ford", 0, "talks")]
    page.reload()
    page.wait_for_selector("body[data-ready]")
    press(page, "1")
    assert at(page) == "2 / 7", "keys stay off"


def test_keyboards_that_give_digits_with_shift_only(begin: Callable[..., Any]) -> None:
    page = begin()
    event = "new KeyboardEvent('keydown', {key: '&', code: 'Digit1', bubbles: true})"
    page.evaluate(f"document.body.dispatchEvent({event})")
    assert at(page) == "2 / 7"


def test_tab_reaches_everything_and_the_focus_is_seen(begin: Callable[..., Any]) -> None:
    page = begin()
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().replace(/\\s+/g, ' ').slice(0, 14)"))
    types = ["1War front", "2Talks", "3Rest"]
    assert [name for name in reached if name in types][:3] == types
    for name in ("←Back", "UUndo", "SSkip", "NNote", "CCodebook", "?Keys"):
        assert name in reached
    page.get_by_role("button", name="Rest").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


# -- nothing is lost ---------------------------------------------------------------------------------------------------


def test_a_reload_in_mid_work_goes_on_where_it_was(begin: Callable[..., Any], tmp_path: Path, serve: Serve) -> None:
    page = begin()
    press(page, "1s2")
    wait_until_saved(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert at(page) == "4 / 7"
    assert page.text_content("#done") == "3"
    press(page, "u")
    assert at(page) == "3 / 7", "undo remembers what was done before"
    later = begin(url=serve(create_app(sitting(tmp_path))))
    wait_until_saved(page)
    assert at(later) == "3 / 7"


def test_the_page_goes_on_without_a_server_and_loses_nothing(
    begin: Callable[..., Any], tmp_path: Path, start: Callable[..., Server]
) -> None:
    server = start(create_app(sitting(tmp_path)))
    page = begin(url=server.url, window={"expected": NO_SERVER})
    press(page, "1")
    wait_until_saved(page)
    server.stop()
    press(page, "23s")
    page.wait_for_selector("#saving[data-state=failing]")
    assert page.text_content("#saving") == "3 not saved"
    assert "Nothing is lost" in page.text_content("#trouble")
    assert at(page) == "5 / 7", "work goes on"
    assert labels(tmp_path) == [("ford", 0, "war_front")]
    start(create_app(sitting(tmp_path)), server.port)
    wait_until_saved(page)
    assert page.is_hidden("#trouble")
    assert labels(tmp_path) == [("ford", 0, "war_front"), ("ford", 1, "talks"), ("ford", 2, "rest")]
    assert [event.kind for event in read_events(tmp_path / "anna.jsonl")] == ["label", "label", "label", "skip"]


def test_what_was_not_sent_survives_a_reload(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin(window={"expected": NO_SERVER})
    page.route("**/api/events", lambda route: route.abort())
    press(page, "12")
    page.wait_for_selector("#saving[data-state=failing]")
    page.unroute("**/api/events")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.wait_for_selector("body[data-ready]")
    wait_until_saved(page)
    assert labels(tmp_path) == [("ford", 0, "war_front"), ("ford", 1, "talks")]
    assert at(page) == "3 / 7"


def test_an_answer_that_got_lost_writes_nothing_twice(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin(window={"expected": NO_SERVER})
    lost: list[int] = []

    def lose_the_first_answer(route: Any) -> None:
        route.fetch()
        if lost:
            route.continue_()
        else:
            lost.append(1)
            route.abort()

    page.route("**/api/events", lose_the_first_answer)
    press(page, "1")
    page.wait_for_selector("#saving[data-state=failing]")
    wait_until_saved(page)
    assert len(list(read_events(tmp_path / "anna.jsonl"))) == 1


def test_the_next_paragraph_does_not_wait_for_the_disk(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin()
    held = threading.Event()
    waiting: list[Any] = []
    page.route("**/api/events", lambda route: route.continue_() if held.is_set() else waiting.append(route))
    press(page, "1213")
    assert at(page) == "5 / 7"
    assert page.get_attribute("#saving", "data-state") == "saving", "it is not called saved before it is"
    assert not (tmp_path / "anna.jsonl").exists()
    held.set()
    for route in waiting:
        route.continue_()
    wait_until_saved(page)
    assert len(labels(tmp_path)) == 4


def test_what_the_server_will_never_take_is_said(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin(window={"expected": NO_SERVER})
    page.route(
        "**/api/events",
        lambda route: route.fulfill(status=409, content_type="application/json", body='{"error": "no such thing"}'),
    )
    press(page, "1")
    page.wait_for_selector("#saving[data-state=lost]")
    assert "A label was not taken: no such thing" in page.text_content("#trouble")


# -- two at once -------------------------------------------------------------------------------------------------------


def test_two_annotators_at_once_in_two_windows(begin: Callable[..., Any], tmp_path: Path) -> None:
    anna, ben = begin("anna"), begin("ben", mode="second")
    for a, b in zip("1123123"[:7], "3321321"[:7], strict=True):
        press(anna, a)
        press(ben, b)
    for page in (anna, ben):
        wait_until_saved(page)
    order = [(item.article_id, item.paragraph) for item in queue()]
    for annotator, keys in (("anna", "1123123"), ("ben", "3321321")):
        expected = [(*place, NAMES[int(key) - 1]) for place, key in zip(order, keys, strict=True)]
        assert labels(tmp_path, annotator) == sorted(expected)


def test_one_annotator_in_two_windows(begin: Callable[..., Any], tmp_path: Path, serve: Serve) -> None:
    url = serve(create_app(sitting(tmp_path)))
    left, right = begin(url=url), begin(url=url)
    press(left, "1")
    press(right, "23")
    press(left, "1")
    for page in (left, right):
        wait_until_saved(page)
    left.reload()
    left.wait_for_selector("body[data-ready]")
    assert len(labels(tmp_path)) == 2
    assert left.text_content("#done") == "2"


def test_a_second_reader_sees_nothing_of_the_first(begin: Callable[..., Any], tmp_path: Path) -> None:
    items = [QueueItem(**{f: getattr(i, f) for f in i.__slots__} | {"votes": {"zoë": "rest"}}) for i in queue()]
    zoe = begin("zoë", items=items)
    press(zoe, "3n")
    zoe.keyboard.type("hay is no front")
    press(zoe, ["Enter", "3"])  # type: ignore[arg-type]
    wait_until_saved(zoe)
    page = begin("ben", items=items, mode="second")
    bodies: list[str] = []
    page.on("response", lambda response: bodies.append(response.text()) if "/api/" in response.url else None)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    seen = page.content() + "".join(bodies)
    assert "second reading" in page.text_content(".top")
    assert "zoë" not in seen
    assert "hay is no front" not in seen
    assert page.text_content("#done") == "0"
    assert page.is_hidden("[data-do=suggest]")
    press(page, "h")
    assert page.is_hidden("#suggestion")


# -- suggestions and adjudication --------------------------------------------------------------------------------------


def test_suggestions_are_hidden_until_they_are_asked_for(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin(items=queue(suggestions=True))
    assert page.is_hidden("#suggestion")
    assert page.locator(".hinted").count() == 0
    press(page, "1h")
    page.wait_for_selector("#suggestion:not([hidden])")
    assert page.text_content("#suggestion") == "The tagger says Talks, 70 %"
    assert page.locator(".hinted").inner_text() == "2\nTalks"
    press(page, "2")
    page.wait_for_selector("#suggestion:not([hidden])")
    press(page, "h")
    page.wait_for_selector("#suggestion", state="hidden")
    press(page, "13")
    wait_until_saved(page)
    found = Marks(read_events(tmp_path / "anna.jsonl")).annotations()
    sources = [a.extra["source"] for a in found]
    assert sources == ["label_page", "label_page_suggestion", "label_page_suggestion", "label_page"]


def test_adjudication_shows_every_vote_and_note(begin: Callable[..., Any], tmp_path: Path, serious: Serious) -> None:
    told = {"votes": {"anna": "war_front", "ben": "talks"}, "notes": {"ben": "the <b>second</b> half"}}
    items = [QueueItem(**{f: getattr(i, f) for f in i.__slots__} | told) for i in queue()[:2]]
    page = begin("clara", items=items, mode="adjudicate")
    votes = [row.split("\n") for row in page.locator("#votes p").all_inner_texts()]
    assert votes == [["anna", "War front"], ["ben", "Talks", "“the <b>second</b> half”"]]
    assert "adjudication" in page.text_content(".top")
    assert serious(page) == []
    press(page, "2")
    wait_until_saved(page)
    (found,) = Marks(read_events(tmp_path / "clara.jsonl")).annotations()
    assert found.extra["source"] == "adjudication"


# -- how it looks and sounds -------------------------------------------------------------------------------------------


WINDOWS = {
    "wide": {},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "phone, dark": {**PHONE, "color_scheme": "dark"},
}


@pytest.mark.parametrize("window", WINDOWS)
def test_axe_finds_nothing_serious(begin: Callable[..., Any], serious: Serious, window: str) -> None:
    page = begin(window=WINDOWS[window], items=queue(suggestions=True))
    assert serious(page) == []
    press(page, "1h")
    page.wait_for_selector("#suggestion:not([hidden])")
    press(page, "n")
    assert serious(page) == [], "with a note, a hint and a last label"
    press(page, ["Escape"])  # type: ignore[arg-type]
    if page.is_hidden("#codebook"):
        press(page, "c")
        assert serious(page) == [], "with the codebook"
        press(page, ["Escape"])  # type: ignore[arg-type]
        assert page.is_hidden("#codebook")
    press(page, "?")
    assert serious(page) == [], "with the keys"
    press(page, ["Escape"])  # type: ignore[arg-type]
    press(page, "123s12")
    assert page.is_visible("#finish")
    assert serious(page) == [], "at the end"


def test_a_phone_by_touch(begin: Callable[..., Any], tmp_path: Path) -> None:
    page = begin(window=PHONE)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator(".types button, .tools button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    dock = page.locator(".dock").bounding_box()
    paragraph = page.locator("#paragraph").bounding_box()
    assert paragraph["y"] + paragraph["height"] < dock["y"], "the paragraph is not covered"
    page.get_by_role("button", name="War front").tap()
    page.get_by_role("button", name="Skip").tap()
    page.get_by_role("button", name="Undo").tap()
    assert at(page) == "2 / 7"
    page.get_by_role("button", name="Codebook").tap()
    assert page.is_visible("#codebook")
    page.get_by_role("button", name="Close the codebook").tap()
    page.get_by_role("button", name="Talks").tap()
    wait_until_saved(page)
    assert labels(tmp_path) == [("ford", 0, "war_front"), ("ford", 1, "talks")]


def test_what_a_screen_reader_is_told(begin: Callable[..., Any]) -> None:
    page = begin()
    progress = page.get_by_role("progressbar", name="Paragraphs read")
    assert page.get_by_role("heading", level=1).text_content() == "Label paragraphs"
    assert page.get_attribute("#paragraph", "aria-live") == "polite"
    press(page, "1s")
    assert page.text_content("#told") == "Skipped. 3 of 7."
    assert progress.get_attribute("aria-valuenow") == "2"
    assert progress.get_attribute("aria-valuetext") == "1 labelled, 1 skipped"
    press(page, "u")
    assert page.text_content("#told") == "Taken back. 2 of 7."
    assert [b.get_attribute("aria-keyshortcuts") for b in page.locator(".types button").all()] == ["1", "2", "3"]


def test_long_paragraphs_begin_in_sight(begin: Callable[..., Any]) -> None:
    words = "The column crossed the ford and the envoys wrote it down. " * 120
    items = [
        QueueItem("a", i, f"{i} {words}", text_digest(f"{i} {words}"), before=(words,), after=(words,))
        for i in range(3)
    ]
    page = begin(items=items)
    for _ in items:
        top = page.locator("#paragraph").bounding_box()["y"]
        assert page.locator("#reading").bounding_box()["y"] < top < 250
        press(page, "1")


def test_texts_are_texts(begin: Callable[..., Any]) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202eevil\u202c"
    told: dict[str, Any] = {"title": hostile, "headings": (hostile,), "before": (hostile,), "after": (hostile,)}
    items = [QueueItem(hostile, i, f"{i}{hostile}", text_digest(f"{i}{hostile}"), **told) for i in range(2)]
    told["before"] = ()
    items.append(QueueItem("b", 0, hostile, text_digest(hostile), suggestion=Suggestion(hostile, 0.5), **told))
    page = begin(items=items, name=hostile)
    press(page, "n")
    page.keyboard.type(hostile)
    press(page, ["Enter", "1", "1", "h"])  # type: ignore[arg-type]
    assert text(page) == hostile
    wait_until_saved(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert "owned" not in page.title().replace(hostile, "")
    assert page.locator("main img, main script").count() == 0


def test_a_server_that_cannot_begin_is_said(begin: Callable[..., Any]) -> None:
    page = begin(window={"expected": NO_SERVER})
    page.route("**/api/session", lambda route: route.fulfill(status=409, body=json.dumps({"error": "a bad log"})))
    page.reload()
    page.wait_for_selector("#trouble:not([hidden])")
    assert "The page cannot begin: a bad log" in page.text_content("#trouble")


@pytest.mark.slow
def test_a_hundred_labels_one_after_the_other(begin: Callable[..., Any], tmp_path: Path) -> None:
    words = "The column crossed the ford at night; the envoys wrote it down and the baker slept. " * 6
    items = [QueueItem("long", i, f"{i} {words}", text_digest(f"{i} {words}")) for i in range(110)]
    page = begin(items=items)
    for i in range(100):
        if at(page) != f"{i + 1} / 110":  # its paragraphs are still on their way
            page.wait_for_function(f"document.getElementById('number').textContent === '{i + 1} / 110'")
        page.keyboard.press(str(i % 3 + 1))
    wait_until_saved(page)
    assert [name for _, _, name in labels(tmp_path)] == [NAMES[i % 3] for i in range(100)]

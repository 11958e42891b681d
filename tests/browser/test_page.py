"""The page at ``/`` in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest

import tiny
from crosshead.loading import load
from crosshead.readers.formats import read_article
from crosshead.server import page as served
from crosshead.server.app import create_app
from crosshead.server.settings import ServerSettings
from crosshead.text import text_digest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from conftest import Serious, Serve, Visit

TEXTS = [text for _, rows in tiny.ARTICLES[:3] for text, _ in rows]
ARTICLE = "# River line\n\n" + "\n\n".join(TEXTS)
LABELS = {name: name.replace("_", " ").capitalize() for name in tiny.SECTION_TYPES}
EXAMPLES = json.loads(served.files()["gallery.json"].body)


@pytest.fixture(scope="module")
def corrections_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections") / "corrections.csv"


@pytest.fixture(scope="module")
def url(serve: Serve, _tiny_bundle: Path, corrections_path: Path) -> str:
    return serve(create_app(lambda: load(str(_tiny_bundle)), ServerSettings(corrections=corrections_path)))


@pytest.fixture
def home(visit: Visit, url: str) -> Page:
    return visit(url)


def tag(page: Page, text: str = ARTICLE, format: str = "auto") -> None:
    page.get_by_label("Text of the article").fill(text)
    page.get_by_label("Read as").select_option(format)
    page.get_by_role("button", name="Tag the article").click()
    page.locator("#reading").wait_for()


def answer(url: str, text: str = ARTICLE, format: str = "auto") -> dict[str, Any]:
    response = httpx.post(f"{url}/v1/tag", json={"text": text, "format": format})
    assert response.status_code == 200
    return dict(response.json())


def labels(page: Page) -> list[str]:
    return page.locator(".paragraph:not([hidden]) .name").all_text_contents()


def change(page: Page, edit: Callable[[dict[str, Any]], None]) -> None:
    """Let the server say something else of an article."""

    def altered(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        edit(body)
        route.fulfill(response=response, json=body)

    page.route("**/v1/tag", altered)


def doubt(*indices: int) -> Callable[[dict[str, Any]], None]:
    """Make the model unsure of paragraphs, and one of them too long for it."""

    def edit(body: dict[str, Any]) -> None:
        for i in indices:
            body["paragraphs"][i] |= {
                "abstained": True,
                "label_set": list(tiny.SECTION_TYPES[:2]),
                "truncated_tokens": 42,
            }

    return edit


# -- tagging ----------------------------------------------------------------------------------------------------------


def test_every_paragraph_is_shown_with_its_section_type_and_confidence(home: Page, url: str) -> None:
    tag(home)
    expected = answer(url)["paragraphs"]
    assert home.locator("#title").inner_text() == "River line"
    assert home.locator(".paragraph .text").all_text_contents() == [p["text"] for p in expected] == TEXTS
    assert labels(home) == [LABELS[p["section_type"]] for p in expected]
    shown = home.locator(".paragraph .confidence").all_text_contents()
    assert [int(re.sub(r"\D", "", text)) for text in shown] == [min(99, round(100 * p["confidence"])) for p in expected]


def test_wrapped_lines_flow_and_hard_breaks_stay(home: Page) -> None:
    wrapped = TEXTS[0].replace(" ", "\n")
    lines = "The river sings at night,  \nthe guns reply by day\\\nand nobody\nlistens."
    tag(home, f"# River line\n\n{wrapped}\n\n{lines}", "markdown")
    first, verse = home.locator(".paragraph .text").all()
    assert first.inner_text() == TEXTS[0]
    assert verse.inner_text() == "The river sings at night,\nthe guns reply by day\\\nand nobody listens."
    home.locator(".paragraph").first.get_by_role("button", name="Why?").click()
    home.locator(".explanation").first.wait_for()
    assert first.inner_text() == TEXTS[0]
    assert first.locator(".word").count() >= 1
    home.locator(".paragraph").first.get_by_role("button", name="Why?").click()
    assert first.inner_text() == TEXTS[0]


def test_a_crosshead_stands_where_a_section_begins(home: Page, url: str) -> None:
    tag(home)
    types = [p["section_type"] for p in answer(url)["paragraphs"]]
    begins = [name for i, name in enumerate(types) if i == 0 or name != types[i - 1]]
    assert home.locator(".crosshead").all_text_contents() == [LABELS[name] for name in begins]


def test_headings_of_the_article_stay(home: Page) -> None:
    tag(home, f"# River line\n\n{TEXTS[0]}\n\n## The morning\n\n{TEXTS[1]}\n\n### At noon\n\n{TEXTS[2]}", "markdown")
    assert home.locator(".own").all_text_contents() == ["The morning", "At noon"]
    levels = home.locator("#reading :is(h2, h3, h4, h5, h6)").evaluate_all("all => all.map(h => h.tagName)")
    assert [*levels] == ["H2", "H3", "H3", "H4", "H4", "H5"]


def test_not_sure_has_its_own_look_and_says_what_it_may_be(home: Page) -> None:
    change(home, doubt(1))
    tag(home)
    paragraph = home.locator(".paragraph").nth(1)
    assert paragraph.locator(".name").inner_text() == "Not sure"
    assert "Ground developments" in paragraph.locator(".notes").inner_text()
    assert "the last 42 tokens not read" in paragraph.locator(".notes").inner_text()
    assert "1 not sure" in home.locator("#summary").inner_text()
    sure, unsure = (
        home.locator(".paragraph").nth(i).evaluate("node => getComputedStyle(node, '::before').backgroundImage")
        for i in (0, 1)
    )
    assert sure == "none"
    assert "repeating-linear-gradient" in unsure


def test_every_example_can_be_read(visit: Visit, url: str) -> None:
    page = visit(url)
    assert page.locator("#gallery h3").all_text_contents() == [card["title"] for card in EXAMPLES]
    for card in EXAMPLES:
        page.get_by_role("link", name=card["title"]).click()
        page.locator("#reading").wait_for()
        assert page.locator(".paragraph").count() == card["n_paragraphs"]
        page.go_back()
        page.locator("#compose").wait_for()


def test_the_address_of_an_example_opens_it(visit: Visit, url: str) -> None:
    card = EXAMPLES[0]
    page = visit(f"{url}/#example/{card['name']}")
    page.locator("#reading").wait_for()
    assert page.locator("#title").inner_text() == card["title"]


def test_back_and_forward_go_between_text_and_article(home: Page) -> None:
    tag(home)
    home.go_back()
    home.locator("#compose").wait_for()
    assert home.get_by_label("Text of the article").input_value() == ARTICLE
    home.go_forward()
    home.locator("#reading").wait_for()


def drop(page: Page, name: str, content: str) -> None:
    page.evaluate(
        """([name, content]) => {
            const bytes = Uint8Array.from(content, (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name));
            for (const kind of ["dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
            }
        }""",
        [name, content],
    )


def test_a_dropped_file_is_tagged(home: Page, corrections_path: Path) -> None:
    drop(home, "river.html", f"<html><body><h1>River</h1><p>{TEXTS[0]}</p><p>Caf\xe9 {TEXTS[1]}</p></body></html>")
    home.locator("#reading").wait_for()
    assert home.locator(".text").all_text_contents() == [TEXTS[0], f"Café {TEXTS[1]}"]  # windows-1252
    assert home.get_by_label("Read as").input_value() == "html"
    chip(home, 0, "other").click()
    home.locator(".state.saved").wait_for()
    assert rows(corrections_path)[-1]["article_id"] == "river"  # as the corpus would call it


def test_an_opened_file_is_tagged(home: Page) -> None:
    file = {"name": "front.txt", "mimeType": "text/plain", "buffer": f"{TEXTS[0]}\n\n{TEXTS[1]}\n".encode("utf-16")}
    home.locator("#file").set_input_files(file)
    home.locator("#reading").wait_for()
    assert home.locator(".text").all_text_contents() == TEXTS[:2]


def test_a_file_that_is_no_text_is_refused_in_words(home: Page) -> None:
    drop(home, "photo.png", "\x89PNG\x00\x00")
    alert = home.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == "photo.png is no text. Markdown, HTML and plain text can be tagged."


def test_nothing_to_tag_is_said(home: Page) -> None:
    home.get_by_role("button", name="Tag the article").click()
    assert "nothing to tag" in home.get_by_role("alert").inner_text()


def test_an_error_of_the_server_is_shown_in_its_words(visit: Visit, url: str) -> None:
    page = visit(url, expected=("422",))
    problem = {"error": {"message": "no paragraph in it", "problems": [{"where": "text", "message": "too short"}]}}
    page.route("**/v1/tag", lambda route: route.fulfill(status=422, json=problem))
    page.get_by_label("Text of the article").fill("x")
    page.get_by_role("button", name="Tag the article").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "no paragraph in it; text: too short"


def test_a_busy_server_is_asked_again(visit: Visit, url: str) -> None:
    page = visit(url, expected=("429",))
    times = []

    def once(route: Route) -> None:
        times.append(1)
        if len(times) == 1:
            route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": {"message": "full"}})
        else:
            route.continue_()

    page.route("**/v1/tag", once)
    tag(page)
    assert len(times) == 2


def test_tagging_can_be_cancelled(home: Page) -> None:
    held: list[Route] = []
    home.route("**/v1/tag", lambda route: held.append(route))
    home.get_by_label("Text of the article").fill(ARTICLE)
    home.get_by_role("button", name="Tag the article").click()
    home.get_by_role("button", name="Cancel").click()
    home.get_by_role("status").get_by_text("Cancelled").wait_for()
    assert home.get_by_role("button", name="Tag the article").is_enabled()
    assert home.locator("#reading").is_hidden()
    held[0].abort()


def test_a_locked_server_is_opened_with_a_key(visit: Visit, url: str) -> None:
    page = visit(url, expected=("401",))
    given = []

    def locked(route: Route) -> None:
        given.append(route.request.headers.get("authorization"))
        if given[-1] == "Bearer sesame-sesame-1":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": {"message": "a key is needed"}})

    page.route("**/v1/*", locked)
    page.get_by_label("Text of the article").fill(ARTICLE)
    page.get_by_role("button", name="Tag the article").click()
    page.get_by_label("API key").fill("sesame-sesame-1")
    page.get_by_role("button", name="Go on").click()
    page.locator("#reading").wait_for()
    assert given[0] is None
    assert given[-1] == "Bearer sesame-sesame-1"


# -- shape and filter -------------------------------------------------------------------------------------------------


def test_the_filter_shows_one_section_type_and_says_what_it_hides(home: Page) -> None:
    tag(home)
    everything = labels(home)
    wanted = LABELS["ground_developments"]
    button = home.get_by_role("button", name=wanted).first
    assert button.locator(".count").inner_text() == str(everything.count(wanted))
    button.click()
    assert labels(home) == [wanted] * everything.count(wanted)
    assert button.get_attribute("aria-pressed") == "true"
    assert home.get_by_role("slider").get_attribute("aria-valuenow") == str(everything.index(wanted) + 1)
    assert set(home.locator(".crosshead:not([hidden])").all_text_contents()) == {wanted}
    hidden = sum(int(re.match(r"\d+", text).group()) for text in home.locator(".gap").all_text_contents())  # type: ignore[union-attr]
    assert hidden == len(everything) - everything.count(wanted)
    home.get_by_role("button", name=LABELS["other"]).first.click()
    assert labels(home) == [label for label in everything if label in (wanted, LABELS["other"])]
    home.get_by_role("button", name="Show all").click()
    assert labels(home) == everything
    assert home.locator(".gap").count() == 0


def test_the_strip_has_a_cell_for_each_paragraph_in_its_lane(home: Page, url: str) -> None:
    tag(home)
    types = [tiny.SECTION_TYPES.index(p["section_type"]) for p in answer(url)["paragraphs"]]
    lanes = home.locator(".strip .cell").evaluate_all("all => all.map(c => Math.floor(c.getAttribute('y')))")
    assert lanes == types


def test_a_click_on_the_strip_goes_to_the_paragraph(home: Page) -> None:
    tag(home, ARTICLE + "".join(f"\n\n{text}" for text in TEXTS * 3))
    strip = home.get_by_role("slider", name="Place in the article")
    box = strip.bounding_box()
    assert box is not None
    n = home.locator(".paragraph").count()
    home.mouse.click(box["x"] + box["width"] * (n - 1.5) / n, box["y"] + 10)
    assert strip.get_attribute("aria-valuenow") == str(n - 1)
    home.wait_for_function(
        "n => { const box = document.querySelector(`#p${n}`).getBoundingClientRect();"
        "return box.top > 100 && box.bottom <= innerHeight + 1 }",
        arg=n - 1,
    )
    strip.focus()
    home.keyboard.press("Home")
    home.keyboard.press("ArrowRight")
    value = strip.get_attribute("aria-valuetext")
    assert value is not None
    assert value.startswith(f"Paragraph 2 of {n}: {labels(home)[1]}")


# -- explanations -----------------------------------------------------------------------------------------------------


def test_an_explanation_marks_sentences_and_words_and_can_be_closed(home: Page) -> None:
    tag(home)
    paragraph = home.locator(".paragraph").first
    paragraph.get_by_role("button", name="Why?").click()
    paragraph.locator(".explanation").wait_for()
    assert paragraph.locator(".text").inner_text() == TEXTS[0]
    assert paragraph.locator(".sentence.for").count() >= 1
    assert paragraph.locator(".word").count() >= 1
    assert "speaks for" in paragraph.locator(".legend").inner_text()
    paragraph.get_by_role("button", name="Why?").click()
    assert paragraph.locator(".explanation").is_hidden()
    assert paragraph.locator(".text *").count() == 0
    assert paragraph.locator(".text").inner_text() == TEXTS[0]


def test_marks_count_characters_as_the_server_does(home: Page) -> None:
    text = "🜂🜂 Häfen brennen. Nobody came."
    sentences = [{"start": 0, "end": 17, "effect": 1}, {"start": 18, "end": 30, "effect": -1}]
    words = [{"start": 3, "end": 8, "effect": 1}]
    pieces = home.evaluate(
        "async (given) => (await import('/page/explain.js')).pieces(...given)", [text, sentences, words]
    )
    assert [(p["text"], p["sentence"] and p["sentence"]["effect"], bool(p["word"])) for p in pieces] == [
        ("🜂🜂 ", 1, False),
        ("Häfen", 1, True),
        (" brennen.", 1, False),
        (" ", None, False),
        ("Nobody came.", -1, False),
    ]


# -- corrections ------------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    names = ("article_id", "paragraph", "text_sha256", "section_type", "annotator")
    return [dict(zip(names, row, strict=False)) for row in found if row[0] != "article_id"]


def chip(page: Page, i: int, name: str) -> Any:
    return page.locator(".paragraph").nth(i).get_by_role("button", name=LABELS[name])


def test_one_click_corrects_and_the_server_has_it(home: Page, corrections_path: Path) -> None:
    tag(home)
    chip(home, 1, "other").click()
    paragraph = home.locator(".paragraph").nth(1)
    assert paragraph.locator(".name").inner_text() == LABELS["other"]
    assert paragraph.get_attribute("aria-label") == "Paragraph 2: Other, corrected by you"
    paragraph.locator(".state.saved").wait_for()
    row = rows(corrections_path)[-1]
    assert (row["paragraph"], row["section_type"]) == ("1", "other")
    assert row["text_sha256"] == text_digest(TEXTS[1])
    assert row["article_id"].startswith("page-river-line-")
    assert "1 corrected" in home.locator("#summary").inner_text()


def failing(page: Page, n: int) -> list[str]:
    """Let the first n corrections fail on their way; returns the keys of all that were sent."""
    keys: list[str] = []

    def handle(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > n:
            route.continue_()
        elif len(keys) % 2:
            route.abort()
        else:
            route.fulfill(status=503, json={"error": {"kind": "disk", "message": "later"}})

    page.route("**/v1/corrections", handle)
    return keys


def test_a_correction_is_sent_again_with_its_key_until_it_is_acknowledged(
    visit: Visit, url: str, corrections_path: Path
) -> None:
    page = visit(url, expected=("503", "ERR_FAILED"))
    keys = failing(page, 2)
    tag(page)
    chip(page, 0, "other").click()
    state = page.locator(".paragraph .state").first
    retry = page.get_by_role("button", name="1 correction not saved yet. Try now")
    for n in (1, 2):
        page.wait_for_function("() => document.querySelector('.state').className === 'state waiting'")
        assert state.inner_text() == "Not saved yet; trying again"
        assert len(keys) == n
        retry.click()
    page.locator(".state.saved").wait_for()
    assert retry.is_hidden()
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert rows(corrections_path)[-1]["section_type"] == "other"


def test_corrections_that_wait_survive_the_page(visit: Visit, url: str, corrections_path: Path) -> None:
    page = visit(url, expected=("ERR_FAILED",))
    before = len(rows(corrections_path)) if corrections_path.exists() else 0
    keys = failing(page, 1)
    tag(page)
    chip(page, 2, "other").click()
    page.locator(".state.waiting").wait_for()
    chip(page, 3, "regional_stability").click()
    page.reload()
    page.wait_for_function("() => Object.keys(localStorage).every((name) => !name.includes('correction'))")
    assert keys[1] == keys[0]
    assert len(keys) == 3
    sent = rows(corrections_path)[before:]
    assert [(row["paragraph"], row["section_type"]) for row in sent] == [("2", "other"), ("3", "regional_stability")]


def test_a_refused_correction_is_taken_back(visit: Visit, url: str) -> None:
    page = visit(url, expected=("422",))
    refusal = {"error": {"message": "section_type is none of the model's"}}
    page.route("**/v1/corrections", lambda route: route.fulfill(status=422, json=refusal))
    tag(page)
    before = labels(page)
    chip(page, 0, "other").click()
    page.get_by_role("alert").wait_for()
    assert "none of the model's" in page.get_by_role("alert").inner_text()
    assert labels(page) == before


def test_where_no_corrections_are_taken_they_stay_on_the_page(home: Page, url: str) -> None:
    card = httpx.get(f"{url}/v1/model").json()
    home.route("**/v1/model", lambda route: route.fulfill(json=card | {"takes_corrections": False}))
    home.route("**/v1/corrections", lambda route: pytest.fail("sent all the same"))
    home.reload()
    tag(home)
    chip(home, 0, "other").click()
    assert labels(home)[0] == LABELS["other"]
    assert "On this page only" in home.locator(".state").first.inner_text()


def test_u_goes_back_to_what_the_model_said(home: Page, corrections_path: Path) -> None:
    tag(home)
    first = labels(home)[0]
    home.keyboard.press("j")
    home.keyboard.press("4")
    assert labels(home)[0] == LABELS["other"] != first
    home.keyboard.press("u")
    assert labels(home)[0] == first
    home.locator(".state.saved").wait_for()
    assert [row["section_type"] for row in rows(corrections_path)[-2:]] == ["other", "ground_developments"]
    assert "Confirmed by you" in home.locator(".notes").first.inner_text()


# -- taking it along --------------------------------------------------------------------------------------------------


def copied(page: Page, format: str) -> str:
    page.get_by_label("Format").select_option(format)
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_markdown_has_the_crossheads_and_reads_back(home: Page) -> None:
    change(home, doubt(3))
    tag(home)
    text = copied(home, "markdown")
    article = read_article(text, format="markdown")
    assert article.title == "River line"
    assert list(article.texts) == TEXTS
    assert [p.headings[-1] for p in article.paragraphs] == labels(home)
    assert article.paragraphs[3].headings == ("Not sure",)


def test_json_is_the_answer_with_the_corrections(home: Page, url: str) -> None:
    tag(home)
    chip(home, 0, "other").click()
    written = json.loads(copied(home, "json"))
    expected = answer(url)
    corrected = [p.pop("corrected") for p in written["paragraphs"]]
    assert corrected == ["other"] + [None] * (len(TEXTS) - 1)
    assert written["paragraphs"] == expected["paragraphs"]
    assert written["model"] == expected["model"]


def test_csv_is_one_row_a_paragraph_and_runs_nothing(home: Page) -> None:
    texts = ['=HYPERLINK("https://example.org") he said, "twice"', "A line.\nAnother line of it.", TEXTS[0]]
    tag(home, "\n\n".join(texts), "text")
    found = list(csv.DictReader(io.StringIO(copied(home, "csv"), newline="")))
    assert [row["text"] for row in found] == [f"'{texts[0]}", *texts[1:]]
    assert home.locator(".text").all_text_contents()[1] == "A line. Another line of it.", (
        "wrapped lines flow on the page"
    )
    assert [row["section_type"] for row in found] == [
        next(name for name in tiny.SECTION_TYPES if LABELS[name] == label) for label in labels(home)
    ]
    for row in found:
        assert sum(float(row[f"score_{name}"]) for name in tiny.SECTION_TYPES) == pytest.approx(1, abs=1e-5)


def test_downloads_have_the_name_of_the_article(home: Page) -> None:
    tag(home)
    for format, name in (("markdown", "river-line.md"), ("json", "river-line.json"), ("csv", "river-line.csv")):
        home.get_by_label("Format").select_option(format)
        with home.expect_download() as waited:
            home.locator("#download").click()
        assert waited.value.suggested_filename == name
        body = Path(waited.value.path()).read_bytes()
        assert TEXTS[0].encode() in body
        assert body.startswith(b"\xef\xbb\xbf") == (format == "csv")


# -- keyboard, screen reader, sizes, themes ---------------------------------------------------------------------------


def test_everything_is_done_by_keyboard_alone(home: Page) -> None:
    field = home.get_by_label("Text of the article")
    for _ in range(12):
        home.keyboard.press("Tab")
        if field.evaluate("node => node === document.activeElement"):
            break
    home.keyboard.insert_text(ARTICLE)
    home.keyboard.press("Control+Enter")
    home.locator("#reading").wait_for()
    assert home.evaluate("document.activeElement.id") == "title"
    home.keyboard.press("j")
    assert home.evaluate("document.activeElement.id") == "p1"
    home.keyboard.press("j")
    assert home.evaluate("document.activeElement.id") == "p2"
    outline = home.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    home.keyboard.press("k")
    home.keyboard.press("3")
    assert labels(home)[0] == LABELS["international_role"]
    home.keyboard.press("e")
    home.locator("#p1 .explanation").wait_for()
    home.keyboard.press("Tab")  # into the paragraph's own buttons, and no other's
    assert home.evaluate("document.activeElement.closest('.paragraph').id") == "p1"
    assert home.locator(".paragraph button[tabindex='0']").count() == len(tiny.SECTION_TYPES) + 1
    home.keyboard.press("Shift+Digit1")
    assert set(labels(home)) == {LABELS["ground_developments"]}
    home.keyboard.press("a")
    assert len(labels(home)) == len(TEXTS)
    home.keyboard.press("?")
    dialog = home.get_by_role("dialog", name="Keyboard")
    dialog.wait_for()
    home.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    home.keyboard.press("c")
    home.get_by_role("button", name="Copied").wait_for()
    home.keyboard.press("w")
    home.locator("#compose").wait_for()


def test_n_and_p_go_between_paragraphs_that_are_not_sure(home: Page) -> None:
    change(home, doubt(2, 5))
    tag(home)
    places = []
    for key in "nnnp":
        home.keyboard.press(key)
        places.append(home.evaluate("document.activeElement.id"))
    assert places == ["p3", "p6", "p6", "p3"]


def test_single_keys_can_be_switched_off(home: Page) -> None:
    home.keyboard.press("?")
    home.get_by_label("Single keys are shortcuts").uncheck()
    home.keyboard.press("Escape")
    tag(home)
    before = labels(home)
    for key in "j4?":
        home.keyboard.press(key)
    assert labels(home) == before
    assert home.get_by_role("dialog").count() == 0
    home.reload()
    assert not home.locator("#keys-on").is_checked()


def test_typing_in_a_field_is_no_shortcut(home: Page) -> None:
    home.get_by_label("Text of the article").press_sequentially("j?4")
    assert home.get_by_label("Text of the article").input_value() == "j?4"
    assert home.get_by_role("dialog").count() == 0


def test_a_screen_reader_finds_landmarks_names_and_news(home: Page) -> None:
    change(home, doubt(1))
    tag(home)
    for role, name in (
        ("banner", None),
        ("main", None),
        ("contentinfo", None),
        ("region", "Shape of the article"),
        ("slider", "Place in the article"),
        ("group", "Paragraph 2: Not sure"),
        ("group", "Take it with you"),
    ):
        assert home.get_by_role(role, name=name, exact=True).count() == 1, (role, name)  # type: ignore[arg-type]
    live = home.get_by_role("status")
    assert "River line" in live.inner_text()
    assert "1 not sure" in live.inner_text()
    home.keyboard.press("j")
    home.keyboard.press("2")
    home.locator(".state.saved").wait_for()
    assert live.inner_text().strip() == "Paragraph 1: saved"


@pytest.mark.parametrize("state", ["compose", "reading", "dialogs"])
def test_axe_finds_nothing_serious(home: Page, serious: Serious, state: str) -> None:
    home.locator("#gallery li").first.wait_for()
    if state == "reading":
        change(home, doubt(1, 4))
        tag(home, ARTICLE + f"\n\n## Later\n\n{TEXTS[0]}", "markdown")
        for key in ("j", "e", "2", "Shift+Digit4", "Shift+Digit2"):
            home.keyboard.press(key)
        home.locator(".explanation:not([hidden])").wait_for()
        home.locator(".state.saved").wait_for()
    if state == "dialogs":
        home.keyboard.press("?")
        assert serious(home) == []
        home.keyboard.press("Escape")
        home.locator("#open-model").click()
        assert serious(home) == []
        return
    assert serious(home) == []
    home.emulate_media(color_scheme="dark")
    assert serious(home) == []
    home.set_viewport_size({"width": 390, "height": 844})
    assert serious(home) == []


def test_nothing_sticks_out_on_a_phone(visit: Visit, url: str) -> None:
    page = visit(url, width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    change(page, doubt(1))
    tag(
        page,
        "# A title of Donaudampfschifffahrtsgesellschaftskapitänswitwenrentenbescheide\n\n"
        + "\n\n".join([*TEXTS, "x" * 300]),
        "markdown",
    )
    chip(page, 0, "other").tap()
    assert labels(page)[0] == LABELS["other"]
    page.get_by_role("button", name="Why?").first.tap()
    page.locator(".explanation:not([hidden])").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.locator("#reading button:visible, #reading select").evaluate_all(
        "all => all.filter(b => { const r = b.getBoundingClientRect(); return r.width < 24 || r.height < 24 }).length"
    )
    assert small == 0
    page.evaluate("scrollTo(0, 3000)")
    strip = page.locator("#strip").bounding_box()
    assert strip is not None
    assert strip["y"] == pytest.approx(0, abs=1)


def brightness(page: Page, property: str) -> float:
    """Mean of red, green and blue of the body's colour, 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.body).{property}")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_dark_and_light_follow_the_system_until_chosen(visit: Visit, url: str) -> None:
    page = visit(url, color_scheme="dark")
    assert brightness(page, "backgroundColor") < 60 < 180 < brightness(page, "color")
    page.get_by_role("button", name="Theme: system").click()
    assert brightness(page, "backgroundColor") > 200
    page.reload()
    assert page.get_by_role("button", name="Theme: light").is_visible()
    assert brightness(page, "backgroundColor") > 200


# -- safety -----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>window.hacked = 1</script> Two battalions crossed the Tarn.",
    '<img src=x onerror="window.hacked = 1"> Shells fell on the railway yard.',
    "<svg onload=window.hacked=1><iframe srcdoc='<script>parent.hacked=1</script>'></iframe> at night",
    "[link](javascript:window.hacked=1) and <a href='javascript:window.hacked=1'>here</a> </p></div><h1>Owned",
    "${window.hacked = 1} {{constructor.constructor('window.hacked=1')()}} <style>*{display:none}</style>",
    "\u202etext that turns round\u202c and \u200bzero\u200b width \ufeff",
]


@pytest.mark.parametrize("format", ["markdown", "text"])
def test_hostile_markup_is_shown_as_text(home: Page, url: str, format: str) -> None:
    title = "Day <img src=x onerror=window.hacked=1> one"
    article = f"# {title}\n\n" + "\n\n".join(f"Before it. {text}" for text in HOSTILE)
    expected = answer(url, article, format)
    assert len(expected["paragraphs"]) >= len(HOSTILE)
    tag(home, article, format)
    texts = home.locator(".text").evaluate_all("all => all.map(p => p.textContent)")
    assert texts == [p["text"] for p in expected["paragraphs"]]
    assert any("<script>window.hacked = 1</script>" in text for text in texts)
    for i in range(len(texts)):
        home.locator(".paragraph").nth(i).get_by_role("button", name="Why?").click()
    home.locator(".explanation:not([hidden])").nth(len(texts) - 1).wait_for()
    foreign = home.locator("#reading :is(script, img, iframe, style, h1, .text a, object, embed)")
    assert foreign.count() == 0
    assert home.evaluate("window.hacked") is None
    written = copied(home, "markdown")
    assert not re.search(r"(?<!\\)<", written)


def test_hostile_names_are_text_as_well(home: Page) -> None:
    drop(home, "<img src=x onerror=window.hacked=1>.txt", "\n\n".join(TEXTS[:2]))
    home.locator("#reading").wait_for()
    assert home.locator("#title").inner_text() == "<img src=x onerror=window.hacked=1>"
    assert home.evaluate("window.hacked") is None


def test_the_browser_refuses_markup_from_strings_and_inline_scripts(visit: Visit, url: str) -> None:
    page = visit(url, expected=("Trusted", "Content Security Policy"))
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.setAttribute('onclick', 'hacked = 1')",
        "document.body.append(Object.assign(document.createElement('script'), { text: 'hacked = 1' }))",
    ):
        said = page.evaluate(f"() => {{ try {{ {attempt} }} catch (error) {{ return error.name }} }}")
        assert said == "TypeError", attempt
    assert page.evaluate("window.hacked") is None


# -- long articles ----------------------------------------------------------------------------------------------------


def test_an_article_of_300_paragraphs_stays_smooth(
    visit: Visit, url: str, record_property: Callable[[str, object], None]
) -> None:
    page = visit(url)
    sizes = (30, 300)
    times = {}
    for n in sizes:
        tag(page, "\n\n".join(f"{TEXTS[i % len(TEXTS)]} It was day {i}." for i in range(n)), "text")
        assert page.locator(".paragraph").count() == n
        times[n] = page.evaluate("performance.getEntriesByName('render').at(-1).duration")
        if n == 300:
            break
        page.go_back()
        page.locator("#compose").wait_for()
    record_property("render_ms", times)
    assert times[300] < 30 * max(times[30], 1), "making the page is not linear in the paragraphs"
    nodes = page.evaluate("document.querySelectorAll('#reading *').length")
    assert nodes < 300 * 40
    assert page.locator(".paragraph").nth(250).evaluate("p => getComputedStyle(p).contentVisibility") == "auto"
    page.locator("#strip").focus()
    for key, i in (("End", 300), ("Home", 1), ("PageDown", 31)):
        page.keyboard.press(key)
        page.wait_for_function(
            "i => { const { top } = document.querySelector(`#p${i}`).getBoundingClientRect();"
            "return top >= 0 && top < innerHeight - 30 }",
            arg=i,
        )
    # A key touches the two paragraphs that it is about and the strip; it does not draw the article anew.
    page.evaluate("""() => {
        window.touched = new Set();
        window.watcher = new MutationObserver((all) => all.forEach((one) => touched.add(one.target)));
        watcher.observe(document.querySelector('#article'), { subtree: true, childList: true, attributes: true });
    }""")
    page.keyboard.press("j")
    page.evaluate("touched.clear()")
    page.keyboard.press("j")
    moved = page.evaluate("touched.size")
    page.evaluate("touched.clear()")
    page.keyboard.press("3")
    page.locator(".state.saved").wait_for()
    corrected = page.evaluate("touched.size")
    assert moved <= 2 * (len(tiny.SECTION_TYPES) + 2)
    assert corrected <= 20

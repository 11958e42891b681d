"""Take the pictures of the label page in docs/images/, in a real browser: `python docs/make_label_screenshots.py`.

Needs the extra [dev] and Chromium. The labels in them are those of the shipped annotations.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Page, sync_playwright

from crosshead.cli.sitting import open_project
from crosshead.corpora.annotations import read_annotations
from crosshead.labelling.app import create_app
from crosshead.labelling.log import Event, LabelLog
from crosshead.labelling.queue import Suggestion, read_queue
from crosshead.labelling.session import Session

IMAGES = Path(__file__).with_name("images")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESK = {"viewport": {"width": 1200, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
ARTICLES = ("w11-021-moravec-corridor-explainer", "w2-019-tolm-bend-assessment", "w3-022-sahwan-shipping-memo")
N_LABELLED = 14
SECONDS_A_LABEL = 11.4


def hint(page: Page) -> None:
    """Ask for the suggestion."""
    page.keyboard.press("h")
    page.wait_for_selector("#suggestion:not([hidden])")


PICTURES: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("label", None, "light", DESK),
    ("label-dark", hint, "dark", DESK),
    ("label-phone", None, "light", PHONE),
]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Serve a sitting on a free port; give its address and the keys that label its paragraphs as they are annotated."""
    project = open_project(None)
    names = [definition.name for definition in project.section_types]
    known = {(a.article_id, a.paragraph): a.section_type for a in read_annotations(project.annotations)}
    items = read_queue([project.root / "data" / "articles" / f"{name}.md" for name in ARTICLES])
    keys = [names.index(known[item.article_id, item.paragraph]) + 1 for item in items]
    items = [replace(item, suggestion=Suggestion(names[key - 1], 0.86)) for item, key in zip(items, keys, strict=True)]
    log = LabelLog(folder / "anna.jsonl", "anna")
    start = datetime.now(UTC) - timedelta(hours=1)
    for i, (item, key) in enumerate(zip(items[: N_LABELLED - 1], keys, strict=False)):
        time_of = (start + timedelta(seconds=i * SECONDS_A_LABEL)).isoformat()
        log.append(Event(f"key-{i}", "label", *item.place, "anna", time_of, section_type=names[key - 1]))
    session = Session(
        items,
        log,
        project.section_types,
        name="queue.jsonl",
        codebook=project.codebook(None),
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(session), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", keys
        server.should_exit = True
        thread.join()


def main() -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as (url, keys),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for number, (name, act, theme, window) in enumerate(PICTURES):
            context = browser.new_context(color_scheme=theme, reduced_motion="reduce", **window)
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector("body[data-ready]")
            if not number:
                page.keyboard.press(str(keys[N_LABELLED - 1]))
                page.wait_for_selector("#saving[data-state=saved]")
            if act is not None:
                act(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(300)  # what scrolling into view still draws
            page.screenshot(path=IMAGES / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()

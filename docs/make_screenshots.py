"""Take the pictures in docs/images/ of the page, in a real browser: `python docs/make_screenshots.py [MODEL]`.

MODEL is what `crosshead serve --model` takes; without one it is the champion. Needs the extra [dev] and Chromium.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Page, sync_playwright

from crosshead.loading import load
from crosshead.server.app import create_app
from crosshead.server.settings import ServerSettings

IMAGES = Path(__file__).with_name("images")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESK = {"viewport": {"width": 1200, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def compose(page: Page) -> None:
    """Take the first page: the text field and the gallery."""


def article(page: Page) -> None:
    """Take an article."""
    read(page, "saltmere-siege")


def explained(page: Page) -> None:
    """Take a paragraph with its reasons, and one that was corrected."""
    read(page, "salt-pass")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("2")
    page.keyboard.press("k")
    page.keyboard.press("e")
    page.locator(".explanation:not([hidden])").wait_for()
    page.locator(".state.saved").wait_for()
    page.locator("#p2").evaluate("p => scrollTo(0, p.offsetTop - 270)")


def filtered(page: Page) -> None:
    """Take an article of which one section type is shown."""
    read(page, "river-questions")
    page.keyboard.press("Shift+Digit2")


def read(page: Page, example: str) -> None:
    """Open an example."""
    page.evaluate("name => { location.hash = `#example/${name}` }", example)
    page.locator("#reading").wait_for()


PICTURES: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("page", compose, "light", DESK),
    ("article", article, "light", DESK),
    ("why", explained, "dark", DESK),
    ("phone", article, "light", PHONE),
    ("phone-filter", filtered, "dark", PHONE),
]


@contextmanager
def serving(model: str | None) -> Iterator[str]:
    """Serve a model on a free port of this machine; corrections go to a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(lambda: load(model), ServerSettings(corrections=Path(folder) / "corrections.csv"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


def main(model: str | None = None) -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    with serving(model) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, act, theme, window in PICTURES:
            context = browser.new_context(color_scheme=theme, reduced_motion="reduce", **window)
            page = context.new_page()
            page.goto(url)
            page.locator("#gallery li").first.wait_for()
            act(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(300)  # what scrolling into view still draws
            page.screenshot(path=IMAGES / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])

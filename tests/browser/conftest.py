"""A real browser for the pages: Chromium from the system, driven by Playwright.

``serve`` starts an application on a free port of this machine and gives its address. ``visit`` opens a page in a fresh
profile; at the end of the test every page must have asked this machine only, and have thrown and reported nothing.
``serious`` gives what axe-core finds.

Where there is no browser the tests are skipped and say so; with CROSSHEAD_BROWSER=required, as in CI, they fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",  # it has none for root, which is who runs tests in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
]

Serve = Callable[[Any], str]
Visit = Callable[..., "Page"]
Serious = Callable[["Page"], list[str]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium; it ends with the module: while it runs, no other event loop can in this thread."""
    path = _chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def _chromium() -> str:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    if path and not missing:
        return path
    reason = (
        f"NO BROWSER TESTS: {', '.join([*missing, *([] if path else ['chromium'])])} not installed; "
        "apt-get install chromium; pip install -e '.[dev]'"
    )
    if os.environ.get("CROSSHEAD_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Start applications, each on a port of its own, and stop them at the end."""
    import uvicorn

    started: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        started.append((server, thread))
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, _ in started:
        server.should_exit = True
    for _, thread in started:
        thread.join(timeout=20)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open a page in a fresh profile: ``visit(url, width=1280, height=900, expected=("503",), **context)``.

    ``expected`` names words of console errors that the test means to cause.
    """
    contexts = []
    troubles: list[str] = []

    def open_page(
        url: str, *, width: int = 1280, height: int = 900, expected: tuple[str, ...] = (), **options: Any
    ) -> Page:
        context = browser.new_context(
            **{
                "viewport": {"width": width, "height": height},
                "permissions": ["clipboard-read", "clipboard-write"],
                "reduced_motion": "reduce",
                **options,
            }
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        home = "/".join(url.split("/")[:3]) + "/"

        def console(message: Any) -> None:
            if message.type in ("error", "warning") and not any(word in message.text for word in expected):
                troubles.append(f"console: {message.text}")

        def asked(request: Any) -> None:
            if not request.url.startswith((home, "blob:", "data:")):
                troubles.append(f"asked elsewhere: {request.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: troubles.append(f"thrown: {error}"))
        page.on("request", asked)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


@pytest.fixture(scope="module")
def serious() -> Serious:
    """Return what axe-core finds that is serious or critical, one line each."""

    def find(page: Page) -> list[str]:
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:200]}"
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    return find

"""Take the pictures in docs/images/ of the report, of a search, and of a sweep in MLflow, in a real browser.

    python docs/make_report_screenshots.py [FOLDER]

A project is made in FOLDER (else in one that is thrown away) from this one's conf/ and data/; a tagger is trained and
evaluated there, a small search and a sweep are run, and MLflow's own server shows them. Vectors come from this
project's cache. Takes some minutes. Needs the extra [dev] and Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path(__file__).with_name("images")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
START_LIMIT_S = 180
COMMANDS = (
    ("run", "tracking.log_model=false"),
    ("train", "-m", "classifier=logreg,linear_svm", "views=tfidf,embedding,blend"),
    ("search", "search.trials=40"),
)


def make_project(root: Path) -> None:
    """Run everything that is to be shown; what is there already is not done again."""
    if not (root / "conf").exists():
        for part in ("conf", "data"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("prepared"))
        (root / ".cache").mkdir()
        (root / ".cache" / "crosshead").symlink_to(ROOT / ".cache" / "crosshead")
    for i, command in enumerate(COMMANDS):
        done = root / f"done-{i}"
        if not done.exists():
            subprocess.run([sys.executable, "-m", "crosshead", *command], cwd=root, check=True)
            done.touch()


@contextmanager
def mlflow_server(root: Path) -> Iterator[str]:
    """Show the project's store on a free port of this machine."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = f"sqlite:///{root / 'mlflow' / 'mlflow.db'}"
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    with (root / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--backend-store-uri", store], stdout=log, stderr=log, env=environ
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise SystemExit("MLflow's server did not start; see server.log in the project's folder")


def take_report(page: Page, root: Path) -> None:
    """Take the head of the report, and how sure the tagger is."""
    page.goto((root / "reports" / "report.html").as_uri())
    save(page, "report")
    page.locator("#confidence").evaluate("part => scrollTo(0, part.offsetTop - 20)")
    save(page, "report-confidence")


def take_search(page: Page, root: Path) -> None:
    """Take both plots of the search beside each other."""
    (folder,) = (root / "models" / "search").iterdir()
    images = [f'<img src="{(folder / name).as_uri()}">' for name in ("history.svg", "importances.svg")]
    page_file = root / "search.html"
    style = "body{margin:16px;display:grid;grid-template-columns:1fr 1fr;align-items:start;gap:16px}img{width:100%}"
    page_file.write_text(f"<style>{style}</style>{''.join(images)}", encoding="utf-8")
    page.set_viewport_size({"width": 1200, "height": 400})
    page.goto(page_file.as_uri())
    save(page, "search")


def take_sweep(page: Page, url: str) -> None:
    """Take the runs of the sweep below their parent, as MLflow lists them, with their scores."""
    page.set_viewport_size({"width": 1500, "height": 620})
    page.goto(f"{url}/#/experiments/1/runs")
    page.get_by_text("sweep · ").first.wait_for(timeout=1000 * START_LIMIT_S)
    for close in page.get_by_role("button", name="Close").all():
        close.click()
    page.get_by_role("row").filter(has_text="sweep · ").first.locator("button").first.click()
    page.get_by_role("button", name="Columns").click()
    for column in ("Dataset", "Source", "Models", "cv_macro_f1", "test_macro_f1", "test_log_loss"):
        page.get_by_placeholder("Search columns").fill(column)
        row = page.locator(".du-bois-light-tree-treenode").filter(has_text=re.compile(f"^{column}$"))
        row.locator(".du-bois-light-tree-checkbox").first.click()
    page.keyboard.press("Escape")
    page.locator(".ag-header-cell[col-id*='Run Name'] .ag-header-cell-resize").dblclick()
    save(page, "mlflow-sweep")


def save(page: Page, name: str) -> None:
    """Write a picture when everything is drawn."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"{name}.png")


def take(browser: Browser, root: Path) -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    window = {"width": 1100, "height": 860}
    page = browser.new_page(viewport=window, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
    take_report(page, root)
    take_search(page, root)
    with mlflow_server(root) as url:
        take_sweep(page, url)


def main(folder: str | None = None) -> None:
    """Make the project, open a browser, take the pictures."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    with tempfile.TemporaryDirectory() as own, sync_playwright() as playwright:
        root = Path(folder or own).resolve()
        root.mkdir(parents=True, exist_ok=True)
        make_project(root)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        take(browser, root)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])

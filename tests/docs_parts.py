"""What the tests of the documentation share: blocks of pages, and a small project to run their commands in."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import small_project

ROOT = Path(__file__).resolve().parents[1]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and why it is not run."""

    line: int
    language: str
    text: str
    not_run: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Find the fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number, start = 0, None
    while number < len(lines):
        if match := re.match(r"```(\S*)", lines[number]):
            if start is None:
                start, language = number, match[1]
            else:
                reason = re.fullmatch(r"<!-- not run: (.+) -->", lines[start - 1]) if start else None
                yield Block(start + 1, language, "\n".join(lines[start + 1 : number]), reason and reason[1])
                start = None
        number += 1
    assert start is None, f"{name_of(page)} has a fenced block that does not end"


SHIM = '#!/bin/sh\nexec "{python}" -m crosshead "$@"\n'
WAITING = ("crosshead serve", "crosshead label", "mlflow server")
"""Commands that go on until they are stopped: they are started beside the others, and asked if they answer."""


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def make_project(root: Path) -> Path:
    """Make a project as `make train` leaves it, but small: two runs, a champion, and something to tag."""
    small_project.with_two_runs(root)
    config = root / "conf" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    for old, new in (
        ("encoder: minilm", "encoder: tfidf"),
        ("classifier: linear_svm", "classifier: logreg"),
        ("folds: 5", "folds: 2"),
        ("[0.1, 0.25, 0.5]", "[]"),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")
    for name, old, new in (
        ("corpus/shipped", "test_share: 0.15", "test_share: 0.3"),
        ("corpus/own", "test_share: 0.15", "test_share: 0.3"),
        ("promotion/default", "max_latency_ratio: 1.5", "max_latency_ratio: 50"),
        ("promotion/default", "max_ece: 0.08", "max_ece: 0.5"),
    ):
        path = root / "conf" / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    shutil.copyfile(ROOT / "data" / "CODEBOOK.md", root / "data" / "CODEBOOK.md")
    _fill(root)
    return root


def _fill(root: Path) -> None:
    """Lay down the files that the pages name."""
    articles = sorted((ROOT / "data" / "articles").glob("w[2-5]*.md"))
    headed = [path for path in articles if "\n## " in path.read_text(encoding="utf-8")]
    for folder, chosen in (("my_articles", headed[:40]), ("archive", articles[-8:])):
        (root / folder).mkdir()
        for path in chosen:
            shutil.copyfile(path, root / folder / path.name)
    shutil.copyfile(articles[-1], root / "article.md")
    (root / "pages").mkdir()
    paragraph = "<p>Shells fell on the river bank at dawn and two columns crossed it, the district command said.</p>"
    (root / "pages" / "river.html").write_text(
        f"<html><title>River</title><body><article><h1>River line</h1>{paragraph * 3}</article></body></html>",
        encoding="utf-8",
    )
    lines = '{"id": "7", "text": "Two columns crossed the river before dawn."}\n' * 2
    (root / "feed.jsonl").write_text(lines, encoding="utf-8")
    subprocess.run(["gzip", "-k", "feed.jsonl"], cwd=root, check=True)
    (root / "feeds").mkdir()
    for month, some in (("may", articles[:12]), ("june", articles[12:24])):
        texts = [_paragraphs(path) for path in some]
        feed = "".join(f'{{"article_id": "{month}-{i}", "paragraphs": {_json(t)}}}\n' for i, t in enumerate(texts))
        (root / "feeds" / f"{month}.jsonl").write_text(feed, encoding="utf-8")
    _label(root / "labelled", articles[40:80])


def _label(folder: Path, articles: list[Path]) -> None:
    """Write articles whose section types stand beside their paragraphs."""
    folder.mkdir()
    given: dict[str, dict[int, str]] = {}
    with (ROOT / "data" / "annotations.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            given.setdefault(row["article_id"], {})[int(row["paragraph"])] = row["section_type"]
    lines = []
    for path in articles:
        texts = _paragraphs(path)
        types = [given[path.stem].get(number) for number in range(len(texts))]
        lines.append(_json({"article_id": path.stem, "paragraphs": texts, "section_types": types}) + "\n")
    (folder / "train.jsonl").write_text("".join(lines[:28]), encoding="utf-8")
    (folder / "dev.jsonl").write_text("".join(lines[28:]), encoding="utf-8")


def _paragraphs(path: Path) -> list[str]:
    body = path.read_text(encoding="utf-8").split("---", 2)[2]
    return [" ".join(part.split()) for part in body.split("\n\n") if part.strip() and not part.strip().startswith("#")]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


LABELLER = """
import json, sys, urllib.request
url, n = sys.argv[1], int(sys.argv[2])
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))
session = ask("/api/session")
names = [one["name"] for one in session["section_types"]]
for i, item in enumerate(ask(f"/api/items?start=0&n={n}")):
    body = {"key": f"docs-{i}-{item['text_sha256']}", "event": "label", "section_type": names[i % len(names)]}
    ask("/api/events", body | {name: item[name] for name in ("article_id", "paragraph", "text_sha256")})
"""
"""A reader who labels a few paragraphs of a page without reading them."""


def script(page: Path, ports: dict[str, int]) -> str:
    """Write the commands of a page as a script; those that wait are put beside the others."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for block in blocks(page):
        if block.language != "sh" or block.not_run:
            continue
        lines.append(f"echo '## {name_of(page)}:{block.line}' >&2")
        text, documents = _without_documents(block.text)
        for line in text.splitlines():
            lines += _placed(line, ports)
        for name, document in documents.items():
            lines = [line.replace(name, document) for line in lines]
    return "\n".join(lines) + "\n"


def _without_documents(text: str) -> tuple[str, dict[str, str]]:
    """Put a name in the place of each document that a command is given (`<<'END'`)."""
    documents: dict[str, str] = {}

    def kept(match: re.Match[str]) -> str:
        name = f"@{len(documents)}@"
        documents[name] = match[0]
        return name

    return re.sub(r"<<'END'\n.*?\nEND", kept, text, flags=re.DOTALL), documents


def _placed(line: str, ports: dict[str, int]) -> list[str]:
    start = next((waiting for waiting in WAITING if line.startswith(waiting)), None)
    if line.startswith("crosshead select"):
        line += " --strategy random"  # the others need vectors, and the small project has words alone
    if start is None:
        return [line.replace("localhost:8000", f"localhost:{ports['crosshead serve']}")]
    port = ports[start] = _port()
    told = re.sub(r"--port \d+", "", line)
    more = {"crosshead label": " --no-open", "mlflow server": " --workers 1"}.get(start, "")
    options = f"{more} --port {port}"
    asked = {"crosshead serve": "/readyz", "crosshead label": "/api/session", "mlflow server": "/health"}[start]
    lines = [
        f"{told}{options} > /dev/null &",
        f"for i in $(seq 300); do curl -sf localhost:{port}{asked} > /dev/null && break || sleep 0.2; done",
        f"curl -sf localhost:{port}{asked} > /dev/null" + (" || true" if "--api-keys" in line else ""),
    ]
    if start == "crosshead label":
        lines.append(f'python "$LABELLER" http://localhost:{port} 12')
    return lines

"""What the tests of labelling share: three articles, a queue of their paragraphs, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation
from crosshead.labelling.log import LabelLog
from crosshead.labelling.queue import QueueItem, Suggestion, article_items
from crosshead.labelling.session import Session
from crosshead.taxonomy import SectionType
from crosshead.text import text_digest

TYPES = (
    SectionType("war_front", "Fighting and what is won or lost."),
    SectionType("talks", "Envoys, votes and drafts."),
    SectionType("rest", "Everything else."),
)
NAMES = tuple(definition.name for definition in TYPES)
ARTICLES = (
    Article.from_texts(
        ["Guns fired at the ford.", "Envoys met by the lake.", "It rained on the hay."],
        article_id="ford",
        title="The ford",
        headings=[(), ("Talks",), ("Talks", "Weather")],
    ),
    Article.from_texts(["The bridge fell at noon.", "A clock was repaired."], article_id="bridge"),
    Article.from_texts(["Mediators carried a draft.", "The baker sleeps late."], article_id="draft"),
)


def queue(*, suggestions: bool = False) -> list[QueueItem]:
    """Every paragraph of the articles; with suggestions, the tagger says talks of all."""
    items = [item for article in ARTICLES for item in article_items(article)]
    if not suggestions:
        return items
    told = Suggestion("talks", 0.7, {"war_front": 0.2, "talks": 0.7, "rest": 0.1})
    return [QueueItem(**{**{f: getattr(item, f) for f in item.__slots__}, "suggestion": told}) for item in items]


def vote(
    article_id: str, paragraph: int, section_type: str, annotator: str, *, line: int = 0, **extra: str
) -> Annotation:
    """Label a paragraph of the articles."""
    (article,) = (article for article in ARTICLES if article.article_id == article_id)
    digest = text_digest(article.paragraphs[paragraph].text)
    return Annotation(article_id, paragraph, digest, section_type, annotator, line=line, extra=extra)


def session(folder: Path, annotator: str = "anna", **options: object) -> Session:
    """Begin a sitting over the whole queue."""
    items = options.pop("items", None) or queue()
    return Session(items, LabelLog(folder / f"{annotator}.jsonl", annotator), TYPES, **options)  # type: ignore[arg-type]


def write_articles(folder: Path, articles: Iterable[Article] = ARTICLES) -> Path:
    """Write articles as Markdown files."""
    folder.mkdir(parents=True, exist_ok=True)
    for article in articles:
        lines: list[str] = [f"# {article.title}"] if article.title else []
        above: tuple[str, ...] = ()
        for paragraph in article.paragraphs:
            lines += [
                f"{'#' * (level + 2)} {heading}"
                for level, heading in enumerate(paragraph.headings)
                if paragraph.headings[: level + 1] != above[: level + 1]
            ]
            above = paragraph.headings
            lines.append(paragraph.text)
        (folder / f"{article.article_id}.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_project(folder: Path) -> Path:
    """Write a project: the shipped configuration's groups with our section types, the articles, no annotations."""
    import shutil

    root = Path(__file__).resolve().parents[1]
    shutil.copytree(root / "conf", folder / "conf")
    lines = ["name: conflict", "default: null", "section_types:"]
    for definition in TYPES:
        lines += [f"  - name: {definition.name}", f"    description: {definition.description!r}"]
    (folder / "conf" / "taxonomy" / "conflict.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_articles(folder / "data" / "articles")
    return folder


def kill_in_mid_work(script: str, *arguments: str | Path, n_acknowledged: int, wait_s: float) -> list[str]:
    """Run a script that prints a line for everything acknowledged, kill it, and return the whole lines it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    while len(lines) < n_acknowledged:
        line = process.stdout.readline()
        assert line, "the process ended by itself"
        lines.append(line)
    time.sleep(wait_s)
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    lines += rest.splitlines(keepends=True)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

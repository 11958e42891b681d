"""Draw docs/images/architecture.svg, the modules and the way of the data: `python docs/make_picture.py [--check]`.

Layers, modules and outside tools are those of the table in tests/test_architecture.py, which the imports are held to.
"""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
WIDTH, MARGIN = 1180, 20
BOX_WIDTH, BOX_HEIGHT, GAP = 168, 84, 26
COLOURS = {
    "apps": ("#fde8d7", "#a8521b"),
    "stages": ("#f4e3f4", "#86408a"),
    "edges": ("#dcebf9", "#22639f"),
    "readers": ("#dff1e6", "#23744a"),
    "core": ("#f6eecb", "#7d6410"),
    "": ("#ffffff", "#5a6270"),
}
SAYS = {
    "apps": "command line, server and page, archives, Ray",
    "stages": "one pure function each; they never import each other",
    "edges": "one outside tool each; corpus, training, records, reports",
    "readers": "files and streams become articles",
    "core": "numpy and each other, nothing else",
}


@dataclass(frozen=True)
class Box:
    """A step of the data: where it stands, what it does, and the modules that do it."""

    name: str
    column: int
    row: int
    says: str
    modules: tuple[str, ...] = ()


BOXES = (
    Box("articles", 0, 0, "Markdown, HTML, text, JSONL, CSV, Parquet"),
    Box("read", 1, 0, "title, headings, paragraphs with offsets", ("readers.formats",)),
    Box("label", 2, 0, "headings map to section types; annotations win", ("corpora.heading_labels", "taxonomy")),
    Box(
        "prepare",
        3,
        0,
        "near-duplicates, article-safe splits",
        ("corpora.corpus", "corpora.duplicates", "corpora.splits"),
    ),
    Box("encode", 4, 0, "each text once, ever", ("encoders.graph", "encoders.cache")),
    Box("train", 5, 0, "views blended, then calibrated", ("training.views", "training.train")),
    Box("Tagger", 5, 1, "neighbouring paragraphs inform each other", ("tagging.decoding", "tagging.tagger")),
    Box("evaluate", 4, 1, "held-out articles, intervals, report", ("evaluation.scores", "reporting.report")),
    Box("record", 3, 1, "MLflow run, registered version", ("records.tracking", "releases.registry")),
    Box("choose", 2, 1, "paired test, gate, champion", ("releases.gate", "releases.promotion", "releases.champion")),
    Box("save", 5, 2, "one folder, no pickle, every file hashed", ("bundle",)),
    Box("tag", 4, 2, "files, folders, feeds", ("cli.tag",)),
    Box("serve", 3, 2, "API and page", ("server.app",)),
    Box("archives", 2, 2, "part by part, also on Ray", ("batch.job", "batch.ray_job")),
    Box("MLflow, Spark", 1, 2, "a plain pyfunc", ("mlflow_model",)),
    Box("look after", 0, 2, "drift of what comes in", ("monitoring.drift",)),
    Box("new labels", 0, 1, "label page, corrections, agreement", ("labelling.app", "labelling.agreement")),
)
ARROWS = (
    ("articles", "read"),
    ("read", "label"),
    ("label", "prepare"),
    ("prepare", "encode"),
    ("encode", "train"),
    ("train", "Tagger"),
    ("Tagger", "evaluate"),
    ("evaluate", "record"),
    ("record", "choose"),
    ("Tagger", "save"),
    ("look after", "new labels"),
    ("new labels", "articles"),
)


RAIL = ("save", ("tag", "serve", "archives", "MLflow, Spark", "look after"))
"""One step leads to all of these."""


def architecture() -> ModuleType:
    """Load the test that holds the table."""
    spec = importlib.util.spec_from_file_location("architecture_table", ROOT / "tests" / "test_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw() -> str:
    """Return the picture as SVG."""
    table = architecture()
    top, height = _way(table)
    bands, height = _bands(table, height + 46)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" font-family="system-ui, sans-serif" font-size="13" fill="#1d2430">',
            "<title>crosshead: the way of the data, and the modules in their layers</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 8 4 0 8z" fill="#5a6270"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *top,
            *bands,
            "</svg>\n",
        ]
    )


def _way(table: ModuleType) -> tuple[list[str], int]:
    """Draw the steps of the data, each in the colour of the layer that does it."""
    lines = [_text(MARGIN, 30, "The way of the data", size=17, bold=True)]
    places = {box.name: _place(box) for box in BOXES}
    for start, end in ARROWS:
        lines.append(_arrow(places[start], places[end]))
    lines += _rail(places[RAIL[0]], [places[name] for name in RAIL[1]])
    for box in BOXES:
        for module in box.modules:
            assert module in table.MODULES, f"{box.name} names {module}, which is no module"
        layer = table._layer(box.modules[0]) if box.modules else ""
        x, y = places[box.name]
        paper, ink = COLOURS[layer]
        lines.append(
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{paper}" stroke="{ink}"/>'
        )
        lines.append(_text(x + 10, y + 20, box.name, bold=True))
        for number, line in enumerate(textwrap.wrap(box.says, 25)[:2]):
            lines.append(_text(x + 10, y + 38 + 15 * number, line, size=12))
        places_of = dict.fromkeys(f"{m.partition('.')[0]}/" if "." in m else m for m in box.modules)
        lines.append(_text(x + 10, y + 76, " ".join(places_of), size=11, mono=True))
    return lines, 46 + 3 * (BOX_HEIGHT + GAP) - GAP


def _place(box: Box) -> tuple[int, int]:
    return MARGIN + box.column * (BOX_WIDTH + GAP), 46 + box.row * (BOX_HEIGHT + GAP)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        right = x2 > x1
        x1, x2 = (x1 + BOX_WIDTH, x2) if right else (x1, x2 + BOX_WIDTH)
        y1 = y2 = y1 + BOX_HEIGHT // 2
    else:
        down = y2 > y1
        y1, y2 = (y1 + BOX_HEIGHT, y2) if down else (y1, y2 + BOX_HEIGHT)
        x1 = x2 = x1 + BOX_WIDTH // 2
    return f'<path d="M{x1} {y1} L{x2} {y2}" stroke="#5a6270" stroke-width="1.6" marker-end="url(#tip)" fill="none"/>'


def _rail(start: tuple[int, int], ends: list[tuple[int, int]]) -> list[str]:
    """Draw a line from one step to several of its row, above them."""
    (x, y), middle = start, BOX_WIDTH // 2
    rail, last = y - GAP // 2, min(x for x, _ in ends) + middle
    line = f"M{x} {y + BOX_HEIGHT // 2} H{x - GAP // 2} V{rail} H{last}"
    tips = [f"M{x + middle} {rail} V{y}" for x, y in ends]
    style = 'stroke="#5a6270" stroke-width="1.6" fill="none"'
    return [f'<path d="{line}" {style}/>', *(f'<path d="{tip}" {style} marker-end="url(#tip)"/>' for tip in tips)]


def _bands(table: ModuleType, y: int) -> tuple[list[str], int]:
    """Draw a band for each layer, the one that may import everything on top."""
    lines = [_text(MARGIN, y, "The modules: imports point downwards only", size=17, bold=True)]
    y += 14
    for layer in reversed(table.ORDER):
        rows = textwrap.wrap("  ".join(_shown(table.LAYERS[layer])), 96, break_on_hyphens=False)
        tools = textwrap.wrap(", ".join(_tools(table, layer)) or "none", 34, break_on_hyphens=False)
        height = 34 + 16 * max(len(rows), len(tools))
        paper, ink = COLOURS[layer]
        lines.append(
            f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6" fill="{paper}" '
            f'stroke="{ink}"/>'
        )
        lines.append(_text(MARGIN + 12, y + 20, layer, bold=True, colour=ink))
        lines.append(_text(MARGIN + 90, y + 20, SAYS[layer], size=12))
        lines.append(_text(WIDTH - 275, y + 20, "outside tools", size=12, colour=ink))
        for number, row in enumerate(rows):
            lines.append(_text(MARGIN + 90, y + 40 + 16 * number, row, size=12, mono=True))
        for number, row in enumerate(tools):
            lines.append(_text(WIDTH - 275, y + 40 + 16 * number, row, size=12, mono=True))
        y += height + 10
    return lines, y + 6


def _shown(patterns: list[str]) -> list[str]:
    """Return the names of a layer, packages with a slash at the end."""
    return [pattern.removesuffix("*").replace(".", "/") for pattern in patterns]


def _tools(table: ModuleType, layer: str) -> list[str]:
    return [tool for tool, users in table.TOOLS.items() if layer in {table._layer(user) for user in users}]


def _text(
    x: int, y: int, told: str, *, size: int = 13, bold: bool = False, mono: bool = False, colour: str = ""
) -> str:
    style = f'x="{x}" y="{y}" font-size="{size}"'
    style += ' font-weight="600"' if bold else ""
    style += ' font-family="ui-monospace, monospace"' if mono else ""
    style += f' fill="{colour}"' if colour else ""
    return f'<text {style} xml:space="preserve">{escape(told)}</text>'


def main(arguments: list[str]) -> int:
    """Write the picture, or only compare it."""
    drawn = draw()
    fresh = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == drawn
    if "--check" in arguments:
        return int(not fresh)
    PICTURE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

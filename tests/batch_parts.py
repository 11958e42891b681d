"""What the tests of batches share: inputs of every kind, and reading what a job wrote."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

import tiny

TEXTS = [text for _, rows in tiny.ARTICLES for text, _ in rows]
ARTICLE = """# River line

Two battalions crossed the Tarn at night and took the brick works.

## Reactions abroad

Envoys of three outside states met in the lake town.

The writer still keeps his father's hives.
"""
PAGE = """<!doctype html><html><head><title>Bread</title></head><body><article><h1>Bread</h1>
<p>Refugees queue for bread on the far side of the border and the neighbour has shut two crossings since the spring.</p>
<h2>Prices</h2>
<p>Flour prices doubled across the region, and the neighbours fear unrest in their own towns before the winter.</p>
</article></body></html>"""


def build_words_bundle(folder: Path) -> Path:
    """Save a tagger that looks at words only: no engine has to be loaded, so a process is at work at once."""
    from crosshead import bundle
    from crosshead.tagging.decoding import DecoderSpec
    from crosshead.training.train import Paragraphs, train
    from crosshead.training.views import ViewSpec

    texts, y, lengths, ids = tiny.training_rows()
    article = np.repeat(np.arange(len(lengths)), lengths)
    result = train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=[ViewSpec("tfidf", "tfidf", LogisticRegression(C=10), min_df=1)],
        encoder=None,
        folds=[(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))],
        decoder=DecoderSpec(weight=0.3),
        calibrate=True,
        risk=0.9,
    )
    bundle.save(result.tagger, folder, encoder_dir=None, estimators=result.estimators, about={"note": "words"})
    return folder


def sentence(rng: random.Random) -> str:
    """Make a text of words that the tiny tagger knows."""
    words = " ".join(TEXTS).split()
    return " ".join(rng.choices(words, k=rng.randrange(4, 14)))


def write_feed(path: Path, n: int, *, seed: int = 0) -> Path:
    """Write JSONL: texts, articles, and some lines that cannot be used."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            if i % 41 == 17:
                file.write(("nonsense\n", "\n", '{"text": ""}\n', '{"id": 5}\n')[i % 4])
            elif i % 7 == 3:
                texts = [sentence(rng) for _ in range(rng.randrange(1, 6))]
                file.write(json.dumps({"article_id": f"a{i}", "paragraphs": texts}) + "\n")
            else:
                file.write(json.dumps({"id": i, "text": sentence(rng)}) + "\n")
    return path


def paragraph_rows(n_articles: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Make rows of single paragraphs, those of an article one below the other."""
    rng = random.Random(seed)
    return [
        {"article_id": f"p{article}", "paragraph": i, "text": sentence(rng), "source": "x"}
        for article in range(n_articles)
        for i in range(rng.randrange(1, 5))
    ]


def write_archive(folder: Path) -> Path:
    """Write inputs of every kind that is read, good and bad."""
    (folder / "inner").mkdir(parents=True)
    (folder / "river.md").write_text(ARTICLE)
    (folder / "bread.html").write_text(PAGE)
    (folder / "inner" / "river.md").write_text(ARTICLE.replace("Tarn", "railway"))
    (folder / "inner" / "note.txt").write_text("Shells fell on the railway yard until noon.\n")
    (folder / "packed.md.gz").write_bytes(gzip.compress(ARTICLE.encode()))
    (folder / "binary.txt").write_bytes(b"%PDF-1.7\0\0\0")
    (folder / "empty.txt").write_bytes(b"")
    write_feed(folder / "feed.jsonl", 60)
    (folder / "feed2.jsonl.gz").write_bytes(gzip.compress(write_feed(folder / "f.tmp", 50, seed=1).read_bytes()))
    (folder / "feed3.jsonl.zst").write_bytes(pa.compress((folder / "f.tmp").read_bytes(), "zstd", asbytes=True))
    (folder / "f.tmp").unlink()
    (folder / "texts.csv").write_text('article_id,text\nc1,"Shells fell\nat dawn."\nc2,\nc3,a,b\n,The council voted.\n')
    pq.write_table(pa.Table.from_pylist(paragraph_rows(9)), folder / "rows.parquet", row_group_size=7)
    scattered = sorted(paragraph_rows(5, seed=3), key=lambda row: row["paragraph"])
    pq.write_table(pa.Table.from_pylist(scattered), folder / "scattered.parquet")
    (folder / "twice.csv").write_text("article_id,text\nx,Shells fell at dawn.\nx,Guns struck again.\n")
    (folder / "rows.json").write_text(json.dumps([{"id": "j", "paragraphs": TEXTS[:3]}, {"text": 3}]))
    return folder


def rows_of(output: Path) -> list[dict[str, Any]]:
    """Read the rows of all parts in order; scores become a mapping again."""
    rows: list[dict[str, Any]] = []
    for part in sorted((output / "parts").iterdir()):
        if part.suffix == ".jsonl":
            rows += [json.loads(line) for line in part.read_text(encoding="utf-8").split("\n")[:-1]]
            continue
        for row in pq.read_table(part).to_pylist():
            scores = {name.removeprefix("score_"): row.pop(name) for name in list(row) if name.startswith("score_")}
            rows.append({**row, "scores": scores})
    return rows


def errors_of(output: Path) -> list[dict[str, Any]]:
    """Read errors.jsonl."""
    path = output / "errors.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def content_of(output: Path) -> dict[str, bytes]:
    """Read every file of a finished job, its lock apart."""
    files = (path for path in sorted(output.rglob("*")) if path.is_file() and path.name != ".job.lock")
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


TAG = ("section_type", "confidence", "scores", "abstained", "truncated_tokens")


def told_by_tag(lines: bytes) -> tuple[list[tuple[Any, ...]], list[tuple[str, str]]]:
    """Flatten what `crosshead tag` printed: a tuple a paragraph, and the errors with their files."""
    rows, errors = [], []
    for record in map(json.loads, lines.split(b"\n")[:-1]):
        if "error" in record:
            errors.append((record["file"].partition(",")[0], record["error"]))
            continue
        for i, given in enumerate(record.get("paragraphs", [record])):
            name = record.get("article_id"), _as_text(record.get("id"))
            place = given.get("start"), given.get("end"), given.get("headings", [])
            rows.append((*name, i, *place, *(given[key] for key in TAG)))
    return rows, errors


def told_by_batch(output: Path) -> tuple[list[tuple[Any, ...]], list[tuple[str, str]]]:
    """Flatten what a job wrote in the same way."""
    keys = ("article_id", "id", "paragraph", "start", "end", "headings", *TAG)
    rows = [tuple(row[key] for key in keys) for row in rows_of(output)]
    return rows, [(error["file"], error["error"]) for error in errors_of(output)]


def _as_text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value)

"""What the test of the one promise is made of: random articles, members of the family, and doors to a tagger."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import stores
import tiny
from batch_parts import rows_of
from crosshead import bundle
from crosshead.cli import main
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.static import StaticEncoder, distil
from crosshead.records import mlflow_store
from crosshead.records.tracking import Tracking
from crosshead.releases import registry
from crosshead.tables import SCORE
from crosshead.tagging.decoding import DecoderSpec
from crosshead.tagging.tagger import Tag, Tagger
from crosshead.text import normalise
from crosshead.training.train import Paragraphs, train
from crosshead.training.views import ViewSpec

Articles = Sequence[Sequence[str]]
Told = tuple[str, bool, int, float, tuple[float, ...]]
"""What a door says of a paragraph: section type, abstained, tokens cut off, confidence, scores in taxonomy order."""

# -- articles ----------------------------------------------------------------------------------------------------------

KNOWN = sorted({word for text in tiny.training_rows()[0] for word in text.split()})
ODD_SPACE = st.sampled_from(
    [" ", "  ", "\t", "\n", "\r\n", "\n ", "\u00a0", "\u2003", "\u2028", "\x85", "\u3000", "\x0b"]
)
ODDITIES = st.sampled_from(
    [
        *(
            "\u200b",
            "\ufeff",
            "\u202e",
            "e\u0301\u0327",
            "\u1100\u1161\u11a8",
            "ﬁ",
            "Ⅷ",
            "½",
            "\u0130stanbul",
            "ß",
            "ſ",
        ),
        *("👩‍👩‍👧", "🇺🇳", "𝔤𝔲𝔫𝔰", "пушки", "القوات", "軍隊が川を渡った。", "सेना", "\x00", "\x1b[31m", "\x7f", "\ufffd"),
        *(
            "**guns**",
            "_council_",
            "[border](https://a.example)",
            "`drones`",
            "# guns",
            "> bread",
            "| a | b |",
            "1. aid",
        ),
        *(
            '"',
            "'",
            "\\",
            "{}",
            "<b>envoys</b>",
            "&amp;",
            ",",
            ";",
            "=1+1",
            "%s",
            "../",
            "$(guns)",
            "e.g.",
            "U.N.",
            "…",
        ),
    ]
)
UNICODE = st.characters(exclude_categories=["Cs"])
PIECES = st.one_of(st.sampled_from(KNOWN), ODDITIES, st.text(UNICODE, max_size=8))
TEXTS = st.one_of(
    st.lists(st.sampled_from(KNOWN), min_size=1, max_size=30).map(" ".join),
    st.lists(st.tuples(PIECES, ODD_SPACE), min_size=1, max_size=25).map(lambda some: "".join(a + b for a, b in some)),
    st.sampled_from(KNOWN),
    st.text(UNICODE, max_size=60),
    st.builds(lambda word, n: f"{word} " * n, st.sampled_from(KNOWN), st.sampled_from([63, 64, 65, 300, 3000])),
).filter(lambda text: bool(text.strip() and normalise(text)))
ARTICLES = st.lists(st.lists(TEXTS, min_size=1, max_size=12), min_size=1, max_size=4)
REPEATS = st.lists(st.integers(0, 11), max_size=2)


@st.composite
def articles_with_repeats(draw: st.DrawFn) -> list[list[str]]:
    """Draw articles of 1 to 12 paragraphs, in some of which a paragraph stands again, beside itself or elsewhere."""
    drawn = draw(ARTICLES)
    seen = [text for article in drawn for text in article]
    return [(article + [seen[i % len(seen)] for i in draw(REPEATS)])[:12] for article in drawn]


HEADINGS = st.sampled_from(["# Title", "## Reactions abroad", "**Bold one**", "GROUND REPORT", "Setext\n------", ""])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a document in Markdown, with headings, lists and quotes between its paragraphs."""
    blocks = []
    for text in draw(st.lists(TEXTS, min_size=1, max_size=8)):
        blocks += [draw(HEADINGS), text.replace("\0", "")]
    return draw(st.sampled_from(["\n\n", "\n", "\r\n\r\n"])).join(blocks)


REAL: list[list[str]] = [
    [
        "The column left the depot on Tuesday and reached the lower bridge before the guard had changed.",
        "By noon both banks were held, a spokesman for the regional command said; he gave no losses.",
        "Across the border the price of flour rose by a third, and two schools were opened to people who had fled.",
        "At the lake the envoys of four states agreed on a text that none of them would call a truce.",
        "She had taught geometry for thirty years and still corrected the signs in the market with a pencil.",
    ],
    ["Withdrawn."],
    ["No change.", "No change.", "No change."],
    [
        "“We counted eleven trucks,” the ferryman said. “Then we stopped counting.” (He asked not to be named.)",
        "Naïve readers of the communiqué missed the clause on Sørdal; the mayor’s office did not.",
        "In the neighbouring province the governor closed the road for a week. " * 40,
    ],
]


# -- the family --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A tagger as training returned it, and the folder that it was saved into afterwards."""

    trained: Tagger
    folder: Path

    def expected(self, articles: Articles) -> list[list[Told]]:
        """What the tagger in memory says."""
        return [[told(tag) for tag in tags] for tags in self.trained.tag_articles(articles)]


MEMBERS = ("graph", "windows", "static", "words")


def make_member(name: str, home: Path, graph: Path | None = None) -> Member:
    """Train one and save it: a graph, one read in windows with a sequence, static vectors, or words alone."""
    if name == "words":
        return _trained(home, None, None, DecoderSpec(weight=0.3))
    if name == "windows":
        from crosshead.encoders import export

        folder = export._reading_windows(tiny.build_graph(home / "small", max_tokens=16))
        return _trained(home, folder, GraphEncoder(folder), DecoderSpec("sequence", 0.8, 0.01))
    folder = graph or tiny.build_graph(home / "graph")
    if name == "static":
        distil(GraphEncoder(folder, engine="onnxruntime"), home / "static", n_dimensions=12)
        return _trained(home, home / "static", StaticEncoder(home / "static"), DecoderSpec(weight=0.5))
    return _trained(home, folder, GraphEncoder(folder), DecoderSpec(weight=0.3))


def _trained(home: Path, folder: Path | None, encoder: Any, decoder: DecoderSpec) -> Member:
    texts, y, lengths, ids = tiny.training_rows()
    article = np.repeat(np.arange(len(lengths)), lengths)
    views = [ViewSpec("tfidf", "tfidf", LogisticRegression(C=10), min_df=1)]
    if encoder is not None:
        views += [ViewSpec(kind, kind, LogisticRegression(C=10)) for kind in ("paragraph", "sentence")]  # type: ignore[arg-type]
    result = train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=views,
        encoder=encoder,
        folds=[(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))],
        decoder=decoder,
        calibrate=True,
        risk=0.9,  # twelve paragraphs promise nothing better
    )
    bundle.save(result.tagger, home / "bundle", encoder_dir=folder, estimators=result.estimators)
    return Member(result.tagger, home / "bundle")


# -- what doors say ----------------------------------------------------------------------------------------------------


def told(tag: Tag) -> Told:
    return tag.section_type, tag.abstained, tag.truncated_tokens, tag.confidence, tuple(tag.scores.values())


def told_by(row: dict[str, Any], section_types: Sequence[str]) -> Told:
    """Read a row in JSON, or of a table that has a column for each score."""
    scores = row.get("scores") or {name: row[f"{SCORE}{name}"] for name in section_types}
    assert [*scores] == [*section_types]
    return row["section_type"], row["abstained"], row["truncated_tokens"], row["confidence"], tuple(scores.values())


def written(answers: list[list[Told]]) -> list[list[Told]]:
    """What is written as text has six decimals."""
    return [
        [
            (*what, round(confidence, 6), tuple(round(score, 6) for score in scores))
            for *what, confidence, scores in tags
        ]  # type: ignore[misc]
        for tags in answers
    ]


Door = Callable[[Articles], list[list[Told]]]


def feed_of(articles: Articles) -> bytes:
    """Write the articles as the JSONL that `crosshead tag` reads."""
    lines = ({"article_id": f"a{i}", "paragraphs": list(texts)} for i, texts in enumerate(articles))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def of_feed(lines: bytes, section_types: Sequence[str]) -> list[list[Told]]:
    records = [json.loads(line) for line in lines.split(b"\n")[:-1]]
    assert not [record for record in records if "error" in record]
    return [[told_by(row, section_types) for row in record["paragraphs"]] for record in records]


class Doors:
    """Every way to ask one saved tagger, none of which shares a loaded object with another."""

    def __init__(self, member: Member, home: Path, client: TestClient) -> None:
        self.types = member.trained.section_types
        self.folder, self.home, self.client = member.folder, home, client
        self._n = 0

    def new(self, name: str) -> Path:
        self._n += 1
        return self.home / f"{self._n}-{name}"

    def command(self, articles: Articles) -> list[list[Told]]:
        feed, output = self.new("feed.jsonl"), self.new("tagged.jsonl")
        feed.write_bytes(feed_of(articles))
        assert main(["tag", str(feed), "--model", str(self.folder), "-o", str(output)]) == 0
        return of_feed(output.read_bytes(), self.types)

    def batch(self, articles: Articles, *options: str) -> list[list[Told]]:
        feed, output = self.new("feed.jsonl"), self.new("tagged")
        feed.write_bytes(feed_of(articles))
        assert main(["tag", str(feed), "--model", str(self.folder), "-o", f"{output}/", *options]) == 0
        return self.of_rows(rows_of(output), len(articles))

    def of_rows(self, rows: list[dict[str, Any]], n_articles: int) -> list[list[Told]]:
        answers: list[list[Told]] = [[] for _ in range(n_articles)]
        for row in rows:
            assert len(answers[int(row["article_id"][1:])]) == row["paragraph"]
            answers[int(row["article_id"][1:])].append(told_by(row, self.types))
        return answers

    def api(self, articles: Articles) -> list[list[Told]]:
        found = [self.client.post("/v1/tag", json={"paragraphs": list(texts)}) for texts in articles]
        assert {answer.status_code for answer in found} <= {200}, [answer.text for answer in found]
        return [[told_by(row, self.types) for row in answer.json()["paragraphs"]] for answer in found]

    def stream(self, articles: Articles) -> list[list[Told]]:
        kind = {"content-type": "application/x-ndjson"}
        return of_feed(self.client.post("/v1/tag/stream", content=feed_of(articles), headers=kind).content, self.types)

    def explain(self, articles: Articles) -> list[Told]:
        """Ask why, of the last paragraph of each article."""
        found = [
            self.client.post("/v1/explain", json={"before": list(texts[:-1]), "paragraph": texts[-1]})
            for texts in articles
        ]
        assert {answer.status_code for answer in found} <= {200}, [answer.text for answer in found]
        return [told_by(answer.json(), self.types) for answer in found]

    def invocations(self, articles: Articles) -> list[list[Told]]:
        rows = shuffled(articles)
        table = {"columns": ["text", "article_id", "paragraph"], "data": [[t, f"a{i}", n] for i, n, t in rows]}
        answer = self.client.post("/invocations", json={"dataframe_split": table})
        assert answer.status_code == 200, answer.text
        return self.in_order(rows, answer.json()["predictions"], len(articles))

    def in_order(self, rows: list[tuple[int, int, str]], found: list[dict[str, Any]], n: int) -> list[list[Told]]:
        answers: list[dict[int, Told]] = [{} for _ in range(n)]
        for (article, paragraph, _), row in zip(rows, found, strict=True):
            answers[article][paragraph] = told_by(row, self.types)
        return [[tags[i] for i in range(len(tags))] for tags in answers]


def shuffled(articles: Articles) -> list[tuple[int, int, str]]:
    """Lay articles out as rows that stand in no order: article, paragraph, text."""
    rows = [(i, n, text) for i, texts in enumerate(articles) for n, text in enumerate(texts)]
    random.Random(len(rows)).shuffle(rows)
    return rows


def log_model(member: Member, root: Path) -> Callable[[Any], Any]:
    """Log the bundle in MLflow as training does, and load it as anybody who has MLflow would."""
    stores.make_project(root)
    tracking = Tracking.at(root)
    with tracking.run("train") as run:
        registry.log_model(run, member.folder)
    mlflow = mlflow_store.load_mlflow()
    (model,) = (root / "mlflow" / "artifacts" / "models").glob("m-*/artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])  # MLflow puts the model's own copy of crosshead there
        return mlflow.pyfunc.load_model(str(model)).predict  # type: ignore[no-any-return]

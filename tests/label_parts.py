"""Parts of the tests of zero-shot, selection, wrong labels and weak supervision: an encoder of words, a project."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import tiny
from crosshead.tagging.tagger import Encoded
from crosshead.taxonomy import Taxonomy
from crosshead.text import normalise, text_digest

TAXONOMY = Taxonomy.from_mapping(
    {
        "name": "town",
        "section_types": [
            {
                "name": "harbour",
                "description": "Boats and quays: ferries, cargo, tides.",
                "heading_phrases": ["at the quay", "ferries"],
                "text_rules": [
                    {"name": "ships", "phrases": ["ferr*", "cargo"]},
                    {"name": "water", "patterns": [r"\btides?\b"]},
                ],
            },
            {
                "name": "school",
                "description": "Lessons and pupils: teachers, exams, classrooms.",
                "heading_phrases": ["in class"],
                "text_rules": [{"name": "class", "phrases": ["pupil*", "exam", "classroom"]}],
            },
            {
                "name": "weather",
                "description": "Rain and wind: storms, frost, forecasts.",
                "text_rules": [{"name": "sky", "phrases": ["storm*", "frost", "rain"]}],
            },
        ],
    }
)
WORDS = {
    "harbour": "ferries cargo tides boats quays",
    "school": "pupils exams teachers classrooms lessons",
    "weather": "rain storms frost wind forecasts",
}


class WordsEncoder:
    """A vector for every word, their mean for a text: texts with words in common are similar."""

    fingerprint, n_dimensions, max_tokens = "words", 64, 512

    def encode(self, texts: Sequence[str]) -> Encoded:
        vectors = np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, 64), dtype=np.float32)
        return Encoded(vectors, np.array([len(text.split()) for text in texts], dtype=np.int64))

    def _vector(self, text: str) -> np.ndarray:
        words = [word.strip(".,:").lower() for word in normalise(text).split()]
        total = np.sum([self._word(word) for word in words], axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=self.n_dimensions)


def paragraphs(n: int, seed: int = 0, *, filler: int = 4) -> tuple[list[str], np.ndarray]:
    """Make texts of two words of their section type and some that say nothing, with the section types' numbers."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    nothing = [f"word{i}" for i in range(40)]
    texts = []
    for number, label in enumerate(y):
        own = rng.choice(list(WORDS.values())[label].split(), 2, replace=False)
        texts.append(" ".join(rng.permutation([*own, *rng.choice(nothing, filler)])) + f" n{number}.")
    return texts, y


def make_project(root: Path, conf: Path, *, annotated: Sequence[str] = ("bridge", "bread", "talks", "hives")) -> Path:
    """Make a project of the four tiny articles, twice: two of each, the second with another ending."""
    shutil.copytree(conf, root / "conf")
    (root / "data" / "articles").mkdir(parents=True)
    rows = ["article_id,paragraph,text_sha256,section_type,annotator"]
    for article_id, parts in tiny.ARTICLES:
        texts = [text for text, _ in parts]
        (root / "data" / "articles" / f"{article_id}.md").write_text(f"# {article_id}\n\n" + "\n\n".join(texts) + "\n")
        if article_id in annotated:
            rows += [f"{article_id},{i},{text_digest(text)},{label},author" for i, (text, label) in enumerate(parts)]
    (root / "data" / "annotations.csv").write_text("\n".join(rows) + "\n")
    return root


def use_tiny_encoder(monkeypatch: pytest.MonkeyPatch, graph: Path) -> None:
    """Let the configuration's encoder be the tiny one."""
    from crosshead.encoders import open as opening
    from crosshead.encoders.graph import GraphEncoder

    def open_tiny(source: str, cache_dir: Path, **_: object) -> object:
        return opening.with_cache(GraphEncoder(graph), cache_dir), graph

    monkeypatch.setattr(opening, "open_encoder", open_tiny)

"""Score the default and what stands beside it on held-out articles and on text that people wrote.

    python experiments/baselines/run.py PARAGRAPHS.jsonl [NAME=BUNDLE …]

After `crosshead run`. PARAGRAPHS is as in ../real_text and only judged on. The stock encoder with a logistic regression
is trained here, if it is not there yet. NAME=BUNDLE is a further tagger. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.encoders.open import with_cache
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODELS = ROOT / "models"
STOCK = ["views=embedding", "classifier=logreg", "decoder=none"]
MEASURES = ("macro_f1", "accuracy", "log_loss", "ece")


def main(paragraphs: str, *others: str) -> None:
    if not (MODELS / "stock" / "bundle").is_dir():
        command = ["-m", "crosshead", "train", "tracking=none", "model_dir=models/stock", "curve_shares=[]", *STOCK]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    taggers = {
        "default": MODELS / "latest" / "bundle",
        "majority": MODELS / "latest" / "baselines" / "majority",
        "TF-IDF": MODELS / "latest" / "baselines" / "tfidf",
        "stock MiniLM + LogisticRegression": MODELS / "stock" / "bundle",
        **{name: Path(place) for name, place in (other.split("=", 1) for other in others)},
    }
    results: dict[str, Any] = {}
    for place, (articles, y, ids) in {"held_out": held_out(), "real": real(Path(paragraphs))}.items():
        first = None
        for name, folder in taggers.items():
            tagger = bundle.load(folder)
            if tagger.encoder is not None:
                cached = with_cache(tagger.encoder, ROOT / ".cache" / "crosshead")  # type: ignore[arg-type]
                tagger = replace(tagger, encoder=cached)
            proba = tagger.predict_proba(articles)
            first = proba if first is None else first
            row = scored(y, first, proba, ids, tagger.section_types, compared=name != "default")
            results.setdefault(name, {})[place] = row
            print(f"{name:34} {place:9} {row['shown']}", flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def held_out() -> tuple[list[list[str]], list[str], list[str]]:
    columns = labelled.columns_of(read_table(ROOT / "data" / "prepared")["test"])
    columns = labelled.take(columns, labelled.rows_where(columns, "origin", "article"))
    return labelled.as_articles(columns), columns["section_type"], columns["article_id"]


def real(paragraphs: Path) -> tuple[list[list[str]], list[str], list[str]]:
    rows = [json.loads(line) for line in paragraphs.read_text(encoding="utf-8").splitlines()]
    return [[row["text"]] for row in rows], [row["section_type"] for row in rows], [row["article_id"] for row in rows]


def scored(y: list[str], first: Any, proba: Any, ids: list[str], types: Any, *, compared: bool) -> dict[str, Any]:
    scores = evaluate(y, proba, ids, types)
    row: dict[str, Any] = {name: getattr(scores, name).as_dict() for name in MEASURES}
    row["shown"] = "  ".join(f"{name} {getattr(scores, name)}" for name in MEASURES)
    if compared:
        difference = paired_bootstrap(y, proba, first, ids, section_types=types).difference
        p = mcnemar(y, *(np.array(types)[a.argmax(axis=1)].tolist() for a in (proba, first))).p_value
        row |= {"default_minus_this": difference.as_dict(), "mcnemar_p": p}
        row["shown"] += f"  default minus this {difference}, p {p:.2g}"
    return row


if __name__ == "__main__":
    main(*sys.argv[1:])

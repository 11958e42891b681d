"""What do the single paragraphs on which the codebook's rules decide bring, with and without a look at the sentences?

    python experiments/single_paragraphs/run.py PARAGRAPHS.jsonl

After `crosshead prepare`. PARAGRAPHS is as in ../real_text and only judged on. With CROSSHEAD_ACCURATE=FOLDER the
larger encoder is trained, too. Answers are kept under models/single_paragraphs/, so the command can be stopped and
repeated. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora import labelled
from crosshead.corpora.corpus import ARTICLE, SINGLE, read_table
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap
from crosshead.settings import load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from table_studies import train_on

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BATCHES: dict[str, tuple[str, ...]] = {
    "none": (),
    "w18": ("w18-",),
    "w18, w19": ("w18-", "w19-"),
    "w18, w19, w20": ("w18-", "w19-", "w20-"),
}
VIEWS = ("blend", "sentences")
UNPLANNED = "w14"
"""Articles that were written without a thought of labels: the likest to real text of all that may be chosen by."""
MEASURES = ("macro_f1", "accuracy", "log_loss", "ece")
Floats = NDArray[np.float64]
Place = tuple[list[str], list[str], Floats]
"""Section types, articles and probabilities of the paragraphs of one place."""


def main(paragraphs: str) -> None:
    encoders: dict[str, list[str]] = {"MiniLM": []}
    if os.environ.get("CROSSHEAD_ACCURATE"):
        encoders["mpnet"] = ["experiment=accurate"]
    results: dict[str, Any] = {}
    for encoder, views in product(encoders, VIEWS):
        first: dict[str, Place] = {}
        for name, batches in BATCHES.items():
            found = answered([*encoders[encoder], f"views={views}"], f"{encoder}-{views}-{name}", batches, paragraphs)
            first = first or found
            for place, answers in found.items():
                row = scored(answers, first[place], compared=name != "none")
                results.setdefault(f"{encoder}, {views}", {}).setdefault(name, {})[place] = row
                print(f"{encoder:7} {views:10} {name:14} {place:10} {row['shown']}", flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def answered(overrides: list[str], name: str, batches: tuple[str, ...], paragraphs: str) -> dict[str, Place]:
    """Train on articles, contrast sets and some batches; answer held-out articles, unplanned ones and real text."""
    settings = load_settings(overrides, ROOT)
    tables = {split: labelled.columns_of(table) for split, table in read_table(settings.prepared_dir).items()}
    ids, origin = tables["train"]["article_id"], tables["train"]["origin"]
    kept = [i for i, one in enumerate(ids) if origin[i] != SINGLE or one.startswith(batches)]
    part = labelled.take(tables["train"], kept)
    test = labelled.take(tables["test"], labelled.rows_where(tables["test"], "origin", "article"))
    rows = [json.loads(line) for line in Path(paragraphs).read_text(encoding="utf-8").splitlines()]
    stored = ROOT / "models" / "single_paragraphs" / f"{name.replace(', ', '-')}.npz"
    if not stored.is_file():
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(stored, **trained(settings, part, labelled.as_articles(test), [[r["text"]] for r in rows]))
    with np.load(stored) as read:
        proba, asked = dict(read), read["asked"]
    unplanned = [i for i, row in enumerate(asked) if is_unplanned(part, row)]
    own = labelled.take(part, asked[unplanned])
    return {
        "held_out": (test["section_type"], test["article_id"], proba["held_out"]),
        "unplanned": (own["section_type"], own["article_id"], proba["out_of_fold"][unplanned]),
        "real": ([row["section_type"] for row in rows], [row["article_id"] for row in rows], proba["real"]),
    }


def is_unplanned(part: dict[str, list[Any]], row: int) -> bool:
    return bool(part["origin"][row] == ARTICLE and part["article_id"][row].startswith(UNPLANNED))


def trained(settings: Any, part: dict[str, list[Any]], test: list[list[str]], real: list[list[str]]) -> dict[str, Any]:
    result = train_on(settings, part, settings.seed)
    told = result.tagger.predict_proba
    return {"asked": result.asked, "out_of_fold": result.out_of_fold, "held_out": told(test), "real": told(real)}


def scored(answers: Place, first: Place, *, compared: bool) -> dict[str, Any]:
    y, ids, proba = answers
    types = load_settings([], ROOT).taxonomy.section_types
    scores = evaluate(y, proba, ids, types)
    row: dict[str, Any] = {name: getattr(scores, name).as_dict() for name in MEASURES}
    row["shown"] = "  ".join(f"{name} {getattr(scores, name)}" for name in MEASURES)
    if compared:
        difference = paired_bootstrap(y, first[2], proba, ids, section_types=types).difference
        p = mcnemar(y, *([types[i] for i in one.argmax(axis=1)] for one in (first[2], proba))).p_value
        row |= {"minus_none": difference.as_dict(), "mcnemar_p": p}
        row["shown"] += f"  minus none {difference}, p {p:.2g}"
    return row


if __name__ == "__main__":
    main(*sys.argv[1:])

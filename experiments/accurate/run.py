"""Compare taggers with a larger encoder, frozen and tuned, and blends of taggers, with the default.

    CROSSHEAD_ACCURATE=FOLDER python experiments/accurate/run.py PARAGRAPHS.jsonl [NAME …]

FOLDER holds all-mpnet-base-v2, PARAGRAPHS is as in ../real_text and only judged on. NAME makes some of ARMS; what lies
under models/accurate/ already is not made again, so the command can be stopped and repeated. Arms that are not there
are left out. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.encoders.open import with_cache
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap
from crosshead.settings import find_root

Floats = NDArray[np.float64]
FIRST = "default"
TUNED = "tuned"
ARMS: dict[str, list[str]] = {
    FIRST: [],
    "sentences": ["views=sentences"],
    "frozen": ["experiment=accurate", "views=blend"],
    "frozen, sentences": ["experiment=accurate", "views=sentences"],
    TUNED: ["encoder=finetuned", "encoder.source=models/accurate/encoder", "views=blend"],
    "tuned, sentences": ["encoder=finetuned", "encoder.source=models/accurate/encoder", "views=sentences"],
}
"""Overrides of `crosshead train`."""
TUNING = ["experiment=accurate", "finetune.layers=4", "finetune.epochs=4", "finetune.output=models/accurate/encoder"]
BLENDS = [
    (FIRST, "frozen"),
    ("sentences", "frozen"),
    (FIRST, TUNED),
    ("frozen", TUNED),
    (FIRST, "frozen", TUNED),
]
"""Taggers whose log-probabilities are averaged."""


def main(paragraphs: str, *names: str) -> None:
    root = find_root()
    for name in names:
        make(root, name)
    present = [name for name in ARMS if (place(root, name) / "bundle").is_dir()]
    results: dict[str, Any] = {}
    for kind, read in MEASURED.items():
        known = {name: read(root, place(root, name), Path(paragraphs)) for name in present}
        answers = {name: (found,) for name, found in known.items()}
        answers |= {" + ".join(b): tuple(known[name] for name in b) for b in BLENDS if set(b) <= set(present)}
        for name, parts in answers.items():
            found = results.setdefault(name, {})[kind] = score(parts, known[FIRST], compared=name != FIRST)
            print(f"{name:28} {kind:9} {found['shown']}  {found.get('minus_default', '')} {found.get('mcnemar_p', '')}")
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def place(root: Path, name: str) -> Path:
    return root / "models" / ("latest" if name == FIRST else f"accurate/{name.replace(', ', '-')}")


def make(root: Path, name: str) -> None:
    """Fine-tune and train, what is not there yet."""
    encoder, model = root / "models" / "accurate" / "encoder", place(root, name)
    if name.startswith(TUNED) and not encoder.is_dir():
        crosshead(root, "finetune", "tracking=none", *TUNING)
    if not (model / "bundle").is_dir():
        here = f"model_dir={model.relative_to(root)}"
        crosshead(root, "train", "tracking=none", here, "curve_shares=[]", *ARMS[name])


def crosshead(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "crosshead", *arguments], cwd=root, check=True, env=dict(os.environ))


# -- answers -----------------------------------------------------------------------------------------------------------

Answers = dict[str, Any]
"""Of every paragraph: its name, section type, article and probabilities; with the tagger's section types."""


def cross_validated(root: Path, model: Path, paragraphs: Path) -> Answers:
    """Answers for training articles by models that never saw them; of a tuned encoder, for those that it never saw."""
    columns = labelled.columns_of(read_table(root / "data" / "prepared")["train"])
    number = {name: row for row, name in enumerate(columns["paragraph_id"])}
    with np.load(model / "out_of_fold.npz") as stored:
        names, proba = [str(name) for name in stored["paragraph_id"]], stored["proba"]
    rows = labelled.take(columns, [number[name] for name in names])
    return answers_of(model, names, rows["section_type"], rows["article_id"], proba)


def held_out(root: Path, model: Path, paragraphs: Path) -> Answers:
    columns = labelled.columns_of(read_table(root / "data" / "prepared")["test"])
    chosen = labelled.take(columns, labelled.rows_where(columns, "origin", "article"))
    proba = tagged(root, model, labelled.as_articles(chosen))
    return answers_of(model, chosen["paragraph_id"], chosen["section_type"], chosen["article_id"], proba)


def real(root: Path, model: Path, paragraphs: Path) -> Answers:
    rows = [json.loads(line) for line in paragraphs.read_text(encoding="utf-8").splitlines()]
    proba = tagged(root, model, [[row["text"]] for row in rows])
    names = [str(i) for i in range(len(rows))]
    return answers_of(model, names, [row["section_type"] for row in rows], [row["article_id"] for row in rows], proba)


def tagged(root: Path, model: Path, articles: list[list[str]]) -> Floats:
    tagger = bundle.load(model / "bundle")
    cached = with_cache(tagger.encoder, root / ".cache" / "crosshead")  # type: ignore[arg-type]
    return replace(tagger, encoder=cached).predict_proba(articles)


def answers_of(model: Path, names: list[str], y: list[str], ids: list[str], proba: Floats) -> Answers:
    manifest = bundle.read_manifest(model / "bundle")
    return {
        "names": names,
        "y": y,
        "ids": ids,
        "proba": proba,
        "threshold": manifest["threshold"],
        "types": tuple(manifest["section_types"]),
    }


MEASURED: dict[str, Callable[[Path, Path, Path], Answers]] = {"cv": cross_validated, "held_out": held_out, "real": real}


# -- scores ------------------------------------------------------------------------------------------------------------


def score(parts: tuple[Answers, ...], first: Answers, *, compared: bool) -> dict[str, Any]:
    """Score a tagger, or several whose log-probabilities are averaged, on the paragraphs that all of them answered."""
    common = set(first["names"]).intersection(*(part["names"] for part in parts))
    own, *others = [at(part, common) for part in (first, *parts)]
    total = np.mean([np.log(part["proba"]) for part in others], axis=0)
    proba = np.exp(total - np.logaddexp.reduce(total, axis=1)[:, None])
    y, ids, types = own["y"], own["ids"], own["types"]
    abstained = proba.max(axis=1) < others[0]["threshold"] if len(parts) == 1 else np.zeros(len(y), dtype=bool)
    scores = evaluate(y, proba, ids, types, abstained=abstained)
    shown = f"macro-F1 {scores.macro_f1}  accuracy {scores.accuracy}  log-loss {scores.log_loss}  ECE {scores.ece}"
    found = {**scores.as_dict(), "shown": shown}
    if compared:
        difference = paired_bootstrap(y, own["proba"], proba, ids, section_types=types).difference
        answers = [[types[i] for i in p.argmax(axis=1)] for p in (own["proba"], proba)]
        found |= {"minus_default": difference.as_dict(), "mcnemar_p": mcnemar(y, *answers).p_value}
    return found


def at(part: Answers, names: set[str]) -> Answers:
    rows = [i for i, name in enumerate(part["names"]) if name in names]
    taken = {key: [part[key][i] for i in rows] for key in ("names", "y", "ids")}
    return {**part, **taken, "proba": part["proba"][rows]}


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Fine-tune encoders, train a tagger on each, and score all on held-out articles and on real paragraphs.

    python experiments/finetuning/run.py PARAGRAPHS.jsonl [NAME …]

PARAGRAPHS is as in ../real_text. NAME chooses some of ARMS. What is under models/finetuning/ already is not made again,
so the command can be stopped and repeated. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from crosshead import bundle
from crosshead.corpora import labelled
from crosshead.corpora.corpus import read_table
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap
from crosshead.settings import find_root

ARMS: dict[str, list[str] | None] = {
    "frozen": None,
    "three layers": [],
    "three layers, not averaged": ["finetune.average=1"],
    "all layers": ["finetune.layers=6", "finetune.learning_rate=5e-5"],
}
"""Overrides of `crosshead finetune`; None trains with the encoder as it is."""


def main(paragraphs: str, *names: str) -> None:
    root = find_root()
    for name in names or ARMS:
        make(root, name)
    held_out, real = held_out_articles(root), real_paragraphs(Path(paragraphs))
    results: dict[str, Any] = {}
    for name in ARMS:
        folder = place(root, name) / "model" / "bundle"
        if folder.is_dir():
            results[name] = {kind: score(folder, *data) for kind, data in (("held_out", held_out), ("real", real))}
    for kind, (_, y, ids) in (("held_out", held_out), ("real", real)):
        answers = {name: found[kind].pop("proba") for name, found in results.items()}
        for name, proba in answers.items():
            found = results[name][kind]
            if name != "frozen" and "frozen" in answers:
                found |= compare(y, ids, found["section_types"], answers["frozen"], proba)
            print(f"{name:28} {kind:9} {found['shown']}  {found.get('minus_frozen', '')} {found.get('mcnemar_p', '')}")
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def place(root: Path, name: str) -> Path:
    return root / "models" / "finetuning" / name.replace(",", "").replace(" ", "-")


def make(root: Path, name: str) -> None:
    """Fine-tune and train, what is not there yet."""
    chosen, folder = ARMS[name], place(root, name)
    encoder, model = folder / "encoder", folder / "model"
    if chosen is not None and not encoder.is_dir():
        crosshead(root, "finetune", "tracking=none", f"finetune.output={encoder.relative_to(root)}", *chosen)
    if not (model / "bundle").is_dir():
        encoders = ["encoder=finetuned", f"encoder.source={encoder.relative_to(root)}"] if chosen is not None else []
        crosshead(
            root,
            "train",
            "tracking=none",
            f"model_dir={model.relative_to(root)}",
            "curve_shares=[]",
            "views=blend",
            *encoders,
        )


def crosshead(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "crosshead", *arguments], cwd=root, check=True, env=dict(os.environ))


Data = tuple[list[list[str]], list[str], list[str]]
"""Articles, and of every paragraph its section type and its article."""


def held_out_articles(root: Path) -> Data:
    columns = labelled.columns_of(read_table(root / "data" / "prepared")["test"])
    chosen = labelled.take(columns, labelled.rows_where(columns, "origin", "article"))
    return labelled.as_articles(chosen), chosen["section_type"], chosen["article_id"]


def real_paragraphs(path: Path) -> Data:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [[row["text"]] for row in rows], [row["section_type"] for row in rows], [row["article_id"] for row in rows]


def score(folder: Path, articles: list[list[str]], y: list[str], ids: list[str]) -> dict[str, Any]:
    tagger = bundle.load(folder)
    proba = tagger.predict_proba(articles)
    scores = evaluate(y, proba, ids, tagger.section_types, abstained=proba.max(axis=1) < tagger.threshold)
    shown = f"macro-F1 {scores.macro_f1}  log-loss {scores.log_loss}  ECE {scores.ece}"
    return {**scores.as_dict(), "shown": shown, "section_types": tagger.section_types, "proba": proba}


def compare(y: list[str], ids: list[str], types: tuple[str, ...], frozen: Any, tuned: Any) -> dict[str, Any]:
    difference = paired_bootstrap(y, frozen, tuned, ids, section_types=types).difference
    answers = [[types[i] for i in proba.argmax(axis=1)] for proba in (frozen, tuned)]
    return {"minus_frozen": difference.as_dict(), "mcnemar_p": mcnemar(y, *answers).p_value}


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Train on another section scheme with conf/ alone, and measure what the rest of an article is worth.

    python experiments/any_taxonomy/run.py CSABSTRUCT [PROJECT]

CSABSTRUCT is the user's own folder with train.jsonl and dev.jsonl, a line ``{"sentences": […], "labels": […]}`` each.
PROJECT, by default .cache/any_taxonomy, becomes a crosshead project: a copy of conf/ with a taxonomy and a corpus of
its own. Everything else is `crosshead prepare` and `crosshead train` with overrides. Nothing of the text is written
anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from crosshead import bundle
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SECTION_TYPES = ["background", "objective", "method", "result", "other"]
MINILM_ALONE = ["views=embedding", "classifier=logreg", "classifier.C=1"]
WORDS_ALONE = ["encoder=tfidf", "views=tfidf"]
VARIANTS = {
    "own text: MiniLM + words": ["views=blend", "decoder=none"],
    "own text + sequence": ["views=blend", "decoder=sequence"],
    "own text + neighbours": ["views=blend", "decoder=neighbours"],
    "MiniLM + LogisticRegression": [*MINILM_ALONE, "decoder=none"],
    "MiniLM + LogisticRegression + sequence": [*MINILM_ALONE, "decoder=sequence"],
    "words + sequence": [*WORDS_ALONE, "decoder=sequence"],
}
REFERENCE = "own text: MiniLM + words"
TAXONOMY = """\
name: csabstruct
section_types:
"""
CORPUS = """\
articles: [train.jsonl]
test_articles: [dev.jsonl]
labels: given
annotations: null
contrast_sets: null
licence: null
test_share: 0.15
boilerplate: keep            # "All rights reserved" is an answer here
duplicate_threshold: 0.8
"""


def make_project(data: Path, project: Path) -> None:
    """Lay out a project: conf/ with two files more, and the user's abstracts as articles."""
    shutil.copytree(ROOT / "conf", project / "conf", dirs_exist_ok=True)
    types = "".join(f"  - {{name: {name}, heading_phrases: [{name}]}}\n" for name in SECTION_TYPES)
    (project / "conf/taxonomy/csabstruct.yaml").write_text(TAXONOMY + types)
    (project / "conf/corpus/csabstruct.yaml").write_text(CORPUS)
    for split in ("train", "dev"):
        with (project / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for number, row in enumerate(read(data, split)):
                told = {"paragraphs": row["sentences"], "section_types": row["labels"]}
                file.write(json.dumps({"article_id": f"{split}-{number}", **told}) + "\n")


def read(data: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def crosshead(project: Path, stage: str, *overrides: str) -> None:
    chosen = ["taxonomy=csabstruct", "corpus=csabstruct", "tracking=none", "curve_shares=[]", *overrides]
    subprocess.run(
        [sys.executable, "-m", "crosshead", stage, *chosen],
        cwd=project,
        env={**os.environ, "CROSSHEAD_ROOT": str(project)},
        check=True,
    )


def main(data: str, project: str = str(ROOT / ".cache" / "any_taxonomy")) -> None:
    place = Path(project).resolve()
    make_project(Path(data), place)
    crosshead(place, "prepare")
    dev = read(Path(data), "dev")
    articles = [row["sentences"] for row in dev]
    y = [label for row in dev for label in row["labels"]]
    ids = [f"dev-{number}" for number, row in enumerate(dev) for _ in row["labels"]]
    proba, results = {}, {}
    for name, overrides in VARIANTS.items():
        crosshead(place, "train", *overrides)
        tagger = bundle.load(place / "models/latest/bundle")
        proba[name] = tagger.predict_proba(articles)
        if name == REFERENCE:
            for baseline, told in (("majority", "majority"), ("tfidf", "words (TF-IDF)")):
                proba[told] = bundle.load(place / "models/latest/baselines" / baseline).predict_proba(articles)
        if name == "own text + sequence":
            apart = tagger.predict_proba([[text] for article in articles for text in article])
            results["the same, each sentence on its own"] = score(y, apart, ids)
            told = {"accuracy_equals_reference": bool((apart.argmax(1) == proba[REFERENCE].argmax(1)).all())}
            results["the same, each sentence on its own"] |= told
    for name, found in proba.items():
        results[name] = score(y, found, ids)
        if name == REFERENCE:
            continue
        for metric in ("macro_f1", "accuracy"):
            compared = paired_bootstrap(y, proba[REFERENCE], found, ids, metric=metric, section_types=SECTION_TYPES)
            results[name][f"{metric}_minus_reference"] = compared.difference.as_dict()
        sides = [np.array(SECTION_TYPES)[rows.argmax(axis=1)].tolist() for rows in (found, proba[REFERENCE])]
        results[name]["mcnemar_p"] = mcnemar(y, *sides).p_value
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


def score(y: list[str], proba: np.ndarray, ids: list[str]) -> dict:
    found = evaluate(y, proba, ids, SECTION_TYPES).as_dict()
    return {key: value for key, value in found.items() if key != "classes"} | {
        "f1": {name: entry["f1"]["value"] for name, entry in found["classes"].items()}
    }


def print_table(results: dict) -> None:
    print("| tagger | micro-F1 | macro-F1 | micro-F1 minus own text | McNemar p | log-loss | ECE |")
    print("|---|---|---|---|---|---|---|")
    for name, row in results.items():
        gain = interval(row["accuracy_minus_reference"], "+") if "accuracy_minus_reference" in row else "–"
        p = f"{row['mcnemar_p']:.2g}" if "mcnemar_p" in row else "–"
        plain = f"{row['log_loss']['value']:.3f} | {row['ece']['value']:.3f}"
        print(f"| {name} | {interval(row['accuracy'])} | {interval(row['macro_f1'])} | {gain} | {p} | {plain} |")


def interval(told: dict, sign: str = "") -> str:
    return f"{told['value']:{sign}.3f} ({told['low']:{sign}.3f} to {told['high']:{sign}.3f})"


if __name__ == "__main__":
    main(*sys.argv[1:])

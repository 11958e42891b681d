"""Score saved taggers on labelled paragraphs that are not in this repository.

    python experiments/real_text/run.py PARAGRAPHS.jsonl [BUNDLE …]

A line of PARAGRAPHS is ``{"article_id", "text", "section_type"}``. Without BUNDLE: the last trained tagger and the
baselines beside it. Each paragraph is tagged on its own. Nothing of the text is written anywhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from crosshead import bundle
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ["bundle", "baselines/tfidf", "baselines/majority"]


def main(paragraphs: str, *folders: str) -> None:
    rows = [json.loads(line) for line in Path(paragraphs).read_text(encoding="utf-8").splitlines()]
    texts, ids = [row["text"] for row in rows], [row["article_id"] for row in rows]
    y = [row["section_type"] for row in rows]
    places = [Path(folder) for folder in folders] or [ROOT / "models" / "latest" / name for name in DEFAULT]
    results, first = {}, None
    for place in places:
        tagger = bundle.load(place)
        proba = tagger.predict_proba([[text] for text in texts])
        scores = evaluate(y, proba, ids, tagger.section_types, abstained=proba.max(axis=1) < tagger.threshold)
        result = scores.as_dict()
        line = f"{place.name:12} macro-F1 {scores.macro_f1}  accuracy {scores.accuracy}"
        line += f"  log-loss {scores.log_loss}  ECE {scores.ece}"
        if first is None:
            first = proba
        else:
            difference = paired_bootstrap(y, proba, first, ids, section_types=tagger.section_types)
            answers = [[tagger.section_types[i] for i in p.argmax(axis=1)] for p in (proba, first)]
            test = mcnemar(y, *answers)
            line += f"  first minus this {difference.difference}, McNemar p {test.p_value:.2g}"
            result["first_minus_this"] = difference.difference.as_dict()
        print(line)
        results[place.name] = result
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the other paragraphs of an article are worth, on our own held-out articles and on real text.

    python experiments/context/run.py [PARAGRAPHS.jsonl]

Needs `crosshead prepare corpus.single_paragraphs=null`. A line of PARAGRAPHS is
``{"article_id", "paragraph", "text", "section_type"}``; paragraphs that follow each other in an article are taken as
such, those without a number (null) are on their own. Its text is not in this repository, nothing is trained on it, and
nothing of it is written anywhere.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from crosshead.corpora import labelled
from crosshead.evaluation import evaluate, mcnemar, paired_bootstrap
from crosshead.search.measuring import open_chosen, read_data
from crosshead.settings import load_settings
from crosshead.training import train
from crosshead.training.sequence import fit_decoder

HERE = Path(__file__).parent
ALONE = "each paragraph on its own"
VARIANTS = {
    ALONE: ["decoder=none"],
    "neighbours 0.3 (default)": ["decoder=neighbours"],
    "neighbours 1": ["decoder=neighbours", "decoder.weight=1"],
    "sequence": ["decoder=sequence"],
    "sequence, weight 0.5": ["decoder=sequence", "decoder.weight=0.5"],
    "sequence, l2 0.01": ["decoder=sequence", "decoder.l2=0.01"],
}


def main(real: str = "") -> None:
    settings = load_settings(["views=blend"], HERE.parents[1])
    data = read_data(settings)
    result = train(
        data.paragraphs,
        section_types=data.section_types,
        views=settings.view_specs(),
        encoder=open_chosen(settings),
        folds=data.folds,
        decoder=load_settings(VARIANTS[ALONE], settings.root).decoder.spec(),
        calibrate=True,
        risk=settings.calibration.risk,
    )
    train_set, test = data.paragraphs, labelled.to_paragraphs(data.test, data.section_types)
    in_article = np.array([origin == "article" for origin in data.train["origin"]])
    test_in_article = np.array([origin == "article" for origin in data.test["origin"]])
    looked = result.tagger.look_at(result.tagger.read(test.texts))
    texts, y_real, ids, lengths = read_real(real) if real else ([], [], [], [])
    real_looked = result.tagger.look(texts)
    unseen = np.log(result.out_of_fold)  # decoded by nothing: what every decoder starts from
    held_out = [asked for _, asked in data.folds]
    sets: dict[str, dict] = {}
    for name, overrides in VARIANTS.items():
        spec = load_settings(overrides, settings.root).decoder.spec()
        decoder, cross_validated = fit_decoder(spec, unseen, train_set.y, train_set.lengths, held_out)
        tagger = replace(result.tagger, transitions=decoder)
        sets.setdefault("cross-validated", {})[name] = np.exp(cross_validated)[in_article]
        sets.setdefault("held-out articles", {})[name] = tagger.decode(looked, test.lengths)[test_in_article]
        if real:
            sets.setdefault("real, single paragraphs", {})[name] = tagger.decode(real_looked, [1] * len(texts))
            sets.setdefault("real, as articles", {})[name] = tagger.decode(real_looked, lengths)
    truth = {
        "cross-validated": (train_set.y[in_article], np.array(train_set.article_ids)[in_article]),
        "held-out articles": (test.y[test_in_article], np.array(test.article_ids)[test_in_article]),
    }
    if real:
        numbers = np.array([data.section_types.index(name) for name in y_real])
        truth |= dict.fromkeys(("real, single paragraphs", "real, as articles"), (numbers, np.array(ids)))
    results = {where: compare(*truth[where], found, data.section_types) for where, found in sets.items()}
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


def read_real(path: str) -> tuple[list[str], list[str], list[str], list[int]]:
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    lengths = [1] * len(rows[:1])
    for before, row in itertools.pairwise(rows):
        follows = before["article_id"] == row["article_id"] and None not in (before["paragraph"], row["paragraph"])
        if follows and row["paragraph"] == before["paragraph"] + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    print(f"real text: {len(rows)} paragraphs, {sum(n for n in lengths if n > 1)} of them beside others", flush=True)
    return [r["text"] for r in rows], [r["section_type"] for r in rows], [r["article_id"] for r in rows], lengths


def compare(y: np.ndarray, ids: np.ndarray, found: dict[str, np.ndarray], section_types: tuple[str, ...]) -> dict:
    """Score each decoder, and hold it against no context and against the default."""
    names = np.array(section_types)
    results: dict[str, dict] = {}
    for name, proba in found.items():
        scores = evaluate(names[y].tolist(), proba, ids.tolist(), section_types)
        row = {key: value for key, value in scores.as_dict().items() if key != "classes"}
        line = f"{name:28} macro-F1 {scores.macro_f1}  accuracy {scores.accuracy}  log-loss {scores.log_loss.value:.3f}"
        for against, label in ((ALONE, "alone"), ("neighbours 0.3 (default)", "default")):
            if name == against:
                continue
            other = found[against]
            difference = paired_bootstrap(names[y].tolist(), other, proba, ids.tolist(), section_types=section_types)
            p = mcnemar(names[y].tolist(), names[proba.argmax(1)].tolist(), names[other.argmax(1)].tolist()).p_value
            row[f"minus_{label}"] = difference.difference.as_dict() | {"mcnemar_p": p}
            line += f"  −{label} {difference.difference} p {p:.2g}"
        results[name] = row
        print(line, flush=True)
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])

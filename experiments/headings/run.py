"""Headings or annotations as labels of the same paragraphs, and probabilities under other label shares.

    python experiments/headings/run.py PARAGRAPHS.jsonl

PARAGRAPHS is as in ../real_text and only judged on. Nothing of the real text is written anywhere.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
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
from crosshead.monitoring.label_shift import bbse_shares, em_shares
from crosshead.schema import Settings
from crosshead.settings import load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from table_studies import train_on

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Columns = dict[str, list[Any]]
Floats = NDArray[np.float64]
FIRST = "annotations"
N_DRAWS = 200


def main(paragraphs: str) -> None:
    settings = load_settings(["views=blend"], ROOT)
    tables = {split: labelled.columns_of(table) for split, table in read_table(settings.prepared_dir).items()}
    tables = {split: labelled.take(c, labelled.rows_where(c, "origin", "article")) for split, c in tables.items()}
    rows = [json.loads(line) for line in Path(paragraphs).read_text(encoding="utf-8").splitlines()]
    asked = {"held_out": labelled.as_articles(tables["test"]), "real": [[row["text"]] for row in rows]}
    y = {"held_out": tables["test"]["section_type"], "real": [row["section_type"] for row in rows]}
    ids = {"held_out": tables["test"]["article_id"], "real": [row["article_id"] for row in rows]}
    answers = {name: answered(settings, part, asked) for name, part in arms(tables["train"]).items()}
    results: dict[str, Any] = {
        "agreement": agreement([tables["train"], tables["test"]], settings.taxonomy.section_types),
        "labels": {place: compared(answers, place, y[place], ids[place], settings) for place in asked},
        "shares": shares(asked, y, ids),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results["agreement"], indent=1))
    for place, found in results["labels"].items():
        for name, scores in found.items():
            print(f"{place:9} {name:34} {scores['n']:5} {scores['shown']}")
    print(json.dumps(results["shares"], indent=1))


# -- headings against annotations --------------------------------------------------------------------------------------


def arms(columns: Columns) -> dict[str, Columns]:
    """The training tables: one paragraph set with each kind of label, and all paragraphs."""
    heading, annotated = np.array(columns["heading_section_type"], object), np.array(columns["section_type"], object)
    headed = np.flatnonzero([h is not None for h in heading])
    agreed = headed[heading[headed] == annotated[headed]]
    everywhere = np.where(np.isin(np.arange(len(heading)), headed), heading, annotated)
    return {
        FIRST: labelled.take(columns, headed),
        "headings": relabelled(columns, heading, headed),
        "both, where they agree": labelled.take(columns, agreed),
        "both, each paragraph twice": joined(labelled.take(columns, headed), relabelled(columns, heading, headed)),
        "all paragraphs, annotations": columns,
        "all, headings where there are": relabelled(columns, everywhere, np.arange(len(heading))),
    }


def relabelled(columns: Columns, labels: NDArray[Any], rows: NDArray[np.int64]) -> Columns:
    part = labelled.take(columns, rows)
    return {**part, "section_type": [str(labels[i]) for i in rows]}


def joined(first: Columns, second: Columns) -> Columns:
    return {name: [*first[name], *second[name]] for name in first}


def answered(settings: Settings, part: Columns, asked: dict[str, list[list[str]]]) -> dict[str, Any]:
    result = train_on(settings, part, settings.seed)
    return {
        "n": len(part["text"]),
        **{place: result.tagger.predict_proba(articles) for place, articles in asked.items()},
    }


def compared(answers: Any, place: str, y: list[str], ids: list[str], settings: Settings) -> dict[str, Any]:
    types, first = settings.taxonomy.section_types, answers[FIRST][place]
    found = {}
    for name, answer in answers.items():
        proba = answer[place]
        scores = evaluate(y, proba, ids, types)
        shown = f"macro-F1 {scores.macro_f1}  log-loss {scores.log_loss}  ECE {scores.ece}"
        row = {"n": answer["n"], **scores.as_dict()}
        if name != FIRST:
            difference = paired_bootstrap(y, first, proba, ids, section_types=types).difference
            p = mcnemar(y, *([types[i] for i in a.argmax(axis=1)] for a in (first, proba))).p_value
            row |= {"minus_annotations": difference.as_dict(), "mcnemar_p": p}
            shown += f"  minus annotations {difference} p {p:.2g}"
        found[name] = {**row, "shown": shown}
    return found


def agreement(tables: list[Columns], types: tuple[str, ...]) -> dict[str, Any]:
    """Count what annotations say below headings of each section type."""
    pairs = Counter(
        (heading, label)
        for columns in tables
        for heading, label in zip(columns["heading_section_type"], columns["section_type"], strict=True)
        if heading is not None
    )
    table = {h: {a: pairs[h, a] for a in types} for h in types}
    n, same = sum(pairs.values()), sum(pairs[t, t] for t in types)
    chance = sum(sum(table[t].values()) * sum(table[h][t] for h in types) for t in types) / n**2
    return {
        "n": n,
        "same": same,
        "kappa": round((same / n - chance) / (1 - chance), 4),
        "heading_then_annotated": table,
    }


# -- other label shares ------------------------------------------------------------------------------------------------


def shares(asked: Any, y: Any, ids: Any) -> dict[str, Any]:
    """Log-loss and calibration error as they are, and with probabilities moved to other shares of section types."""
    tagger = bundle.load(ROOT / "models" / "latest" / "bundle")
    tagger = replace(tagger, encoder=with_cache(tagger.encoder, ROOT / ".cache" / "crosshead"))  # type: ignore[arg-type]
    types = tagger.section_types
    with np.load(ROOT / "models" / "latest" / "out_of_fold.npz") as stored:
        learnt, learnt_proba = stored["y"], stored["proba"]
    prior = np.bincount(learnt, minlength=len(types)) / len(learnt)
    truth = {place: np.array([types.index(name) for name in y[place]]) for place in asked}
    proba = {place: tagger.predict_proba(asked[place]) for place in asked}
    real = np.bincount(truth["real"], minlength=len(types)) / len(truth["real"])
    found: dict[str, Any] = {"section_types": types, "learnt": prior.round(4).tolist()}
    moved = {"as they are": prior, "EM": em(proba["real"], prior), "true shares": real}
    solved = bbse_shares(learnt, learnt_proba.argmax(axis=1), proba["real"].argmax(axis=1), len(types))
    if solved is not None:
        moved["BBSE"] = solved
    found["real"] = {
        name: {"shares": to.round(4).tolist(), **against(truth["real"], proba["real"], prior, to, ids["real"], types)}
        for name, to in moved.items()
    }
    found["held_out_drawn_like_real"] = drawn(truth["held_out"], proba["held_out"], prior, real)
    return found


def em(proba: Floats, prior: Floats) -> Floats:
    return np.asarray(em_shares(proba, prior, np.ones((1, len(proba))), start=prior)[0])


def to_shares(proba: Floats, prior: Floats, to: Floats) -> Floats:
    """Move probabilities to another mixture, each kind of text unchanged."""
    moved = proba * (to / prior)
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def against(y: Any, proba: Floats, prior: Floats, to: Floats, ids: list[str], types: Any) -> dict[str, Any]:
    moved = to_shares(proba, prior, to)
    scores = evaluate(y, moved, ids, types)
    row: dict[str, Any] = {n: getattr(scores, n).as_dict() for n in ("log_loss", "ece", "macro_f1", "accuracy")}
    for metric in ("log_loss", "ece", "macro_f1"):
        difference = paired_bootstrap(y, proba, moved, ids, metric=metric, section_types=types).difference
        row[f"{metric}_minus_as_they_are"] = difference.as_dict()
    return row


def drawn(y: Any, proba: Floats, prior: Floats, real: Floats) -> dict[str, Any]:
    """Held-out paragraphs of ours drawn with the real text's shares: another mixture, the same kind of text."""
    rng, n = np.random.default_rng(0), 300
    found: dict[str, list[tuple[float, float]]] = {"as they are": [], "EM": [], "true shares": []}
    for _ in range(N_DRAWS):
        counts = rng.multinomial(n, real)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == k), c) for k, c in enumerate(counts)])
        moved = {"as they are": prior, "EM": em(proba[rows], prior), "true shares": real}
        for name, to in moved.items():
            found[name].append(loss_and_error(y[rows], to_shares(proba[rows], prior, to)))
    table: dict[str, Any] = {}
    for name, values in found.items():
        both = np.array(values)
        for i, measure in enumerate(("log_loss", "ece")):
            minus = both[:, i] - np.array(found["as they are"])[:, i]
            table.setdefault(name, {})[measure] = {
                "value": round(float(both[:, i].mean()), 4),
                "minus_as_they_are": [round(float(v), 4) for v in (minus.mean(), *np.percentile(minus, [2.5, 97.5]))],
            }
    return table


def loss_and_error(y: Any, proba: Floats) -> tuple[float, float]:
    scores = evaluate(y, proba, np.arange(len(y)), [str(k) for k in range(proba.shape[1])], n_resamples=0)
    return scores.log_loss.value, scores.ece.value


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A small real project: some of the shipped articles, their annotations and contrast sets, taggers of words alone."""

from __future__ import annotations

import atexit
import csv
import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import stores
from crosshead.schema import Settings
from crosshead.settings import load_settings
from crosshead.stages import evaluate, prepare, train

ROOT = Path(__file__).resolve().parents[1]
WORDS = ("encoder=tfidf", "views=tfidf", "classifier=logreg", "folds=2", "curve_shares=[]", "corpus.test_share=0.3")
POOR = ("views.tfidf.n_max=1", "classifier.C=0.01")
N_ARTICLES, N_SETS = 36, 16


def make(root: Path) -> Path:
    """Make a project folder with an empty MLflow store."""
    stores.make_project(root)
    shutil.copytree(ROOT / "conf", root / "conf")
    articles = sorted((ROOT / "data" / "articles").glob("w1*.md"))[:N_ARTICLES]
    (root / "data" / "articles").mkdir(parents=True)
    for article in articles:
        shutil.copyfile(article, root / "data" / "articles" / article.name)
    ids = {article.stem for article in articles}
    with (ROOT / "data" / "annotations.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    with (root / "data" / "annotations.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] in ids)])
    lines = (ROOT / "data" / "contrast_sets.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    sets = list(dict.fromkeys(json.loads(line)["set_id"] for line in lines))[:N_SETS]
    kept = [line for line in lines if json.loads(line)["set_id"] in sets]
    (root / "data" / "contrast_sets.jsonl").write_text("".join(kept), encoding="utf-8")
    (root / "data" / "single_paragraphs.jsonl").write_text("", encoding="utf-8")
    return root


@functools.cache  # composing takes longer than most of what is tested
def settings(root: Path, *overrides: str) -> Settings:
    """Compose the project's configuration."""
    return load_settings([*WORDS, *overrides], root)


def run(root: Path, *overrides: str, stages: Sequence[str] = ("train", "evaluate")) -> evaluate.Evaluated:
    """Run stages and return what evaluation found."""
    chosen = settings(root, *overrides)
    result = None
    for name in stages:
        result = {"prepare": prepare, "train": train, "evaluate": evaluate}[name].run(chosen)  # type: ignore[attr-defined]
    assert isinstance(result, evaluate.Evaluated)
    return result


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crosshead-project-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = make(folder / "project")
    run(root, *POOR, stages=("prepare", "train", "evaluate"))
    run(root)
    return root


def with_two_runs(root: Path) -> Path:
    """Make a project with two evaluated runs: a poor one, which is the champion, and then a better one."""
    from mlflow.tracking._tracking_service import utils

    shutil.copytree(_template(), root)
    utils._artifact_repos_cache.clear()  # it goes by the run's id, which the copies have in common
    return root

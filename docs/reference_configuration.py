"""The page of every key in conf/."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from reference_parts import ROOT, page, plain, table

from crosshead import settings as settings_module
from crosshead.schema import Settings
from crosshead.search.space import Dimension
from crosshead.values import models_in

GROUPS: dict[str, str] = {
    "taxonomy": "The section types. [Write a new taxonomy](../how-to/taxonomy.md) describes the file.",
    "corpus": "Where the articles are and where labels come from.",
    "encoder": "What turns text into vectors.",
    "views": "How a paragraph is looked at; the views' log-probabilities are averaged by their weights.",
    "classifier": "Any classifier of scikit-learn, by `_target_`; its other keys are the classifier's own arguments.",
    "calibration": "How scores become probabilities.",
    "decoder": "How much neighbouring paragraphs count.",
    "tracking": "Where runs are recorded.",
    "search": "What `crosshead search` varies: [experiments](experiments.md#five-hundred-search).",
    "promotion": "The gate of `crosshead promote`: [comparing](comparing.md#crosshead-promote).",
    "experiment": "Whole configurations: only what differs from the defaults.",
}


CHOICES = {
    "calibration=temperature": "one temperature for all section types, fitted on out-of-fold paragraphs",
    "calibration=none": "confidence is left as the classifiers give it",
}
"""Choices whose file says too little in a line."""


def configuration_page() -> str:
    """Every key of conf/, with its type, its default, and what it means."""
    groups = {path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")}
    optional = [path.parent.name for path in sorted((ROOT / "conf").glob("*/default.yaml"))]
    composed = settings_module.compose([f"{group}=default" for group in optional if group != "experiment"], ROOT)
    keys = [name for name in Settings.model_fields if name not in {*groups, "root", "resolved", "overrides"}]
    parts = [
        "Everything that may vary is a key in `conf/`. `group=NAME` takes another file of a group, `key=value` changes "
        "one value; `crosshead config show` prints the result and `crosshead config check` says whether it can be "
        "used. "
        "A key that is not known is refused, with the nearest spelling.",
        "## Keys outside of groups",
        _keys(Settings, composed, "", _comments(ROOT / "conf" / "config.yaml"), only=keys),
    ]
    for group in [*GROUPS, *sorted(groups - set(GROUPS))]:
        parts += [f"## {group}", GROUPS.get(group, ""), *_group(group, composed)]
    return page("Configuration", *parts)


def _group(group: str, composed: Mapping[str, Any]) -> Iterator[str]:
    files = sorted((ROOT / "conf" / group).glob("*.yaml"))
    chosen = _chosen().get(group)
    names = ((f"{group}={path.stem}", path) for path in files)
    rows = (
        (f"`{name}`" + (" (default)" if path.stem == chosen else ""), CHOICES.get(name) or _first(path))
        for name, path in names
    )
    yield table(("choice", "what it is"), rows)
    field = Settings.model_fields.get(group)
    for model in models_in(field.annotation) if field else ():
        comments: dict[str, str] = {}
        for path in files:
            comments = {**_comments(path), **comments}
        values = {} if group == "views" else composed.get(group) or {}
        yield _keys(model, values, "views.NAME." if group == "views" else f"{group}.", comments)
    if group == "search":
        yield "A dimension of `search.space`:"
        yield _keys(Dimension, {}, "search.space.NAME.", {})
    if group != "taxonomy":
        for path in files:
            yield f"`conf/{group}/{path.name}`:"
            yield f"```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"


MEANINGS_OF_KEYS = {
    "seed": "of everything that is drawn: the split, the folds, the classifiers",
    "folds": "parts of the training articles for cross-validation; articles stay whole",
    "cache_dir": "vectors, exported and compiled graphs",
    "prepared_dir": "the paragraph table",
    "model_dir": "what the last training left",
    "reports_dir": "what the last evaluation left",
    "corpus.articles": "files, folders and patterns, from the project's root",
    "corpus.annotations": "CSV file of labels given by readers",
    "corpus.contrast_sets": "JSONL file of situations told once for each section type",
    "corpus.single_paragraphs": "JSONL file of labelled paragraphs of no article, which are only trained on",
    "corpus.labels": "where labels come from; with `both`, annotations win; with `given`, the articles' table says",
    "corpus.test_articles": "articles chosen beforehand to be held out; null holds out `test_share` of all",
    "corpus.test_share": "share of the articles that is held out",
    "corpus.boilerplate": "whether paragraphs that return in more than ten articles are left out of the table",
    "encoder.name": "stands in reports and records",
    "encoder.sha256": "of `model.safetensors`; checked where it is given",
    "encoder.engine": "what runs the graph; `auto` chooses by processor",
    "encoder.max_tokens": "tokens that are read of a paragraph; null: the model's own window",
    "encoder.long": "what happens to a paragraph beyond `max_tokens`",
    "views.NAME.kind": "what is looked at: the paragraph's vector, its sentences' vectors, its words",
    "views.NAME.weight": "share in the blend",
    "views.NAME.classifier": "of this view alone; without one, that of the group `classifier`",
    "decoder.kind": "transitions between neighbours, or a conditional random field over the article",
    "finetune.epochs": "times that every training paragraph is seen",
    "finetune.batch_tokens": "tokens that are looked at before the weights move",
    "finetune.label_smoothing": "share of each label that is spread over the others",
    "finetune.output": "folder of the tuned encoder",
    "promotion.n_resamples": "draws of the paired bootstrap",
    "calibration.method": "whether one temperature is fitted on out-of-fold paragraphs",
    "tracking.uri": "MLflow store; null: `mlflow/mlflow.db` of the project, or `MLFLOW_TRACKING_URI`",
    "tracking.experiment": "name of the MLflow experiment",
    "tracking.registered_model": "name in the registry",
    "tracking.enabled": "whether anything is recorded",
    "tracking.log_model": "whether the model is stored with the run",
    "search.name": "part of the name of the search's folder",
    "search.trials": "how many in all, earlier attempts included",
    "search.prune": "whether a trial that falls behind is ended early",
    "search.space": "one entry for each dimension",
    "search.objective": "what is made better, of out-of-fold paragraphs of the training articles",
    "search.space.NAME.type": "kind of value",
    "search.space.NAME.low": "lowest value",
    "search.space.NAME.high": "highest value",
    "search.space.NAME.log": "logarithmic scale",
    "search.space.NAME.step": "equal steps",
    "search.space.NAME.choices": "of a categorical dimension",
}
"""What neither a comment in conf/ nor the code says briefly enough; a test finds keys without a meaning."""


def _chosen() -> dict[str, str]:
    return settings_module.choices((), ROOT)


def _first(path: Path) -> str:
    """Return what the comment at the beginning of a file says, up to its first full stop."""
    lines = path.read_text(encoding="utf-8").splitlines()
    told: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        if "@package" not in line:
            told.append(line.lstrip("# "))
    if not told:
        told = [*_comments(path).values(), *re.findall(r"^_target_: (\S+)", "\n".join(lines))]
    return plain(re.split(r"\.(?: |$)", " ".join(told[:1] if lines[0][0] != "#" else told))[0])


def _comments(path: Path) -> dict[str, str]:
    """Find the remark behind each key of a YAML file."""
    found = re.finditer(r"^\s*(\w+):[^#\n]*?\s+# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {match[1]: match[2] for match in found}


def _keys(
    model: type[BaseModel],
    values: Mapping[str, Any],
    prefix: str,
    comments: Mapping[str, str],
    only: Iterable[str] | None = None,
) -> str:
    remarks = _remarks(model)
    rows = []
    for name in only or model.model_fields:
        field = model.model_fields[name]
        default = values.get(name, None if field.is_required() else field.get_default(call_default_factory=True))
        comment = re.sub(r"^[\w-]+( \| [\w-]+)+(: | )?", "", comments.get(name, ""))  # the alternatives stand beside it
        told = MEANINGS_OF_KEYS.get(prefix + name) or comment or remarks.get(name, "").rstrip(".")
        rows.append((f"`{prefix}{name}`", plain(_type(field.annotation, field.metadata)), _value(default), plain(told)))
    return table(("key", "allowed", "by default", "meaning"), rows)


def _remarks(model: type[BaseModel]) -> dict[str, str]:
    """Find the string below each field of a class, or of one that it is made from."""
    base = model.__bases__[0]
    inherited = _remarks(base) if base.__module__.startswith("crosshead.") else {}
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return inherited | found


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", type(None): "null"}
_SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def _number(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Say in words what a field takes."""
    limits = [
        f"{word} {_number(getattr(m, sign))}" for m in metadata for sign, word in _SIGNS.items() if hasattr(m, sign)
    ]
    if annotation in _NAMES:
        told = _NAMES[annotation]
    elif get_origin(annotation) is Literal:
        told = " or ".join(f"`{choice}`" for choice in get_args(annotation))
    elif get_origin(annotation) in (list, tuple):
        told = "list"
    elif get_origin(annotation) is dict or inspect.isclass(annotation):
        told = "mapping"
    elif hasattr(annotation, "__metadata__"):
        told = _type(get_args(annotation)[0], annotation.__metadata__)
    else:
        told = " or ".join(dict.fromkeys(_type(part) for part in get_args(annotation)))
    return ", ".join([told, *limits])


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping) and value:
        return "see below"
    return f"`{value}`" if value != "" else "`''`"

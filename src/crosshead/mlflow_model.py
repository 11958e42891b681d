"""The tagger as an MLflow model. MLflow runs a copy of this file to load it (models from code), so nothing is pickled.

Input: a table with column ``text``, and if the paragraphs are an article's also ``article_id`` and ``paragraph`` (its
number), so that neighbours inform each other; or just texts, a list or a single column, each tagged on its own.
Output: one row an input row, in order. It needs the tagging path of crosshead only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import mlflow.models
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from crosshead import bundle
from crosshead.errors import DataError
from crosshead.tagger import Tag, Tagger

ARTIFACT = "bundle"
"""Name of the bundle among the model's artifacts."""
SCORE = "score_"
"""In front of a section type: the column with its probability."""


class TaggerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, unused-ignore]  # mlflow ships no types
    """Tags a table of paragraphs."""

    def __init__(self) -> None:
        self.tagger: Tagger | None = None

    def load_context(self, context: Any) -> None:
        """Load the bundle, every file checked."""
        self.tagger = bundle.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Tag every row of ``model_input``; called directly, it takes a list of texts too.

        Raises
        ------
        MlflowException
            If there is no column of texts, a text is missing, or an article has a paragraph number twice. It is
            MLflow's own class because its server hides the message of every other behind "unexpected error".
        """
        if self.tagger is None:
            self.load_context(context)
        assert self.tagger is not None
        try:
            return as_table(tag_table(self.tagger, as_columns(model_input)), self.tagger.section_types)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def as_columns(model_input: Any) -> dict[str, list[Any]]:
    """Read texts, and where given article ids and paragraph numbers, from whatever MLflow hands over."""
    if isinstance(model_input, str):
        return {"text": [model_input]}
    columns = getattr(model_input, "columns", None)
    if columns is not None:
        names = [str(name) for name in columns]
        if "text" not in names and len(names) == 1:
            return {"text": model_input.iloc[:, 0].tolist()}
        rows = {name: model_input[column].tolist() for name, column in zip(names, columns, strict=True)}
    elif isinstance(model_input, dict):
        rows = {str(name): _as_list(values) for name, values in model_input.items()}
    else:
        listed = _as_list(model_input)
        if not all(isinstance(row, dict) for row in listed) or not listed:
            return {"text": listed}
        rows = {name: [row.get(name) for row in listed] for name in dict.fromkeys(key for row in listed for key in row)}
    if "text" not in rows:
        raise DataError(f"the table has columns {list(rows)}; it needs a column 'text' with one paragraph a row")
    if len(rows["text"]) == 1 and isinstance(rows["text"][0], list | tuple | np.ndarray):
        return {name: _as_list(values[0]) for name, values in rows.items()}  # MLflow's reading of {"text": [...]}
    return rows


def tag_table(tagger: Tagger, rows: dict[str, list[Any]]) -> list[Tag]:
    """Tag every row; rows of one article inform each other in the order of their paragraph numbers."""
    texts = rows["text"]
    missing = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if missing:
        raise DataError(f"rows {_some(missing)} have no text; give every row a string or leave the row out")
    articles = _articles(rows, len(texts))
    tags: dict[int, Tag] = {}
    for article, answers in zip(
        articles, tagger.tag_articles([[texts[i] for i in article] for article in articles]), strict=True
    ):
        tags.update(zip(article, answers, strict=True))
    return [tags[i] for i in range(len(texts))]


def as_table(tags: Sequence[Tag], section_types: Iterable[str]) -> pd.DataFrame:
    """One row a tag: section_type, confidence, abstained, truncated_tokens, and a score for each section type."""
    columns: dict[str, Any] = {
        "section_type": pd.Series([tag.section_type for tag in tags], dtype=object),
        "confidence": pd.Series([tag.confidence for tag in tags], dtype="float64"),
        "abstained": pd.Series([tag.abstained for tag in tags], dtype=bool),
        "truncated_tokens": pd.Series([tag.truncated_tokens for tag in tags], dtype="int64"),
    }
    for name in section_types:
        columns[f"{SCORE}{name}"] = pd.Series([tag.scores[name] for tag in tags], dtype="float64")
    return pd.DataFrame(columns)


def _articles(rows: dict[str, list[Any]], n_rows: int) -> list[list[int]]:
    """Row numbers of each article in reading order; a row without article id is an article of its own."""
    ids = [_id(value) for value in rows.get("article_id", [None] * n_rows)]
    numbers = rows.get("paragraph")
    articles: dict[Any, list[int]] = {}
    for i, article_id in enumerate(ids):
        articles.setdefault((i,) if article_id is None else article_id, []).append(i)
    if numbers is None:
        return list(articles.values())
    for article_id, members in articles.items():
        if isinstance(article_id, tuple):
            continue
        own = [numbers[i] for i in members]
        if any(_id(number) is None for number in own):
            raise DataError(f"article {article_id!r} has rows without a paragraph number; number all of them or none")
        if len(set(own)) < len(own):
            raise DataError(
                f"article {article_id!r} has the same paragraph number twice; number its paragraphs 0, 1, 2 …"
            )
        members.sort(key=lambda i: numbers[i])
    return list(articles.values())


def _id(value: Any) -> Any:
    """Return None for every way in which pandas and JSON say that a value is missing."""
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType":
        return None
    return value if value != "" else None


def _as_list(values: Any) -> list[Any]:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in listed]


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")


mlflow.models.set_model(TaggerModel())

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
import pandas as pd
from mlflow.exceptions import MlflowException

from crosshead import bundle
from crosshead.errors import DataError
from crosshead.tables import SCORE, articles_of, as_columns
from crosshead.tagging.tagger import Tag, Tagger

ARTIFACT = "bundle"
"""Name of the bundle among the model's artifacts."""


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


def tag_table(tagger: Tagger, rows: dict[str, list[Any]]) -> list[Tag]:
    """Tag every row; rows of one article inform each other in the order of their paragraph numbers."""
    texts, articles = rows["text"], articles_of(rows)
    tags: dict[int, Tag] = {}
    for article, answers in zip(
        articles, tagger.tag_articles([[texts[i] for i in article] for article in articles]), strict=True
    ):
        tags.update(zip(article, answers, strict=True))
    return [tags[i] for i in range(len(texts))]


def as_table(tags: Sequence[Tag], section_types: Iterable[str]) -> pd.DataFrame:
    """One row a tag, as `tables.as_row` writes it."""
    columns: dict[str, Any] = {
        "section_type": pd.Series([tag.section_type for tag in tags], dtype=object),
        "confidence": pd.Series([tag.confidence for tag in tags], dtype="float64"),
        "abstained": pd.Series([tag.abstained for tag in tags], dtype=bool),
        "truncated_tokens": pd.Series([tag.truncated_tokens for tag in tags], dtype="int64"),
        "out_of_distribution": pd.Series([tag.out_of_distribution for tag in tags], dtype=object),
    }
    for name in section_types:
        columns[f"{SCORE}{name}"] = pd.Series([tag.scores[name] for tag in tags], dtype="float64")
    return pd.DataFrame(columns)


mlflow.models.set_model(TaggerModel())

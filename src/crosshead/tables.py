"""Tables of paragraphs as other programs hand them over: a row a paragraph, those of one article anywhere among them.

``text`` is the paragraph; ``article_id``, where there is one, says which rows inform each other, and ``paragraph`` in
which order. A row without an article id is an article of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from crosshead.errors import DataError
from crosshead.tagging.tagger import Tag

SCORE = "score_"
"""In front of a section type: the column with its probability."""


def as_columns(model_input: Any) -> dict[str, list[Any]]:
    """Read texts, and where given article ids and paragraph numbers, from a table, a mapping or a list."""
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


def articles_of(rows: Mapping[str, Sequence[Any]], *, name: Callable[[Any], str] = repr) -> list[list[int]]:
    """Return the row numbers of each article in reading order.

    Parameters
    ----------
    name
        How messages name an article by its id.

    Raises
    ------
    DataError
        If a row has no text, or the paragraphs of an article cannot be put in order.
    """
    texts = rows["text"]
    missing = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if missing:
        raise DataError(f"rows {_some(missing)} have no text; give every row a string or leave the row out")
    ids = [_id(value) for value in rows.get("article_id", [None] * len(texts))]
    numbers = rows.get("paragraph")
    articles: dict[Any, list[int]] = {}
    for i, article_id in enumerate(ids):
        articles.setdefault((i,) if article_id is None else article_id, []).append(i)
    if numbers is not None:
        for article_id, members in articles.items():
            if not isinstance(article_id, tuple):
                _put_in_order(name(article_id), members, numbers)
    return list(articles.values())


def as_row(tag: Tag) -> dict[str, Any]:
    """Return a tag as a row: what MLflow's answers, and those of the server's /invocations, hold for a paragraph."""
    return {
        "section_type": tag.section_type,
        "confidence": tag.confidence,
        "abstained": tag.abstained,
        "truncated_tokens": tag.truncated_tokens,
        "out_of_distribution": tag.out_of_distribution,
        **{f"{SCORE}{name}": score for name, score in tag.scores.items()},
    }


def _put_in_order(name: str, members: list[int], numbers: Sequence[Any]) -> None:
    own = [numbers[i] for i in members]
    if any(_id(number) is None for number in own):
        raise DataError(f"article {name} has rows without a paragraph number; number all of them or none")
    if len(set(own)) < len(own):
        raise DataError(f"article {name} has the same paragraph number twice; number its paragraphs 0, 1, 2 …")
    members.sort(key=lambda i: numbers[i])


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

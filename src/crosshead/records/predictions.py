"""What taggers said of every held-out paragraph: kept with the run, so that runs are compared without their models."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.corpora.corpus import ARTICLE, CONTRAST_SET, write_file
from crosshead.errors import DataError
from crosshead.text import counted, text_digest

FILE = "predictions.parquet"
MODEL = "model"
FORMAT = 1
_META = b"crosshead"
_WORDS = ("paragraph_id", "article_id", "origin", "text_digest", "section_type")
_N_NAMED = 3


@dataclass(frozen=True)
class Predictions:
    """One row a held-out paragraph, in the order of the paragraph table; arrays are aligned with the rows."""

    section_types: tuple[str, ...]
    dataset_digest: str
    """Of the paragraph table that the model was trained and tested on."""
    paragraph_ids: tuple[str, ...]
    article_ids: tuple[str, ...]
    origins: tuple[str, ...]
    """``article`` or ``contrast_set``."""
    text_digests: tuple[str, ...]
    y: NDArray[np.int64]
    """Columns of the true section types."""
    abstained: NDArray[np.bool_]
    """Whether the model said that it is not sure."""
    proba: Mapping[str, NDArray[np.float64]]
    """Probabilities (n_paragraphs, n_section_types) of the model, under `MODEL`, and of its baselines."""

    @property
    def model(self) -> NDArray[np.float64]:
        """The model's probabilities."""
        return self.proba[MODEL]

    @property
    def baselines(self) -> dict[str, NDArray[np.float64]]:
        """The probabilities of what stands beside the model."""
        return {name: proba for name, proba in self.proba.items() if name != MODEL}

    @property
    def answers(self) -> NDArray[np.int64]:
        """Columns of the model's most probable section types."""
        return np.asarray(self.model.argmax(axis=1), dtype=np.int64)

    def of_articles(self) -> Predictions:
        """Return the rows of articles."""
        return self.rows([i for i, origin in enumerate(self.origins) if origin == ARTICLE])

    def of_contrast_sets(self) -> Predictions:
        """Return the rows of contrast sets."""
        return self.rows([i for i, origin in enumerate(self.origins) if origin == CONTRAST_SET])

    def rows(self, chosen: Sequence[int]) -> Predictions:
        """Return some rows, in the given order."""
        at = np.asarray(chosen, dtype=np.intp)
        return replace(
            self,
            paragraph_ids=tuple(self.paragraph_ids[i] for i in at),
            article_ids=tuple(self.article_ids[i] for i in at),
            origins=tuple(self.origins[i] for i in at),
            text_digests=tuple(self.text_digests[i] for i in at),
            y=self.y[at],
            abstained=self.abstained[at],
            proba={name: values[at] for name, values in self.proba.items()},
        )

    def __len__(self) -> int:
        return len(self.paragraph_ids)


def from_columns(
    columns: Mapping[str, Sequence[Any]],
    proba: Mapping[str, NDArray[np.float64]],
    *,
    section_types: Sequence[str],
    dataset_digest: str,
    threshold: float,
) -> Predictions:
    """Put the columns of a paragraph table and what taggers said of its rows together."""
    number = {name: i for i, name in enumerate(section_types)}
    return Predictions(
        section_types=tuple(section_types),
        dataset_digest=dataset_digest,
        paragraph_ids=tuple(columns["paragraph_id"]),
        article_ids=tuple(columns["article_id"]),
        origins=tuple(columns["origin"]),
        text_digests=tuple(text_digest(text) for text in columns["text"]),
        y=np.array([number[name] for name in columns["section_type"]], dtype=np.int64),
        abstained=proba[MODEL].max(axis=1, initial=0.0) < threshold,
        proba=dict(proba),
    )


def write(path: Path, predictions: Predictions) -> Path:
    """Write predictions as Parquet, whole or not at all; the same predictions give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(predictions.section_types)
    columns: dict[str, Any] = {
        "paragraph_id": predictions.paragraph_ids,
        "article_id": predictions.article_ids,
        "origin": predictions.origins,
        "text_digest": predictions.text_digests,
        "section_type": [predictions.section_types[i] for i in predictions.y],
        "abstained": predictions.abstained,
    }
    columns = {
        name: pa.array(values, type=pa.bool_() if name == "abstained" else pa.string())
        for name, values in columns.items()
    }
    for name, values in predictions.proba.items():
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float64).ravel())
        columns[f"proba_{name}"] = pa.FixedSizeListArray.from_arrays(flat, n)
    meta = {
        "format": FORMAT,
        "section_types": predictions.section_types,
        "dataset_digest": predictions.dataset_digest,
        "taggers": list(predictions.proba),
    }
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta, ensure_ascii=False).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_file(path, buffer.getvalue())
    return path


def read(path: Path) -> Predictions:
    """Read what `write` wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged or none of ours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        meta = json.loads(table.schema.metadata[_META])
        if meta["format"] != FORMAT:
            raise ValueError(f"its format is {meta['format']!r}, this crosshead reads {FORMAT}")
        return _from_table(table, meta)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}; evaluate again: crosshead evaluate"
        ) from error
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no predictions ({error}); evaluate again: crosshead evaluate") from error


def _from_table(table: Any, meta: Mapping[str, Any]) -> Predictions:
    types = tuple(meta["section_types"])
    words = {name: tuple(table[name].to_pylist()) for name in _WORDS}
    number = {name: i for i, name in enumerate(types)}
    return Predictions(
        section_types=types,
        dataset_digest=meta["dataset_digest"],
        paragraph_ids=words["paragraph_id"],
        article_ids=words["article_id"],
        origins=words["origin"],
        text_digests=words["text_digest"],
        y=np.array([number[name] for name in words["section_type"]], dtype=np.int64),
        abstained=np.array(table["abstained"].to_pylist(), dtype=bool),
        proba={name: _proba(table[f"proba_{name}"], len(types)) for name in meta["taggers"]},
    )


def _proba(column: Any, n_section_types: int) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), n_section_types)


# -- are two runs comparable? ------------------------------------------------------------------------------------------


def check_same_paragraphs(first: Predictions, second: Predictions, names: tuple[str, str]) -> None:
    """Refuse to go on unless both tagged the same paragraphs, of the same texts and with the same truth.

    The tables may differ in what was trained on; held-out rows must be equal.

    Raises
    ------
    DataError
        Saying what differs.
    """
    differences = [*differing(first, second, names)]
    if differences:
        tables = (
            f"both come from the paragraph table {first.dataset_digest[:12]}"
            if first.dataset_digest == second.dataset_digest
            else f"paragraph tables {first.dataset_digest[:12]} and {second.dataset_digest[:12]}"
        )
        raise DataError(
            f"{names[0]} and {names[1]} were not tested on the same paragraphs ({tables}): {'; '.join(differences)}; "
            "evaluate both on one paragraph table, then compare again"
        )


def held_out_digest(predictions: Predictions) -> str:
    """Name what was tested on: two that are equal have no `differing`."""
    rows = zip(predictions.paragraph_ids, predictions.text_digests, predictions.y.tolist(), strict=True)
    return hashlib.sha256(json.dumps([predictions.section_types, sorted(rows)]).encode()).hexdigest()


def differing(first: Predictions, second: Predictions, names: tuple[str, str]) -> Iterator[str]:
    """Say, one phrase each, in what the tested paragraphs differ."""
    if first.section_types != second.section_types:
        yield f"section types are {', '.join(first.section_types)} against {', '.join(second.section_types)}"
        return
    a, b = ({id_: i for i, id_ in enumerate(side.paragraph_ids)} for side in (first, second))
    for mine, other, name in ((a, b, names[0]), (b, a, names[1])):
        if only := [id_ for id_ in mine if id_ not in other]:
            yield f"{counted(len(only), 'paragraph')} only in {name} ({_named(only)})"
    both = [id_ for id_ in a if id_ in b]
    if changed := [id_ for id_ in both if first.text_digests[a[id_]] != second.text_digests[b[id_]]]:
        yield f"{counted(len(changed), 'paragraph')} with another text ({_named(changed)})"
    if relabelled := [id_ for id_ in both if first.y[a[id_]] != second.y[b[id_]]]:
        yield f"{counted(len(relabelled), 'paragraph')} with another section type as truth ({_named(relabelled)})"


def in_order_of(first: Predictions, second: Predictions) -> Predictions:
    """Return the rows of ``second`` in the order of ``first``; both hold the same paragraphs."""
    if first.paragraph_ids == second.paragraph_ids:
        return second
    at = {id_: i for i, id_ in enumerate(second.paragraph_ids)}
    return second.rows([at[id_] for id_ in first.paragraph_ids])


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_N_NAMED]) + (", …" if len(ids) > _N_NAMED else "")

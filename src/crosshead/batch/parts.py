"""The items of a unit → the bytes of its part file, and what could not be tagged."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosshead.feeds.items import Answer, Item, answer
from crosshead.feeds.jsonl import dumps
from crosshead.tables import SCORE

if TYPE_CHECKING:
    from crosshead.tagging.tagger import Tagger

FORMATS = ("parquet", "jsonl")
PARAGRAPHS_AT_ONCE = 2048
_ROWS_PER_GROUP = 100_000
_ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Shape:
    """What the parts look like; everything but the inputs and the model that decides their bytes."""

    format: str = "parquet"
    with_text: bool = True


@dataclass(frozen=True)
class Part:
    """What one unit gave."""

    content: bytes = field(repr=False)
    n_records: int
    n_paragraphs: int
    errors: tuple[dict[str, Any], ...] = ()

    def about(self) -> dict[str, Any]:
        """Return what is noted beside the part."""
        return {
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "records": self.n_records,
            "paragraphs": self.n_paragraphs,
            "errors": list(self.errors),
        }


def make_part(
    tagger: Tagger,
    items: Iterable[Item],
    n_records: int,
    shape: Shape,
    *,
    paragraphs_at_once: int = PARAGRAPHS_AT_ONCE,
    advance: Callable[[int, int], None] = lambda n_items, n_paragraphs: None,
) -> Part:
    """Tag the items of a unit, some at a time; how many changes nothing but the time that it takes."""
    rows: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for chunk in _chunks(items, paragraphs_at_once):
        for given in answer(tagger, chunk):
            if given.error:
                errors.append(as_error(given))
            else:
                rows.extend(as_rows(given, with_text=shape.with_text))
        advance(len(chunk), sum(len(item.paragraphs) for item in chunk))
    content = _ENCODERS[shape.format](rows, tagger.section_types, shape)
    return Part(content, n_records, len(rows), tuple(errors))


def _chunks(items: Iterable[Item], n_paragraphs: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    n = 0
    for item in items:
        chunk.append(item)
        n += len(item.paragraphs)
        if n >= n_paragraphs or len(chunk) >= n_paragraphs:
            yield chunk
            chunk, n = [], 0
    if chunk:
        yield chunk


def as_rows(given: Answer, *, with_text: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each paragraph of an answer."""
    item, article = given.item, given.item.article
    article_id = article.article_id if article is not None else item.echo.get("article_id")
    common = {"file": _clean(item.file), "line": item.line, "id": _name(item.echo.get("id"))}
    for i, (text, tag) in enumerate(zip(item.paragraphs, given.tags, strict=True)):
        place = article.paragraphs[i] if article is not None else None
        yield {
            **common,
            "article_id": _name(article_id),
            "paragraph": i,
            "headings": [_clean(heading) for heading in place.headings] if place is not None else [],
            "start": place.start if place is not None else None,
            "end": place.end if place is not None else None,
            **({"text": _clean(text)} if with_text else {}),
            **tag.as_dict(),
        }


def as_error(given: Answer) -> dict[str, Any]:
    """Say which input could not be tagged, and why."""
    item = given.item
    names = {key: _name(value) for key, value in item.echo.items()}
    return {"file": _clean(item.file), "line": item.line, **names, "error": given.error}


def _name(value: Any) -> str | None:
    """Write an id as text: a column holds values of one kind."""
    if value is None:
        return None
    return _clean(value) if isinstance(value, str) else json.dumps(value)


def _clean(text: str) -> str:
    """Make a text writable as UTF-8: names of files may hold bytes that are none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def _as_jsonl(rows: Sequence[dict[str, Any]], section_types: Sequence[str], shape: Shape) -> bytes:
    return "".join(dumps(row) + "\n" for row in rows).encode()


def _as_parquet(rows: Sequence[dict[str, Any]], section_types: Sequence[str], shape: Shape) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    scores = {f"{SCORE}{name}": name for name in section_types}
    names = {"list<string>": pa.list_(pa.string()), "string": pa.string()}
    kinds = {"int64": pa.int64(), "int32": pa.int32(), "double": pa.float64(), "bool": pa.bool_(), **names}
    columns, fields = [], []
    for name, kind in _columns(section_types, shape):
        of = scores.get(name)
        values = [row.get(name) for row in rows] if of is None else [row["scores"][of] for row in rows]
        columns.append(pa.array(values, kinds[kind]))
        fields.append(pa.field(name, kinds[kind]))
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=_ROWS_PER_GROUP,
        version="2.6",
        data_page_version="1.0",
        use_dictionary=True,
        write_statistics=True,
    )
    return buffer.getvalue()


def _columns(section_types: Sequence[str], shape: Shape) -> list[tuple[str, str]]:
    return [
        ("file", "string"),
        ("line", "int64"),
        ("id", "string"),
        ("article_id", "string"),
        ("paragraph", "int32"),
        ("headings", "list<string>"),
        ("start", "int64"),
        ("end", "int64"),
        *([("text", "string")] if shape.with_text else []),
        ("section_type", "string"),
        ("confidence", "double"),
        *((f"{SCORE}{name}", "double") for name in section_types),
        ("abstained", "bool"),
        ("truncated_tokens", "int32"),
        ("out_of_distribution", "bool"),
    ]


_ENCODERS = {"parquet": _as_parquet, "jsonl": _as_jsonl}

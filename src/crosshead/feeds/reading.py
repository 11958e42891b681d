"""From the names on the command line to what is tagged: in order, in chunks, with what could not be read."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from crosshead.articles import Article
from crosshead.errors import ArticleError, DataError
from crosshead.feeds.items import Item
from crosshead.feeds.jsonl import read_items
from crosshead.readers import read_articles
from crosshead.readers.encodings import GZIP_ERRORS, damaged_gzip, unpack
from crosshead.readers.formats import AUTO, stem_of
from crosshead.readers.inputs import STDIN, Found, InputFile, find_files, why

PARAGRAPHS_PER_CHUNK = 512
ITEMS_PER_CHUNK = 64
CHARACTERS_PER_CHUNK = 1024**2
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def find(names: Sequence[str], format: str) -> Found:
    """List the files behind files, folders, patterns and ``-``, with those that are not there."""
    return find_files(names, format)


def read(found: Found) -> Iterator[list[Item]]:
    """Read everything in order; JSONL follows its own contract, documents and tables become articles."""
    if found.problems:
        yield [Item(file=problem.place, error=problem.reason) for problem in found.problems]
    chunk: list[Item] = []
    n_paragraphs = n_characters = 0
    for file in found.files:
        for items in _read_file(file):
            chunk.extend(items)
            n_paragraphs += sum(len(item.paragraphs) for item in items)
            n_characters += sum(len(text) for item in items for text in item.paragraphs)
            is_full = (
                len(chunk) >= ITEMS_PER_CHUNK
                or n_paragraphs >= PARAGRAPHS_PER_CHUNK
                or n_characters >= CHARACTERS_PER_CHUNK
            )
            # Lines of JSONL come in chunks that end where a feed pauses; documents are gathered.
            if is_full or items[-1].line is not None:
                yield chunk
                chunk, n_paragraphs, n_characters = [], 0, 0
    if chunk:
        yield chunk


def _read_file(file: InputFile) -> Iterator[list[Item]]:
    try:
        with _opened(file) as stream:
            if file.format == "jsonl" or (file.format == AUTO and _is_jsonl(stream)):
                yield from read_items(unpack(stream), file.place)
            else:
                yield from _read_articles(file, stream)
    except GZIP_ERRORS as error:
        yield [Item(file=file.place, error=str(damaged_gzip(error)))]
    except ArticleError as error:
        yield [Item(file=file.place, error=str(error))]
    except OSError as error:
        yield [Item(file=file.place, error=why(error))]


@contextmanager
def _opened(file: InputFile) -> Iterator[io.BufferedReader]:
    if file.path is not None:
        with file.path.open("rb") as stream:
            yield stream
        return
    stdin: BinaryIO = sys.stdin.buffer
    yield stdin if isinstance(stdin, io.BufferedReader) else io.BufferedReader(stdin)  # type: ignore[arg-type]


def _is_jsonl(stream: io.BufferedReader) -> bool:
    return stream.peek(64).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"{")


def _read_articles(file: InputFile, stream: io.BufferedReader) -> Iterator[list[Item]]:
    given = STDIN if file.path is None else file.path.absolute()
    articles = read_articles([given], on_error="collect", format=file.format, stdin=stream)
    n_told = 0
    while True:
        article, problem = None, ""
        try:
            article = next(articles, None)
        except DataError as error:  # the same id twice in one table; the rest of it is read on
            problem = str(error)
        for unreadable in articles.unreadable[n_told:]:
            place = replace(unreadable, path=file.place).place
            yield [Item(file=place, error=unreadable.reason)]
        n_told = len(articles.unreadable)
        if problem:
            yield [Item(file=file.place, error=problem)]
        elif article is None:
            return
        else:
            yield [item_of(file.place, file.article_id, article)]


def item_of(place: str, article_id: str, article: Article, line: int | None = None) -> Item:
    """Make an item of an article; one that nobody named gets ``article_id``, the name that no other file has."""
    if article.article_id in ("", stem_of(Path(place))):
        article = replace(article, article_id=article_id)
    return Item(article.texts, file=place, article=article, line=line)

"""Files, folders, patterns and stdin → articles, one after the other, with what could not be read."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from crosshead.articles import Article
from crosshead.errors import ArticleError, ConfigError, DataError
from crosshead.readers.blocks import MAX_ARTICLE_BYTES
from crosshead.readers.encodings import decode, read_limited
from crosshead.readers.formats import AUTO, FORMATS, ROW_FORMATS, read_article
from crosshead.readers.inputs import InputFile, Unreadable, find_files, why
from crosshead.readers.records import read_rows
from crosshead.readers.rows import Placed

__all__ = ["ArticleStream", "read_article", "read_articles"]

_JSON_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*\"")


class ArticleStream(Iterator[Article]):
    """Articles, read one at a time as they are asked for.

    Iterate over it once, or call ``read_all``. The lists grow while it is read. It can be read on after a DataError,
    which is about one article.

    Attributes
    ----------
    unreadable : list of Unreadable
        What could not be read; always empty with ``on_error="raise"``.
    ignored : list of Path
        Files of folders and patterns that were passed over for their suffix.
    n_files : int
        How many files there are to read.
    """

    def __init__(
        self,
        files: list[InputFile],
        problems: list[Unreadable],
        ignored: list[Path],
        *,
        on_error: str,
        stdin: BinaryIO | None,
    ) -> None:
        self.unreadable: list[Unreadable] = []
        self.ignored = ignored
        self.n_files = len(files)
        self._raises = on_error == "raise"
        self._places: dict[str, str] = {}
        for problem in problems:
            self._note(problem)
        self._articles = self._read(files, stdin)

    def __iter__(self) -> ArticleStream:
        return self

    def __next__(self) -> Article:
        place, article = next(self._articles)
        self._claim(article.article_id, place)
        return article

    def read_all(self) -> list[Article]:
        """Read what is left into a list."""
        return list(self)

    def _note(self, problem: Unreadable) -> None:
        if self._raises:
            raise ArticleError(str(problem))
        self.unreadable.append(problem)

    def _read(self, files: list[InputFile], stdin: BinaryIO | None) -> Iterator[tuple[str, Article]]:
        for file in files:
            for where, item in _read_file(file, stdin):
                if isinstance(item, Article):
                    yield Unreadable(file.place, "", where).place, item
                else:
                    self._note(Unreadable(file.place, str(item), where))

    def _claim(self, article_id: str, place: str) -> None:
        first = self._places.setdefault(article_id, place)
        if first is not place:
            raise DataError(
                f"article id {article_id!r} stands twice: in {first} and in {place}; "
                "give every article an id of its own"
            )


def read_articles(
    inputs: str | Path | Iterable[str | Path],
    *,
    on_error: Literal["raise", "collect"] = "raise",
    format: str = AUTO,
    stdin: BinaryIO | None = None,
) -> ArticleStream:
    r"""Read articles from files, folders, patterns and stdin.

    Offsets of paragraphs refer to ``Article.source``: the decoded text with line ends made ``\n``. The encoding is
    in ``metadata["encoding"]`` of every article that is a file of its own. An article's id is its file's stem, or,
    where two files share that, its path below the folder that was named.

    Parameters
    ----------
    inputs : path, or iterable of paths
        Files, folders (searched with all folders in them, in order), patterns (``*``, ``?``, ``**``), or ``-``.
    on_error : {'raise', 'collect'}, default='raise'
        Whether what cannot be read raises ArticleError, or is noted in ``unreadable`` and passed over.
    format : str, default='auto'
        One of ``FORMATS``, for all inputs; 'auto' goes by suffix, and by content for stdin and names without one.
    stdin : binary file, optional
        What ``-`` stands for; the process's stdin by default.

    Returns
    -------
    ArticleStream

    Raises
    ------
    ArticleError
        With ``on_error="raise"``, naming the file, the line or row, and what to do.
    DataError
        If two articles have the same id, whatever ``on_error`` is.
    ConfigError
        If ``on_error`` or ``format`` is none of the allowed words.
    """
    if on_error not in ("raise", "collect"):
        raise ConfigError(f"on_error is {on_error!r}; it must be 'raise' or 'collect'")
    if format not in FORMATS:
        raise ConfigError(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
    found = find_files(inputs, format)
    return ArticleStream(found.files, found.problems, found.ignored, on_error=on_error, stdin=stdin)


def _read_file(file: InputFile, stdin: BinaryIO | None) -> Iterator[Placed]:
    try:
        with _open(file, stdin) as stream:
            format = _sniff(stream) if file.format == AUTO else file.format
            if format == "parquet" and not stream.seekable():
                stream = io.BufferedReader(io.BytesIO(stream.read()))
            if format in ROW_FORMATS:
                yield from read_rows(stream, format, file.article_id)
            else:
                yield "", _read_document(stream, format, file.article_id)
    except ArticleError as error:
        yield "", error
    except OSError as error:
        yield "", ArticleError(why(error))


@contextmanager
def _open(file: InputFile, stdin: BinaryIO | None) -> Iterator[io.BufferedReader]:
    if file.path is not None:
        with file.path.open("rb") as stream:
            yield stream
        return
    given = stdin or sys.stdin.buffer
    stream = given if isinstance(given, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", given))
    try:
        yield stream
    finally:
        # The caller's stream stays open; one that was closed meanwhile cannot be let go of.
        if stream is not given and not stream.closed:
            stream.detach()


def _sniff(stream: io.BufferedReader) -> str:
    """Tell tables from documents by their first bytes; what kind of document it is shows when it is decoded."""
    head = stream.peek(64)
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if _JSON_OBJECT.match(head) else AUTO


def _read_document(stream: io.BufferedReader, format: str, article_id: str) -> Article:
    decoded = decode(read_limited(stream, MAX_ARTICLE_BYTES))
    return read_article(decoded.text, format=format, article_id=article_id, metadata={"encoding": decoded.encoding})

"""The formats that are read, how they are told apart, and reading one document that is already a string."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from crosshead.articles import Article
from crosshead.errors import ArticleError
from crosshead.readers.frontmatter import read_front_matter
from crosshead.readers.html import read_html
from crosshead.readers.markdown import read_markdown
from crosshead.readers.plain import read_plain

AUTO = "auto"
ROW_FORMATS = ("jsonl", "json", "csv", "parquet")
FORMATS = (AUTO, "markdown", "html", "text", *ROW_FORMATS)
SUFFIXES = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".txt", ".text"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    ".json": "json",
}
PACKED_SUFFIXES = (".gz", ".zst")

_HTML = re.compile(r"\s*<(?:!doctype\s+html|\?xml|html|head|body|article|section|div|p|h[1-6])\b", re.IGNORECASE)
_MARKDOWN = re.compile(
    r"^#{1,6}[ \t]+\S"  # ATX heading
    r"|^(?:\*\*|__)\S[^\n]{0,120}(?:\*\*|__):?[ \t]*$"  # a line of bold
    r"|^[^\s>|+*-][^\n]{0,100}\n(?:={3,}|-{3,})[ \t]*$"  # setext heading
    r"|^(?:```|~~~)"
    r"|^[ \t]{0,3}\|?[ \t]{0,9}:?-{3,}:?[ \t]{0,9}\|"  # the rule below the head of a table
    r"|!?\[[^\]\n]{1,200}\]\([^)\n]{1,300}\)",
    re.MULTILINE,
)
_READERS = {"markdown": read_markdown, "html": read_html, "text": read_plain}
_SNIFFED_CHARS = 64 * 1024


def read_article(
    source: str,
    *,
    format: str = AUTO,
    article_id: str = "",
    title: str = "",
    metadata: Mapping[str, object] | None = None,
) -> Article:
    r"""Read one document.

    Parameters
    ----------
    source : str
        The whole document.
    format : {'auto', 'markdown', 'html', 'text'}, default='auto'
        With 'auto' a document that begins with a tag is HTML, one with front matter, headings, links, tables or
        fenced code is Markdown, any other is plain text.
    article_id : str, default=''
    title : str, default=''
        Goes before the title that the document gives itself.
    metadata : mapping, optional
        Goes before the fields that the document gives itself.

    Returns
    -------
    Article

    Raises
    ------
    ArticleError
        If the document cannot be read as an article, or the format is unknown.

    Examples
    --------
    >>> article = read_article("# Border\n\n## Reaction abroad\n\nEnvoys met in Geneva.")
    >>> article.title, article.paragraphs[0].headings
    ('Border', ('Reaction abroad',))
    """
    if format == AUTO:
        format = detect_format(source)
    reader = _READERS.get(format)
    if reader is None:
        raise ArticleError(f"format is {format!r}; one document is 'auto', 'markdown', 'html' or 'text'")
    return reader(source, article_id=article_id, title=title, metadata=metadata)


def detect_format(source: str) -> str:
    """Tell HTML, Markdown and plain text apart by what the beginning of the source shows."""
    head = source[:_SNIFFED_CHARS].lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if _HTML.match(head):
        return "html"
    return "markdown" if read_front_matter(head)[1] or _MARKDOWN.search(head) else "text"


def format_of(path: PurePath) -> str | None:
    """Name the format that the suffix of a file tells, ``.gz`` and ``.zst`` behind it not counted; None for others."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def stem_of(path: PurePath) -> str:
    """Take ``.gz`` or ``.zst`` and then one suffix that names a format from the file's name."""
    name = path.name
    if path.suffix.lower() in PACKED_SUFFIXES:
        name = name[: -len(path.suffix)]
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name

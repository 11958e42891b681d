"""From files, streams and strings to articles.

Importing this package is cheap: the libraries behind the formats are imported when the first such file is read.
"""

from __future__ import annotations

from crosshead.readers.files import ArticleStream, read_articles
from crosshead.readers.formats import FORMATS, read_article
from crosshead.readers.inputs import Unreadable

__all__ = ["FORMATS", "ArticleStream", "Unreadable", "read_article", "read_articles"]

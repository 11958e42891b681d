r"""crosshead: learn section types from articles with headings; tag articles without.

What stands in ``__all__`` is the public interface and follows semantic versioning; every other module may change from
one version to the next. A name is imported when it is first used, so that importing the package stays cheap.

Examples
--------
>>> import crosshead
>>> article = crosshead.read_article("# Harbour\n\nThe quay is shut.\n\n## Who pays\n\nNobody has said.")
>>> [paragraph.text for paragraph in article.paragraphs]
['The quay is shut.', 'Nobody has said.']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosshead.articles import Article, Paragraph
    from crosshead.errors import CrossheadError
    from crosshead.loading import Model, load
    from crosshead.readers import read_article, read_articles
    from crosshead.tagging.tagger import Tag, Tagger
    from crosshead.taxonomy import Taxonomy

__version__ = "0.1.0"

_PLACES = {
    "load": "crosshead.loading",
    "Model": "crosshead.loading",
    "Tagger": "crosshead.tagging.tagger",
    "Tag": "crosshead.tagging.tagger",
    "read_article": "crosshead.readers",
    "read_articles": "crosshead.readers",
    "Article": "crosshead.articles",
    "Paragraph": "crosshead.articles",
    "Taxonomy": "crosshead.taxonomy",
    "CrossheadError": "crosshead.errors",
}

__all__ = [
    "Article",
    "CrossheadError",
    "Model",
    "Paragraph",
    "Tag",
    "Tagger",
    "Taxonomy",
    "__version__",
    "load",
    "read_article",
    "read_articles",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"crosshead has no {name!r}; it has {', '.join(sorted(_PLACES))}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__

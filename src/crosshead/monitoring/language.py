"""In which language paragraphs are. The only module that knows py3langid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from crosshead.errors import MissingExtraError

UNKNOWN = "und"
"""As ISO 639 says it: undetermined."""
LEAST_LETTERS = 20
LEAST_CONFIDENCE = 0.5
MAX_CHARACTERS = 300
"""More of a paragraph says nothing more about its language."""


def languages(texts: Sequence[str]) -> list[str]:
    """Name each text's language (ISO 639-1), `UNKNOWN` where it is too short or too mixed to say.

    Raises
    ------
    MissingExtraError
        If py3langid is not installed.
    """
    identifier = _identifier()
    return [_language(identifier, text[:MAX_CHARACTERS]) for text in texts]


def _language(identifier: Any, text: str) -> str:
    if sum(map(str.isalpha, text)) < LEAST_LETTERS:
        return UNKNOWN
    return str(identifier.classify(text)[0])


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtraError("telling languages apart", "train") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=LEAST_CONFIDENCE)

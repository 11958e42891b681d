"""Passwords in addresses: cut out of whatever is stored or shown."""

from __future__ import annotations

import re
from typing import Any

_OF_THE_WEB = re.compile(r"(https?://)[^/\s'\"]*@", re.IGNORECASE)
_OF_OTHERS = re.compile(r"(?<!http)(?<!https)(://)(?:[^/\s'\"@]*:[^\s'\"]*|[^/\s'\"]*)@", re.IGNORECASE)
"""A database's password may hold a slash."""
_IN_QUERY = re.compile(r"([?&;](?:\w*password|passwd|pwd|\w*token|\w*secret\w*)=)[^&;\s'\"]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Cut user names and passwords out of the addresses in a text."""
    for pattern, kept in ((_OF_THE_WEB, r"\1…@"), (_OF_OTHERS, r"\1…@"), (_IN_QUERY, r"\1…")):
        text = pattern.sub(kept, text)
    return text


def redacted(value: Any) -> Any:
    """Return plain values, nested as they may be, with every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redacted(inner) for key, inner in value.items()}
    return [redacted(inner) for inner in value] if isinstance(value, list | tuple) else value

"""Giving memory back to the system after a large request."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

LARGE_BYTES = 1024**2
"""A body above this leaves so much free memory behind that giving it back is worth some milliseconds."""


@cache
def _c_library() -> Any:
    """Return the C library where it is one that hoards memory and can be told to let go: glibc."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    except (OSError, TypeError):  # as on Windows
        return None


def give_back() -> None:
    """Let the system have what is free: else a server keeps what its largest requests needed, for ever."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)

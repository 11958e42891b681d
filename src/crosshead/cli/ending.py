"""How the process of a command ends: Python and what it has loaded are not taken apart, they are left.

A thread that is inside a C++ library while the interpreter goes away is killed there, and the library aborts the
process ("terminate called without an active exception", exit code 134): seen where a model was being loaded in
OpenVINO while an error ended `crosshead serve`, and, without any thread of Python's, in Arrow's own threads.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

_code: int | None = None


def begin() -> None:
    """Become the last of what is called at the end; what is registered first is called last."""
    atexit.register(_leave)


def end_with(code: int) -> int:
    """Say what the exit code is going to be, and return it."""
    global _code
    _code = int(code)
    return code


def _leave() -> None:
    """End at once. Threads that must be waited for have been, and whatever was to be done at the end is done."""
    if _code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(_code)

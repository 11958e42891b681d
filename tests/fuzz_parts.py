"""What fuzzing is made of: valid inputs that are spoiled in the way of their format, and a watch on what is done.

The rule for every target: a result, or a CrossheadError that says why. No other exception, no work out of proportion,
nothing written but where it was asked for, no process started, no connection opened, nothing unpickled.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from crosshead.errors import CrossheadError

# -- spoiling ----------------------------------------------------------------------------------------------------------

DEEP = 3000
"""Deeper than Python recurses."""
TOKENS: tuple[bytes, ...] = (
    *(b"", b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b";"),
    *(
        b"#",
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"0",
        b"9" * 5000,
        b'"text"',
        b'"paragraphs":',
        b'{"a":',
    ),
    *(b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800"),
    *(
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"%PDF",
        b"<?xml",
        b"<![CDATA[",
        b"<!--",
        b"</",
        b"<p>",
        b"<table>",
        b"<script>",
    ),
    *(b"---\n", b"+++\n", b"# ", b"> ", b"- ", b"1. ", b"```", b"**", b"[a](b)", b"[^1]:", b"| --- |", b"\xe2\x80\xa8"),
    *(b"[" * DEEP, b"{" * 40, b'{"a":' * DEEP, b"<div>" * 300, b"> " * 300, b"*" * 400, b"\xcc\x81" * 400, b"(" * 400),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, ""),
    *(" ", "\0", "\ud800", "é", "../../x", "/etc/passwd", "os.system", "models:/a@b", "1", "nan", "a" * 300, [None]),
    *([[]], [1], [""], ["a", "a"], {"a": None}, {"": []}, "other", "linear", "paragraph", "\u2028", [{}], "0" * 64),
)

KINDS = ("flip", "set", "cut", "drop", "repeat", "token", "bytes", "swap lines", "repeat line", "drop line", "splice")


@st.composite
def spoiled(draw: st.DrawFn, seeds: Sequence[bytes], most: int = 5) -> bytes:
    """Draw a valid input with up to ``most`` mistakes in it."""
    data = draw(st.sampled_from(list(seeds)))
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=most)):
        data = _spoil(draw, kind, data, seeds)
    return data


def _spoil(draw: st.DrawFn, kind: str, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    if kind == "flip":
        at = min(at, len(data) - 1)
        return data if at < 0 else data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if kind == "set":
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if kind == "cut":
        return data[:at]
    if kind == "drop":
        return data[:at] + data[at + draw(st.integers(1, 40)) :]
    if kind == "repeat":
        piece = data[at : at + draw(st.integers(1, 40))]
        return data[:at] + piece * draw(st.sampled_from([2, 3, 50])) + data[at:]
    if kind == "token":
        return data[:at] + draw(st.sampled_from(TOKENS)) + data[at + draw(st.sampled_from([0, 1, 8])) :]
    if kind == "bytes":
        return data[:at] + draw(st.binary(max_size=12)) + data[at:]
    if kind == "splice":
        other = draw(st.sampled_from(list(seeds)))
        return data[:at] + other[draw(st.integers(0, len(other))) :]
    lines = data.split(b"\n")
    one, two = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    if kind == "swap lines":
        lines[one], lines[two] = lines[two], lines[one]
    elif kind == "repeat line":
        lines.insert(two, lines[one])
    else:
        del lines[one]
    return b"\n".join(lines)


@st.composite
def spoiled_json(draw: st.DrawFn, seeds: Sequence[Any], most: int = 3) -> Any:
    """Draw a JSON value of which some parts were replaced, taken away, doubled or renamed."""
    value = copy.deepcopy(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(value))
        holder, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(["replace", "replace", "replace", "delete", "rename", "double", "number"]))
        if what == "delete":
            del holder[key]
        elif what == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from([key + "s", "", "text", "id"]))] = holder.pop(key)
        elif what == "double" and isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[key]))
        elif what == "number":
            holder[key] = draw(st.one_of(st.integers(-5, 40), st.floats(), st.integers()))
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        if not list(_places(value)):
            break
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below a value at which something stands."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def dumped(value: Any) -> bytes:
    """Write what `spoiled_json` drew; NaN and halves of surrogate pairs as Python writes them."""
    return json.dumps(value).encode()


# -- watching ----------------------------------------------------------------------------------------------------------

MOST_SECONDS = 20.0
"""Of processor time for one input of some kilobytes. Waiting is no work: a busy machine is no hang."""
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class")
_SPEAKS = ("socket.connect", "socket.sendto", "urllib.Request", "ftplib.connect", "smtplib.connect")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class HarmError(BaseException):
    """Something was done that no input may bring about; no handler for errors in the code under test catches it."""


class _Watch:
    """What the hook that Python calls for everything of consequence is to look at; it cannot be taken away again."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.thread = 0
        self.hooked = False
        self.harm: list[str] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.allowed is None or threading.get_ident() != self.thread:
            return
        if event in _STARTS or event in _SPEAKS:
            self._tell(f"{event} {str(args)[:200]}")
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            if (isinstance(args[2], int) and args[2] & _WRITES) or (args[1] and set(str(args[1])) & set("wax+")):
                self._look(event, args[0])
        elif event in _CHANGES:
            self._look(event, args[1] if event in ("os.link", "os.symlink", "os.rename") else args[0])

    def _look(self, event: str, place: Any) -> None:
        if isinstance(place, int):
            return
        path = os.path.realpath(os.fsdecode(place))
        if path != os.devnull and not path.startswith(self.allowed or ()):
            self._tell(f"{event} {path}")

    def _tell(self, what: str) -> None:
        self.harm.append(what)
        raise HarmError(what)


_watch = _Watch()


@contextlib.contextmanager
def watched(*folders: Path) -> Iterator[None]:
    """Let nothing be written but below these folders, and no work go on without end."""
    if not _watch.hooked:
        sys.addaudithook(_watch.hook)
        _watch.hooked = True
    _watch.harm.clear()
    _watch.thread = threading.get_ident()
    places = (*folders, Path(os.environ.get("XDG_CACHE_HOME", "/nowhere")))
    with _bounded():
        _watch.allowed = tuple(os.path.realpath(folder) for folder in places)
        try:
            yield
        finally:
            _watch.allowed = None
    if _watch.harm:  # somebody caught it
        raise HarmError(_watch.harm[0])


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise HarmError(f"more than {MOST_SECONDS:.0f} s of processor time went into one input")

    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def holds(ask: Callable[[], Any], *folders: Path, only: type[CrossheadError] = CrossheadError) -> Any:
    """Return what ``ask`` gives, or the error that says why it gives nothing; anything else goes on."""
    try:
        with watched(*folders):
            return ask()
    except only as error:
        told = error
    assert len(str(told)) > 10, "an error says what it is"
    return told

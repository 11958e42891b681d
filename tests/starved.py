"""Disks that are full or read-only, for one process alone: mounts in a namespace of its own, which end with it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crosshead.errors import CrossheadError
from kill_matrix import Writer

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _PRIVATE_BELOW = 1, 32, 4096, 0x4000 | 0x40000
LONGEST_S = 120


def are_mounts_allowed() -> bool:
    """Try it in a process of its own."""
    if sys.platform != "linux":
        return False
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import starved; starved.enter(); starved.mount_small('/tmp', 8192)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def enter() -> None:
    """Leave the mounts of all others; only for a process without threads."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _called("unshare", _NEW_MOUNTS)
    else:
        _called("unshare", _NEW_USER | _NEW_MOUNTS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _called("mount", b"none", b"/", None, _PRIVATE_BELOW, None)


def mount_small(folder: str | Path, n_bytes: int) -> None:
    """Put a disk of this size there."""
    _called("mount", b"small", os.fsencode(folder), b"tmpfs", 0, f"size={n_bytes}".encode())


def make_room(folder: Path) -> None:
    """Let the small disk be a large one."""
    _called("mount", b"small", os.fsencode(folder), b"tmpfs", _REMOUNT, b"size=1g")


def make_read_only(folder: Path) -> None:
    """Let nothing be written there, whoever asks."""
    _called("mount", os.fsencode(folder), os.fsencode(folder), None, _BIND, None)
    _called("mount", b"none", os.fsencode(folder), None, _REMOUNT | _BIND | _READ_ONLY, None)


def make_writable(folder: Path) -> None:
    """Undo `make_read_only`."""
    _called("mount", b"none", os.fsencode(folder), None, _REMOUNT | _BIND, None)


def _called(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


# -- what a process does -----------------------------------------------------------------------------------------------


def work_on_a_full_disk(writer: Writer, template: Path, n_bytes: int) -> dict[str, Any]:
    """Work on a disk of this size until it is full; make room, look, and go on."""
    signal.alarm(LONGEST_S)
    enter()
    place = template.with_name("small")
    place.mkdir()
    mount_small(place, n_bytes)
    shutil.copytree(template, place, dirs_exist_ok=True)
    acknowledged: list[str] = []
    error = error_of(lambda: writer.work(place, acknowledged.append))
    make_room(place)
    writer.check(place, acknowledged)
    writer.work(place, lambda line: None)
    return {"error": error, "acknowledged": len(acknowledged), "content": writer.content(place)}


def work_where_nothing_can_be_written(writer: Writer, template: Path, begun: Path) -> dict[str, Any]:
    """Work in a folder where nothing can be written, one that is new and one where the work was done before."""
    signal.alarm(LONGEST_S)
    enter()
    errors = []
    for place in (template, begun):
        make_read_only(place)
        errors.append(error_of(lambda place=place: writer.work(place, lambda line: None)))  # type: ignore[misc]
        make_writable(place)
    writer.check(begun, [])
    return {"errors": errors, "content": writer.content(begun)}


def error_of(do: Callable[[], None]) -> str:
    """Return what the command line would say; an error that it would call a mistake of ours goes on."""
    try:
        do()
    except CrossheadError as error:
        return str(error)
    except OSError as error:
        if not error.strerror:
            raise
        return str(error)
    return ""

"""Memory of a server: a compiled graph's pages go back to the system, and few compiled shapes are kept."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

from crosshead.encoders.engines import CACHED_SHAPES, OpenVinoEngine, give_back_pages
from crosshead.encoders.graph import GRAPH
from crosshead.server import memory
from server_parts import client_of, rss_mb, until

SIZE = 8 * 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc there")


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(SIZE))
        os.fsync(file.fileno())  # what the disk does not have yet cannot be given back
    return path


def resident_bytes(path: Path) -> int:
    """Count the bytes of a file that are in this process's memory."""
    found, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            here = line.endswith(str(path))
        elif here and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@linux
def test_pages_of_a_folder_are_given_back_and_read_again(tmp_path: Path) -> None:
    files = [write(tmp_path / "compiled" / "graph.blob"), write(tmp_path / "compiled-not" / "graph.blob")]
    contents = [path.read_bytes() for path in files]
    maps = []
    for path in files:
        with path.open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert [bytes(given) for given in maps] == contents
    assert [resident_bytes(path) for path in files] == [SIZE, SIZE]
    give_back_pages(tmp_path / "compiled")
    given_back, kept = (resident_bytes(path) for path in files)
    assert given_back < SIZE / 2
    assert kept == SIZE
    assert [bytes(given) for given in maps] == contents
    for given in maps:
        given.close()


def test_where_pages_cannot_be_given_back_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    give_back_pages(tmp_path)


@pytest.mark.skipif(memory._c_library() is None, reason="this C library gives memory back by itself, or never")
def test_free_memory_is_given_back_after_a_large_request() -> None:
    blocks = [bytes(2000) for _ in range(40_000)]
    held = rss_mb(os.getpid())
    last = blocks[-1]  # what lies behind the free memory keeps it from being given back by itself
    del blocks
    memory.give_back()
    assert rss_mb(os.getpid()) < held - 40
    assert len(last) == 2000


def test_only_large_requests_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(1))
    with client_of() as client:
        for text in ("A column crossed the river. ", "x" * 2 * memory.LARGE_BYTES):
            client.post("/v1/tag", json={"text": text})
        until(lambda: calls)
    assert calls == [1]


def test_a_c_library_that_cannot_be_told_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise TypeError

    memory._c_library.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", fails)
    memory.give_back()
    assert memory._c_library() is None
    memory._c_library.cache_clear()


def test_openvino_keeps_few_shapes_and_lets_the_system_place_its_threads(tiny_graph: Path) -> None:
    engine = OpenVinoEngine(tiny_graph / GRAPH, "f32", 1, None)
    assert engine._compiled.get_property("ENABLE_CPU_PINNING") is False
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(CACHED_SHAPES)

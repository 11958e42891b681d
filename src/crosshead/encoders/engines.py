"""The engines that run an exported encoder graph, and the choice between them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import ConfigError
from crosshead.whole import new_folder

_MADV_PAGEOUT = 21  # linux/mman.h; kernels before 5.4 refuse it, which harms nothing
Batch = tuple[Any, NDArray[np.int64], NDArray[np.int64]]
"""A key that comes back with the result, token ids and attention mask, both (n_texts, n_tokens)."""

ENGINES = ("openvino", "onnxruntime")
CACHED_SHAPES = 32
"""Primitives that OpenVINO keeps compiled for shapes it met. By default it keeps some thousands, two megabytes for each
pair of a batch size and a length, so a server's memory grows for hours; this costs some 6 % of the time
(measured) and keeps a server below 350 megabytes."""


@dataclass(frozen=True)
class Choice:
    """The engine to use, its number format, and why."""

    engine: str
    precision: str
    reason: str

    @property
    def computes(self) -> str:
        """Name what decides the last digits of a vector."""
        return f"{self.engine} {self.precision}"


class Engine(Protocol):
    """Runs a graph over batches."""

    def run(self, batches: Iterable[Batch], receive: Callable[[Any, NDArray[np.float32]], None]) -> None:
        """Call ``receive(key, vectors)`` for every batch, in any order, from any thread."""
        ...


def cpu_features() -> frozenset[str]:
    """Return those features of this processor that decide which number format is fast."""
    wanted = {"amx_bf16", "amx_tile", "avx512_bf16", "avx512_vnni", "avx2", "avx512f", "bf16", "asimd"}
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    return frozenset(wanted & set(" ".join(lines[:1]).split()))


def choose(engine: str = "auto", features: frozenset[str] | None = None) -> Choice:
    """Choose the fastest faithful engine of this machine, or check the one that was asked for."""
    if engine not in ("auto", *ENGINES):
        raise ConfigError(f"engine is {engine!r}; allowed are 'auto', {', '.join(map(repr, ENGINES))}")
    features = cpu_features() if features is None else features
    installed = [name for name in ENGINES if importlib.util.find_spec(name) is not None]
    if engine != "auto" and engine not in installed:
        raise ConfigError(f"engine {engine!r} is not installed; install it: pip install {engine}, or use engine=auto")
    if not installed:
        raise ConfigError(f"no engine is installed; install one of {', '.join(ENGINES)}")
    if (engine == "auto" and "openvino" in installed) or engine == "openvino":
        fast = sorted({"amx_bf16", "avx512_bf16"} & features)
        if fast:
            return Choice("openvino", "bf16", f"openvino is installed and the processor has {', '.join(fast)}")
        return Choice("openvino", "f32", "openvino is installed; the processor has no fast bf16")
    return Choice("onnxruntime", "f32", "asked for" if engine == "onnxruntime" else "openvino is not installed")


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OpenVinoEngine:
    """OpenVINO on the CPU; the compiled form is kept in ``cache_dir``."""

    def __init__(self, graph: Path, precision: str, n_threads: int, cache_dir: Path | None) -> None:
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(CACHED_SHAPES))  # read when the plugin is loaded
        core = _openvino().Core()
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": n_threads,
            "NUM_STREAMS": 1,
            "CPU_RUNTIME_CACHE_CAPACITY": CACHED_SHAPES,
            # Pinned threads wait for whoever else runs on their core, also for a process pinned to the same one: with
            # both cores busy otherwise, batches took a quarter longer (measured).
            "ENABLE_CPU_PINNING": False,
        }
        if cache_dir is not None:
            options["CACHE_DIR"] = str(cache_dir)
        self._compiled = core.compile_model(str(graph), "CPU", options)
        self._request = self._compiled.create_infer_request()

    def run(self, batches: Iterable[Batch], receive: Callable[[Any, NDArray[np.float32]], None]) -> None:
        """Run batches one after the other on all threads."""
        for key, ids, mask in batches:
            result = self._request.infer({"input_ids": ids, "attention_mask": mask})
            receive(key, next(iter(result.values())))


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU, fp32."""

    def __init__(self, graph: Path, n_threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(self, batches: Iterable[Batch], receive: Callable[[Any, NDArray[np.float32]], None]) -> None:
        """Run batches one after the other on all threads."""
        for key, ids, mask in batches:
            receive(key, self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def start(
    choice: Choice, graph: Path, name: str, *, n_threads: int | None = None, cache_dir: Path | None = None
) -> Engine:
    """Load the graph into the chosen engine; by default on all cores that this process may use.

    Parameters
    ----------
    name
        The encoder's fingerprint: what is compiled once serves every copy of the graph.
    cache_dir
        Where the compiled form is kept; None keeps none.
    """
    threads = n_threads or n_cores()
    if choice.engine == "openvino":
        graph = graph if cache_dir is None else _lasting(graph, cache_dir / name[:16])
        return OpenVinoEngine(graph, choice.precision, threads, cache_dir)
    return OnnxRuntimeEngine(graph, threads)


def _openvino() -> Any:
    """Import OpenVINO, which tells its makers of every import unless it does not find the package that does so."""
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules["openvino_telemetry"]
    import openvino

    return openvino


def _lasting(graph: Path, place: Path) -> Path:
    """Return the same graph at a place that lasts: OpenVINO finds a compiled form by the path that it came from.

    Every champion and every download is a new folder, and each would leave a compiled form as large as the encoder.
    """
    lasting = place / graph.name
    try:
        if not lasting.is_file() or lasting.stat().st_size != graph.stat().st_size:
            with new_folder(place) as made:
                try:
                    os.link(graph, made / graph.name)
                except OSError:  # another disk
                    shutil.copyfile(graph, made / graph.name)
    except OSError:  # nothing can be kept there
        return graph
    return lasting


def give_back_pages(folder: Path) -> None:
    """Let the system take back the memory into which files of a folder are mapped; what is needed is read again.

    A compiled graph stays mapped as it lies in the cache, though the engine works on its own copy of the weights: some
    80 megabytes of which only the words' vectors are ever read again. Linux only; elsewhere nothing happens.
    """
    try:
        libc = ctypes.CDLL(None)
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except (OSError, TypeError):
        return
    for place, *_, path in (line.split(maxsplit=5) for line in lines):
        if path.startswith(f"{folder}{os.sep}"):
            start, end = (int(address, 16) for address in place.split("-"))
            # Never loses what was written: it only moves pages that the file still holds.
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_PAGEOUT)


def machine() -> str:
    """Name the kind of processor for reports."""
    return f"{platform.machine()}, {n_cores()} cores, {', '.join(sorted(cpu_features())) or 'features unknown'}"

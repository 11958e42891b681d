"""Open the encoder that the configuration names, behind the cache: training's way to vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crosshead.encoders.cache import CachedEncoder
from crosshead.encoders.export import graph_for
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.saved import from_folder
from crosshead.encoders.source import source_folder
from crosshead.encoders.static import N_DIMENSIONS, StaticEncoder, static_for
from crosshead.encoders.torch_engine import TorchEncoder, device_for
from crosshead.encoders.tuned import Tuned


def open_encoder(
    source: str,
    cache_dir: Path,
    *,
    name: str,
    sha256: str | None = None,
    prompt: str = "",
    max_tokens: int | None = None,
    engine: str = "auto",
    kind: str = "graph",
    n_dimensions: int = N_DIMENSIONS,
    long: str = "cut",
    finetuned: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> tuple[CachedEncoder, Path]:
    """Return the encoder and the folder of its graph, exporting the graph where it is not there yet.

    ``kind="static"`` distils the encoder that ``source`` names, and ``n_dimensions`` are kept of its vectors.
    ``finetuned`` says that the source must hold the note of what it has seen.
    Vectors of different engines are kept apart: they differ in their last bits.

    Raises
    ------
    EncoderError
        If the weights are missing, not the expected ones, or cannot be exported faithfully.
    """
    Tuned.of(source, required=finetuned)
    folder = graph_for(
        source, cache_dir / "graphs", name=name, sha256=sha256, prompt=prompt, max_tokens=max_tokens, long=long
    )
    device = device_for(engine)
    if kind == "static":
        of_graph = "auto" if engine == "torch" else engine
        folder = static_for(folder, cache_dir / "graphs", n_dimensions=n_dimensions, engine=of_graph)
    elif device is not None:
        return with_cache(TorchEncoder(folder, source_folder(source), device), cache_dir, report), folder
    encoder = from_folder(folder, engine=engine, compiled_dir=cache_dir / "compiled")
    return with_cache(encoder, cache_dir, report), folder


def with_cache(
    graph: GraphEncoder | StaticEncoder, cache_dir: Path, report: Callable[[int, int], None] | None = None
) -> CachedEncoder:
    """Put the cache in front of an encoder that is at hand, such as a saved tagger's."""
    return CachedEncoder(
        lambda: graph,
        cache_dir / "vectors" / f"{graph.choice.engine}-{graph.choice.precision}",
        fingerprint=graph.fingerprint,
        n_dimensions=graph.n_dimensions,
        max_tokens=graph.max_tokens,
        computes=graph.choice.computes,
        report=report,
    )

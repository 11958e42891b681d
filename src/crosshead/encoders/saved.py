"""Open an encoder that lies in a folder, whatever its kind."""

from __future__ import annotations

from pathlib import Path

from crosshead.encoders.graph import About, GraphEncoder
from crosshead.encoders.static import StaticEncoder


def from_folder(
    folder: Path, *, engine: str = "auto", n_threads: int | None = None, compiled_dir: Path | None = None
) -> GraphEncoder | StaticEncoder:
    """Open the encoder that `export`, or `static.distil`, wrote; engine and threads matter to a graph only.

    Raises
    ------
    EncoderError
        If the folder does not say what it holds, or holds what this crosshead does not know.
    """
    if About.read(folder).kind == "static":
        return StaticEncoder(folder)
    return GraphEncoder(folder, engine=engine, n_threads=n_threads, compiled_dir=compiled_dir)

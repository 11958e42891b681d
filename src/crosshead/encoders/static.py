"""The static encoder: a vector for every token, looked up and averaged. Some hundred times as fast as a transformer.

The token vectors are distilled from another encoder: every token of its tokenizer goes through it once, alone. Their
principal components are kept, weighted by how often tokens occur, and frequent tokens count for less in a mean.
A text is tokenised word by word (`pieces`), so its vector depends on its words alone, to the bit.

References
----------
Tulkens, van Dongen (2024), Model2Vec: Fast State-of-the-Art Static Embeddings, github.com/MinishLab/model2vec.
Arora, Liang, Ma (2017), A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.encoders.engines import Choice
from crosshead.encoders.graph import (
    NO_WINDOW,
    TOKENIZER,
    About,
    GraphEncoder,
    load_tokenizer,
    speaking_of,
    special_tokens,
)
from crosshead.errors import EncoderError
from crosshead.tagging.pieces import Pieces
from crosshead.tagging.tagger import Encoded
from crosshead.whole import new_folder

VECTORS = "vectors.safetensors"
STATIC_VERSION = 1
"""Goes into the fingerprint: raise it when the same files would give other vectors."""
N_DIMENSIONS = 256
_FREQUENT = 1e-3
"""Share of all tokens from which a token counts for less than half."""


class StaticEncoder:
    """Encodes texts with token vectors from a folder; nothing is loaded before the first text."""

    choice = Choice("static", "int8", "token vectors are looked up")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = About.read(folder)
        if self.about.kind != "static":
            raise EncoderError(f"{folder.name} holds an encoder of kind {self.about.kind!r}, not 'static'")
        self.fingerprint = self.about.fingerprint
        self.n_dimensions = self.about.n_dimensions
        self.max_tokens = self.about.max_tokens
        self._table: NDArray[np.float32] | None = None
        self._pieces = Pieces(self._tokenize)
        self._tokenizer: Any = None

    def load(self) -> None:
        """Load token vectors and tokenizer now rather than at the first text."""
        if self._table is not None:
            return
        from safetensors.numpy import load_file

        self._tokenizer = load_tokenizer(self.folder)
        with speaking_of(self.folder, VECTORS):
            arrays = load_file(self.folder / VECTORS)
            table = (arrays["vectors"] * arrays["scales"][:, None]).astype(np.float32, copy=False)
            if table.ndim != 2 or table.shape[1] != self.n_dimensions or not np.isfinite(table).all():
                raise ValueError(f"token vectors of shape {table.shape}")
        self._table = table

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode normalised texts.

        Returns
        -------
        Encoded
            ``vectors`` (n_texts, n_dimensions) float32, unit length, or zero where a text has no known token.
        """
        self.load()
        assert self._table is not None
        if not texts:
            return Encoded(np.zeros((0, self.n_dimensions), dtype=np.float32), np.zeros(0, dtype=np.int64))
        tokens, lengths = self._pieces.read(texts)
        vectors = np.zeros((len(texts), self.n_dimensions), dtype=np.float32)
        # Text by text: that is several times as fast as np.add.reduceat, which goes through the dimensions one by one.
        with speaking_of(self.folder, VECTORS):  # a tokenizer may give numbers that no vector has
            for row, ids in zip(vectors, np.split(tokens, np.cumsum(lengths)[:-1]), strict=True):
                np.add.reduce(self._table.take(ids, axis=0), axis=0, out=row)
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        vectors /= np.where(norms > 0, norms, np.float32(1))[:, None]
        return Encoded(vectors, lengths)

    def _tokenize(self, pieces: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def static_for(graph_dir: Path, folder: Path, *, n_dimensions: int = N_DIMENSIONS, engine: str = "auto") -> Path:
    """Return the folder of the static encoder distilled from a graph, distilling it when it is not there yet."""
    name = f"static-{About.read(graph_dir).fingerprint[:16]}-{n_dimensions}"
    if not all((folder / name / file).is_file() for file in (VECTORS, TOKENIZER, "encoder.json")):
        shutil.rmtree(folder / name, ignore_errors=True)
        distil(GraphEncoder(graph_dir, engine=engine), folder / name, n_dimensions=n_dimensions)
    return folder / name


def distil(source: GraphEncoder, target: Path, *, n_dimensions: int = N_DIMENSIONS) -> About:
    """Write a static encoder whose token vectors come from ``source``.

    Raises
    ------
    EncoderError
        If more dimensions are asked for than the source has, or its vectors tell tokens apart in fewer.
    """
    if n_dimensions > source.n_dimensions:
        raise EncoderError(
            f"encoder.dimensions is {n_dimensions}, but {source.about.name} has {source.n_dimensions}; "
            "a static encoder has at most as many as its source"
        )
    table = reduce(_token_vectors(source), n_dimensions)
    scales = (np.abs(table).max(axis=1) / 127).astype(np.float32)
    arrays = {"vectors": np.rint(table / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8), "scales": scales}
    with new_folder(target, replace=False) as made:
        _write(made, source, arrays)
    return About.read(target)


def _write(folder: Path, source: GraphEncoder, arrays: dict[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    (folder / VECTORS).write_bytes(save(arrays))
    shutil.copyfile(source.folder / TOKENIZER, folder / TOKENIZER)
    parts = [str(STATIC_VERSION), *(_sha256(folder / file) for file in (VECTORS, TOKENIZER))]
    About(
        name=f"static {source.about.name}",
        n_dimensions=arrays["vectors"].shape[1],
        max_tokens=NO_WINDOW,
        weights_sha256=parts[1],
        fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        kind="static",
    ).write(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _token_vectors(source: GraphEncoder) -> NDArray[np.float32]:
    """Encode every token alone, between the special tokens that stand around a text; these have no vector."""
    source.load()
    tokenizer = source.tokenizer
    before, after = special_tokens(tokenizer)
    tokens = np.arange(tokenizer.get_vocab_size())
    ids = np.column_stack(
        [*(np.full_like(tokens, i) for i in before), tokens, *(np.full_like(tokens, i) for i in after)]
    )
    vectors = source.encode_ids(ids)
    special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    vectors[[*special, *before, *after]] = np.nan
    return vectors


def reduce(vectors: NDArray[np.float32], n_dimensions: int) -> NDArray[np.float32]:
    """Keep the principal components of token vectors, and weigh frequent tokens down.

    How often a token occurs is taken from its number: tokenizers number tokens by falling frequency, and by Zipf's law
    the n-th most frequent occurs in proportion to 1 / n. Rows of NaN are no tokens of texts; they become zero.
    """
    is_token = np.isfinite(vectors[:, 0])
    share = np.where(is_token, 1.0 / (np.cumsum(is_token) + 1.0), 0.0)
    share /= share.sum()
    centred = np.where(is_token[:, None], vectors, 0.0) - share[is_token] @ vectors[is_token].astype(np.float64)
    covariance = (centred * share[:, None]).T @ centred
    components = np.linalg.eigh(covariance)[1][:, ::-1][:, :n_dimensions]
    components = components * np.sign(components[np.abs(components).argmax(axis=0), np.arange(n_dimensions)])
    weights = np.where(is_token, _FREQUENT / (_FREQUENT + share), 0.0)
    reduced: NDArray[np.float32] = ((centred @ components) * weights[:, None]).astype(np.float32)
    return reduced

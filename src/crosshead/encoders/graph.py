"""The encoder at work: a folder with a graph and a tokenizer, run without torch.

Every text is padded to a length that depends on that text alone (the next multiple of ``LENGTH_STEP`` tokens), and
texts of one padded length are batched together. So the vector of a text does not depend, in a single bit, on what is
encoded beside it (measured on both engines; ``tests/test_encoders.py`` holds it).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.encoders.engines import Batch, Choice, Engine, choose, start
from crosshead.errors import CrossheadError, EncoderError
from crosshead.tagging.tagger import Encoded

GRAPH, TOKENIZER, ABOUT = "graph.onnx", "tokenizer.json", "encoder.json"
LENGTH_STEP = 16
MAX_DIMENSIONS = 2**16
NO_WINDOW = 2**31 - 1
"""As ``max_tokens``: the whole text is read."""
TOKENS_PER_BATCH = 2048
TEXTS_PER_CHUNK = 4096
LONG = ("cut", "windows")
"""What may happen to a text that is longer than the model reads."""
OVERLAP = 4
"""Neighbouring windows share one part in so many: what stands at an edge is read with both its sides."""


@dataclass(frozen=True)
class About:
    """What a graph folder says of itself."""

    name: str
    n_dimensions: int
    max_tokens: int
    weights_sha256: str
    fingerprint: str
    """Names everything that decides a vector: weights, pooling, window, prompt and normalisation."""
    prompt: str = ""
    kind: str = "graph"
    """``graph``, or ``static``: token vectors that are looked up."""
    long: str = "cut"
    """What happens to a text beyond ``max_tokens``: ``cut``, or ``windows``, whose vectors are pooled."""

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read ``encoder.json``."""
        try:
            about = cls(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
            about._check()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise EncoderError(f"{folder.name}/{ABOUT} cannot be read ({error}); export the encoder again") from error
        return about

    def _check(self) -> None:
        texts = (self.name, self.weights_sha256, self.fingerprint, self.prompt, self.kind, self.long)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name or a digest is no text")
        for name, most in (("n_dimensions", MAX_DIMENSIONS), ("max_tokens", NO_WINDOW)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 3 <= value <= most:
                raise ValueError(f"{name} is {value!r:.40}; it must be a number from 3 to {most}")

    def write(self, folder: Path) -> None:
        """Write ``encoder.json``."""
        (folder / ABOUT).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class GraphEncoder:
    """Encodes texts with an exported graph; the engine is loaded at the first text."""

    def __init__(
        self,
        folder: Path,
        *,
        engine: str = "auto",
        n_threads: int | None = None,
        compiled_dir: Path | None = None,
    ) -> None:
        self.folder = folder
        self.about = About.read(folder)
        if self.about.kind != "graph" or self.about.long not in LONG:
            raise EncoderError(
                f"{folder.name} holds an encoder of kind {self.about.kind!r} with long texts {self.about.long!r}; "
                f"allowed are 'graph' with {', '.join(map(repr, LONG))}; open it with a newer crosshead"
            )
        self.choice: Choice = choose(engine)
        self.fingerprint = self.about.fingerprint
        self.n_dimensions = self.about.n_dimensions
        self.max_tokens = NO_WINDOW if self.about.long == "windows" else self.about.max_tokens
        self.tokens_per_batch = TOKENS_PER_BATCH
        self._n_threads = n_threads
        self._compiled_dir = compiled_dir
        self._engine: Engine | None = None
        self._tokenizer: Any = None

    def load(self) -> None:
        """Load engine and tokenizer now rather than at the first text."""
        if self._engine is None:
            with speaking_of(self.folder, GRAPH):
                self._engine = self._start()
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.folder)

    def _start(self) -> Engine:
        graph = self.folder / GRAPH
        return start(self.choice, graph, self.fingerprint, n_threads=self._n_threads, cache_dir=self._compiled_dir)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, neither padding nor truncating; None before `load`."""
        return self._tokenizer

    def encode_ids(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Encode rows of token ids, special tokens included, all of one length."""
        self.load()
        size = max(1, self.tokens_per_batch // ids.shape[1])
        batches = (
            (slice(first, first + size), ids[first : first + size], np.ones_like(ids[first : first + size]))
            for first in range(0, len(ids), size)
        )
        vectors = np.empty((len(ids), self.n_dimensions), dtype=np.float32)
        assert self._engine is not None
        self._engine.run(batches, vectors.__setitem__)
        return vectors

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode normalised texts; each different text is encoded once.

        Returns
        -------
        Encoded
            ``vectors`` (n_texts, n_dimensions) float32, unit length; ``n_tokens`` before truncation.
        """
        self.load()
        positions: dict[str, int] = {}
        inverse = np.fromiter((positions.setdefault(text, len(positions)) for text in texts), np.int64, len(texts))
        different = list(positions)
        vectors = np.empty((len(different), self.n_dimensions), dtype=np.float32)
        n_tokens = np.empty(len(different), dtype=np.int64)
        for first in range(0, len(different), TEXTS_PER_CHUNK):
            chunk = slice(first, first + TEXTS_PER_CHUNK)
            with speaking_of(self.folder, GRAPH):
                self._encode_chunk(different[chunk], vectors[chunk], n_tokens[chunk])
                if not np.isfinite(vectors[chunk]).all():
                    raise ValueError("vectors that are no numbers")
        return Encoded(vectors[inverse], n_tokens[inverse])

    def _encode_chunk(self, texts: list[str], vectors: NDArray[np.float32], n_tokens: NDArray[np.int64]) -> None:
        token_ids = self._tokenize(texts)
        n_tokens[:] = [len(ids) for ids in token_ids]
        if self.about.long == "cut" or n_tokens.max() <= self.about.max_tokens:
            self._run([self._cut(ids) for ids in token_ids], vectors)
            return
        before, after = special_tokens(self._tokenizer)
        cut = [windows(ids, self.about.max_tokens, len(before), len(after)) for ids in token_ids]
        pieces = [piece for own in cut for piece in own]
        of_pieces = np.empty((len(pieces), self.n_dimensions), dtype=np.float32)
        self._run(pieces, of_pieces)
        vectors[:] = pool(of_pieces, [len(piece) for piece in pieces], [len(own) for own in cut])

    def _run(self, token_ids: list[list[int]], vectors: NDArray[np.float32]) -> None:
        assert self._engine is not None
        self._engine.run(self._batches(token_ids), vectors.__setitem__)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast([self.about.prompt + text for text in texts])
        return [encoding.ids for encoding in encodings]

    def _batches(self, token_ids: list[list[int]]) -> Iterator[Batch]:
        """Cut the texts, longest first, into batches of one padded length each."""
        lengths = np.array([len(ids) for ids in token_ids])
        padded = np.minimum(-(-lengths // LENGTH_STEP) * LENGTH_STEP, max(self.about.max_tokens, int(lengths.max())))
        for length in np.unique(padded)[::-1]:
            rows = np.flatnonzero(padded == length)
            size = max(1, self.tokens_per_batch // int(length))
            for first in range(0, len(rows), size):
                batch = rows[first : first + size]
                ids = np.zeros((len(batch), int(length)), dtype=np.int64)
                mask = np.zeros_like(ids)
                for row, which in enumerate(batch):
                    ids[row, : lengths[which]] = token_ids[which]
                    mask[row, : lengths[which]] = 1
                yield batch, ids, mask

    def _cut(self, ids: list[int]) -> list[int]:
        """Keep the window; the last token kept is the closing special token, as the model saw it in training."""
        most = self.about.max_tokens
        return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def load_tokenizer(folder: Path) -> Any:
    """Load an encoder's tokenizer, neither padding nor truncating."""
    with speaking_of(folder, TOKENIZER):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.no_truncation()
    return tokenizer


@contextlib.contextmanager
def speaking_of(folder: Path, file: str) -> Iterator[None]:
    """Let whatever an engine or a tokenizer raises name the encoder: no text is to blame, and the next fares the same.

    Raises
    ------
    EncoderError
        In the place of other libraries' errors.
    """
    try:
        yield
    except (CrossheadError, MemoryError):
        raise
    except Exception as error:
        reason = type(error).__name__
        raise EncoderError(
            f"{folder.name}/{file} cannot be used ({reason}); it is damaged, or no encoder: copy the saved tagger "
            "again, or export the encoder again"
        ) from error


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before a text, and those after it."""
    around = tokenizer.encode("a")
    inner = [place for place, special in enumerate(around.special_tokens_mask) if not special]
    return around.ids[: inner[0]], around.ids[inner[-1] + 1 :]


def windows(ids: list[int], most: int, n_before: int, n_after: int) -> list[list[int]]:
    """Cut token ids into overlapping windows of at most ``most``, each between the special tokens of the whole."""
    if len(ids) <= most:
        return [ids]
    before, after = ids[:n_before], ids[len(ids) - n_after :]
    inner = ids[n_before : len(ids) - n_after]
    size = most - n_before - n_after
    shared = size // OVERLAP
    starts = range(0, len(inner) - shared, size - shared)
    return [[*before, *inner[start : start + size], *after] for start in starts]


def pool(vectors: NDArray[np.float32], n_tokens: Sequence[int], n_windows: Sequence[int]) -> NDArray[np.float32]:
    """Average the vectors of each text's windows by their tokens, to unit length; a single window stays as it is."""
    counts = np.asarray(n_windows)
    first = np.cumsum(counts) - counts
    sums = np.add.reduceat(vectors * np.asarray(n_tokens, dtype=np.float32)[:, None], first, axis=0)
    pooled: NDArray[np.float32] = sums / np.sqrt(np.einsum("nd,nd->n", sums, sums))[:, None]
    pooled[counts == 1] = vectors[first[counts == 1]]
    return pooled

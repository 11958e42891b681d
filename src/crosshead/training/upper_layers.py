"""An encoder whose upper layers learn, while what the lower ones make of a text is computed once and kept.

A linear head on the unit vector passes its gradient to the upper layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from crosshead.encoders.engines import cpu_features
from crosshead.encoders.export import load_model
from crosshead.errors import ConfigError, EncoderError
from crosshead.training.frozen import Kept

HEAD_SCALE = 12.0
"""Logits of the head on a unit vector are this much larger, so that it need not grow first."""

Report = Callable[[str, int, int], None]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """How an encoder is fine-tuned."""

    layers: int
    """Upper layers that learn; the rest stays as it is."""
    epochs: int
    learning_rate: float
    """Of the topmost layer."""
    layer_decay: float
    """What the rate is multiplied with from a layer to the one below."""
    batch_tokens: int
    label_smoothing: float
    average: float
    """Share of the tuned weights in the weighted mean with the first ones; 1 takes the tuned ones alone."""
    max_tokens: int
    """Of a paragraph, while tuning."""
    seed: int = 0


def best_device() -> str:
    """Return the fastest device that torch finds here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _Replay(torch.nn.Module):  # type: ignore[misc]
    """Stands where the embeddings and the frozen layers were, and gives what they made of the batch."""

    current: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.current


class Tuner:
    """An encoder whose upper layers learn.

    Parameters
    ----------
    folder
        A sentence-transformers model with a transformer of the BERT family, which has ``embeddings`` and
        ``encoder.layer``.

    Raises
    ------
    EncoderError
        If the model is of another make.
    ConfigError
        If it has fewer layers than should learn.
    """

    def __init__(self, folder: Path, recipe: Recipe, n_section_types: int, device: str | None = None) -> None:
        self.recipe = recipe
        self.device = torch.device(device or best_device())
        self.model = load_model(folder).to(self.device)
        self.inner = _transformer_of(self.model, folder)
        self._layers = list(self.inner.encoder.layer)
        if not 1 <= recipe.layers <= len(self._layers):
            raise ConfigError(f"finetune.layers is {recipe.layers}; {folder.name!r} has {len(self._layers)} layers")
        self.upper = torch.nn.ModuleList(self._layers[-recipe.layers :])
        self.head = torch.nn.Linear(int(self.model.get_embedding_dimension()), n_section_types).to(self.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self._replay = _Replay()
        self._dtype = torch.bfloat16 if self._has_fast_bf16() else torch.float32

    def parameters(self) -> dict[str, Any]:
        """Everything that learns, by name."""
        named = {f"upper.{name}": value for name, value in self.upper.named_parameters()}
        return named | {f"head.{name}": value for name, value in self.head.named_parameters()}

    def tokenise(self, texts: Sequence[str], prompt: str = "") -> list[list[int]]:
        """Token ids of every text, cut at the recipe's number of tokens."""
        most = min(self.recipe.max_tokens, int(self.model.max_seq_length))
        given = self.model.tokenizer([prompt + text for text in texts], truncation=True, max_length=most)
        ids: list[list[int]] = given["input_ids"]
        return ids

    def lower(self, ids: Sequence[Sequence[int]], report: Report, kept: Kept | None = None) -> list[Any]:
        """Run the embeddings and the frozen layers once; return what each text leaves, (n_tokens, n_hidden).

        ``kept`` remembers it on disk; what it has already is not computed again.
        """
        found: dict[int, Any] = {}
        batches = in_batches(ids, self.recipe.batch_tokens * 4)
        known = kept.read() if kept is not None else []
        for rows, states in known:
            found |= zip(rows, states, strict=True)
        frozen = torch.nn.ModuleList(self._layers[: -self.recipe.layers])
        self.inner.eval()
        with _swapped(self.inner.encoder, "layer", frozen), torch.inference_mode(), self._fast():
            for rows in batches[len(known) :]:
                states = self._lower_batch([ids[i] for i in rows])
                found |= zip(rows, states, strict=True)
                if kept is not None:
                    kept.add(rows, states)
                report("running the frozen layers", len(found), len(ids))
        if kept is not None:
            kept.finish()
        return [found[i] for i in range(len(ids))]

    def lower_depends_on(self) -> list[Any]:
        """Return what, besides the weights and the tokens, decides what the frozen layers leave."""
        return [self.recipe.layers, self.recipe.batch_tokens, self.device.type, str(self._dtype)]

    def _lower_batch(self, ids: Sequence[Sequence[int]]) -> list[Any]:
        token_ids, mask = self._padded(ids)
        states = self.inner(input_ids=token_ids, attention_mask=mask).last_hidden_state
        return [states[row, : len(one)].to(self._dtype).cpu().clone() for row, one in enumerate(ids)]

    def logits(self, states: Sequence[Any]) -> Any:
        """Head's logits of texts of which the frozen layers left these, (n_texts, n_section_types)."""
        lengths = [len(state) for state in states]
        mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long().to(self.device)
        self._replay.current = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True).float().to(self.device)
        with (
            _swapped(self.inner, "embeddings", self._replay),
            _swapped(self.inner.encoder, "layer", self.upper),
            self._fast(),
        ):
            # The ids are not looked at: the embeddings that would are replaced.
            found = self.model({"input_ids": torch.zeros_like(mask), "attention_mask": mask})["sentence_embedding"]
        return self.head(F.normalize(found.float(), dim=1)) * HEAD_SCALE

    def average(self, first: dict[str, Any]) -> None:
        """Move the tuned weights back towards the first ones."""
        share = self.recipe.average
        with torch.no_grad():
            for name, value in self.parameters().items():
                if name in first:
                    value.copy_(share * value + (1 - share) * first[name].to(value.device))

    def _padded(self, ids: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        rows = [torch.tensor(row) for row in ids]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        padding = self.model.tokenizer.pad_token_id or 0
        token_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        return token_ids.to(self.device), mask.to(self.device)

    def _has_fast_bf16(self) -> bool:
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        return self.device.type == "cpu" and bool({"amx_bf16", "avx512_bf16"} & cpu_features())

    def _fast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16)


def _transformer_of(model: Any, folder: Path) -> Any:
    inner = getattr(model[0], "model", None)
    if not hasattr(inner, "embeddings") or not hasattr(getattr(inner, "encoder", None), "layer"):
        found = type(model[0] if inner is None else inner).__name__
        raise EncoderError(
            f"{folder.name!r} cannot be fine-tuned: it is built from {found}, and fine-tuning knows transformers with "
            "embeddings and encoder.layer (BERT, MPNet, RoBERTa, XLM-R, Electra); name another model: "
            "encoder=custom encoder.source=FOLDER"
        )
    return inner


@contextmanager
def _swapped(owner: Any, name: str, other: Any) -> Iterator[None]:
    own = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, own)


def in_batches(
    ids: Sequence[Sequence[int]], budget: int, rows: Rows | None = None, rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Cut rows into batches of texts of like length, none with more tokens than ``budget``, padding counted.

    With ``rng`` the lengths are blurred and the batches come in random order.
    """
    rows = np.arange(len(ids)) if rows is None else rows
    lengths = np.array([len(ids[i]) for i in rows], dtype=float)
    order = rows[np.argsort(lengths + (rng.normal(0, 6, len(rows)) if rng is not None else 0), kind="stable")]
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for i in order.tolist():
        longest = max(longest, len(ids[i]))
        if batch and longest * (len(batch) + 1) > budget:
            batches.append(batch)
            batch, longest = [], len(ids[i])
        batch.append(i)
    if batch:
        batches.append(batch)
    if rng is not None:
        rng.shuffle(batches)
    return batches

"""Fine-tune the upper layers of a sentence-transformers encoder on labelled paragraphs.

The lower layers and the embeddings stay as they are, so what they make of a paragraph is computed once and kept. A
linear head on the unit vector learns the section types and passes its gradient to the upper layers; it is thrown away
afterwards, because the tagger's own classifiers learn from the new vectors. At last the weights are averaged with those
they began from: the mean of both holds up better on text of another origin than the tuned weights alone.

sentence-transformers' own trainer is not used: its checkpoints are pickles, it runs the frozen layers in every epoch,
and it needs one more library. Loading, tokenising, pooling and saving are sentence-transformers'.

References
----------
Howard, Ruder (2018), Universal Language Model Fine-tuning for Text Classification, arXiv:1801.06146 (layer-wise rates).
Wortsman et al. (2022), Robust fine-tuning of zero-shot models, arXiv:2109.01903 (averaging with the first weights).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from crosshead import whole
from crosshead.encoders.engines import cpu_features, n_cores
from crosshead.errors import ConfigError, DataError, EncoderError

HEAD_SCALE = 12.0
"""Logits of the head on a unit vector are this much larger, so that it need not grow first."""
HEAD_RATE = 20.0
"""The head learns this many times as fast as the topmost layer: it begins from nothing."""
WARM_UP = 0.06
LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 0.01
CHECKPOINT_S = 60.0
"""Seconds of work that a kill may cost."""

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


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    loss: float
    accuracy: float | None
    """Of the head on paragraphs that it does not learn from; None where there are none."""


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
        from crosshead.encoders.export import load_model

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

    def lower(self, ids: Sequence[Sequence[int]], report: Report) -> list[Any]:
        """Run the embeddings and the frozen layers once; return what each text leaves, (n_tokens, n_hidden)."""
        kept: list[Any] = [None] * len(ids)
        frozen = torch.nn.ModuleList(self._layers[: -self.recipe.layers])
        self.inner.eval()
        done = 0
        with _swapped(self.inner.encoder, "layer", frozen), torch.inference_mode(), self._fast():
            for rows in in_batches(ids, self.recipe.batch_tokens * 4):
                token_ids, mask = self._padded([ids[i] for i in rows])
                states = self.inner(input_ids=token_ids, attention_mask=mask).last_hidden_state
                for row, i in enumerate(rows):
                    kept[i] = states[row, : len(ids[i])].to(self._dtype).cpu().clone()
                done += len(rows)
                report("running the frozen layers", done, len(ids))
        return kept

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


def finetune(
    folder: Path,
    texts: Sequence[str],
    y: Rows,
    *,
    learned: Rows,
    recipe: Recipe,
    n_section_types: int,
    checkpoint: Path,
    prompt: str = "",
    device: str | None = None,
    report: Report = lambda what, done, total: None,
) -> tuple[Any, list[Epoch]]:
    """Fine-tune; return the sentence-transformers model, ready to be saved, and what each epoch came to.

    Parameters
    ----------
    texts, y
        Paragraphs and their section types, encoded.
    learned
        Rows to learn from; the others tell after each epoch how far the head is.
    checkpoint
        File that is written about every minute. Where it exists and was written by the same work, this goes on there
        and ends as if it had never been interrupted.
    """
    torch.set_num_threads(n_cores())
    tuner = Tuner(folder, recipe, n_section_types, device)
    first = {name: value.detach().clone() for name, value in tuner.parameters().items() if name.startswith("upper.")}
    ids = tuner.tokenise(texts, prompt)
    states = tuner.lower(ids, report)
    others = np.setdiff1d(np.arange(len(texts)), learned)
    work = _Work(tuner, checkpoint, _digest(folder, ids, y, learned, recipe))
    epochs = [[*in_batches(ids, recipe.batch_tokens, learned, _rng(recipe, n))] for n in range(recipe.epochs)]
    work.resume()
    n_steps = sum(map(len, epochs))
    start = 0
    for number, batches in enumerate(epochs, start=1):
        for step, batch in enumerate(batches, start=start):
            if step >= work.step:
                work.learn([states[i] for i in batch], torch.as_tensor(y[batch]), n_steps)
                report("fine-tuning", step + 1, n_steps)
        start += len(batches)
        if len(work.history) < number:
            work.conclude_epoch(len(batches), _accuracy(tuner, states, y, others, ids))
    tuner.average(first)
    tuner.inner.eval()
    return tuner.model, work.history


def _rng(recipe: Recipe, epoch: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, epoch])


def _digest(folder: Path, ids: Sequence[Sequence[int]], y: Rows, learned: Rows, recipe: Recipe) -> str:
    """Name the work, so that a checkpoint of other work is not taken up."""
    from crosshead.encoders.export import weights_digest

    said = json.dumps([weights_digest(folder), asdict(recipe), list(map(list, ids)), y.tolist(), learned.tolist()])
    return hashlib.sha256(said.encode()).hexdigest()


def _accuracy(tuner: Tuner, states: Sequence[Any], y: Rows, rows: Rows, ids: Sequence[Sequence[int]]) -> float | None:
    if not len(rows):
        return None
    tuner.inner.eval()
    n_right = 0
    with torch.inference_mode():
        for batch in in_batches(ids, tuner.recipe.batch_tokens * 4, rows):
            found = tuner.logits([states[i] for i in batch]).argmax(dim=1).cpu().numpy()
            n_right += int((found == y[batch]).sum())
    return n_right / len(rows)


class _Work:
    """The optimiser, where it stands, and the file that remembers it."""

    def __init__(self, tuner: Tuner, checkpoint: Path, digest: str) -> None:
        self.tuner, self.checkpoint, self.digest = tuner, checkpoint, digest
        self.step = 0
        self.loss = 0.0
        self.history: list[Epoch] = []
        recipe, n_layers = tuner.recipe, len(tuner.upper)
        groups = [{"params": list(tuner.head.parameters()), "lr": recipe.learning_rate * HEAD_RATE}]
        for depth, layer in enumerate(tuner.upper):
            rate = recipe.learning_rate * recipe.layer_decay ** (n_layers - 1 - depth)
            groups.append({"params": list(layer.parameters()), "lr": rate})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._saved = time.monotonic()

    def learn(self, states: Sequence[Any], wanted: Any, n_steps: int) -> None:
        """Take one step."""
        tuner, part = self.tuner, self.step / n_steps
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(1.0, (part + 1 / n_steps) / WARM_UP) * (1 - part)
        # Dropout is drawn anew for every step, so that work taken up again draws what it would have drawn.
        torch.manual_seed(tuner.recipe.seed * 1_000_003 + self.step)
        tuner.inner.train()
        loss = F.cross_entropy(
            tuner.logits(states), wanted.to(tuner.device), label_smoothing=tuner.recipe.label_smoothing
        )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(tuner.parameters().values()), LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        self.loss += float(loss.detach())
        if time.monotonic() - self._saved > CHECKPOINT_S:
            self.save()

    def conclude_epoch(self, n_steps: int, accuracy: float | None) -> None:
        """Note what the epoch came to."""
        self.history.append(Epoch(self.loss / n_steps, accuracy))
        self.loss = 0.0
        self.save()

    def save(self) -> None:
        """Write everything that is needed to go on; a kill leaves the file before or this one."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tuner.parameters().items()}
        for name, value in self.tuner.parameters().items():
            for kind, moment in self.optimiser.state.get(value, {}).items():
                tensors[f"{kind}|{name}"] = moment.detach().cpu().contiguous()
        told = {"step": self.step, "loss": self.loss, "history": [asdict(epoch) for epoch in self.history]}
        try:
            whole.write(self.checkpoint, save(tensors, metadata={"digest": self.digest, "told": json.dumps(told)}))
        except OSError as error:
            raise DataError(f"{self.checkpoint} cannot be written: {error.strerror}; make room, then go on") from error
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Go on where the file says, if it was written by the same work."""
        whole.remove_leftovers(self.checkpoint.parent)
        if not self.checkpoint.is_file():
            return
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("digest") != self.digest:
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError:  # damaged: the work begins anew, and the file is written over
            return
        with torch.no_grad():
            for name, value in self.tuner.parameters().items():
                value.copy_(tensors[name].to(value.device))
                moments = {key.partition("|")[0]: key for key in tensors if key.endswith(f"|{name}")}
                self.optimiser.state[value] = {
                    kind: tensors[key].to("cpu" if kind == "step" else value.device) for kind, key in moments.items()
                }
        state = json.loads(told["told"])
        self.step, self.loss = state["step"], state["loss"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]

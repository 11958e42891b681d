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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from crosshead import whole
from crosshead.encoders.engines import n_cores
from crosshead.encoders.source import weights_digest
from crosshead.errors import DataError
from crosshead.training.frozen import Kept
from crosshead.training.upper_layers import Recipe, Report, Rows, Tuner, in_batches

HEAD_RATE = 20.0
"""The head learns this many times as fast as the topmost layer: it begins from nothing."""
WARM_UP = 0.06
LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 0.01
CHECKPOINT_S = 60.0
"""Seconds of work that a kill may cost."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    loss: float
    accuracy: float | None
    """Of the head on paragraphs that it does not learn from; None where there are none."""


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
        File that is written about every minute, with others beside it for what the frozen layers make of the texts.
        Where they exist and were written by the same work, this goes on there and ends as if it had never been
        interrupted. Nothing is removed at the end.
    """
    torch.set_num_threads(n_cores())
    tuner = Tuner(folder, recipe, n_section_types, device)
    first = {name: value.detach().clone() for name, value in tuner.parameters().items() if name.startswith("upper.")}
    ids = tuner.tokenise(texts, prompt)
    depends_on = [weights_digest(folder), *tuner.lower_depends_on(), list(map(list, ids))]
    states = tuner.lower(ids, report, Kept(checkpoint, depends_on, CHECKPOINT_S))
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

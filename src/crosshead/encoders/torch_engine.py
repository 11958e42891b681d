"""torch as an engine: the model itself, on a graphics processor or Apple's, or where no other engine can be had.

Training uses it, because training has the model's weights at hand; a saved tagger holds the graph alone.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.encoders.engines import Batch, Choice, Engine, n_cores
from crosshead.encoders.graph import GraphEncoder

TOKENS_PER_BATCH = {"cuda": 65_536, "mps": 16_384, "cpu": 2_048}
"""A graphics processor is only kept busy by large batches."""
PRECISION = {"cuda": "bf16", "mps": "f32", "cpu": "f32"}


def find_device() -> str:
    """Return the device that torch should use: ``cuda``, ``mps`` or ``cpu``.

    Importing torch takes seconds, so the system is asked first whether there is anything to be found.
    """
    if not Path("/dev/nvidiactl").exists() and (sys.platform, platform.machine()) != ("darwin", "arm64"):
        return "cpu"
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choice_of(device: str) -> Choice:
    """Say what torch does on a device."""
    told = {"cuda": f"torch sees {_name_of_cuda()}", "mps": "torch sees Apple's graphics processor", "cpu": "asked for"}
    return Choice(f"torch-{device}", PRECISION[device], told[device])


def _name_of_cuda() -> str:
    torch: Any = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "a graphics processor"


def device_for(engine: str) -> str | None:
    """Return the device if torch is to encode: asked for, or ``auto`` where there is more than a processor."""
    if engine not in ("auto", "torch"):
        return None
    device = find_device()
    return device if engine == "torch" or device != "cpu" else None


class TorchEncoder(GraphEncoder):
    """Encodes as `GraphEncoder` does, with the model from which the graph in ``folder`` was exported."""

    def __init__(self, folder: Path, weights: Path, device: str) -> None:
        super().__init__(folder)
        self.choice = choice_of(device)
        self.tokens_per_batch = TOKENS_PER_BATCH[device]
        self._weights, self._device = weights, device

    def _start(self) -> Engine:
        return TorchEngine(self._weights, self._device, n_cores())


class TorchEngine:
    """Runs a sentence-transformers model over batches of token ids."""

    def __init__(self, weights: Path, device: str, n_threads: int) -> None:
        import torch

        from crosshead.encoders.export import load_model

        self._torch, self._device = torch, device
        if device == "cpu":
            torch.set_num_threads(n_threads)
        self._model = load_model(weights, device=device).eval()

    def run(self, batches: Iterable[Batch], receive: Callable[[Any, NDArray[np.float32]], None]) -> None:
        """Run batches one after the other."""
        torch = self._torch
        is_half = PRECISION[self._device] == "bf16"
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=is_half):
            for key, ids, mask in batches:
                given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
                features = self._model({name: values.to(self._device) for name, values in given.items()})
                vectors = torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=1)
                receive(key, vectors.cpu().numpy())

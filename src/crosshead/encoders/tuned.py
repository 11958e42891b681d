"""What an encoder that was fine-tuned here says of itself, beside its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.errors import EncoderError

TUNED_FILE = "crosshead_finetuned.json"


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
        """Write it beside the weights."""
        (folder / TUNED_FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Tuned | None:
        """Read it; None where the encoder was not fine-tuned here.

        Raises
        ------
        EncoderError
            If the file is damaged.
        """
        path = folder / TUNED_FILE
        if not path.is_file():
            return None
        try:
            told = cls(**json.loads(path.read_text(encoding="utf-8")))
            if not (isinstance(told.seen, list) and told.seen and all(isinstance(name, str) for name in told.seen)):
                raise ValueError("no digests of what was seen")
            return told
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{TUNED_FILE} of {folder.name!r} cannot be read ({type(error).__name__}), so nobody knows which texts "
                "the encoder has seen; fine-tune it again: crosshead finetune"
            ) from error

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
        folder = Path(source) if source else None
        found = cls.read(folder) if folder is not None and folder.is_dir() else None
        if found is not None or not required:
            return found
        if folder is None or not folder.is_dir():
            raise EncoderError(
                f"there is no fine-tuned encoder in {source!r}; make one: run crosshead finetune, or say where it is: "
                "encoder.source=FOLDER"
            )
        raise EncoderError(
            f"{folder.name!r} has no {TUNED_FILE}, so nobody knows which texts the encoder has seen, and scores could "
            "be measured on them; copy the whole folder, or fine-tune again: crosshead finetune. An encoder that was "
            "tuned elsewhere, on other texts, is encoder=custom"
        )

    def has_seen(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Say of each normalised text whether the weights learned from it."""
        seen = set(self.seen)
        return np.array([text_digest(text) in seen for text in texts], dtype=bool)


def text_digest(text: str) -> str:
    """Name a text without saying it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

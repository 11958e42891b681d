"""torch as an engine: the same vectors as the graph, on whatever device there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import small_project
import tiny_transformer
from crosshead import bundle
from crosshead.encoders import torch_engine
from crosshead.encoders.export import export
from crosshead.encoders.graph import GraphEncoder
from crosshead.encoders.open import open_encoder
from crosshead.encoders.torch_engine import TorchEncoder, device_for, find_device
from crosshead.settings import load_settings

TEXTS = [
    "guns",
    "the council met on the border",
    "bread and envoys " * 12,
    "guns fired on the quay until the garrison left " * 30,
    "the council met on the border",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformer.build(tmp_path_factory.mktemp("transformer") / "model")


@pytest.fixture(scope="module")
def graph(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph") / "graph"
    export(weights, folder, name="tiny")
    return folder


def device(name: str) -> str:
    """Return the name, or skip the test where this machine has no such thing."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        pytest.skip(f"torch finds no {name} device here")
    return name


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_vectors_are_those_of_the_graph(name: str, weights: Path, graph: Path) -> None:
    wanted = GraphEncoder(graph, engine="onnxruntime").encode(TEXTS)
    encoder = TorchEncoder(graph, weights, device(name))
    got = encoder.encode(TEXTS)
    assert (wanted.vectors * got.vectors).sum(axis=1).min() >= 0.999
    assert got.n_tokens.tolist() == wanted.n_tokens.tolist(), "truncation is counted alike"
    np.testing.assert_allclose(np.linalg.norm(got.vectors, axis=1), 1.0, atol=1e-5)
    assert (got.vectors[1] == got.vectors[4]).all(), "equal texts are encoded once"
    assert encoder.choice.engine == f"torch-{name}"


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_neighbours_in_a_batch_change_no_label(name: str, weights: Path, graph: Path) -> None:
    encoder = TorchEncoder(graph, weights, device(name))
    together = encoder.encode(TEXTS).vectors
    alone = np.concatenate([encoder.encode([text]).vectors for text in TEXTS])
    tolerance = 1e-6 if torch_engine.PRECISION[name] == "f32" else 1e-2
    np.testing.assert_allclose(together, alone, atol=tolerance)


def test_bf16_keeps_the_cosine_that_a_faithful_engine_must_have(
    weights: Path, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number format of a graphics processor, on the processor that is here."""
    monkeypatch.setitem(torch_engine.PRECISION, "cpu", "bf16")
    wanted = GraphEncoder(graph, engine="onnxruntime").encode(TEXTS).vectors
    got = TorchEncoder(graph, weights, "cpu").encode(TEXTS).vectors
    assert got.dtype == np.float32
    assert (wanted * got).sum(axis=1).min() >= 0.999


def test_training_opens_it_and_keeps_its_vectors_apart(weights: Path, tmp_path: Path) -> None:
    by_torch, folder = open_encoder(str(weights), tmp_path, name="tiny", engine="torch")
    by_graph, same = open_encoder(str(weights), tmp_path, name="tiny", engine="onnxruntime")
    assert folder == same
    wanted = by_graph.encode(TEXTS).vectors
    assert (wanted * by_torch.encode(TEXTS).vectors).sum(axis=1).min() >= 0.999
    kept = {place.name for place in (tmp_path / "vectors").iterdir()}
    assert kept == {f"torch-{find_device()}-{torch_engine.PRECISION[find_device()]}", "onnxruntime-f32"}


def test_auto_takes_torch_only_where_there_is_more_than_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "find_device", lambda: "cpu")
    assert (device_for("auto"), device_for("torch"), device_for("openvino")) == (None, "cpu", None)
    monkeypatch.setattr(torch_engine, "find_device", lambda: "cuda")
    assert (device_for("auto"), device_for("torch"), device_for("onnxruntime")) == ("cuda", "cuda", None)
    assert torch_engine.choice_of("cuda").precision == "bf16"


def test_looking_for_a_device_does_not_import_torch_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(torch_engine.sys, "platform", "linux")
    monkeypatch.setitem(torch_engine.sys.modules, "torch", None)  # importing it would raise
    assert find_device() == "cpu"


def test_a_tagger_trained_with_torch_is_saved_and_answers_alike(weights: Path, tmp_path: Path) -> None:
    root = small_project.make(tmp_path / "project")
    words = ["encoder=custom", f"encoder.source={weights}", "encoder.engine=torch", "views=embedding", "folds=2"]
    settings = load_settings([*words, "curve_shares=[]", "corpus.test_share=0.3", "tracking=none"], root)
    small_project.prepare.run(settings)
    trained = small_project.train.run(settings)
    saved = bundle.load(trained.bundle_dir)
    assert saved.encoder is not None
    assert not isinstance(saved.encoder, TorchEncoder)
    by_torch = TorchEncoder(trained.bundle_dir / "encoder", weights, "cpu")
    wanted = replace(saved, encoder=by_torch).predict_proba([TEXTS])
    np.testing.assert_allclose(saved.predict_proba([TEXTS]), wanted, atol=bundle.LARGEST_ACROSS_ENGINES)

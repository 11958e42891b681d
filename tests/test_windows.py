"""Long texts read in windows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tiny
from crosshead.encoders import export
from crosshead.encoders.graph import OVERLAP, About, GraphEncoder, pool, windows
from crosshead.errors import EncoderError
from crosshead.tagging.tagger import read_inputs

WORDS = sorted(set(" ".join(tiny.training_rows()[0]).replace(".", "").split()))
texts_of_any_length = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_graph(tmp_path_factory.mktemp("windows") / "tiny", max_tokens=16)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def encoder(request: pytest.FixtureRequest, graph: Path) -> GraphEncoder:
    return GraphEncoder(export._reading_windows(graph), engine=request.param)


@given(st.integers(1, 300), st.integers(8, 64), st.integers(0, 2), st.integers(0, 2))
def test_windows_cover_every_token_and_overlap(n: int, most: int, n_before: int, n_after: int) -> None:
    before, after = [-1] * n_before, [-2] * n_after
    cut = windows([*before, *range(n), *after], most, n_before, n_after)
    inner = [window[n_before : len(window) - n_after] for window in cut]
    assert all(len(window) <= most for window in cut)
    assert all(window[:n_before] == before and window[len(window) - n_after :] == after for window in cut)
    assert sorted({token for window in inner for token in window}) == list(range(n))
    for left, right in itertools.pairwise(inner):
        assert (
            left[len(left) - (most - n_before - n_after) // OVERLAP :]
            == right[: (most - n_before - n_after) // OVERLAP]
        )
        assert set(right) - set(left), "every window brings something new"


@given(texts_of_any_length, st.data())
@settings(max_examples=30, deadline=None)
def test_a_vector_depends_on_its_text_alone(encoder: GraphEncoder, rows: list[list[str]], data: st.DataObject) -> None:
    texts = [" ".join(row) for row in rows]
    together = encoder.encode(texts)
    order = data.draw(st.permutations(range(len(texts))))
    assert (encoder.encode([texts[i] for i in order]).vectors == together.vectors[order]).all()
    np.testing.assert_allclose(encoder.encode(texts[:1]).vectors[0], together.vectors[0], atol=2e-7)
    np.testing.assert_allclose(
        np.linalg.norm(together.vectors, axis=1), 1, rtol=2e-3
    )  # bf16 where the processor has it


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join))
@settings(max_examples=20, deadline=None)
def test_a_text_within_the_window_is_read_as_before(encoder: GraphEncoder, graph: Path, text: str) -> None:
    plain = GraphEncoder(graph, engine=encoder.choice.engine)
    assume(plain.encode([text]).n_tokens[0] <= 16)
    assert (plain.encode([text]).vectors == encoder.encode([text]).vectors).all()


def test_the_end_of_a_long_text_counts(encoder: GraphEncoder, graph: Path) -> None:
    plain = GraphEncoder(graph, engine=encoder.choice.engine)
    one, other = (" ".join(["battalions"] * 20 + [word] * 20) for word in ("hives", "sanctions"))
    assert (plain.encode([one]).vectors == plain.encode([other]).vectors).all()
    read = encoder.encode([one, other]).vectors
    assert read[0] @ read[1] < 0.99


def test_what_is_cut_off_is_counted_and_windows_cut_nothing_off(encoder: GraphEncoder, graph: Path) -> None:
    text = " ".join(["battalions"] * 30)
    assert read_inputs([text], GraphEncoder(graph), with_sentences=False).n_truncated.tolist() == [16]
    read = read_inputs([text], encoder, with_sentences=False)
    assert read.n_truncated.tolist() == [0]
    assert encoder.encode([text]).n_tokens.tolist() == [32]


def test_windows_count_by_their_tokens() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    pooled = pool(vectors, [4, 3, 9], [2, 1])
    np.testing.assert_allclose(pooled[0], [0.8, 0.6])
    assert (pooled[1] == vectors[2]).all()


def test_windows_have_a_name_of_their_own(graph: Path) -> None:
    target = export._reading_windows(graph)
    cut, read = About.read(graph), About.read(target)
    assert (cut.long, read.long) == ("cut", "windows")
    assert cut.fingerprint != read.fingerprint
    written = (target / "graph.onnx").stat().st_mtime_ns
    assert export._reading_windows(graph) == target
    assert (target / "graph.onnx").stat().st_mtime_ns == written


def test_an_unknown_way_with_long_texts_is_refused(tmp_path: Path) -> None:
    folder = tiny.build_graph(tmp_path / "tiny")
    replace(About.read(folder), long="summary").write(folder)
    with pytest.raises(EncoderError, match="long texts 'summary'; allowed are 'graph' with 'cut', 'windows'"):
        GraphEncoder(folder)

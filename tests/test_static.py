from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import tiny
from crosshead import bundle
from crosshead.encoders import open as opening
from crosshead.encoders.graph import NO_WINDOW, About, GraphEncoder
from crosshead.encoders.saved import from_folder
from crosshead.encoders.static import StaticEncoder, distil, reduce, static_for
from crosshead.errors import BundleError, EncoderError
from crosshead.tagging import pieces
from crosshead.tagging.decoding import DecoderSpec
from crosshead.tagging.pieces import Pieces
from crosshead.training.train import Paragraphs, train
from crosshead.training.views import ViewSpec

TEXTS = tiny.training_rows()[0]
WORDS = sorted(set(" ".join(TEXTS).split()))
words = st.lists(st.sampled_from([*WORDS, "unheard", "Tarn's", "…"]), min_size=1, max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def folder(tiny_graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = GraphEncoder(tiny_graph, engine="onnxruntime")
    target = tmp_path_factory.mktemp("static") / "static"
    distil(source, target, n_dimensions=12)
    return target


@pytest.fixture(scope="module")
def encoder(folder: Path) -> StaticEncoder:
    return StaticEncoder(folder)


# -- texts read piece by piece -----------------------------------------------------------------------------------------


def letters(piece_list: list[str]) -> list[list[int]]:
    return [[ord(letter) for letter in piece if letter != "z"] for piece in piece_list]


@given(st.lists(st.text("abz ", max_size=12), max_size=6))
def test_pieces_equal_reading_each_text(texts: list[str]) -> None:
    reader = Pieces(letters)
    for _ in range(2):  # new, then remembered
        numbers, lengths = reader.read(texts)
        expected = [[ord(letter) for letter in text if letter not in "z "] for text in texts]
        assert [part.tolist() for part in np.split(numbers, np.cumsum(lengths)[:-1])][: len(texts)] == expected


def test_a_piece_is_read_once_until_too_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_CHARACTERS", 6)
    asked: list[list[str]] = []

    def read(new: list[str]) -> list[list[int]]:
        asked.append(new)
        return letters(new)

    reader = Pieces(read)
    assert reader.read(["ab ab", "a"])[0].tolist() == [97, 98, 97, 98, 97]
    assert reader.read(["a"])[0].tolist() == [97]
    assert asked == [["ab", "a"]]
    assert reader.read(["a bbbb"])[0].tolist() == [97, 98, 98, 98, 98]
    assert asked[1:] == [["a", "bbbb"]], "everything is forgotten, and what the batch needs is read again"


# -- the encoder -------------------------------------------------------------------------------------------------------


@given(st.lists(words, min_size=1, max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_a_vector_depends_on_its_text_alone(encoder: StaticEncoder, texts: list[str], data: st.DataObject) -> None:
    together = encoder.encode(texts).vectors
    i = data.draw(st.integers(0, len(texts) - 1))
    assert (encoder.encode([texts[i]]).vectors[0] == together[i]).all()
    assert (encoder.encode(texts[::-1]).vectors[::-1] == together).all()


def test_it_is_the_mean_of_token_vectors(encoder: StaticEncoder) -> None:
    one, two = encoder.encode(["guns"]), encoder.encode(["guns guns"])
    np.testing.assert_allclose(one.vectors, two.vectors, rtol=1e-6)
    assert one.n_tokens.tolist() + two.n_tokens.tolist() == [1, 2]
    both = encoder.encode(["guns drones", "drones guns"]).vectors
    np.testing.assert_allclose(both[0], both[1], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-6)


def test_nothing_and_no_known_token_give_zero(encoder: StaticEncoder) -> None:
    assert encoder.encode([]).vectors.shape == (0, 12)
    assert not encoder.encode(["", "guns"]).vectors[0].any()


def test_special_tokens_have_no_vector(encoder: StaticEncoder) -> None:
    encoder.load()
    ids = [encoder._tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")]
    assert not encoder._table[ids].any()  # type: ignore[index]


def test_it_looks_like_its_source(encoder: StaticEncoder, tiny_graph: Path) -> None:
    theirs = GraphEncoder(tiny_graph, engine="onnxruntime").encode(TEXTS).vectors
    ours = encoder.encode(TEXTS).vectors
    upper = np.triu_indices(len(TEXTS), 1)
    assert (
        np.corrcoef((theirs @ theirs.T)[upper], (ours @ ours.T)[upper])[0, 1] > 0.4
    )  # tokens of the source are random directions


def test_principal_components_keep_what_differs_most() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 6)) * [9, 1, 5, 0.1, 0.1, 0.1]).astype(np.float32)
    vectors[0] = np.nan
    kept = reduce(vectors, 2)
    assert not kept[0].any()
    directions = kept[400:] / np.linalg.norm(kept[400:], axis=1, keepdims=True)
    for column, source in ((0, 0), (1, 2)):
        raw = vectors[400:, source] / np.linalg.norm(kept[400:], axis=1)
        assert abs(np.corrcoef(directions[:, column], raw)[0, 1]) > 0.9
    sizes = np.linalg.norm(kept, axis=1) / np.linalg.norm(vectors[:, :3], axis=1)
    assert np.nanmean(sizes[1:20]) < 0.5 * sizes[400:].mean(), "frequent tokens count for less"


def test_distilling_twice_gives_the_same_bytes(folder: Path, tiny_graph: Path, tmp_path: Path) -> None:
    again = distil(GraphEncoder(tiny_graph, engine="onnxruntime"), tmp_path / "again", n_dimensions=12)
    assert again == About.read(folder)
    fewer = distil(GraphEncoder(tiny_graph, engine="onnxruntime"), tmp_path / "fewer", n_dimensions=4)
    assert fewer.fingerprint != again.fingerprint
    with pytest.raises(EncoderError, match=r"encoder\.dimensions is 17, but tiny has 16"):
        distil(GraphEncoder(tiny_graph), tmp_path / "more", n_dimensions=17)


def test_folders_say_what_they_hold(folder: Path, tiny_graph: Path) -> None:
    assert isinstance(from_folder(folder), StaticEncoder)
    assert isinstance(from_folder(tiny_graph), GraphEncoder)
    with pytest.raises(EncoderError, match="kind 'graph', not 'static'"):
        StaticEncoder(tiny_graph)
    with pytest.raises(EncoderError, match="kind 'static'"):
        GraphEncoder(folder)


def test_it_is_distilled_once_and_opened_like_any_encoder(
    tiny_graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "graph_for", lambda *_, **__: tiny_graph)
    encoder, where = opening.open_encoder("tiny", tmp_path, name="tiny", kind="static", n_dimensions=8)
    assert encoder.max_tokens == NO_WINDOW
    assert encoder.encode(TEXTS).vectors.shape == (12, 8)
    written = (where / "vectors.safetensors").stat().st_mtime_ns
    assert static_for(tiny_graph, tmp_path / "graphs", n_dimensions=8) == where
    assert (where / "vectors.safetensors").stat().st_mtime_ns == written


# -- in a tagger -------------------------------------------------------------------------------------------------------


def test_a_bundle_tags_without_torch_or_an_engine(folder: Path, tmp_path: Path) -> None:
    texts, y, lengths, ids = tiny.training_rows()
    article = np.repeat(np.arange(len(lengths)), lengths)
    result = train(
        Paragraphs(texts, y, lengths, ids),
        section_types=tiny.SECTION_TYPES,
        views=[
            ViewSpec("paragraph", "paragraph", LogisticRegression()),
            ViewSpec("tfidf", "tfidf", LogisticRegression(), min_df=1),
        ],
        encoder=StaticEncoder(folder),
        folds=[(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))],
        decoder=DecoderSpec(weight=0.3),
        calibrate=True,
        risk=0.9,
    )
    saved = tmp_path / "bundle"
    bundle.save(result.tagger, saved, encoder_dir=folder)
    assert bundle.load(saved).tag_texts(texts) == dataclasses.replace(
        result.tagger, version=bundle.digest(saved)[:12]
    ).tag_texts(texts)
    code = (
        "import sys; from crosshead import bundle; t = bundle.load(sys.argv[1]);"
        "t.tag_texts(['Guns fired at the bridge.']);"
        "print(sorted({'torch', 'openvino', 'onnxruntime', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_of_an_unknown_kind_of_encoder_is_refused(tiny_bundle: Path) -> None:
    about = tiny_bundle / "encoder" / "encoder.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"kind": "dream"}))
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    manifest["files"]["encoder/encoder.json"] = bundle._sha256(about)
    (tiny_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="kind 'dream'"):
        bundle.load(tiny_bundle)

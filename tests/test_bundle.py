from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from crosshead import bundle
from crosshead.errors import BundleError
from crosshead.tagging.decoding import Chain, DecoderSpec, n_features
from crosshead.tagging.tagger import Tagger

TEXTS = [tiny.training_rows()[0]]


def _manifest(folder: Path, **changes: object) -> None:
    """Change the manifest as an attacker or a bug would."""
    path = folder / bundle.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_loaded_tagger_answers_as_the_trained_one(tiny_graph: Path, tmp_path: Path) -> None:
    result = tiny.build_tagger(tiny_graph)
    expected = result.tagger.predict_proba(TEXTS)
    bundle.save(result.tagger, tmp_path / "b", encoder_dir=tiny_graph, check=(TEXTS, expected))
    loaded = bundle.load(tmp_path / "b")
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), expected, atol=1e-6)
    assert loaded.section_types == tiny.SECTION_TYPES
    assert loaded.threshold == result.tagger.threshold


def _with_sequence(tagger: Tagger) -> Tagger:
    k, rng = len(tagger.section_types), np.random.default_rng(0)
    chain = Chain(rng.normal(size=(n_features(k), k)), rng.normal(size=(k, k)), weight=0.8, l2=0.01)
    return replace(tagger, transitions=chain)


def test_a_sequence_is_saved_with_the_tagger(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = _with_sequence(tiny.build_tagger(tiny_graph).tagger)
    expected = tagger.predict_proba(TEXTS)
    bundle.save(tagger, tmp_path / "b", encoder_dir=tiny_graph, check=(TEXTS, expected))
    loaded = bundle.load(tmp_path / "b")
    assert loaded.transitions.spec == DecoderSpec("sequence", 0.8, 0.01)
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), expected, atol=1e-6)


def test_a_sequence_of_another_size_is_refused(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = _with_sequence(tiny.build_tagger(tiny_graph).tagger)
    bundle.save(
        replace(tagger, transitions=Chain(np.zeros((n_features(2), 2)), np.zeros((2, 2)))),
        tmp_path / "b",
        encoder_dir=tiny_graph,
    )
    with pytest.raises(BundleError, match="the decoder is for 2 section types"):
        bundle.load(tmp_path / "b")


def test_a_bundle_without_a_kind_of_decoder_holds_transitions(tiny_bundle: Path) -> None:
    expected = bundle.load(tiny_bundle).predict_proba(TEXTS)
    content = json.loads((tiny_bundle / bundle.MANIFEST).read_text())
    del content["decoder"], content["decoder_l2"]
    (tiny_bundle / bundle.MANIFEST).write_text(json.dumps(content))
    assert np.array_equal(bundle.load(tiny_bundle).predict_proba(TEXTS), expected)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_both_engines_give_the_same_answer(engine: str, tiny_bundle: Path) -> None:
    difference = bundle.load(tiny_bundle, engine=engine).predict_proba(TEXTS) - bundle.load(tiny_bundle).predict_proba(
        TEXTS
    )
    assert np.abs(difference).max() < 0.01


def test_saving_is_refused_when_probabilities_differ(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph).tagger
    wrong = tagger.predict_proba(TEXTS) + 0.002
    with pytest.raises(BundleError, match=r"differ by 0\.002 from those in training; at most 0\.001"):
        bundle.save(tagger, tmp_path / "b", encoder_dir=tiny_graph, check=(TEXTS, wrong))
    assert list(tmp_path.iterdir()) == []


def test_every_copy_of_an_encoder_shares_one_compiled_graph(
    tiny_graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training and each champion is a new folder, and would leave a compiled graph as large as the encoder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tagger, articles = tiny.build_tagger(tiny_graph).tagger, [["Guns.", "Talks."]]
    check = (articles, tagger.predict_proba(articles))
    for name in ("a", "b"):
        bundle.save(tagger, tmp_path / name, encoder_dir=tiny_graph, check=check)
        loaded = bundle.load(tmp_path / name, engine="openvino").predict_proba(articles)
        np.testing.assert_allclose(loaded, check[1], atol=1e-3)
    blobs = list((tmp_path / "cache").rglob("*.blob"))
    shutil.rmtree(tmp_path / "a")  # what was compiled from it still serves the others
    bundle.load(tmp_path / "b", engine="openvino").predict_proba(articles)
    assert list((tmp_path / "cache").rglob("*.blob")) == blobs
    assert len(blobs) == 1


def test_the_engine_tells_nobody_that_it_is_used(tiny_bundle: Path, tmp_path: Path) -> None:
    """OpenVINO reports its import, and keeps a number for the machine in the home folder, if it is let."""
    code = (
        "import sys; from crosshead import bundle\n"
        f"bundle.load({str(tiny_bundle)!r}, engine='openvino').predict_proba([['Guns.']])\n"
        "assert 'openvino' in sys.modules and not any('openvino_telemetry' in name for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert not (tmp_path / "intel").exists()


def test_saving_replaces_nothing_but_a_saved_tagger(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph).tagger
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}", encoding="utf-8")
    (tmp_path / "file").touch()
    for name in ("data", "file"):
        with pytest.raises(BundleError, match=f"{name}' holds something else than a saved tagger and would be repl"):
            bundle.save(tagger, tmp_path / name, encoder_dir=tiny_graph)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "file", "manifest.json"]
    (tmp_path / "empty").mkdir()
    bundle.save(tagger, tmp_path / "empty", encoder_dir=tiny_graph)


def test_saving_without_the_encoder_is_refused(tiny_graph: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="got no encoder_dir"):
        bundle.save(tiny.build_tagger(tiny_graph).tagger, tmp_path / "b")


def test_saving_replaces_what_was_there(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph).tagger
    first = bundle.save(tagger, tmp_path / "b", encoder_dir=tiny_graph)
    second = bundle.save(replace(tagger, temperature=2.0), tmp_path / "b", encoder_dir=tiny_graph)
    assert first != second == bundle.digest(tmp_path / "b")
    assert bundle.load(tmp_path / "b").temperature == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_tagger_of_words_alone_needs_no_encoder(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph).tagger
    words = replace(tagger, views=tagger.views[-1:], encoder=None)
    bundle.save(words, tmp_path / "b")
    assert not (tmp_path / "b" / "encoder").exists()
    assert bundle.load(tmp_path / "b").predict_proba(TEXTS).tolist() == words.predict_proba(TEXTS).tolist()


@pytest.mark.parametrize(
    "name", ["heads.safetensors", "encoder/graph.onnx", "vocabulary/tfidf.json", "sklearn/tfidf.skops"]
)
def test_a_changed_file_is_named(name: str, tiny_bundle: Path) -> None:
    path = tiny_bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"'{name}' does not have the sha256"):
        bundle.load(tiny_bundle)


def test_a_missing_file_is_named(tiny_bundle: Path) -> None:
    (tiny_bundle / "heads.safetensors").unlink()
    with pytest.raises(BundleError, match=r"heads\.safetensors cannot be read"):
        bundle.load(tiny_bundle)


def test_a_file_that_is_not_listed_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "encoder" / "added.py").write_text("print('hello')")
    with pytest.raises(BundleError, match=r"does not list: \['encoder/added\.py'\]"):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_path_outside_the_bundle_is_refused(name: str, tiny_bundle: Path) -> None:
    _manifest(tiny_bundle, files={name: "0" * 64})
    with pytest.raises(BundleError, match="a path outside the bundle"):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "has format 99; this crosshead .* reads format 1"),
        ({"files": None}, "lists no files"),
        (
            {"views": [{"name": "a", "kind": "paragraph", "weight": 1, "head": "os.system"}]},
            "has head 'os.system'; allowed are",
        ),
        ({"views": [{"name": "a", "kind": "magic", "weight": 1, "head": "linear"}]}, "does not hold together"),
        ({"temperature": "hot"}, "does not hold together"),
        ({"decoder": "magic"}, "the decoder has kind 'magic'; allowed are 'neighbours', 'sequence'"),
        ({"encoder": "another"}, "trained with another encoder"),
    ],
)
def test_a_manifest_that_lies_is_refused(changes: dict, message: str, tiny_bundle: Path) -> None:
    _manifest(tiny_bundle, **changes)
    with pytest.raises(BundleError, match=message):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_broken_manifest_is_refused(content: str, tiny_bundle: Path) -> None:
    (tiny_bundle / bundle.MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=r"cannot be read|has format"):
        bundle.load(tiny_bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no saved tagger: it holds no manifest\.json"):
        bundle.load(tmp_path)


class Hostile:
    """Asks to be built by name when it is loaded."""

    def __reduce__(self) -> tuple:
        return (os.system, ("touch owned",))


def test_a_hostile_skops_file_is_refused_even_with_a_right_hash(tiny_bundle: Path, tmp_path: Path) -> None:
    import skops.io

    target = tiny_bundle / "sklearn" / "tfidf.skops"
    skops.io.dump({"classifier": Hostile()}, target)
    files = json.loads((tiny_bundle / bundle.MANIFEST).read_text())["files"]
    _manifest(tiny_bundle, files=files | {"sklearn/tfidf.skops": bundle._sha256(target)})
    bundle.load(tiny_bundle)  # tagging never opens it
    with pytest.raises(BundleError, match=r"sklearn/tfidf\.skops asks for types that crosshead does not build"):
        bundle.load_estimators(tiny_bundle)


def test_estimators_come_back_as_they_were(tiny_bundle: Path) -> None:
    estimators = bundle.load_estimators(tiny_bundle)
    assert set(estimators) == {"paragraph", "sentence", "tfidf"}
    view = next(view for view in bundle.load(tiny_bundle).views if view.name == "paragraph")
    ratio = estimators["paragraph"].coef_ / view.head.coef  # the view's temperature is folded into the arrays
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_no_file_of_a_bundle_is_a_pickle(tiny_bundle: Path) -> None:
    for path in tiny_bundle.rglob("*"):
        if path.is_file():
            assert path.suffix in {".json", ".safetensors", ".onnx", ".skops"}
            assert path.read_bytes()[:1] != b"\x80"


def test_loading_and_tagging_imports_nothing_of_training(tiny_bundle: Path) -> None:
    code = (
        "import sys; from crosshead import bundle; bundle.load(sys.argv[1]).tag_texts(['Guns struck.']);"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=True)
    training = (
        "torch sklearn scipy pandas mlflow hydra skops datasets transformers sentence_transformers matplotlib pydantic"
    )
    assert not set(done.stdout.split()) & set(training.split())
    assert done.stderr == ""


def test_reading_scikit_learns_objects_does_not_import_torch_nor_forbid_it(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from crosshead import bundle; "
        "assert bundle.load_estimators(Path(sys.argv[1])); assert 'torch' not in sys.modules; "
        "import sklearn.externals.array_api_compat.torch"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

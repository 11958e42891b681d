"""What fuzzing found, and what is tried first by whoever means harm: files whose every hash is right."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny
from crosshead import bundle, read_article, read_articles
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.corpora.contrast_sets import read_contrast_sets
from crosshead.encoders.engines import ENGINES
from crosshead.encoders.graph import GraphEncoder
from crosshead.errors import ArticleError, BundleError, ConfigError, DataError, EncoderError
from crosshead.labelling.label_studio import read_label_studio
from crosshead.labelling.log import read_events
from crosshead.labelling.queue import read_queue
from crosshead.releases import champion
from crosshead.server import answers
from crosshead.settings import load_settings
from crosshead.text import text_digest

DEEP = '{"a":' * 100_000
Arrays = dict[str, np.ndarray[Any, Any]]


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest, and let it say of every file what the file now is."""
    path = folder / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != bundle.MANIFEST]
    if isinstance(manifest.get("files"), dict):
        manifest["files"] = {path.relative_to(folder).as_posix(): bundle._sha256(path) for path in files}
    path.write_text(json.dumps(manifest))


def change_arrays(folder: Path, change: Callable[[Arrays], Any]) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / bundle.HEADS_FILE)
    change(arrays)
    save_file(arrays, folder / bundle.HEADS_FILE)
    change_manifest(folder, lambda manifest: None)


# -- saved taggers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(section_types=["a", "b", "c"]), "the decoder is for 4 section types, not 3|has shape"),
        (lambda m: m.update(section_types=["a", "a", "b", "c"]), "each needs a name of its own"),
        (lambda m: m.update(section_types=[]), "each needs a name of its own"),
        (lambda m: m.update(views=[]), "it has no view"),
        (lambda m: m.update(temperature=0), "temperature, and the weight of at least one view, must be above 0"),
        (lambda m: m.update(temperature=float("nan")), "temperature is nan; it must be a number from 0"),
        (lambda m: m.update(threshold=10**400), "OverflowError"),
        (lambda m: m["views"][0].update(weight=-1), "the weight of view 'paragraph' is -1.0"),
        (lambda m: m["views"][2].update(n_max=2**63), "has terms of 9223372036854775808 words; allowed are 1 to 16"),
        (lambda m: m.update(encoder=None), "looks at vectors, but there is no encoder"),
        (lambda m: m.update(views=[7]), "does not hold together"),
        (lambda m: m.update(about=[]), "says nothing about the bundle that can be read"),
        (lambda m: m.update(files={"a\0b": "0"}), "cannot be read"),
        (lambda m: m.update(files={"\ud800": "0"}), "cannot be read"),
    ],
)
def test_a_manifest_whose_parts_do_not_fit_is_refused(change: Any, message: str, tiny_bundle: Path) -> None:
    if "files" in change.__code__.co_names or "cannot be read" in message:
        path = tiny_bundle / bundle.MANIFEST
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
    else:
        change_manifest(tiny_bundle, change)
    with pytest.raises(BundleError, match=message):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update({"paragraph/coef": a["paragraph/coef"][:, :-1].copy()}), r"must be \(4, 16\)"),
        (lambda a: a.update({"tfidf/intercept": a["tfidf/intercept"][:-1].copy()}), "intercept of view 'tfidf' has"),
        (lambda a: a.update({"tfidf/idf": a["tfidf/idf"][:-1].copy()}), "idf of view 'tfidf' has shape"),
        (lambda a: a["sentence/coef"].fill(np.nan), "coef of view 'sentence' does not hold finite numbers"),
        (lambda a: a["transitions/log_ratio"].fill(np.inf), "log_ratio of the decoder does not hold finite numbers"),
        (lambda a: a.pop("paragraph/coef"), "TypeError"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: Any, message: str, tiny_bundle: Path) -> None:
    change_arrays(tiny_bundle, change)
    with pytest.raises(BundleError, match=message):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize("name", ["heads.safetensors", "vocabulary/tfidf.json", "encoder/encoder.json"])
def test_files_that_are_none_are_refused(name: str, tiny_bundle: Path) -> None:
    (tiny_bundle / name).write_text(DEEP)
    change_manifest(tiny_bundle, lambda manifest: None)
    with pytest.raises(BundleError, match="does not hold together"):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize(
    ("terms", "message"), [([1, 2], "no list of different terms"), (["a", "a"], "no list of different terms")]
)
def test_a_vocabulary_of_something_else_is_refused(terms: list[Any], message: str, tiny_bundle: Path) -> None:
    (tiny_bundle / "vocabulary" / "tfidf.json").write_text(json.dumps(terms))
    change_manifest(tiny_bundle, lambda manifest: None)
    with pytest.raises(BundleError, match=message):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize("content", [DEEP, " " * (bundle.MAX_MANIFEST_BYTES + 1)])
def test_a_manifest_that_takes_too_much_is_refused(content: str, tiny_bundle: Path) -> None:
    (tiny_bundle / bundle.MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json of 'tiny_bundle' cannot be read"):
        bundle.load(tiny_bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders there")
def test_a_pipe_in_a_bundle_is_not_waited_for(tiny_bundle: Path) -> None:
    (tiny_bundle / bundle.HEADS_FILE).unlink()
    os.mkfifo(tiny_bundle / bundle.HEADS_FILE)
    with pytest.raises(BundleError, match="it is no ordinary file"):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_dimensions": "16"}, "n_dimensions is '16'"),
        ({"n_dimensions": 2**40}, "n_dimensions is 1099511627776"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": 3}, "a name or a digest is no text"),
    ],
)
def test_an_encoder_that_says_nonsense_of_itself_is_refused(
    change: dict[str, Any], message: str, tiny_bundle: Path
) -> None:
    path = tiny_bundle / "encoder" / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    change_manifest(tiny_bundle, lambda manifest: None)
    with pytest.raises(BundleError, match=message):
        bundle.load(tiny_bundle)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["graph.onnx", "tokenizer.json"])
def test_an_encoder_that_cannot_be_loaded_is_named_at_the_first_text(name: str, engine: str, tiny_bundle: Path) -> None:
    (tiny_bundle / "encoder" / name).write_bytes(b"nonsense")
    change_manifest(tiny_bundle, lambda manifest: None)
    tagger = bundle.load(tiny_bundle, engine=engine)
    with pytest.raises(EncoderError, match=rf"encoder/{name} cannot be used \(\w+\); it is damaged, or no encoder"):
        tagger.tag_texts(["Guns."])


def test_vectors_that_are_no_numbers_are_no_answer(tiny_graph: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    folder = tiny.build_graph(tmp_path / "graph")
    graph = onnx.load(folder / "graph.onnx")
    for part in graph.graph.initializer:
        if part.name == "table":
            part.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(part), np.nan), "table"))
    onnx.save(graph, folder / "graph.onnx")
    with pytest.raises(EncoderError, match=r"graph\.onnx cannot be used"):
        GraphEncoder(folder, engine="onnxruntime").encode(["guns"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("location", ["../../secret.bin", "{absolute}", "link.bin"])
def test_a_graph_reads_no_file_outside_its_folder(location: str, engine: str, tiny_bundle: Path) -> None:
    """The engines see to it; a graph may keep its weights in files beside it."""
    import onnx
    from onnx import TensorProto

    secret = tiny_bundle.parent / "secret.bin"
    graph = onnx.load(tiny_bundle / "encoder" / "graph.onnx")
    (table,) = (part for part in graph.graph.initializer if part.name == "table")
    secret.write_bytes(table.raw_data)
    table.data_location = TensorProto.EXTERNAL
    entry = table.external_data.add()
    entry.key, entry.value = "location", location.format(absolute=secret)
    table.ClearField("raw_data")
    (tiny_bundle / "encoder" / "graph.onnx").write_bytes(graph.SerializeToString())
    if location == "link.bin":
        (tiny_bundle / "encoder" / "link.bin").symlink_to(secret)
    change_manifest(tiny_bundle, lambda manifest: None)
    tagger = bundle.load(tiny_bundle, engine=engine)
    with pytest.raises(EncoderError, match=r"graph\.onnx cannot be used"):
        tagger.tag_texts(["Guns."])


@pytest.mark.parametrize("taxonomy", [[], {"section_types": 3}, {"section_types": [{"name": []}]}, "x"])
def test_a_card_comes_of_whatever_a_bundle_says_of_its_taxonomy(taxonomy: Any) -> None:
    assert answers._descriptions(["a"], {"taxonomy": taxonomy}) == {"a": ""}


# -- the champion's pointer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [DEEP, {"bundle": "a" * 5000}, {"bundle": "a\0b"}, {"bundle": "loop/a"}])
def test_a_pointer_that_leads_nowhere_is_refused(content: Any, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    whole = {"schema": 1, "bundle": "b", "bundle_digest": "0", "registered_model": "", "version": None}
    text = content if isinstance(content, str) else json.dumps(whole | content)
    (tmp_path / "models" / champion.POINTER).write_text(text)
    with pytest.raises(BundleError, match=r"champion\.json cannot be used|is gone"):
        champion.find(tmp_path)


@pytest.mark.parametrize("content", [DEEP, '{"registered_model": "a", "version": 1e999}'])
def test_a_note_of_a_move_that_cannot_be_read_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / champion.MOVE).write_text(content)
    with pytest.raises(BundleError, match="delete it, then type: crosshead promote champion"):
        champion.unfinished_move(tmp_path)


# -- articles and tables -----------------------------------------------------------------------------------------------


def test_a_table_that_is_a_byte_order_mark_holds_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArticleError, match="it holds no rows"):
        read_articles(path).read_all()


def odd_tables() -> dict[str, pa.Table]:
    days = pa.array([2**31 - 1, 1], pa.int32()).cast(pa.date32())
    latin = pa.array([b"Caf\xe9.", b"Guns."]).view(pa.utf8())
    return {
        "text that is no UTF-8": pa.table({"text": latin}),
        "a day that Python cannot count": pa.table({"text": ["One.", "Two."], "date": days}),
    }


@pytest.mark.parametrize("name", odd_tables())
def test_a_table_of_what_python_cannot_hold_is_named(name: str, tmp_path: Path, tiny_bundle: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(odd_tables()[name], path)
    with pytest.raises(ArticleError, match=r"it is not a whole Parquet file \(.*\); write it again"):
        read_articles(path).read_all()
    # Archives read the columns that they need, and no date.
    code = main(["tag", str(path), "--model", str(tiny_bundle), "-o", f"{tmp_path / 'out'}/"])
    assert code == (Exit.FAILED_INPUTS if "UTF-8" in name else Exit.OK)


@pytest.mark.parametrize("format", ["auto", "markdown", "text"])
def test_many_control_characters_are_no_text_through_any_door(format: str, tmp_path: Path) -> None:
    """A file of them was refused, and the same text over HTTP was not."""
    text = "Guns \x01\x02\x03 struck."
    path = tmp_path / "a.md"
    path.write_text(text)
    with pytest.raises(ArticleError, match="many control characters"):
        read_articles(path).read_all()
    with pytest.raises(ArticleError, match="the article holds many control characters, so it is not text"):
        read_article(text, format=format)
    assert read_article("Guns struck. " * 20 + "\x01").texts


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=[1,2]", r"experiment is '\[1,2\]'; allowed are"),
        (f"encoder={'m' * 5000}", "encoder is 'mmm"),
        (f"{'m' * 5000}=1", "is no configuration key"),
    ],
)
def test_overrides_that_no_file_can_be_named_like_are_refused(override: str, message: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings([override], root)


# -- labels ------------------------------------------------------------------------------------------------------------

HUGE = "9" * 5000
_TEXT = "Envoys met."
ITEM = {"article_id": "a", "paragraph": 0, "text": _TEXT, "text_sha256": text_digest(_TEXT)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"score": 10**400}, "for 'score'; it must be float or null"),
        ({"suggestion": {"section_type": "x", "confidence": 10**400}}, "has the suggestion"),
        ({"suggestion": {"section_type": "x", "confidence": 1, "scores": {"x": 10**400}}}, "has the suggestion"),
    ],
)
def test_numbers_that_no_computer_holds_are_refused_in_a_queue(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text(json.dumps(ITEM | row) + "\n")
    with pytest.raises(DataError, match=message):
        read_queue([path])


@pytest.mark.parametrize("line", [DEEP, f'{{"set_id": {HUGE}}}'])
def test_contrast_sets_that_no_parser_takes_are_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=r"line 1 of contrast sets .* is no JSON"):
        read_contrast_sets(path)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"annotation_id": 1, "section_type": [{"choices": 0.5}]}, "has the choices"),
        ({"annotation_id": 1, "section_type": "x", "paragraph": HUGE}, "has article_id"),
    ],
)
def test_exports_of_something_else_are_refused(task: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([ITEM | task]))
    with pytest.raises(DataError, match=message):
        read_label_studio(path)


def test_a_last_line_without_an_end_may_be_anything(tmp_path: Path) -> None:
    from crosshead.labelling.log import _is_object

    assert not _is_object(DEEP.encode())
    (tmp_path / "log.jsonl").write_text(DEEP)
    assert list(read_events(tmp_path / "log.jsonl")) == []


def test_the_depth_is_deeper_than_python_goes() -> None:
    assert DEEP.count("{") > sys.getrecursionlimit()


def test_every_test_that_the_threat_model_names_is_there(root: Path) -> None:
    text = (root / "docs" / "explanation" / "trust.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 40
    for file, function in named:
        source = (root / "tests" / file).read_text(encoding="utf-8")
        assert f"def {function}(" in source if function else source, (file, function)

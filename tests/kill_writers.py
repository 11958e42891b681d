"""Everything in crosshead that writes, for `kill_matrix`: the work, what it acknowledges, and how it is looked at."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import importlib
import json
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

import batch_parts
import labelling_parts
import stores
import tiny
import tiny_transformer
from cli_parts import make_tagger
from crosshead import bundle, estimator_files
from crosshead.batch.folder import PARTS, PROGRESS
from crosshead.batch.inputs import find_sources
from crosshead.batch.job import Options, _on_this_machine, tag_archive
from crosshead.batch.parts import Shape
from crosshead.batch.worker import Done
from crosshead.corpora import corpus
from crosshead.corpora.annotations import read_annotations
from crosshead.encoders import cache
from crosshead.errors import DataError
from crosshead.labelling.log import Event, LabelLog, read_events
from crosshead.labelling.votes import Vote, take_into
from crosshead.loading import Model
from crosshead.records import mlflow_store, unsent
from crosshead.records.log_items import FileArtifact, Metric, Param
from crosshead.records.tracking import Tracking
from crosshead.releases import champion, registry
from crosshead.search.space import SearchSettings, Value
from crosshead.search.study import Study
from crosshead.server import process
from crosshead.server.app import create_app
from crosshead.server.settings import ServerSettings
from crosshead.tagging.tagger import Encoded
from crosshead.training import finetuning
from kill_matrix import Acknowledge, Lost, Writer


def nothing(folder: Path) -> None:
    """Need nothing."""


def expect(acknowledged: Sequence[str], found: set[str]) -> None:
    """Let nothing be lost."""
    if missing := set(acknowledged) - found:
        raise Lost(f"{len(missing)} of {len(acknowledged)}: {sorted(missing)[:3]}")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_of(folder: Path) -> dict[str, str]:
    """Name every file that is no lock and not hidden by its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    named = ((path.relative_to(folder).as_posix(), path) for path in files)
    return {name: sha256(path.read_bytes()) for name, path in named if not any(p[0] == "." for p in name.split("/"))}


# -- the vectors' cache ------------------------------------------------------------------------------------------------

TEXTS = [f"paragraph {i:04d} of a cache that is killed" for i in range(300)]


class Digests:
    """A vector from the text's hash."""

    fingerprint, n_dimensions, max_tokens = "d" * 64, 64, 8

    def encode(self, texts: Sequence[str]) -> Encoded:
        rows = [np.frombuffer(hashlib.sha512(text.encode()).digest(), np.uint8) for text in texts]
        return Encoded(np.array(rows, np.float32).reshape(-1, 64), np.full(len(texts), 3, np.int64))


def _cached(folder: Path, acknowledge: Acknowledge) -> cache.CachedEncoder:
    return cache.CachedEncoder(
        Digests,
        folder / "vectors",
        fingerprint=Digests.fingerprint,
        n_dimensions=64,
        max_tokens=8,
        report=lambda done, total: acknowledge(str(done)),
    )


def fill_cache(folder: Path, acknowledge: Acknowledge) -> None:
    cache.TEXTS_PER_COMMIT = 20
    wanted = Digests().encode(TEXTS).vectors
    assert (_cached(folder, acknowledge).encode(TEXTS).vectors == wanted).all()


def check_cache(folder: Path, acknowledged: list[str]) -> None:
    rows = dict(_cache_rows(folder))
    if len(rows) < max(map(int, acknowledged), default=0):
        raise Lost(f"{len(rows)} vectors are there, {acknowledged[-1]} were acknowledged")
    right = {cache.key(text): row.tobytes() for text, row in zip(TEXTS, Digests().encode(TEXTS).vectors, strict=True)}
    assert all(right[key] == vector for key, vector in rows.items())


def cache_content(folder: Path) -> str:
    return sha256(b"".join(key + vector for key, vector in sorted(_cache_rows(folder))))


def _cache_rows(folder: Path) -> list[tuple[bytes, bytes]]:
    path = _cached(folder, print).path
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not store.execute("SELECT name FROM sqlite_master WHERE name = 'vectors'").fetchall():
            return []
        return list(store.execute("SELECT key, vector FROM vectors"))


# -- the store of a search ---------------------------------------------------------------------------------------------

SEARCH = SearchSettings.model_validate(
    {
        "name": "killed", "trials": 10, "objective": "macro_f1", "startup_trials": 4, "prune": True, "workers": 1,
        "space": {
            "C": {"key": "classifier.C", "type": "float", "low": 0.001, "high": 10, "log": True, "per_decade": 2},
            "min_df": {"key": "views.tfidf.min_df", "type": "int", "low": 1, "high": 9},
            "neighbours": {"key": "decoder.weight", "type": "float", "low": 0, "high": 1, "step": 0.1},
        },
    }
)  # fmt: skip
FIRST: dict[str, Value] = {"classifier.C": 1.0, "views.tfidf.min_df": 2, "decoder.weight": 0.5}


def scores(values: dict[str, Value]) -> Generator[float]:
    """Score three folds, always alike."""
    near = -sum(abs(np.log10(float(value) + 1)) for value in values.values())
    for fold in range(3):
        yield near + 0.01 * fold


def _study(folder: Path) -> Study:
    return Study(folder / "search", SEARCH, 0, n_steps=3, first=FIRST)


def _told(study: Study) -> list[str]:
    return [json.dumps([t.state, dict(t.values), t.steps, t.score], sort_keys=True) for t in study.trials()]


def search(folder: Path, acknowledge: Acknowledge) -> None:
    with _study(folder) as study:
        told = set(_told(study))

        def after() -> None:
            for line in _told(study):
                if line not in told:
                    told.add(line)
                    acknowledge(line)

        study.run(scores, after)


def check_search(folder: Path, acknowledged: list[str]) -> None:
    if acknowledged or (folder / "search").exists():
        expect(acknowledged, set(_told(_study(folder))))


def search_content(folder: Path) -> list[str]:
    return _told(_study(folder))


# -- batch jobs --------------------------------------------------------------------------------------------------------


def prepare_batch(folder: Path) -> None:
    batch_parts.build_words_bundle(folder / "bundle")
    batch_parts.write_feed(folder / "feed.jsonl", 150)


def tag_batch(folder: Path, acknowledge: Acknowledge, format_: str, n_workers: int) -> None:
    os.chdir(folder)

    def engine(*told: Any) -> Iterator[Done]:
        for done in _on_this_machine(n_workers)(*told):
            acknowledge(str(done.number))
            yield done

    options = Options(Shape(format_), resume=True, n_workers=n_workers, rows_per_part=12)
    tag_archive(find_sources(["feed.jsonl"], "auto").found, "out", "bundle", options, engine=engine)


def check_batch(folder: Path, acknowledged: list[str]) -> None:
    """A part that counts as finished is whole; a manifest that says finished has all of them."""
    out = folder / "out"
    if not (out / "manifest.json").exists():
        assert not acknowledged
        return
    manifest = json.loads((out / "manifest.json").read_bytes())
    notes = {path.stem: json.loads(path.read_bytes()) for path in (out / PROGRESS).glob("part-*.json")}
    notes |= {Path(part["name"]).stem: part for part in manifest.get("parts", [])}
    parts = {path.stem: sha256(path.read_bytes()) for path in (out / PARTS).glob("part-*")}
    expect([f"part-{int(number):06}" for number in acknowledged], set(parts))
    assert all(notes[name]["sha256"] == digest for name, digest in parts.items()), "a part is not what its note says"
    assert not manifest["finished"] or len(parts) == manifest["units"]


def batch_content(folder: Path) -> dict[str, str]:
    return {name: sha256(content) for name, content in batch_parts.content_of(folder / "out").items()}


def batch(format_: str, n_workers: int) -> Writer:
    return Writer(
        prepare_batch,
        lambda folder, acknowledge: tag_batch(folder, acknowledge, format_, n_workers),
        check_batch,
        batch_content,
        longest_delay_s=0.003 if n_workers == 1 else 0.3,
    )


# -- corrections, through a server -------------------------------------------------------------------------------------

N_CORRECTIONS = 12


def serve_corrections(folder: Path, acknowledge: Acknowledge) -> None:
    """Serve, and let two readers send corrections with keys of their own, each until it is answered."""
    settings = ServerSettings(corrections=folder / "corrections" / "annotations.csv")
    model = Model(make_tagger(), "hand", "3", "f" * 64)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(process._config(create_app(lambda: model, settings), settings))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        readers = [threading.Thread(target=_correct, args=(port, name, acknowledge)) for name in ("ana", "ben")]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        server.should_exit = True
        thread.join(20)


def _correct(port: int, name: str, acknowledge: Acknowledge) -> None:
    headers = {"content-type": "application/json"}
    for n in range(N_CORRECTIONS):
        body = {
            "article_id": f"article-{n}", "paragraph": n, "text": tiny.ARTICLES[0][1][0][0],
            "section_type": "other", "annotator": name, "note": _note(name, n),
        }  # fmt: skip
        status = 0
        while status != 201:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                    key = {"idempotency-key": f"{name}-{n}-of-the-matrix"}
                    connection.request("POST", "/v1/corrections", json.dumps(body), {**headers, **key})
                    status = connection.getresponse().status
            except OSError:
                time.sleep(0.005)
        acknowledge(f"{name} {n}")


def _note(name: str, n: int) -> str:
    return " ".join([f"{name} {n}", *[f"{sha256(f'{name}{n}'.encode())}"] * 25])


def check_corrections(folder: Path, acknowledged: list[str]) -> None:
    found = _corrections(folder)
    expect(acknowledged, set(found))
    assert len(found) == len(set(found)), "kept twice"


def corrections_content(folder: Path) -> list[str]:
    return sorted(_corrections(folder))


def _corrections(folder: Path) -> list[str]:
    path = folder / "corrections" / "annotations.csv"
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = path.with_name("whole.csv")
    whole.write_bytes(content[: content.rfind(b"\n") + 1])  # what has no line end was never acknowledged
    rows = read_annotations(whole) if whole.stat().st_size else []
    whole.unlink()
    assert all(row.extra["note"] == _note(str(row.annotator), row.paragraph) for row in rows), "a row is torn"
    return [f"{row.annotator} {row.paragraph}" for row in rows]


# -- labels ------------------------------------------------------------------------------------------------------------


def label(folder: Path, acknowledge: Acknowledge) -> None:
    """Label, note, skip and take back, as the label page does; the moments are made up, so that bytes can be equal."""
    log = LabelLog(folder / "anna.jsonl", "anna")
    items = labelling_parts.queue()
    for n in range(40):
        item = items[n % len(items)]
        kind, more = (
            ("label", {"section_type": labelling_parts.NAMES[n % 3]}),
            ("note", {"note": f"{n} " + "as the text says " * 40}),
            ("undo", {"of": f"key-{n - 2:08}"}),
            ("skip", {}),
        )[n % 4]
        place = items[(n - 2) % len(items)] if kind == "undo" else item
        event = Event(
            f"key-{n:08}", kind, place.article_id, place.paragraph, place.text_sha256, "anna",
            f"2026-01-01T00:00:{n:02}.000Z", **more,
        )  # fmt: skip
        log.append(event)
        acknowledge(event.key)


def check_labels(folder: Path, acknowledged: list[str]) -> None:
    path = folder / "anna.jsonl"
    keys = [event.key for event in read_events(path)] if path.exists() else []
    expect(acknowledged, set(keys))
    assert len(keys) == len(set(keys)), "written twice"


def take_in(folder: Path, acknowledge: Acknowledge) -> None:
    """Merge labels of more and more annotators into a file of annotations, which is replaced each time."""
    for n in range(10):
        votes = [
            Vote(labelling_parts.vote(article.article_id, i, "rest", f"annotator {n}", note="n" * 800), "here")
            for article in labelling_parts.ARTICLES
            for i in range(len(article.paragraphs))
        ]
        take_into(folder / "annotations.csv", votes)
        acknowledge(f"annotator {n}")


def check_taken_in(folder: Path, acknowledged: list[str]) -> None:
    path = folder / "annotations.csv"
    rows = read_annotations(path) if path.exists() else []
    expect(acknowledged, {str(row.annotator) for row in rows})
    assert len(rows) % 7 == 0, "half of an annotator's labels"


# -- champion and registry ---------------------------------------------------------------------------------------------


def prepare_registry(folder: Path) -> None:
    stores.make_project(folder)
    tracking = Tracking.at(folder)
    graph = tiny.build_graph(folder / "graph")
    tagger = tiny.build_tagger(graph).tagger
    for name in ("first", "second"):
        bundle.save(dataclasses.replace(tagger, version=name), folder / name, encoder_dir=graph)
        with tracking.run("train") as run:
            model_id = registry.log_model(run, folder / name)
        registry.register(tracking, model_id, "crosshead")


def move_champion(folder: Path, acknowledge: Acknowledge) -> None:
    tracking = Tracking.at(folder)
    tracking.settle()
    registry.finish_move(tracking, folder)
    for n, number in enumerate((1, 2, 1, 2)):
        version = registry.find_version(tracking, "crosshead", number)
        assert version is not None
        registry.promote(tracking, folder, version)
        registry.prune(folder)
        acknowledge(f"{n} {number}")


def check_champion(folder: Path, acknowledged: list[str]) -> None:
    """The pointer names a whole bundle at every moment; after the next command, the registry's champion."""
    pointer = champion.find(folder)
    if pointer is None:
        if acknowledged:
            raise Lost("there is no pointer")
    else:
        bundle.load(pointer.bundle)
        assert bundle.digest(pointer.bundle) == pointer.digest
    tracking = Tracking.at(folder)
    tracking.settle()
    registry.finish_move(tracking, folder)
    standing, pointer = registry.find_version(tracking, "crosshead", "champion"), champion.find(folder)
    assert (standing and standing.version) == (pointer and pointer.version), "alias and pointer differ"
    if acknowledged:
        n, number = map(int, acknowledged[-1].split())
        allowed = {number, (1, 2, 1, 2, 2)[n + 1]}  # the one acknowledged, or the next, which was begun
        if pointer is None or pointer.version not in allowed:
            raise Lost(f"the champion is {pointer}, acknowledged was {number}")


def champion_content(folder: Path) -> Any:
    standing = registry.find_version(Tracking.at(folder), "crosshead", "champion")
    kept = {name: digest for name, digest in files_of(folder / "models").items() if "/" in name}
    return [(folder / "models" / champion.POINTER).read_text(), standing and standing.version, kept]


# -- a saved tagger ----------------------------------------------------------------------------------------------------


def prepare_bundle(folder: Path) -> None:
    batch_parts.build_words_bundle(folder / "model")
    shutil.copytree(folder / "model", folder / "source")


def save_bundles(folder: Path, acknowledge: Acknowledge) -> None:
    """Save one tagger over the other, with its encoder's files."""
    tagger = bundle.load(folder / "source")
    for n in range(6):
        acknowledge(bundle.save(dataclasses.replace(tagger, version=f"{n}"), folder / "model"))


def check_bundle(folder: Path, acknowledged: list[str]) -> None:
    if not (folder / "model").exists():
        raise Lost("the saved tagger is gone, and so is the one before it")
    bundle.load(folder / "model")
    version = bundle.read_manifest(folder / "model")["version"]
    if acknowledged and int(version or -1) < len(acknowledged) - 1:
        raise Lost(f"saved was {len(acknowledged) - 1}, there is {version!r}")


# -- fine-tuning -------------------------------------------------------------------------------------------------------

RECIPE = finetuning.Recipe(
    layers=1, epochs=3, learning_rate=2e-3, layer_decay=0.8, batch_tokens=96, label_smoothing=0.0, average=1.0,
    max_tokens=64,
)  # fmt: skip


def tune(folder: Path, acknowledge: Acknowledge) -> None:
    """Fine-tune with a checkpoint after every step, and write what the weights are at the end."""
    finetuning.CHECKPOINT_S = 0.0
    save = finetuning._Work.save

    def saved(work: finetuning._Work) -> None:
        save(work)
        acknowledge(str(work.step))

    finetuning._Work.save = saved  # type: ignore[method-assign]
    texts, y, *_ = tiny.training_rows()
    model, history = finetuning.finetune(
        folder / "model", texts, y, learned=np.arange(len(texts) - 3), recipe=RECIPE, n_section_types=4,
        checkpoint=folder / "checkpoint.safetensors", device="cpu",
    )  # fmt: skip
    weights = b"".join(value.detach().numpy().tobytes() for _, value in sorted(model[0].model.named_parameters()))
    told = {"weights": sha256(weights), "history": [dataclasses.asdict(epoch) for epoch in history]}
    (folder / "tuned.json").write_text(json.dumps(told))


def check_tuned(folder: Path, acknowledged: list[str]) -> None:
    path = folder / "checkpoint.safetensors"
    if acknowledged and not path.exists():
        raise Lost("there is no checkpoint")
    if path.exists():
        with finetuning.safe_open(path, framework="pt") as file:
            step = json.loads(file.metadata()["told"])["step"]
            assert all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118 (no mapping)
        if acknowledged and step < int(acknowledged[-1]):
            raise Lost(f"the checkpoint is of step {step}, acknowledged was {acknowledged[-1]}")


# -- results that a lost store did not take ----------------------------------------------------------------------------

N_UNSENT = 4


def prepare_unsent(folder: Path) -> None:
    stores.make_project(folder)
    Tracking.at(folder).log_run([Param("made", "first")], name="first")


def keep_and_send(folder: Path, acknowledge: Acknowledge) -> None:
    """Keep results of some runs, then send them to the store."""
    tracking = Tracking.at(folder)
    for n in range(N_UNSENT):
        run_id = f"{unsent.LOCAL}{n}"
        if f"{n} 1" in _unsent(folder) or f"{n} 1" in _sent(folder):
            continue
        for half in range(2):
            if f"{n} {half}" in _unsent(folder):
                continue
            (folder / "plot.txt").write_text(f"{n} {half}" * 2000)
            items = [Param(f"half{half}", f"{n} {half}"), Metric("m", n), FileArtifact(folder / "plot.txt", f"{half}")]
            unsent.keep(tracking.unsent_dir, run_id, items)
            acknowledge(f"{n} {half}")
    for run_id in tracking.send_unsent():
        acknowledge(f"sent {run_id}")


def _unsent(folder: Path) -> set[str]:
    found = set()
    place = Tracking.at(folder).unsent_dir
    for path in [*place.glob("*.json"), *place.glob("*.sending")]:
        for item in unsent.read_items(path):
            if isinstance(item, FileArtifact):
                content = item.file.read_text()
                assert content == content[:3] * 2000
                found.add(content[:3])
    return found


def _sent(folder: Path) -> set[str]:
    """Return what runs hold that were closed."""
    tracking = Tracking.at(folder)
    found = set()
    for run in tracking.client.search_runs([tracking.experiment_id]):
        for half in "01":
            path = Path(run.info.artifact_uri.removeprefix("file://")) / half / "plot.txt"
            if run.info.status == "FINISHED" and path.exists() and f"half{half}" in run.data.params:
                content = path.read_text()
                assert content == content[:3] * 2000
                found.add(content[:3])
    return found


def check_unsent(folder: Path, acknowledged: list[str]) -> None:
    Tracking.at(folder).settle()
    expect([what for what in acknowledged if not what.startswith("sent")], _unsent(folder) | _sent(folder))


def unsent_content(folder: Path) -> Any:
    return [sorted(_sent(folder)), sorted(path.name for path in Tracking.at(folder).unsent_dir.glob("[!.]*"))]


# -- the paragraph table -----------------------------------------------------------------------------------------------


def _rows(n: int) -> dict[str, list[corpus.Row]]:
    texts, y, _, ids = tiny.training_rows()
    made = [
        corpus.Row(
            f"{ids[i]}#{i}", ids[i], i, f"{text} {n}", (), 0, len(text), tiny.SECTION_TYPES[y[i]], "annotation",
            None, None, None, None, None, None, "article", ids[i],
        )
        for i, text in enumerate(texts)
    ]  # fmt: skip
    return {"train": made[:9], "test": made[9:]}


def write_tables(folder: Path, acknowledge: Acknowledge) -> None:
    """Write one table over the other, as `crosshead prepare` does."""
    for n in range(5):
        corpus.remove_summary(folder / "prepared")
        rows = _rows(n)
        corpus.write_table(corpus.make_table(rows), {"digest": corpus.digest_rows(rows), "n": n}, folder / "prepared")
        acknowledge(str(n))


def check_table(folder: Path, acknowledged: list[str]) -> None:
    """The table is one that was written, whole, or is refused: while a new one is made, the old one counts no more."""
    try:
        table = corpus.read_table(folder / "prepared")
    except DataError as error:
        if len(acknowledged) == 5 or "run: crosshead prepare" not in str(error):
            raise Lost("the last table is refused") from error
        return
    n = corpus.read_summary(folder / "prepared")["n"]
    for split, rows in _rows(n).items():
        assert list(table[split]["text"]) == [row.text for row in rows]
    if acknowledged and n < int(acknowledged[-1]):
        raise Lost(f"the table is number {n}, acknowledged was {acknowledged[-1]}")


def import_all() -> None:
    """Import what the work imports where it needs it, so that a process that is forked from this one has it."""
    mlflow_store.load_mlflow()
    for name in (
        "datasets",
        "fastapi.testclient",
        "mlflow.artifacts",
        "mlflow.store.artifact.local_artifact_repo",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.tracking.client",
        "optuna.importance",
        "pyarrow.parquet",
        "safetensors.numpy",
        "sentence_transformers.sentence_transformer.modules",
        "sklearn.linear_model",
        "tokenizers",
        "transformers.models.bert",
        "uvicorn.protocols.http.auto",
    ):
        importlib.import_module(name)
    estimator_files.import_writers()


# -- writers that make the matrix fail ---------------------------------------------------------------------------------


def promise_too_early(folder: Path, acknowledge: Acknowledge) -> None:
    for n in range(5):
        acknowledge(str(n))
        with (folder / "lines").open("a") as file:
            file.write(f"{n}\n")


def check_lines(folder: Path, acknowledged: list[str]) -> None:
    expect(acknowledged, set((folder / "lines").read_text().split()))


def write_in_place(folder: Path, acknowledge: Acknowledge) -> None:
    for n in range(5):
        with (folder / "number").open("w") as file:
            os.fsync(file.fileno())
            file.write(f"{n}")
        acknowledge(str(n))


def check_number(folder: Path, acknowledged: list[str]) -> None:
    int((folder / "number").read_text())


CARELESS: dict[str, Writer] = {
    "hasty": Writer(nothing, promise_too_early, check_lines, files_of),
    "in place": Writer(nothing, write_in_place, check_number, files_of),
}
WRITERS: dict[str, Writer] = {
    "vector cache": Writer(nothing, fill_cache, check_cache, cache_content),
    "search store": Writer(nothing, search, check_search, search_content),
    "batch parts, JSONL, 1 worker": batch("jsonl", 1),
    "batch parts, Parquet, 1 worker": batch("parquet", 1),
    "batch parts, Parquet, 2 workers": batch("parquet", 2),
    "corrections": Writer(nothing, serve_corrections, check_corrections, corrections_content),
    "label log": Writer(nothing, label, check_labels, files_of),
    "labels taken in": Writer(nothing, take_in, check_taken_in, files_of),
    "champion and registry": Writer(prepare_registry, move_champion, check_champion, champion_content),
    "saved tagger": Writer(prepare_bundle, save_bundles, check_bundle, lambda f: bundle.digest(f / "model")),
    "fine-tuning checkpoint": Writer(
        lambda folder: (tiny_transformer.build(folder / "model"), None)[1],
        tune,
        check_tuned,
        lambda folder: (folder / "tuned.json").read_text(),
    ),
    "unsent results": Writer(prepare_unsent, keep_and_send, check_unsent, unsent_content),
    "paragraph table": Writer(nothing, write_tables, check_table, lambda f: files_of(f / "prepared")),
}

"""What is fuzzed: for each target how its inputs are drawn, and what is asked of it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from batch_parts import ARTICLE, PAGE, TEXTS, build_words_bundle, paragraph_rows
from crosshead import bundle
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.corpora.annotations import Annotation, read_annotations
from crosshead.corpora.contrast_sets import read_contrast_sets
from crosshead.corpora.single_paragraphs import read_single_paragraphs
from crosshead.errors import BundleError, DataError
from crosshead.labelling.log import LabelLog
from crosshead.labelling.queue import article_items, read_queue
from crosshead.labelling.store import AnnotationFile
from crosshead.labelling.votes import read_votes
from crosshead.loading import Model
from crosshead.readers import read_article, read_articles
from crosshead.releases import champion
from crosshead.server import answers
from crosshead.taxonomy import Taxonomy
from crosshead.text import text_digest
from fuzz_parts import dumped, holds, spoiled, spoiled_json

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Target:
    """How inputs are drawn, what is asked of each, and how many a short look has."""

    inputs: st.SearchStrategy[Any]
    ask: Callable[[Any], None]
    n: int


@functools.cache
def home() -> Path:
    """Return the folder for everything that a target writes; gone when the process ends."""
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="crosshead-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fresh(name: str) -> Path:
    """Return an empty folder."""
    folder = home() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


# -- articles and tables -----------------------------------------------------------------------------------------------

MARKDOWN = f"""---
title: "River line"
tags: [a, 'b']
---
{ARTICLE}
- a list
- of two

> a quote with *emphasis* and [a link](https://a.example "b")

| a | b |
|---|---|
| 1 | 2 |

```
code
```

**Bold heading:**
Text below it, wrapped
over two lines.[^1]

Setext
------

1. {TEXTS[0]} {TEXTS[1]}

2. {TEXTS[3]} {TEXTS[4]}

[^1]: A note.
"""
TOML = '+++\ntitle = "Bread"\ndate = 2024-02-30\n+++\n\nText.\n'
HTML = PAGE.replace(
    "</article>",
    "<ul><li>one</li></ul><table><tr><td>a<td>b</table><blockquote>q</blockquote>"
    "<p><b>Bold</b><br>x<!-- c --></article>",
).replace("<head>", '<head><meta charset="utf-8"><meta property="og:title" content="Bread">')
PLAIN = (
    "RIVER LINE\n\nTwo battalions crossed the Tarn.\n\nReactions\n\nEnvoys met in the lake town.\n* * *\n" + TEXTS[0]
)
DOCUMENTS = [text.encode(encoding) for text in (MARKDOWN, TOML, HTML, PLAIN) for encoding in ("utf-8", "utf-16")]
DOCUMENTS += [PLAIN.replace("lake", "läke").encode("cp1252"), HTML.replace("utf-8", "windows-1251").encode("cp1251")]
PACKERS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("", lambda data: data),
    (".gz", lambda data: gzip.compress(data, 1, mtime=0)),
    (".zst", lambda data: bytes(pa.compress(data, "zstd", asbytes=True))),
)


def read_all(data: bytes, name: str, format: str) -> None:
    """Read a file as what its name or ``format`` says; every paragraph that comes out is a slice of its article."""
    path = fresh("articles") / name
    path.write_bytes(data)
    stream = read_articles([path], on_error="collect", format=format)
    n = 0
    while True:
        found = holds(lambda: next(stream, None), only=DataError)
        if found is None:
            break
        n += 1
        assert n <= len(data) + 1, "there cannot be more articles than bytes"
        if not isinstance(found, DataError):
            assert all(found.source[p.start : p.end] == p.text for p in found.paragraphs)
            json.dumps(dict(found.metadata), allow_nan=False)
    assert n or stream.unreadable
    assert all(len(unreadable.reason) > 10 for unreadable in stream.unreadable)


@st.composite
def packed(draw: st.DrawFn, seeds: list[bytes], suffixes: tuple[str, ...]) -> tuple[bytes, str]:
    """Draw a spoiled file, packed as it is or spoiled once more when it is packed, with its name."""
    ending, pack = draw(st.sampled_from(PACKERS))
    data = pack(draw(spoiled(seeds)))
    if ending and draw(st.booleans()):
        data = draw(spoiled([data], most=2))
    return data, f"a{draw(st.sampled_from(suffixes))}{ending}"


ROWS = [
    {
        "article_id": "a",
        "title": "River",
        "paragraphs": TEXTS[:3],
        "section_types": ["other", None, "other"],
        "date": 1,
    },
    {"id": 7, "text": ARTICLE, "format": "markdown", "headings": None},
    {"article_id": "b", "paragraph": 0, "text": TEXTS[3], "headings": ["Prices", "Bread"], "section_type": "other"},
    {"article_id": "b", "paragraph": 1, "text": TEXTS[4], "headings": '["Prices"]'},
]
CSV = (
    'article_id;paragraph;text;headings;n\na;0;"Shells fell;\nat dawn.";"[""H""]";1\n'
    + "a;1;Guns.;H;2.5\nb;0;Bread.;;\n"
)


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(dumped(row) + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=3, **options)
    return sink.getvalue()


TABLES = [jsonl(ROWS), dumped(ROWS), CSV.encode(), CSV.replace(";", ",").encode("utf-16"), b"text\n" + CSV.encode()]
PARQUETS = [
    parquet(paragraph_rows(4)),
    parquet([{"article_id": "x", "paragraphs": TEXTS[:3], "n": 1.5}], compression="zstd"),
    parquet(paragraph_rows(2), use_dictionary=False, compression="none"),
]
tables = st.one_of(
    packed(TABLES, (".jsonl", ".json", ".csv", ".tsv")),
    st.tuples(
        spoiled_json([ROWS]).map(lambda rows: jsonl(rows if isinstance(rows, list) else [rows])), st.just("a.jsonl")
    ),
    st.tuples(spoiled_json([ROWS]).map(dumped), st.just("a.json")),
)

# -- the command -------------------------------------------------------------------------------------------------------

FEED = [
    {"id": "7", "text": TEXTS[0]},
    {"article_id": "a", "paragraphs": TEXTS[:3]},
    {"id": 3, "article_id": None, "paragraphs": []},
    {"id": 0.5, "text": "Bees.", "more": {"a": [1]}},
]


@functools.cache
def words_bundle() -> Path:
    return build_words_bundle(home() / "words")


@contextlib.contextmanager
def quiet(folder: Path) -> Any:
    """Keep what the command says on stderr."""
    path = folder / "stderr"
    with path.open("w", encoding="utf-8", errors="backslashreplace") as stream, contextlib.redirect_stderr(stream):
        yield


def command(folder: Path, *arguments: str) -> int:
    """Call `crosshead`, which may exit with any code but that of a mistake of its own."""
    with quiet(folder):
        code = holds(lambda: main([*arguments]), folder)
    told = (folder / "stderr").read_text(encoding="utf-8")
    assert code != Exit.UNEXPECTED, told
    assert "Traceback" not in told
    return int(code)


def tag_feed(data: bytes) -> None:
    """One line out for each line in, in order; each is JSON and says what it is an answer to."""
    folder = fresh("feed")
    (folder / "feed.jsonl").write_bytes(data)
    name = str(folder / "feed.jsonl")
    code = command(folder, "tag", name, "--model", str(words_bundle()), "-o", str(folder / "out.jsonl"))
    lines = (folder / "out.jsonl").read_bytes().split(b"\n")[:-1]
    records = [json.loads(line, parse_constant=_no_constant) for line in lines]
    if not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        assert len(lines) == data.count(b"\n") + bool(data.rpartition(b"\n")[2])
        assert [r["line"] for r in records if "error" in r] == [n for n, r in enumerate(records, 1) if "error" in r]
    for record in records:
        for row in record.get("paragraphs", [record] if "error" not in record else []):
            assert abs(sum(row["scores"].values()) - 1) < 1e-5
    assert code == (Exit.FAILED_INPUTS if any("error" in record for record in records) else Exit.OK)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def tag_archive(given: tuple[list[tuple[bytes, str]], str]) -> None:
    """A folder of spoiled files gives parts and a list of what could not be read, in the format that was asked for."""
    files, format = given
    folder = fresh("archive")
    (folder / "in").mkdir()
    for i, (data, name) in enumerate(files):
        (folder / "in" / f"{i}{name}").write_bytes(data)
    command(
        *(folder, "tag", str(folder / "in"), "--model", str(words_bundle()), "-o", str(folder / "out") + "/"),
        *("--format", format, "--rows-per-part", "2"),
    )
    if (folder / "out" / "errors.jsonl").exists():
        for line in (folder / "out" / "errors.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
            assert len(json.loads(line)["error"]) > 10


archives = st.tuples(
    st.lists(
        st.one_of(
            packed(DOCUMENTS, (".md", ".html", ".txt")),
            packed([*TABLES, jsonl(FEED)], (".jsonl", ".csv", ".json")),
            packed(PARQUETS, (".parquet",)),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["parquet", "jsonl"]),
)

# -- saved taggers -----------------------------------------------------------------------------------------------------


@functools.cache
def saved(kind: str) -> dict[str, bytes]:
    """Read a saved tagger: with a graph, with static vectors and a sequence, or of words alone."""
    from promise_parts import make_member

    where = home() / f"saved-{kind}"
    where.mkdir()
    folder = make_member(kind, where).folder if kind != "words" else words_bundle()
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    # scikit-learn's objects are never opened for tagging; tests/test_bundle.py spoils them.
    return with_right_hashes({name: data for name, data in files.items() if not name.startswith("sklearn/")})


class Files(dict[str, bytes]):
    """Files by name; too large to be shown whole when an example is told."""

    def __repr__(self) -> str:
        return f"Files({ {name: data[:60] for name, data in self.items()} })"


@st.composite
def bundles(draw: st.DrawFn, kinds: tuple[str, ...], graphs: bool = False) -> Files:
    """Draw a saved tagger with a spoiled file; mostly the manifest's hashes are made right again."""
    files = dict(saved(draw(st.sampled_from(kinds))))
    name = draw(st.sampled_from(sorted(name for name in files if name.endswith("graph.onnx") == graphs)))
    if name.endswith("safetensors") and draw(st.booleans()):
        files[name] = draw(spoiled_header(files[name]))
    elif name.endswith(".json") and draw(st.integers(0, 3)):
        files[name] = dumped(draw(spoiled_json([json.loads(files[name])])))
    else:
        files[name] = draw(spoiled([files[name]], most=3))
    if name != bundle.MANIFEST and draw(st.integers(0, 3)):
        files = with_right_hashes(files)
    return Files(files)


def with_right_hashes(files: dict[str, bytes]) -> dict[str, bytes]:
    """Do as somebody who makes a bundle to do harm: the manifest says what the files hold."""
    manifest = json.loads(files[bundle.MANIFEST])
    manifest["files"] = {name: sha256(data).hexdigest() for name, data in files.items() if name != bundle.MANIFEST}
    return {**files, bundle.MANIFEST: dumped(manifest)}


@st.composite
def spoiled_header(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw arrays whose header says something else of them."""
    (size,) = struct.unpack("<Q", data[:8])
    header = dumped(draw(spoiled_json([json.loads(data[8 : 8 + size])])))
    told = draw(st.sampled_from([len(header), len(header), len(header), 0, 2**63, len(data)]))
    return struct.pack("<Q", told) + header + data[8 + size :]


def load_bundle(files: dict[str, bytes]) -> None:
    """A saved tagger is refused with a BundleError, or tags; what it answers are probabilities."""
    folder = fresh("bundle")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    tagger = holds(lambda: bundle.load(folder, engine="onnxruntime"), only=BundleError)
    if isinstance(tagger, BundleError):
        return
    json.dumps(answers.card(Model(tagger, "a", "1", "0" * 64, bundle.read_manifest(folder))))
    tags = holds(lambda: tagger.tag_articles([TEXTS[:3], ["Bees."]]))
    for tag in [tag for article in tags for tag in article] if isinstance(tags, list) else []:
        assert list(tag.scores) == list(tagger.section_types)
        assert abs(sum(tag.scores.values()) - 1) < 1e-6


def find_champion(data: bytes) -> None:
    """The champion's pointer leads nowhere but below the project."""
    folder = fresh("project")
    (folder / "models" / "good").mkdir(parents=True)
    (folder / "models" / champion.POINTER).write_bytes(data)
    (folder / "models" / champion.MOVE).write_bytes(data)
    found = holds(lambda: champion.find(folder), only=BundleError)
    assert isinstance(found, BundleError) or found.bundle.is_relative_to(folder.resolve())
    holds(lambda: champion.unfinished_move(folder), only=BundleError)


POINTERS = [
    {"schema": 1, "bundle": "models/good", "bundle_digest": "0" * 64, "registered_model": "crosshead", "version": 3}
]

# -- labels ------------------------------------------------------------------------------------------------------------

_DIGEST = text_digest(TEXTS[0])
ANNOTATIONS = (
    "article_id,paragraph,text_sha256,section_type,annotator,time,source,note,key\n"
    f'a,0,{_DIGEST},other,ana,2026-01-01T00:00:00Z,,"a, b",{"0" * 16}\n'
    f"b,1,{_DIGEST},ground_developments,,,served page,,\n"
)
LOG = [
    {
        **{"event": "label", "key": "k1", "time": "2026-01-01T00:00:00.000Z", "annotator": "ana", "article_id": "a"},
        **{"paragraph": 0, "text_sha256": _DIGEST, "section_type": "other", "note": "", "suggestion": ""},
    },
    {
        **{"event": "undo", "key": "k2", "time": "2026-01-01T00:00:01.000Z", "annotator": "ana", "article_id": "a"},
        **{"paragraph": 0, "text_sha256": _DIGEST, "of": "k1"},
    },
]
STUDIO = [
    {
        "data": {"article_id": "a", "paragraph": 0, "text": TEXTS[0], "text_sha256": _DIGEST},
        "annotations": [
            {
                "completed_by": {"email": "ana@a.example", "id": 3},
                "updated_at": "2026-01-01T00:00:00Z",
                "result": [
                    {"type": "choices", "from_name": "section_type", "value": {"choices": ["other"]}},
                    {"type": "textarea", "from_name": "note", "value": {"text": ["why"]}},
                ],
            }
        ],
    },
    {
        "article_id": "b",
        "paragraph": "1",
        "text": TEXTS[0],
        "annotation_id": 5,
        "annotator": 2,
        "kind": {"choices": ["x"]},
    },
    {
        "article_id": "b",
        "paragraph": 2,
        "text": TEXTS[0],
        "annotation_id": 5,
        "annotator": 2,
        "kind": [{"choices": ["x"]}],
    },
]
CONTRASTS = [
    {"set_id": "s", "paragraph": i, "text": text, "section_type": "other", "situation": "x", "setting": "y"}
    for i, text in enumerate(TEXTS[:2])
]


SINGLES = [
    {
        "paragraph_id": "s1",
        "text": "Told once.",
        "section_type": "other",
        "votes": {"ana": "other"},
        "about": "A siege",
    },
    {"paragraph_id": "s2", "text": "Told twice.", "section_type": None, "batch": "b", "setting": None},
]


@functools.cache
def queue() -> list[dict[str, Any]]:
    items = [item.as_dict() for item in article_items(read_article(ARTICLE, article_id="a"))]
    suggested = {"section_type": "other", "confidence": 0.5, "scores": {"other": 0.5}}
    return [{**item, "suggestion": suggested, "score": 1, "votes": {"ana": "other"}} for item in items]


def label_files() -> st.SearchStrategy[tuple[str, bytes]]:
    lines = {"log.jsonl": LOG, "queue.jsonl": queue(), "contrast.jsonl": CONTRASTS, "singles.jsonl": SINGLES}
    drawn = [
        st.tuples(st.just("labels.csv"), spoiled([ANNOTATIONS.encode(), ANNOTATIONS.replace("\n", "\r\n").encode()])),
        st.tuples(st.just("studio.json"), spoiled([dumped(STUDIO)])),
        st.tuples(st.just("studio.json"), spoiled_json([STUDIO]).map(dumped)),
    ]
    for name, rows in lines.items():
        drawn.append(st.tuples(st.just(name), spoiled([jsonl(rows)])))
        drawn.append(st.tuples(st.just(name), spoiled_json([rows]).map(jsonl)))
    return st.one_of(drawn)


def read_labels(given: tuple[str, bytes]) -> None:
    """A file of labels is read, or refused with the line that is to blame; it is appended to without loss."""
    name, data = given
    folder = fresh("labels")
    path = folder / name
    path.write_bytes(data)
    if name == "contrast.jsonl":
        holds(lambda: read_contrast_sets(path), only=DataError)
        return
    if name == "singles.jsonl":
        holds(lambda: read_single_paragraphs(path), only=DataError)
        return
    if name == "queue.jsonl":
        holds(lambda: read_queue([path]), only=DataError)
        return
    holds(lambda: read_votes(path), only=DataError)
    if name == "log.jsonl":
        holds(lambda: LabelLog(path, "ana"), folder, only=DataError)
    if name == "labels.csv":
        _append(path, folder)


def _append(path: Path, folder: Path) -> None:
    before = holds(lambda: read_annotations(path), only=DataError)
    new = Annotation("new", 5, _DIGEST, "other", "ben")
    done = holds(lambda: AnnotationFile(path).append(new, "some key"), folder, only=DataError)
    after = holds(lambda: read_annotations(path), only=DataError)
    if isinstance(before, list) and done is True:
        assert isinstance(after, list), after
        assert ("new", "5", "ben") in {(a.article_id, str(a.paragraph), a.annotator) for a in after}


# -- configuration -----------------------------------------------------------------------------------------------------

_KEYS = ("seed", "folds", "encoder", "classifier", "taxonomy", "views.words", "calibration.risk", "corpus.articles")
_KEYS += ("classifier._target_", "+views.x.classifier._target_", "hydra.run.dir", "experiment", "~views", "++a.b", "x")
_VALUES = (
    "1",
    "-1",
    "null",
    "minilm",
    "default",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "'",
    '"',
    "[",
    "{a:1}",
)
_VALUES += (
    "${seed}",
    "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    "${",
    "1e999",
    "../../etc/passwd",
    "a,b",
    "[1,2]",
    "???",
)
overrides = st.lists(
    st.one_of(
        st.builds("{}={}".format, st.sampled_from(_KEYS), st.one_of(st.sampled_from(_VALUES), st.text(max_size=6))),
        st.text(max_size=12),
        spoiled([b"classifier.C=0.5", b"views.words.weight=2", b"encoder=minilm", b"'a b'=\"c\""]).map(
            lambda data: data[:300].decode("utf-8", "replace")
        ),
    ),
    min_size=1,
    max_size=2,
)


def configure(given: list[str]) -> None:
    """An override is taken, or refused by its name."""
    from crosshead.settings import load_settings

    holds(lambda: load_settings(given, ROOT))


@functools.cache
def configuration() -> dict[str, Any]:
    from crosshead.settings import compose

    return compose((), ROOT)


def build_settings(plain: Any) -> None:
    """What conf/ composes to is built or refused; nothing that it names is called but estimators."""
    from crosshead.settings import from_plain

    if isinstance(plain, dict):
        holds(lambda: from_plain(plain, ROOT))


def build_taxonomy(mapping: Any) -> None:
    if isinstance(mapping, dict):
        taxonomy = holds(lambda: Taxonomy.from_mapping(mapping))
        if isinstance(taxonomy, Taxonomy):
            holds(lambda: taxonomy.match_path(["Reactions abroad", "THE WIDER REGION", "a" * 300]))


# -- the server --------------------------------------------------------------------------------------------------------

BODIES: dict[str, list[Any]] = {
    "/v1/tag": [
        {"text": ARTICLE, "format": "markdown"},
        {"paragraphs": TEXTS[:2]},
        {"texts": TEXTS[:2]},
        {"text": PAGE},
    ],
    "/v1/explain": [{"paragraph": TEXTS[0], "before": TEXTS[1:2], "after": []}],
    "/v1/corrections": [
        {"article_id": "a", "paragraph": 0, "text": TEXTS[0], "section_type": "other", "annotator": "b", "note": "c"}
    ],
    "/invocations": [
        {
            "dataframe_split": {
                "columns": ["text", "article_id", "paragraph"],
                "data": [[TEXTS[0], "a", 0], ["b", "a", 1]],
            }
        },
        {"dataframe_records": [{"text": TEXTS[0]}, {"text": "b", "article_id": 3, "paragraph": 0.5}]},
        {"inputs": {"text": TEXTS[:2]}},
        {"instances": TEXTS[:2]},
    ],
    "/v1/tag/stream": FEED,
}
_TYPES = {"/v1/tag/stream": ["application/x-ndjson"], "/invocations": ["application/json", "text/csv"]}
STATUSES = {200, 201, 400, 408, 409, 413, 415, 422, 429, 503, 504}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    path = draw(st.sampled_from(sorted(BODIES)))
    seeds = BODIES[path]
    if path == "/v1/tag/stream":
        body = jsonl(draw(spoiled_json([seeds]).filter(lambda v: isinstance(v, list))))
    elif draw(st.booleans()):
        body = dumped(draw(spoiled_json(seeds)))
    else:
        body = draw(spoiled([dumped(seed) for seed in seeds]))
    kind = draw(
        st.sampled_from([*_TYPES.get(path, ["application/json"]) * 4, "text/plain", "application/json; charset=x"])
    )
    headers = {"content-type": kind, "idempotency-key": draw(st.sampled_from(["k1", "k2", "", "a b"]))}
    return path, body, headers


_open = contextlib.ExitStack()


@functools.cache
def client() -> Any:
    from crosshead import loading
    from server_parts import client_of

    file = home() / "corrections" / "annotations.csv"
    return _open.enter_context(client_of(lambda: loading.load(str(words_bundle())), corrections=file))


def close() -> None:
    """Stop the server, if one was asked."""
    _open.close()
    client.cache_clear()


def ask_server(given: tuple[str, bytes, dict[str, str]]) -> None:
    """Every request is answered as the document says, and never by a mistake of the server's."""
    path, body, headers = given
    answer = holds(lambda: client().post(path, content=body, headers=headers), home())
    assert answer.status_code in STATUSES, (answer.status_code, answer.text)
    if path == "/v1/tag/stream" and answer.status_code == 200:
        [json.loads(line) for line in answer.content.split(b"\n")[:-1]]
    elif answer.headers["content-type"].startswith("application/json"):
        json.loads(answer.content, parse_constant=_no_constant)


TARGETS: dict[str, Target] = {
    "documents": Target(packed(DOCUMENTS, (".md", ".html", ".txt", "")), lambda g: read_all(*g, "auto"), 60),
    "documents as another format": Target(
        st.tuples(spoiled(DOCUMENTS), st.just("a"), st.sampled_from(["markdown", "html", "text"])),
        lambda given: read_all(*given),
        60,
    ),
    "tables": Target(tables, lambda given: read_all(*given, "auto"), 60),
    "parquet": Target(packed(PARQUETS, (".parquet",)), lambda given: read_all(*given, "auto"), 40),
    "feed": Target(
        st.one_of(spoiled([jsonl(FEED)]), spoiled_json([FEED]).map(lambda v: jsonl(v if isinstance(v, list) else [v]))),
        tag_feed,
        60,
    ),
    "archive": Target(archives, tag_archive, 12),
    "bundle": Target(st.deferred(lambda: bundles(("words", "static", "windows"))), load_bundle, 60),
    # Graphs are read by the engine, which is not ours: what it refuses is told as ours.
    "graph": Target(st.deferred(lambda: bundles(("windows",), graphs=True)), load_bundle, 5),
    "champion": Target(
        st.one_of(spoiled([dumped(POINTERS[0])]), spoiled_json(POINTERS).map(dumped)), find_champion, 40
    ),
    "labels": Target(st.deferred(label_files), read_labels, 80),
    "overrides": Target(overrides, configure, 6),
    "settings": Target(st.deferred(lambda: spoiled_json([configuration()])), build_settings, 20),
    "taxonomy": Target(st.deferred(lambda: spoiled_json([configuration()["taxonomy"]])), build_taxonomy, 40),
    "server": Target(requests(), ask_server, 60),
}

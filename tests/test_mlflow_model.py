from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stores
import tiny
from crosshead import bundle
from crosshead.records import mlflow_store
from crosshead.records.tracking import Tracking
from crosshead.releases import registry
from crosshead.tagging.tagger import Tag, Tagger

mlflow_store.load_mlflow()
from mlflow.exceptions import MlflowException  # noqa: E402  # only after MLflow was silenced

from crosshead.mlflow_model import TaggerModel, as_columns, as_table, tag_table  # noqa: E402

COLUMNS = ["section_type", "confidence", "abstained", "truncated_tokens", "out_of_distribution"] + [
    f"score_{n}" for n in tiny.SECTION_TYPES
]
ARTICLE = [text for text, _ in tiny.ARTICLES[0][1]]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Tagger:
    return bundle.load(tiny.build_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_graph))


@pytest.fixture(scope="module")
def model(tagger: Tagger) -> TaggerModel:
    made = TaggerModel()
    made.tagger = tagger
    return made


def tags_of(table: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(table["section_type"], table["confidence"], strict=True))


def expected(tags: list[Tag]) -> list[tuple[str, float]]:
    return [(tag.section_type, tag.confidence) for tag in tags]


@pytest.mark.parametrize(
    "texts",
    [
        ARTICLE,
        tuple(ARTICLE),
        pd.Series(ARTICLE),
        pd.Series(ARTICLE).to_numpy(),
        pd.DataFrame({"text": ARTICLE}),
        pd.DataFrame({"paragraph_of_mine": ARTICLE}),
        pd.DataFrame(ARTICLE),
        [{"text": text} for text in ARTICLE],
        {"text": ARTICLE},
        pd.DataFrame([{"text": ARTICLE}]),
        pd.DataFrame({"text": ARTICLE, "article_id": [None, float("nan"), ""]}, dtype=object),
        pd.DataFrame({"text": ARTICLE, "article_id": pd.array([pd.NA] * 3, dtype="string")}),
        pd.DataFrame({"text": ARTICLE, "article_id": ["a", "b", "c"], "paragraph": [0, 0, 0]}),
    ],
)
def test_texts_without_an_article_are_tagged_each_on_its_own(model: TaggerModel, tagger: Tagger, texts: Any) -> None:
    table = model.predict(None, texts)
    assert list(table.columns) == COLUMNS
    assert tags_of(table) == expected(tagger.tag_texts(ARTICLE))


def test_one_text_may_come_alone(model: TaggerModel, tagger: Tagger) -> None:
    assert tags_of(model.predict(None, ARTICLE[0])) == expected(tagger.tag_texts(ARTICLE[:1]))


@pytest.mark.parametrize("numbered", [True, False])
def test_paragraphs_of_an_article_inform_each_other(model: TaggerModel, tagger: Tagger, numbered: bool) -> None:
    table = pd.DataFrame({"text": ARTICLE, "article_id": "a"})
    if numbered:
        table = table.assign(paragraph=[0, 1, 2])
    answer = tags_of(model.predict(None, table))
    assert answer == expected(tagger.tag_article(ARTICLE))
    assert answer != expected(tagger.tag_texts(ARTICLE))


@settings(max_examples=25, deadline=None)
@given(st.permutations([(name, i) for name, rows in tiny.ARTICLES for i in range(len(rows))]))
def test_the_order_of_rows_changes_no_answer(model: TaggerModel, tagger: Tagger, order: list[tuple[str, int]]) -> None:
    articles = {name: [text for text, _ in rows] for name, rows in tiny.ARTICLES}
    rows = [{"text": articles[name][i], "article_id": name, "paragraph": i} for name, i in order]
    answer = {
        key: (row["section_type"], pytest.approx(row["confidence"], abs=1e-6))
        for key, row in zip(order, model.predict(None, rows).to_dict("records"), strict=True)
    }
    for name, texts in articles.items():
        assert expected(tagger.tag_article(texts)) == [answer[name, i] for i in range(len(texts))]


def test_the_table_has_a_row_a_tag_and_a_score_a_section_type(tagger: Tagger) -> None:
    tags = tagger.tag_article(ARTICLE)
    table = as_table(tags, tagger.section_types)
    assert table.dtypes.astype(str).to_dict() == {
        "section_type": "object",
        "confidence": "float64",
        "abstained": "bool",
        "out_of_distribution": "object",
        "truncated_tokens": "int64",
        **{f"score_{name}": "float64" for name in tagger.section_types},
    }
    for tag, row in zip(tags, table.to_dict("records"), strict=True):
        assert {name: row[f"score_{name}"] for name in tagger.section_types} == tag.scores
        assert (row["abstained"], row["truncated_tokens"]) == (tag.abstained, tag.truncated_tokens)


def test_nothing_in_nothing_out(model: TaggerModel) -> None:
    for nothing in ([], pd.DataFrame({"text": []}), pd.DataFrame({"text": [], "article_id": [], "paragraph": []})):
        table = model.predict(None, nothing)
        assert list(table.columns) == COLUMNS
        assert len(table) == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (pd.DataFrame({"title": ["a"], "body": ["b"]}), r"has columns \['title', 'body'\]; it needs a column 'text'"),
        (pd.DataFrame({"text": ["a", None, "c", None]}), "rows 1, 3 have no text; give every row a string"),
        ([None] * 9, "rows 0, 1, 2, 3, 4 … have no text"),
        (pd.DataFrame({"text": [7]}), "rows 0 have no text"),
        ([" \n"], "paragraph 0 holds no text"),
        (
            pd.DataFrame({"text": ["a", "b"], "article_id": "x", "paragraph": [1, 1]}),
            "article 'x' has the same paragraph number twice",
        ),
        (
            pd.DataFrame({"text": ["a", "b"], "article_id": "x", "paragraph": [1, None]}),
            "article 'x' has rows without a paragraph number; number all of them or none",
        ),
    ],
)
def test_wrong_tables_are_refused_with_mlflows_own_error(model: TaggerModel, wrong: Any, told: str) -> None:
    with pytest.raises(MlflowException, match=told) as error:
        model.predict(None, wrong)
    assert error.value.get_http_status_code() == 400


def test_the_bundle_is_loaded_from_the_context(tiny_bundle: Path) -> None:
    made = TaggerModel()
    table = made.predict(SimpleNamespace(artifacts={"bundle": str(tiny_bundle)}), ARTICLE)
    assert tags_of(table) == expected(bundle.load(tiny_bundle).tag_texts(ARTICLE))


def test_columns_keep_their_rows() -> None:
    assert as_columns([{"text": "a", "article_id": "x"}, {"text": "b"}]) == {
        "text": ["a", "b"],
        "article_id": ["x", None],
    }


def test_tags_come_back_in_the_order_of_the_rows() -> None:
    class Echo:
        def tag_articles(self, articles: list[list[str]]) -> list[list[Tag]]:
            return [[Tag(text, 1.0, {}, False, i) for i, text in enumerate(article)] for article in articles]

    rows = {"text": ["b1", "a0", "lone", "b0"], "article_id": ["b", "a", None, "b"], "paragraph": [1, 0, None, 0]}
    tags = tag_table(Echo(), rows)  # type: ignore[arg-type]
    assert [(tag.section_type, tag.truncated_tokens) for tag in tags] == [("b1", 1), ("a0", 0), ("lone", 0), ("b0", 0)]


# -- as MLflow keeps and loads it --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Path:
    """Return a project whose champion is the tiny tagger."""
    root = stores.make_project(tmp_path_factory.mktemp("served") / "project")
    folder = tiny.build_bundle(root / "models" / "latest" / "bundle", tiny_graph)
    tracking = Tracking.at(root)
    with tracking.run("train") as run:
        model_id = registry.log_model(run, folder)
    registry.promote_first(tracking, root, registry.register(tracking, model_id, "crosshead"))
    return root


def model_files(store: Path) -> Path:
    (folder,) = (store / "mlflow" / "artifacts" / "models").glob("m-*/artifacts")
    return folder


def test_the_model_says_what_it_takes_gives_and_needs(store: Path) -> None:
    from mlflow.models import Model

    saved = Model.load(str(model_files(store)))
    assert saved.signature.inputs.required_input_names() == ["text"]
    assert saved.signature.inputs.optional_input_names() == ["article_id", "paragraph"]
    assert saved.signature.outputs.input_names() == COLUMNS
    example = saved.load_input_example(str(model_files(store)))
    assert list(example.columns) == ["text", "article_id", "paragraph"]
    pins = (model_files(store) / "requirements.txt").read_text(encoding="utf-8").split()
    assert all("==" in pin for pin in pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"mlflow", "numpy", "pandas", "tokenizers"} <= names
    assert not names & {"torch", "scikit-learn", "skops", "hydra-core", "pytest"}
    size = sum(path.stat().st_size for path in (model_files(store) / "artifacts").rglob("*") if path.is_file())
    assert saved.model_size_bytes > size


def test_no_file_of_the_model_is_a_pickle_or_names_this_machine(store: Path) -> None:
    folder = model_files(store)
    assert [path.name for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".pyc"}] == []
    source = str(Path(bundle.__file__).parent)
    told = [path.name for path in folder.rglob("*") if path.is_file() and source.encode() in path.read_bytes()]
    assert told == []


def child_environment(store: Path) -> dict[str, str]:
    uri = f"sqlite:///{store.resolve()}/mlflow/mlflow.db"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path}


def test_it_loads_in_a_process_that_has_no_crosshead(store: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, json, sys\n"
        "sys.path = [path for path in sys.path if path != sys.argv[1]]\n"
        "import mlflow, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/crosshead@champion')\n"
        "rows = json.loads(sys.argv[2])\n"
        "article = pd.DataFrame({'text': rows, 'article_id': 'a', 'paragraph': range(len(rows))})\n"
        "answers = [model.predict(article), model.predict(pd.DataFrame({'text': rows})),\n"
        "           model.predict(pd.Series(rows, name='text')), model.unwrap_python_model().predict(None, rows)]\n"
        "import crosshead\n"
        "heavy = sorted({'sklearn', 'torch', 'transformers', 'skops', 'hydra', 'dvc', 'datasets'} & set(sys.modules))\n"
        "print(json.dumps([crosshead.__file__, heavy, [a.to_dict('records') for a in answers]]))"
    )
    source = Path(bundle.__file__).parents[1]
    command = [sys.executable, "-c", code, str(source), json.dumps(ARTICLE)]
    answer = subprocess.run(
        command, env=child_environment(store), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    used, heavy, (article, *alone) = json.loads(answer.stdout)
    assert Path(used).is_relative_to(model_files(store) / "code")
    assert heavy == []
    tagger = bundle.load(store / "models" / "latest" / "bundle")
    assert [row["section_type"] for row in article] == [tag.section_type for tag in tagger.tag_article(ARTICLE)]
    assert [row["confidence"] for row in article] == pytest.approx([t.confidence for t in tagger.tag_article(ARTICLE)])
    for rows in alone:
        assert [row["confidence"] for row in rows] == pytest.approx([t.confidence for t in tagger.tag_texts(ARTICLE)])


@pytest.fixture
def served(store: Path, tmp_path: Path) -> Iterator[str]:
    """Start ``mlflow models serve`` on a free port; give its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/crosshead@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=child_environment(store), cwd=tmp_path, start_new_session=True, stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def post(address: str, body: object) -> tuple[int, Any]:
    content = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/invocations", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.slow
def test_mlflow_serves_it(served: str, store: Path) -> None:
    tagger = bundle.load(store / "models" / "latest" / "bundle")
    alone, article = tagger.tag_texts(ARTICLE), tagger.tag_article(ARTICLE)
    records = [{"text": text} for text in ARTICLE]
    in_article = {
        "columns": ["text", "article_id", "paragraph"],
        "data": [[text, "a", i] for i, text in enumerate(ARTICLE)],
    }
    for body, tags in (
        ({"dataframe_records": records}, alone),
        ({"inputs": records}, alone),
        ({"instances": records}, alone),
        ({"inputs": {"text": ARTICLE}}, alone),
        ({"dataframe_split": in_article}, article),
    ):
        status, answer = post(served, body)
        assert status == 200, answer
        assert [row["section_type"] for row in answer["predictions"]] == [tag.section_type for tag in tags]
        assert [row["confidence"] for row in answer["predictions"]] == pytest.approx([tag.confidence for tag in tags])
        assert set(answer["predictions"][0]) == set(COLUMNS)
    status, answer = post(served, {"dataframe_records": [{"text": " "}]})
    assert status == 400
    assert "paragraph 0 holds no text" in answer["message"]

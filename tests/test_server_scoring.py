"""``/invocations`` beside MLflow's own scoring server: the same bodies, the same predictions, the same refusals."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import tiny
from crosshead import __version__, bundle, loading
from crosshead.limits import MAX_PARAGRAPHS
from crosshead.records import mlflow_files, mlflow_store
from crosshead.tagging.tagger import Tagger
from server_parts import JSON, SECRET, client_of

mlflow_store.load_mlflow()
import mlflow  # noqa: E402  # only after MLflow was silenced
from mlflow.pyfunc import scoring_server  # noqa: E402

ARTICLE = [text for text, _ in tiny.ARTICLES[0][1]]
OTHER = [text for text, _ in tiny.ARTICLES[2][1]]
CSV = {"content-type": "text/csv"}
ROWS = [[text, "a", i] for i, text in enumerate(ARTICLE)] + [[text, "b", i] for i, text in enumerate(OTHER)]
COLUMNS = ["text", "article_id", "paragraph"]
SHUFFLED = [ROWS[i] for i in (4, 0, 2, 5, 1, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> Path:
    return tiny.build_bundle(tmp_path_factory.mktemp("scored") / "bundle", tiny_graph)


@pytest.fixture(scope="module")
def tagger(folder: Path) -> Tagger:
    return bundle.load(folder)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[TestClient]:
    with client_of(lambda: loading.load(str(folder))) as client:
        yield client


@pytest.fixture(scope="module")
def mlflows(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[TestClient]:
    """MLflow's scoring server around the model that is registered, in this process."""
    path = tmp_path_factory.mktemp("mlflow") / "model"
    with warnings.catch_warnings():
        # mlflow 3.17.2 compares columns with a range, which pandas 3 will drop; gone when MLflow knows pandas 4.
        warnings.filterwarnings("ignore", message="Operation with range is deprecated")
        warnings.filterwarnings("ignore", message=".*An input example was not provided")  # it would only be run
        mlflow.pyfunc.save_model(
            path,
            python_model=str(Path(loading.__file__).with_name("mlflow_model.py")),
            artifacts={"bundle": str(folder)},
            signature=mlflow_files._signature(tiny.SECTION_TYPES),
            pip_requirements=["mlflow"],
        )
    with TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(path)))) as client:
        yield client


def records(rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


GOOD: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": COLUMNS, "data": ROWS}},
    "split, shuffled": {"dataframe_split": {"columns": COLUMNS, "data": SHUFFLED, "index": [5, 4, 3, 2, 1, 0]}},
    "split, texts only": {"dataframe_split": {"columns": ["text"], "data": [[text] for text in ARTICLE]}},
    "split, other columns": {"dataframe_split": {"columns": [*COLUMNS, "x"], "data": [[*row, 1] for row in ROWS]}},
    "split, null ids": {
        "dataframe_split": {"columns": ["text", "article_id"], "data": [[text, None] for text in ARTICLE]}
    },
    "records": {"dataframe_records": records(ROWS)},
    "records, shuffled": {"dataframe_records": records(SHUFFLED), "params": {}},
    "inputs, records": {"inputs": records(ROWS)},
    "inputs, columns": {"inputs": {name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}},
    "inputs, texts": {"inputs": {"text": ARTICLE}},
    "instances": {"instances": records(ROWS)},
}


@pytest.mark.parametrize("name", GOOD)
def test_json_is_answered_as_mlflow_does(name: str, ours: TestClient, mlflows: TestClient) -> None:
    theirs = mlflows.post("/invocations", json=GOOD[name])
    answer = ours.post("/invocations", json=GOOD[name])
    assert (answer.status_code, theirs.status_code) == (200, 200), (answer.text, theirs.text)
    assert answer.headers["content-type"] == theirs.headers["content-type"]
    assert answer.json().keys() == theirs.json().keys()
    assert [list(row) for row in answer.json()["predictions"]] == [list(row) for row in theirs.json()["predictions"]]
    for own, their in zip(answer.json()["predictions"], theirs.json()["predictions"], strict=True):
        assert own == {key: pytest.approx(v) if isinstance(v, float) else v for key, v in their.items()}


@pytest.mark.parametrize(
    "content",
    [
        "text\n" + "\n".join(json.dumps(text) for text in ARTICLE),
        "text,article_id,paragraph\n" + "".join(f'"{text}",{name},{i}\r\n' for text, name, i in SHUFFLED),
        'text,article_id\n"Two battalions, ""crossed""\nthe Tarn",a\n\nShells fell,a\n',
    ],
)
def test_csv_is_answered_as_mlflow_does(content: str, ours: TestClient, mlflows: TestClient) -> None:
    theirs = mlflows.post("/invocations", content=content, headers=CSV)
    answer = ours.post("/invocations", content=content, headers={"content-type": "text/csv; charset=utf-8"})
    assert (answer.status_code, theirs.status_code) == (200, 200), (answer.text, theirs.text)
    assert [row["section_type"] for row in answer.json()["predictions"]] == [
        row["section_type"] for row in theirs.json()["predictions"]
    ]
    assert [row["confidence"] for row in answer.json()["predictions"]] == pytest.approx(
        [row["confidence"] for row in theirs.json()["predictions"]]
    )


def test_paragraphs_of_an_article_inform_each_other(ours: TestClient, tagger: Tagger) -> None:
    rows = ours.post("/invocations", json=GOOD["split, shuffled"]).json()["predictions"]
    found = {(row[1], row[2]): answer["confidence"] for row, answer in zip(SHUFFLED, rows, strict=True)}
    for name, texts in (("a", ARTICLE), ("b", OTHER)):
        expected = [tag.confidence for tag in tagger.tag_article(texts)]
        assert [found[name, i] for i in range(3)] == pytest.approx(expected)
        assert expected != pytest.approx([tag.confidence for tag in tagger.tag_texts(texts)])


@pytest.mark.parametrize(
    "body", [{"inputs": ARTICLE}, {"instances": ARTICLE}, {"dataframe_split": {"data": [[t] for t in ARTICLE]}}]
)
def test_bare_texts_are_taken_too(body: Any, ours: TestClient, tagger: Tagger) -> None:
    rows = ours.post("/invocations", json=body).json()["predictions"]
    assert [row["section_type"] for row in rows] == [tag.section_type for tag in tagger.tag_texts(ARTICLE)]


BAD: list[tuple[Any, str]] = [
    ({}, "exactly one of dataframe_split, dataframe_records, inputs, instances"),
    ([SECRET], "exactly one of"),
    ({"inputs": [SECRET], "instances": [SECRET]}, "exactly one of"),
    ({"dataframe_split": [SECRET]}, "dataframe_split must be an object with data"),
    ({"dataframe_split": {"data": [["a"]], SECRET: 1}}, "dataframe_split must be an object with data"),
    ({"dataframe_split": {"columns": ["text"], "data": [[SECRET, 1]]}}, "rows of another length"),
    ({"dataframe_split": {"columns": ["text"], "data": 3}}, "dataframe_split is no table of paragraphs"),
    ({"dataframe_records": {"text": SECRET}}, "dataframe_records must be a list of objects"),
    ({"dataframe_records": [{SECRET: 1, "b": 2}]}, "needs a column 'text'"),
    ({"dataframe_records": [{"text": None}]}, "rows 0 have no text"),
    ({"inputs": {"text": ["a", "b"], "article_id": ["x"]}}, "columns have different lengths"),
    ({"inputs": 3}, "rows 0 have no text"),
    ({"inputs": [SECRET, "\u200b"]}, "paragraph 1 holds no text"),
    (
        {"dataframe_split": {"columns": COLUMNS, "data": [["a", SECRET, 1], ["b", SECRET, 1]]}},
        "article of some of the rows has the same paragraph number twice",
    ),
    (
        {"dataframe_split": {"columns": COLUMNS, "data": [["a", SECRET, None], ["b", SECRET, 1]]}},
        "article of some of the rows has rows without a paragraph number",
    ),
    ({"dataframe_split": {"columns": COLUMNS, "data": [["a", SECRET, "x"], ["b", SECRET, 1]]}}, "must hold numbers"),
    ({"dataframe_split": {"columns": COLUMNS, "data": [["a", [1], 1]]}}, "article_id must hold text"),
    ({"inputs": ["a"] * (MAX_PARAGRAPHS + 1)}, "more than 10,000 rows"),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_cannot_be_used_is_refused_in_mlflows_words(body: Any, message: str, ours: TestClient) -> None:
    response = ours.post("/invocations", json=body)
    assert response.status_code == 400
    assert response.json().keys() == {"error_code", "message"}
    assert message in response.json()["message"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no CSV in UTF-8 with a line of column names"),
        (b"text\ncaf\xe9", "no CSV in UTF-8"),
        (b'text\n"Xylographic', "no CSV in UTF-8"),
        (b"text,article_id\nXylographic\n", "rows of another length"),
        (b"a,b\nXylographic,2\n", "needs a column 'text'"),
        (b"text,article_id,paragraph\na,x,Xylographic\nb,x,1\n", "column paragraph holds something that is no number"),
        (b'text\n""\n', "rows 0 have no text"),
    ],
)
def test_csv_that_cannot_be_used(content: bytes, message: str, ours: TestClient) -> None:
    response = ours.post("/invocations", content=content, headers=CSV)
    assert response.status_code == 400
    assert message in response.json()["message"]
    assert SECRET not in response.text


def test_json_that_is_none(ours: TestClient) -> None:
    for content in (b"", b"{", b'{"inputs": "caf\xe9"}', b"[" * 100_000):
        response = ours.post("/invocations", content=content, headers=JSON)
        assert response.status_code == 400
        assert response.json()["message"] == "the body is no JSON in UTF-8"


@pytest.mark.parametrize("kind", ["text/plain", "application/vnd.apache.parquet", ""])
def test_other_types_are_refused_as_mlflow_does(kind: str, ours: TestClient, mlflows: TestClient) -> None:
    response = ours.post("/invocations", content=b"x", headers={"content-type": kind})
    assert response.status_code == 415
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    if kind == "text/plain":
        assert mlflows.post("/invocations", content=b"x", headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_ping_is_mlflows(path: str, ours: TestClient, mlflows: TestClient) -> None:
    answer, theirs = ours.get(path), mlflows.get(path)
    assert (answer.status_code, answer.text) == (theirs.status_code, theirs.text) == (200, "\n")
    assert answer.headers["content-type"] == theirs.headers["content-type"]


def test_version_is_our_own(ours: TestClient) -> None:
    assert ours.get("/version").text == __version__


def test_nothing_in_nothing_out(ours: TestClient) -> None:
    for body in ({"inputs": []}, {"dataframe_split": {"columns": ["text"], "data": []}}):
        assert ours.post("/invocations", json=body).json() == {"predictions": []}

"""Label Studio's exports: JSON and JSON-MIN as its converter writes them, and what is no such export."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from crosshead.corpora.annotations import Annotation
from crosshead.errors import DataError
from crosshead.labelling.label_studio import read_label_studio
from crosshead.text import text_digest

FORD = "Guns fired at the ford."
DIGEST = text_digest(FORD)


def chosen(*choices: str, name: str = "section_type") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(choices)}, "id": "x"}


def annotation(number: int, by: Any, *result: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "completed_by": by,
        "was_cancelled": False,
        "created_at": f"2026-01-02T03:04:0{number}Z",
        "updated_at": f"2026-01-02T03:05:0{number}.123456Z",
        "lead_time": 4.2,
        "result": list(result),
        **fields,
    }


def task(*annotations: Any, **data: Any) -> dict[str, Any]:
    return {
        "id": 11,
        "data": {"article_id": "ford", "paragraph": 0, "text": FORD} | data,
        "annotations": [*annotations],
    }


NOTE = {"from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": ["hard"]}, "id": "y"}
FULL = [
    task(
        annotation(1, 3, chosen("war_front"), NOTE),
        annotation(2, {"id": 4, "email": "ben@x.org"}, chosen("talks")),
        annotation(3, 5, was_cancelled=True),
    ),
    task(paragraph=1, text="Envoys met by the lake."),
    task(annotation(7, 3), paragraph=2, text="It rained on the hay."),
]
# What Label Studio's converter makes of FULL.
SMALL = [
    {"article_id": "ford", "paragraph": 0, "text": FORD, "headings": ["A"], "suggestion": {"section_type": "talks"},
     "id": 11, "section_type": "talks", "annotator": "ben@x.org", "annotation_id": 2,
     "created_at": "2026-01-02T03:04:02Z", "updated_at": "2026-01-02T03:05:02.123456Z", "lead_time": 4.2},
    {"article_id": "ford", "paragraph": 0, "text": FORD, "id": 11, "section_type": "war_front", "note": "hard",
     "annotator": 3, "annotation_id": 1, "created_at": "2026-01-02T03:04:01Z",
     "updated_at": "2026-01-02T03:05:01.123456Z", "lead_time": 4.2},
    {"article_id": "ford", "paragraph": 1, "text": "Envoys met by the lake.", "id": 12, "annotator": None,
     "annotation_id": None, "created_at": None, "updated_at": None, "lead_time": None},
    {"article_id": "ford", "paragraph": 2, "text": "It rained on the hay.", "id": 13, "annotator": 3,
     "annotation_id": 7, "created_at": "2026-01-02T03:04:07Z", "updated_at": None, "lead_time": 1},
]  # fmt: skip


def read(tmp_path: Path, content: Any, **names: str) -> list[Annotation]:
    path = tmp_path / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_label_studio(path, names)


def expected(section_type: str, annotator: str, line: int, second: int, note: str = "") -> Annotation:
    extra = {"time": f"2026-01-02T03:05:0{second}.123456Z", "source": "label_studio", "note": note}
    return Annotation("ford", 0, DIGEST, section_type, annotator, line=line, extra=extra)


def test_json(tmp_path: Path) -> None:
    assert read(tmp_path, FULL) == [
        expected("war_front", "label-studio-3", 1, 1, "hard"),
        expected("talks", "ben@x.org", 1, 2),
    ]


def test_json_min(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL) == [
        expected("talks", "ben@x.org", 1, 2),
        expected("war_front", "label-studio-3", 2, 1, "hard"),
    ]


def test_annotators_get_the_names_that_are_given(tmp_path: Path) -> None:
    for export in (FULL, SMALL):
        names = {found.annotator for found in read(tmp_path, export, **{"3": "anna", "ben@x.org": "ben"})}
        assert names == {"anna", "ben"}
    by_number = copy.deepcopy(FULL)
    by_number[0]["annotations"][1]["completed_by"] = {"id": 4}
    assert [found.annotator for found in read(tmp_path, by_number, **{"4": "ben"})][1] == "ben"


def test_the_only_choice_may_have_another_name(tmp_path: Path) -> None:
    export = [task(annotation(1, 3, chosen("talks", name="kind")))]
    assert [found.section_type for found in read(tmp_path, export)] == ["talks"]
    small = [{name: value for name, value in SMALL[0].items() if name != "section_type"} | {"kind": "talks"}]
    assert [found.section_type for found in read(tmp_path, small)] == ["talks"]
    listed = [small[0] | {"kind": [{"choices": ["talks"]}]}]
    assert [found.section_type for found in read(tmp_path, listed)] == ["talks"]


def test_our_choice_wins_over_others(tmp_path: Path) -> None:
    export = [task(annotation(1, 3, chosen("easy", name="mood"), chosen("talks")))]
    assert [found.section_type for found in read(tmp_path, export)] == ["talks"]


def test_what_an_import_from_csv_did_to_the_data(tmp_path: Path) -> None:
    export = [task(annotation(1, 3, chosen("talks")), paragraph="0")]
    assert read(tmp_path, export)[0].paragraph == 0
    export = [task(annotation(1, 3, chosen("talks")), text_sha256=DIGEST.upper() + "0" * 48)]
    assert read(tmp_path, export)[0].text_sha256 == DIGEST + "0" * 48
    export = [task(annotation(1, 3, chosen("talks")), text_sha256=DIGEST, text=None)]
    assert read(tmp_path, export)[0].text_sha256 == DIGEST


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON .*; export as JSON or JSON-MIN, and unpack"),
        ({"tasks": []}, "holds dict; it must be a list of tasks"),
        ([3], "task 1 of Label Studio export .* is int; it must be an object"),
        ([task() | {"annotations": None}], "task 1 .* has no list of annotations"),
        ([task(annotation(1, 3, chosen("talks")), article_id=None)], "has article_id None and paragraph 0 in its data"),
        ([task(annotation(1, 3, chosen("talks")), paragraph=True)], "and paragraph True in its data; import into"),
        ([task(annotation(1, 3, chosen("talks")), text=None)], "has neither text nor text_sha256 in its data"),
        (
            [task(), task(annotation(1, 3, chosen("talks")), text_sha256="0" * 64)],
            f"task 2 .* has a text with sha256 '{DIGEST}' but says '0{{16}}'; its text was changed",
        ),
        (
            [task(annotation(1, 3, chosen("talks", "rest")))],
            "task 1 .* has the choices talks, rest; a paragraph has one",
        ),
        ([task(annotation(1, 3, chosen("a", name="x"), chosen("b", name="y")))], "has choices in x, y; name the one"),
        ([task(annotation(1, 3, result=3))], "has an annotation with the result 3; it must be a list of objects"),
        ([SMALL[0] | {"section_type": ["talks", "rest"]}], "has the choices talks, rest"),
    ],
)
def test_what_is_no_export_is_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_missing_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json cannot be read: No such file"):
        read_label_studio(tmp_path / "gone.json")

"""Queues and articles as paragraphs that wait to be read, and the codebook beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from crosshead.errors import ArticleError, DataError
from crosshead.labelling.codebook import describe, read_codebook, render
from crosshead.labelling.queue import QueueItem, Suggestion, parse_item, read_queue, write_queue
from crosshead.taxonomy import SectionType
from crosshead.text import text_digest
from labelling_parts import TYPES, queue, write_articles

ROW: dict[str, Any] = {
    "article_id": "ford",
    "paragraph": 1,
    "text": "Envoys met by the lake.",
    "text_sha256": text_digest("Envoys met by the lake."),
    "headings": ["Talks"],
    "before": "Guns fired at the ford.",
    "after": None,
    "suggestion": {"section_type": "talks", "confidence": 1, "scores": {"talks": 1, "rest": 0.0}},
    "strategy": "uncertainty",
    "score": 1,
}


def test_a_line_of_a_queue() -> None:
    assert parse_item(json.dumps(ROW), "line 1") == QueueItem(
        article_id="ford",
        paragraph=1,
        text="Envoys met by the lake.",
        text_sha256=ROW["text_sha256"],
        headings=("Talks",),
        before=("Guns fired at the ford.",),
        suggestion=Suggestion("talks", 1.0, {"talks": 1.0, "rest": 0.0}),
        strategy="uncertainty",
        score=1.0,
    )


def test_neighbours_may_be_several_and_the_rest_may_be_missing() -> None:
    several = parse_item(json.dumps(ROW | {"before": ["One.", "", "Two."], "after": "Three.\n\nFour."}), "line 1")
    assert (several.before, several.after) == (("One.", "Two."), ("Three.", "Four."))
    few = {name: ROW[name] for name in ("article_id", "paragraph", "text", "text_sha256")}
    assert parse_item(json.dumps(few), "line 1").suggestion is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paragraph": "1"}, "line 7 has '1' for 'paragraph'; it must be int"),
        (
            {"text_sha256": "0" * 16},
            f"has a text with sha256 '{ROW['text_sha256']}' but says '{'0' * 16}'; a label would",
        ),
        ({"text": "", "text_sha256": text_digest("")}, "has a text of 0 characters; allowed are 1 to 200,000"),
        ({"headings": 3}, "has 3 for 'headings'; it must be a text or a list of texts"),
        ({"before": [3]}, "for 'before'; it must be a text or a list of texts"),
        ({"score": "high"}, "has 'high' for 'score'; it must be float or null"),
        ({"suggestion": {"section_type": "talks"}}, r"has the suggestion .*; it must hold section_type \(a name\)"),
        ({"suggestion": []}, "for 'suggestion'; it must be dict or null"),
        ({"votes": {"anna": 3}}, "for 'votes'; it must hold a text for each annotator"),
    ],
)
def test_a_line_that_is_no_paragraph_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_item(json.dumps(ROW | change), "line 7")


@pytest.mark.parametrize(
    ("line", "message"), [("{", "line 7 is no JSON"), ("[1]", "line 7 is list; it must be an object")]
)
def test_a_line_that_is_no_object_is_named(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_item(line, "line 7")


def test_a_queue_that_is_written_is_read_back(tmp_path: Path) -> None:
    items = queue(suggestions=True)
    items[0] = QueueItem(**{f: getattr(items[0], f) for f in items[0].__slots__} | {"votes": {"anna": "talks"}})
    write_queue(items, tmp_path / "queue.jsonl")
    assert read_queue([tmp_path / "queue.jsonl"]) == items


def test_articles_give_every_paragraph_in_order_with_what_stands_around_it(tmp_path: Path) -> None:
    write_articles(tmp_path / "articles")
    found = read_queue([tmp_path / "articles" / "ford.md", tmp_path / "articles" / "bridge.md"])
    assert found == queue()[:5]
    assert (found[0].title, found[2].headings) == ("The ford", ("Talks", "Weather"))
    assert [item.begins_section for item in found] == [False, True, True, False, False]
    assert (found[2].before, found[2].after) == (("Guns fired at the ford.", "Envoys met by the lake."), ())


def test_queues_and_articles_may_be_mixed(tmp_path: Path) -> None:
    write_articles(tmp_path / "articles")
    (tmp_path / "queue.jsonl").write_text(json.dumps(ROW) + "\n\n", encoding="utf-8-sig")
    table = tmp_path / "table.jsonl"
    table.write_text(json.dumps({"article_id": "t", "paragraphs": ["One.", "Two."]}) + "\n")
    found = read_queue([table, tmp_path / "queue.jsonl", tmp_path / "articles" / "bridge.md"])
    assert [item.article_id for item in found] == ["t", "t", "ford", "bridge", "bridge"]


def test_a_paragraph_waits_once(tmp_path: Path) -> None:
    (tmp_path / "queue.jsonl").write_text((json.dumps(ROW) + "\n") * 2)
    with pytest.raises(DataError, match="paragraph 1 of 'ford' waits twice, as number 1 and 2; name each queue"):
        read_queue([tmp_path / "queue.jsonl"])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArticleError, match="there is no such file or folder"):
        read_queue([tmp_path / "gone.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(ROW).encode() + b"\n\xe9")
    with pytest.raises(DataError, match=r"latin\.jsonl is not in UTF-8"):
        read_queue([tmp_path / "latin.jsonl"])


# -- the codebook ------------------------------------------------------------------------------------------------------


def test_names_of_section_types_become_their_marks() -> None:
    shown = render("# Rules\n\nTake `war_front`, not `other`.\n\n| a | b |\n|---|---|\n| 1 | `talks` |", TYPES)
    assert '<span class="chip type-0">War front</span>' in shown
    assert '<span class="chip type-1">Talks</span>' in shown
    assert "<code>other</code>" in shown
    assert "<h2>Rules</h2>" in shown
    assert "<td>1</td>" in shown


CODED = """| code | label |
|---|---|
| w | `war_front` |
| t | `talks` |
| r | `rest` |

Shells: w. Votes: t; else r, i.e. `r` or c.r. here, and the town's w-axis.
"""


def test_codes_of_a_codebook_give_way_to_the_keys_of_the_page() -> None:
    told = render(CODED, TYPES)
    assert re.findall(r'<td>(?:<kbd class="(.*?)" title="(.*?)">)(.)</kbd></td>', told) == [
        ("type-0", "War front", "1"),
        ("type-1", "Talks", "2"),
        ("type-2", "Rest", "3"),
    ]
    rules = re.sub(r"<kbd [^>]*>(.)</kbd>", r"[\1]", told.partition("</table>")[2])
    assert "Shells: [1]. Votes: [2]; else [3], i.e. <code>r</code> or c.r. here, and the town&#x27;s w-axis." in rules


def test_letters_stay_where_not_every_section_type_has_a_code() -> None:
    assert "<kbd" not in render(CODED.replace("| r | `rest` |\n", ""), TYPES)
    assert "<kbd" not in render("Shells: w.", TYPES)


def test_nothing_of_a_codebook_runs() -> None:
    shown = render("<script>alert(1)</script>\n\n[x](javascript:alert(1)) ![y](data:text/html,z) `<b>`", TYPES)
    assert "<script" not in shown
    assert 'href="javascript' not in shown
    assert 'src="data:text' not in shown
    assert "<code>&lt;b&gt;</code>" in shown


def test_without_a_codebook_the_taxonomy_speaks() -> None:
    shown = describe([SectionType("cost", "What it <costs>."), SectionType("care")])
    assert '<span class="chip type-0">Cost</span>' in shown
    assert "What it &lt;costs&gt;." in shown


def test_a_codebook_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.md cannot be read: No such file.*--codebook"):
        read_codebook(tmp_path / "gone.md", TYPES)
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    with pytest.raises(DataError, match="is not in UTF-8"):
        read_codebook(tmp_path / "latin.md", TYPES)
    (tmp_path / "good.md").write_text("`talks`")
    assert "type-1" in read_codebook(tmp_path / "good.md", TYPES)

"""The JSONL contract: one line out for each line in, in order, nothing lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_parts import SECTION_TYPES, make_tagger
from crosshead.cli.writers import JsonLines
from crosshead.errors import EncoderError
from crosshead.feeds.items import Item, answer
from crosshead.feeds.jsonl import BYTES_PER_CHUNK, LINES_PER_CHUNK, as_record, dumps, parse, read_items
from crosshead.limits import MAX_INPUT_BYTES, MAX_PARAGRAPHS
from crosshead.text import MAX_CHARACTERS

TAGGER = make_tagger()
SHELLS = "Shells fell on the river bank at dawn."


def feed(data: bytes, *, stream: io.IOBase | None = None, max_bytes: int = MAX_INPUT_BYTES) -> list[bytes]:
    """Tag a feed as the command does; return its lines."""
    out = io.BytesIO()
    writer = JsonLines(out, with_file=False)
    for items in read_items(stream or io.BytesIO(data), "feed", max_bytes=max_bytes):
        writer.write(answer(TAGGER, items))
    writer.close()
    return out.getvalue().split(b"\n")[:-1]


def n_lines(data: bytes) -> int:
    return data.count(b"\n") + bool(data and not data.endswith(b"\n"))


def tag_line(line: str) -> dict:
    (answered,) = feed(line.encode())
    return json.loads(answered)


def test_a_text_gives_its_tag_and_its_id() -> None:
    record = tag_line(json.dumps({"id": "7", "text": SHELLS}))
    (tag,) = TAGGER.tag_texts([SHELLS])
    assert record == {"id": "7", **tag.as_dict()}
    assert list(record) == ["id", "section_type", "confidence", "scores", "abstained", "truncated_tokens"]
    assert list(record["scores"]) == list(SECTION_TYPES)


def test_paragraphs_are_tagged_as_one_article() -> None:
    paragraphs = [SHELLS, "The writer keeps bees.", "The neighbours closed a border."]
    record = tag_line(json.dumps({"article_id": "a", "paragraphs": paragraphs}))
    assert record == {"article_id": "a", "paragraphs": [tag.as_dict() for tag in TAGGER.tag_article(paragraphs)]}
    alone = [tag.as_dict() for tag in TAGGER.tag_texts(paragraphs)]
    assert record["paragraphs"] != alone, "neighbours must inform each other"


def test_texts_of_one_feed_do_not_inform_each_other() -> None:
    texts = [SHELLS, "The writer keeps bees.", "The neighbours closed a border."]
    lines = feed("".join(json.dumps({"text": text}) + "\n" for text in texts).encode())
    assert [json.loads(line) for line in lines] == [tag.as_dict() for tag in TAGGER.tag_texts(texts)]


def test_an_article_without_paragraphs_has_none() -> None:
    assert tag_line('{"article_id": 1, "paragraphs": []}') == {"article_id": 1, "paragraphs": []}


def test_truncated_tokens_are_counted() -> None:
    assert tag_line(json.dumps({"text": "word " * 20}))["truncated_tokens"] == 8


@pytest.mark.parametrize(
    "told", ['"7"', "7", "7.5", "-3", "123456789012345678901", "null", '""', '"\\ud800"', '"ä\u2028b"']
)
def test_ids_come_back_unchanged(told: str) -> None:
    (line,) = feed(f'{{"id": {told}, "article_id": {told}, "text": "Shells fell."}}'.encode())
    record = json.loads(line)
    assert record["id"] == record["article_id"] == json.loads(told)
    assert type(record["id"]) is type(json.loads(told))


def test_other_keys_are_ignored_and_equal_ids_pass() -> None:
    line = b'{"id": 1, "text": "Shells fell.", "date": "2024-05-01", "scores": 3}\n'
    first, second = feed(line * 2)
    assert first == second
    assert json.loads(first).keys() == {"id", "section_type", "confidence", "scores", "abstained", "truncated_tokens"}


BAD_LINES = [
    (b"", "the line is empty"),
    (b"  \t\r", "the line is empty"),
    (b"nonsense", "the line is not JSON: Expecting value (character 1)"),
    (b'{"id": 1, "text": "cut', "the line is not JSON: Unterminated string"),
    (b'{"text": "a"} {"text": "b"}', "the line is not JSON: Extra data"),
    (b"[1, 2]", "the line is a list; give an object"),
    (b'"text"', "the line is a string; give an object"),
    (b"null", "the line is null; give an object"),
    (b"true", "the line is true or false; give an object"),
    (b"12", "the line is a number; give an object"),
    (b"NaN", "the line is not JSON: NaN is no JSON number"),
    (b'{"text": "a", "score": -Infinity}', "the line is not JSON: -Infinity is no JSON number"),
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "the line holds a number with too many digits"),
    (b'{"text": "caf\xe9"}', "the line is not UTF-8 (byte 14)"),
    (b"[" * 100_000, "the line is nested too deeply"),
    (b"{}", "the line has neither text nor paragraphs"),
    (b'{"text": "a", "paragraphs": ["b"]}', "the line has both text and paragraphs"),
    (b'{"text": 3}', "text is a number; give a string"),
    (b'{"text": null}', "text is null; give a string"),
    (b'{"text": ["a"]}', "text is a list; give a string"),
    (b'{"text": ""}', "text is empty; give at least one word"),
    (b'{"text": " \\n"}', "text is empty; give at least one word"),
    (b'{"text": "\\u200b\\ufeff"}', "holds no text"),
    (b'{"text": "\\ud83d"}', "text holds half of a surrogate pair (character 1)"),
    (b'{"text": "' + b"a" * (MAX_CHARACTERS + 1) + b'"}', "at most 200,000 are tagged as one paragraph"),
    (b'{"paragraphs": "a"}', "paragraphs is a string; give a list of strings"),
    (b'{"paragraphs": {"0": "a"}}', "paragraphs is an object; give a list of strings"),
    (b'{"paragraphs": ["a", 2]}', "paragraph 1 is a number; give a string"),
    (b'{"paragraphs": ["a", ""]}', "paragraph 1 is empty"),
    (b'{"paragraphs": ["a", "\\udc00"]}', "paragraph 1 holds half of a surrogate pair"),
    (b'{"id": ["a"], "text": "b"}', "id is a list; give a string or a number"),
    (b'{"id": true, "text": "b"}', "id is true or false; give a string or a number"),
    (b'{"article_id": {}, "paragraphs": ["b"]}', "article_id is an object; give a string or a number"),
    (b'{"id": 1e999, "text": "b"}', "id is a number too large to be given back"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message[:40] for _, message in BAD_LINES])
def test_a_bad_line_gives_its_error_in_its_place(line: bytes, message: str) -> None:
    good = json.dumps({"id": "good", "text": SHELLS}).encode()
    first, bad, last = (json.loads(answered) for answered in feed(b"\n".join([good, line, good])))
    assert first == last == {"id": "good", **TAGGER.tag_texts([SHELLS])[0].as_dict()}
    assert message in bad["error"]
    assert bad["line"] == 2
    assert set(bad) <= {"error", "line", "id", "article_id"}


def test_an_error_names_the_id_where_it_is_known_and_repeats_no_text() -> None:
    assert tag_line('{"id": "7", "article_id": 3, "text": 4}') == {
        "id": "7",
        "article_id": 3,
        "error": "text is a number; give a string",
        "line": 1,
    }
    assert "secret" not in json.dumps(tag_line('{"text": "secret", "id": NaN}'))


def test_too_many_paragraphs_are_refused() -> None:
    record = tag_line(json.dumps({"article_id": "a", "paragraphs": ["a"] * (MAX_PARAGRAPHS + 1)}))
    assert record["error"] == "paragraphs holds 10,001 texts; at most 10,000 are allowed; split it"


def test_a_line_of_50_megabytes_is_refused_without_being_held() -> None:
    good = b'{"id": 1, "text": "Shells fell."}\n'

    class Huge(io.RawIOBase):
        def __init__(self) -> None:
            self.blocks = iter([good, b'{"text": "', *[b"a" * 65_536] * 800, b'"}\n', good])

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return next(self.blocks, b"")

    import tracemalloc

    tracemalloc.start()
    first, bad, last = feed(b"", stream=Huge())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first == last
    assert json.loads(bad) == {"error": "the line is longer than 10,485,760 bytes; split it", "line": 2}
    assert peak < 3 * MAX_INPUT_BYTES


def test_a_last_line_that_is_too_long_is_an_answer_as_well() -> None:
    assert [json.loads(line)["line"] for line in feed(b"x" * 11 + b"\n" + b"y" * 12, max_bytes=10)] == [1, 2]


def test_a_byte_order_mark_and_windows_line_ends_are_no_errors() -> None:
    lines = feed(b'\xef\xbb\xbf{"id": 1, "text": "Shells fell."}\r\n{"id": 2, "text": "Shells fell."}\r\n')
    assert [json.loads(line)["id"] for line in lines] == [1, 2]


def test_nothing_in_gives_nothing_out() -> None:
    assert feed(b"") == []


LINE = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.fixed_dictionaries({"text": st.text(max_size=30)}, optional={"id": st.none() | st.text() | st.integers()}).map(
        lambda record: json.dumps(record).encode()
    ),
    st.fixed_dictionaries({"paragraphs": st.lists(st.text(max_size=20), max_size=4)}).map(
        lambda record: json.dumps(record, ensure_ascii=True).encode()
    ),
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=4).map(
        lambda value: json.dumps(value).encode()
    ),
)


@given(lines=st.lists(LINE, max_size=12), closed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_lines_give_as_many_lines_of_json_in_order(lines: list[bytes], closed: bool) -> None:
    marked = [line for i, line in enumerate(lines) for line in (line, b'{"id": %d, "text": "Shells fell."}' % i)]
    data = b"".join(line + b"\n" for line in marked)
    answered = [json.loads(line) for line in feed(data if closed else data[:-1])]
    assert len(answered) == n_lines(data) == len(marked)
    assert [record["id"] for record in answered[1::2]] == list(range(len(lines)))
    for number, record in enumerate(answered, start=1):
        assert record.get("line", number) == number
        assert ("error" in record) != ("section_type" in record or "paragraphs" in record)


@given(data=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_a_line_a_line(data: bytes) -> None:
    answered = feed(data)
    assert len(answered) == n_lines(data)
    for line in answered:
        line.decode("utf-8")
        assert isinstance(json.loads(line), dict)


class Trickle(io.RawIOBase):
    """Gives its bytes in pieces of the sizes that are asked of it."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes = data, sizes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        n = self.sizes.pop() if self.sizes else 7
        piece, self.data = self.data[:n], self.data[n:]
        return piece


@given(sizes=st.lists(st.integers(1, 200), max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_bytes_do_not_depend_on_how_the_input_arrives(sizes: list[int]) -> None:
    texts = [SHELLS, "The neighbours closed a border.", "", "Columns crossed; the writer keeps bees.", "Snow."]
    data = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()
    assert feed(b"", stream=Trickle(data, sizes)) == feed(data)


def test_the_bytes_do_not_depend_on_the_size_of_chunks() -> None:
    texts = [f"Columns crossed the {word} river; neighbours {word * 2} a border." for word in map(chr, range(97, 123))]
    items = [Item((text,), is_article=False, line=n) for n, text in enumerate(texts * 12, start=1)]
    together = [dumps(as_record(found)) for found in answer(TAGGER, items)]
    assert together == [dumps(as_record(found)) for item in items for found in answer(TAGGER, [item])]


def test_chunks_are_bounded() -> None:
    line = b'{"text": "Shells fell."}\n'
    sizes = [len(items) for items in read_items(io.BytesIO(line * (2 * LINES_PER_CHUNK + 5)), "feed")]
    assert sizes == [LINES_PER_CHUNK, LINES_PER_CHUNK, 5]
    long = json.dumps({"text": "word " * 30_000}).encode() + b"\n"
    assert max(len(items) for items in read_items(io.BytesIO(long * 40), "feed")) <= BYTES_PER_CHUNK // len(long) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="select works on sockets only there")
def test_a_feed_that_pauses_gets_its_answers_at_once() -> None:
    reading, writing = os.pipe()
    got: list[list[Item]] = []
    arrived = threading.Event()

    def read() -> None:
        with open(reading, "rb") as stream:
            for items in read_items(stream, "feed"):
                got.append(items)
                arrived.set()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        os.write(writing, b'{"text": "a"}\n{"text": "b"}\n{"text')
        assert arrived.wait(20), "two whole lines stay unanswered while the feed pauses"
        assert [item.line for item in got[0]] == [1, 2]
    finally:
        os.close(writing)
        thread.join(20)
    assert [item.line for items in got for item in items] == [1, 2, 3]


def test_an_error_of_the_encoder_ends_everything() -> None:
    class Broken:
        def tag_articles(self, articles: object) -> object:
            raise EncoderError("the graph is gone")

    with pytest.raises(EncoderError, match="the graph is gone"):
        answer(Broken(), [Item(("a",))])  # type: ignore[arg-type]


def test_a_surprise_spoils_one_item_and_is_not_quoted() -> None:
    class Surprised:
        def tag_articles(self, articles: list[tuple[str, ...]]) -> object:
            if any("secret" in text for texts in articles for text in texts):
                raise IndexError("no place for secret")
            return TAGGER.tag_articles(articles)

    items = [Item((text,), is_article=False, line=n) for n, text in enumerate(["Shells.", "secret", "Bees."], 1)]
    answers = answer(Surprised(), items)  # type: ignore[arg-type]
    assert [found.error for found in answers] == ["", "it cannot be tagged (IndexError)", ""]
    assert answers[0].tags[0] == TAGGER.tag_texts(["Shells."])[0]


def test_what_is_written_is_one_line_for_every_reader() -> None:
    text = dumps({"id": "a\u2028b\u2029c\x85d\ud800"})
    assert text.splitlines() == [text]
    assert json.loads(text) == {"id": "a\u2028b\u2029c\x85d\ud800"}
    assert dumps({"id": "Łódź\u2028"}) == '{"id": "Łódź\\u2028"}'
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"confidence": np.nan})


def test_parse_counts_lines_from_one() -> None:
    assert parse(b'{"text": "a"}', 1, "feed") == Item(("a",), is_article=False, file="feed", line=1)


def test_gzip_bytes_are_one_bad_line_unless_they_are_unpacked() -> None:
    packed = gzip.compress(b'{"text": "a"}\n')
    assert all("error" in json.loads(line) for line in feed(packed))

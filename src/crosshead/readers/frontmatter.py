"""The header of a Markdown file: ``---`` with simple YAML, or ``+++`` with TOML.

Of YAML this reads what article headers hold: one scalar or one list of scalars a key, quoted or not, and block
text after ``|`` or ``>``. Scalars stay text. Nested mappings are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from crosshead.readers.blocks import plain_value

MAX_FRONT_MATTER_CHARS = 16 * 1024

_FENCED = re.compile(r"(?:---|\+\+\+)[ \t]*\n")
_CLOSED = {
    "---": re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE),
    "+++": re.compile(r"^\+\+\+[ \t]*$", re.MULTILINE),
}
# Bounded repeats keep every search short, whatever the text.
_KEY = re.compile(r"([A-Za-z_][\w .-]{0,80}?)[ \t]{0,20}:(?:[ \t]+(.*))?")
_MEANT_AS_YAML = re.compile(r"[ \t#\-\]}]|$|[A-Za-z_][\w .-]{0,80}?[ \t]{0,20}:(?:[ \t]|$)")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def read_front_matter(source: str) -> tuple[dict[str, object], int]:
    """Return the fields and where the body begins: ``({}, 0)`` if the source does not open with a header.

    A rule of dashes above prose is no header: a header begins with ``key:``, every line of it could be YAML,
    and it is closed.
    """
    opened = _FENCED.match(source)
    if opened is None:
        return {}, 0
    kind = source[:3]
    closed = _CLOSED[kind].search(source, opened.end(), opened.end() + MAX_FRONT_MATTER_CHARS)
    if closed is None:
        return {}, 0
    text = source[opened.end() : closed.start()]
    fields = _read_toml(text) if kind == "+++" else _read_yaml(text)
    return ({}, 0) if fields is None else (fields, closed.end())


def _read_toml(text: str) -> dict[str, object] | None:
    import tomllib

    try:
        return {key: plain_value(value) for key, value in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _read_yaml(text: str) -> dict[str, object] | None:
    lines = text.split("\n")
    told = [line for line in lines if line.strip() and not line.startswith("#")]
    if not told or not _KEY.fullmatch(told[0]) or not all(map(_MEANT_AS_YAML.match, lines)):
        return None
    return dict(_fields(lines))


def _fields(lines: list[str]) -> Iterator[tuple[str, object]]:
    position = 0
    while position < len(lines):
        found = _KEY.fullmatch(lines[position].rstrip())
        position += 1
        if found is None:
            continue
        nested: list[str] = []
        while position < len(lines) and re.match(r"\s|- |-$|$", lines[position]):
            nested.append(lines[position])
            position += 1
        yield found[1], _value((found[2] or "").strip(), nested)


def _value(told: str, nested: list[str]) -> object:
    if re.fullmatch(r"[|>][+-]?\d?", told):
        joint = "\n" if told[0] == "|" else " "
        return joint.join(line.strip() for line in nested).strip()
    if told.startswith("["):
        return _flow_list(" ".join([told, *(line.strip() for line in nested)]))
    items = [line.strip()[1:] for line in nested if re.match(r"\s*-(\s|$)", line)]
    if items and not told:
        return [_scalar(item) for item in items]
    if told.startswith(("'", '"')) or not told:
        return _scalar(told)
    return _scalar(" ".join([told, *(line.strip() for line in nested)]))


def _flow_list(told: str) -> list[str]:
    inside = told[1 : told.rfind("]")] if "]" in told else told[1:]
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^,\s][^,]*', inside)
    return [_scalar(part) for part in parts]


def _scalar(told: str) -> str:
    told = told.strip()
    if quoted := re.match(r'"(?:[^"\\]|\\.)*"', told):
        try:
            return str(json.loads(quoted[0], strict=False))
        except ValueError:  # YAML knows escapes that JSON does not
            return quoted[0][1:-1]
    if quoted := re.match(r"'((?:[^']|'')*)'", told):
        return quoted[1].replace("''", "'")
    return _COMMENT.sub("", told).strip()

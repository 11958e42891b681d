"""The page of the public Python names, from their signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from reference_parts import page, plain, table

import crosshead

ORDER = (
    "load",
    "Model",
    "Tagger",
    "Tag",
    "read_articles",
    "read_article",
    "Article",
    "Paragraph",
    "Taxonomy",
    "CrossheadError",
)


def python_page() -> str:
    """Every public name: signature, docstring, fields and methods."""
    assert {*ORDER, "__version__"} == set(crosshead.__all__)
    parts = [
        "`import crosshead` gives these names and no others; they follow semantic versioning. "
        "[Use it from Python](../how-to/python.md) shows them at work.",
    ]
    for name in ORDER:
        parts += _told(name, getattr(crosshead, name))
    return page("Python", *parts)


def _told(name: str, thing: Any) -> Iterator[str]:
    yield f"## {name}"
    if not inspect.isclass(thing):
        yield f"```python\n{_signature(name, thing)}\n```"
    yield f"```text\n{inspect.getdoc(thing)}\n```"
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        yield from _members(thing)


def _signature(name: str, thing: Any) -> str:
    told = f"{name}{inspect.signature(thing)}".replace("'", "")
    if len(told) <= 100:
        return told
    inside, _, answer = told[len(name) + 1 :].rpartition(")")
    arguments = [f"    {part}," for part in _split(inside)]
    return "\n".join([f"{name}(", *arguments, f"){answer}"])


def _split(arguments: str) -> Iterator[str]:
    """Split at commas that stand in no brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(arguments):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            yield arguments[start:place].strip()
            start = place + 1
    yield arguments[start:].strip()


def _members(cls: type) -> Iterator[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    fields = [
        (f"`{node.target.id}`", f"`{ast.unparse(node.annotation)}`".replace("|", "\\|"), plain(_doc_after(tree, place)))
        for place, node in enumerate(tree.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_")
    ]
    if fields:
        yield table(("field", "type", "meaning"), fields)
    methods = [
        (f"`{node.name}`", plain((ast.get_docstring(node) or "").split("\n\n")[0]))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    if methods:
        yield table(("method", "what it does"), methods)


def _doc_after(tree: ast.ClassDef, place: int) -> str:
    """Return the string that stands below a field."""
    below = tree.body[place + 1] if place + 1 < len(tree.body) else None
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
        return inspect.cleandoc(below.value.value)
    return ""

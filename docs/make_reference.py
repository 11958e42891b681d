"""Write the pages of docs/reference/ that come from the code: `python docs/make_reference.py [--check]`.

With ``--check`` nothing is written; the exit code is 1 if a page is not what the code says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
from reference_configuration import configuration_page
from reference_parts import ROOT, page, plain, table
from reference_python import python_page

from crosshead import bundle, errors, estimator_files
from crosshead.cli.exits import MEANINGS
from crosshead.cli.group import SECTIONS, crosshead
from crosshead.errors import CrossheadError

FOLDER = ROOT / "docs" / "reference"

MANIFEST_KEYS = {
    "format": "version of this format; another one is refused",
    "crosshead": "version of crosshead that wrote it",
    "name": "name of the model, as given when it was saved",
    "version": "version in the registry; empty where there is none",
    "section_types": "their names, in the order of every probability vector",
    "views": "name, kind (`paragraph`, `sentence`, `tfidf`), weight and kind of head of each; `n_max` of a word view",
    "encoder": "fingerprint of the encoder in `encoder/`, or null where there is none",
    "temperature": "divides the blended log-probabilities",
    "decoder": "kind of decoder: `neighbours` or `sequence`",
    "decoder_weight": "how much the other paragraphs of an article count",
    "decoder_l2": "of a sequence: how strongly large weights are held back",
    "threshold": 'confidence below which the tagger says "not sure"',
    "risk": "share of mistakes above the threshold that was aimed at",
    "conformal_quantile": "of the label sets; null where the model promises none",
    "conformal_alpha": "share of sets that may miss the true section type",
    "novelty_threshold": "distance from which a text is of another kind than that of training; null: cannot be told",
    "novelty_false_alarms": "share of paragraphs of held-out articles beyond that distance",
    "about": "facts of the training: taxonomy, data, counts",
    "files": "path and sha256 of every other file",
}
"""What stands in a manifest; a test compares the keys with those of a saved bundle."""


# -- the command line ------------------------------------------------------------------------------------------------


def cli() -> str:
    """Every command with its arguments, options and examples, and the exit codes."""
    codes = table(("code", "meaning"), ((str(int(code)), meaning) for code, meaning in MEANINGS.items()))
    overview = table(
        ("command", "what it does"),
        (
            (f"[`crosshead {name}`](#crosshead-{name})", plain(summary).rstrip("."))
            for commands in SECTIONS.values()
            for name, (_, summary) in commands.items()
        ),
    )
    names = crosshead.list_commands(click.Context(crosshead, **crosshead.context_settings))
    commands = [part for name in names for part in _command(name)]
    return page(
        "Commands",
        "`crosshead COMMAND -h` says the same on the terminal. Answers go to standard output; everything else "
        "(messages, progress) goes to standard error, progress only where that is a terminal. "
        "Every command takes `--debug`, which "
        "shows where an error arises. "
        "[Environment variables](environment.md) and [file formats](file-formats.md) have pages of their own.",
        overview,
        "## Exit codes",
        codes,
        *commands,
    )


def _command(name: str) -> Iterator[str]:
    context = click.Context(crosshead, info_name="crosshead", **crosshead.context_settings)
    command = crosshead.get_command(context, name)
    assert command is not None
    yield from _described(command, click.Context(command, info_name=name, parent=context), "##")


def _described(command: click.Command, context: click.Context, level: str) -> Iterator[str]:
    yield f"{level} {context.command_path}"
    for paragraph in inspect.cleandoc(command.help or "").replace("\b", "").split("\n\n"):
        yield plain(paragraph)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{context.command_path} {usage}\n```"
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    rows = [(_option(names), plain(told)) for names, told in records if told and names not in ("--debug", "-h, --help")]
    if rows:
        yield table(("option", "meaning"), rows)
    examples = getattr(command, "examples", ())
    if examples:
        yield "```\n" + "\n".join(examples) + "\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _described(below, click.Context(below, info_name=name, parent=context), level + "#")


def _option(names: str) -> str:
    """Quote each spelling of an option; click separates them by a comma or a slash."""
    return ", ".join(f"`{name.strip()}`".replace("|", "\\|") for name in re.split(r", | / ", names))


# -- errors ----------------------------------------------------------------------------------------------------------


def exit_codes() -> str:
    """Exit codes, and the error classes that lead to them."""
    classes: list[type[CrossheadError]] = [CrossheadError, *_below(CrossheadError)]
    told = ((f"`{c.__name__}`", str(c.exit_code), plain((c.__doc__ or "").splitlines()[0])) for c in classes)
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::\n")[2].partition("\nA message")[0]
    return page(
        "Exit codes and errors",
        "A script can go by the exit code; a Python program by the class.",
        table(("code", "meaning"), ((str(int(code)), meaning) for code, meaning in MEANINGS.items())),
        "## Errors",
        "Every error that crosshead raises on purpose is a `CrossheadError`. Its message says what it is, what it got, "
        "what is allowed, and what to do. A traceback appears only with `--debug` or `CROSSHEAD_DEBUG=1`.",
        "```\n" + inspect.cleandoc(tree) + "\n```",
        table(("class", "exit code", "raised for"), told),
    )


def _below(cls: type[CrossheadError]) -> Iterator[type[CrossheadError]]:
    for below in cls.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from _below(below)


# -- the API ---------------------------------------------------------------------------------------------------------


def api() -> str:
    """Every path of the server and every object that goes over the wire, from its OpenAPI document."""
    from crosshead.server.app import create_app

    def nothing() -> Any:
        raise AssertionError("no model is needed for the document")

    document = create_app(nothing).openapi()
    schemas = document["components"]["schemas"]
    parts = [
        "The server's own description is at `/openapi.json`. [Serving](serving.md) says what holds for all paths: "
        "keys, limits, time, errors. Fields marked with * must be given.",
        "## Paths",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += list(_operation(method.upper(), path, operation))
    parts.append("## Objects")
    for name, schema in schemas.items():
        parts += [f"### {name}", plain(schema.get("description", "")), _fields(schema)]
    return page("HTTP API", *parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield from (plain(paragraph) for paragraph in operation.get("description", "").split("\n\n"))
    rows = [("parameter", f"`{p['name']}` ({p['in']})", "") for p in operation.get("parameters", ())]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("body", f"`{kind}`", _schema(content.get("schema", {}))))
    for status, response in operation["responses"].items():
        kinds = response.get("content", {}) or {"": {}}
        told = " or ".join(_schema(content.get("schema", {})) for content in kinds.values())
        rows.append((status, plain(response.get("description", "")), told))
    yield table(("", "what", "object"), rows)


def _schema(schema: Mapping[str, Any]) -> str:
    """Say in words what a schema allows, with links to the objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_schema(part) for part in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_schema(schema.get('items', {})) or 'anything'}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_schema(schema['additionalProperties']) or 'anything'}"
    limits = [f"{word} {int(schema[sign]):,}" for sign, word in _LIMITS.items() if sign in schema]
    if kind == "string" and limits:
        return f"text, {' '.join(limits)} characters"
    return ", ".join(
        [{"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind), *limits]
    )


_LIMITS = {"minLength": "from", "maxLength": "to", "minimum": "at least", "maximum": "at most"}


def _fields(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = (
        (f"`{name}`" + ("\\*" if name in required else ""), _schema(field), plain(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    )
    return table(("field", "type", "meaning"), rows)


# -- the bundle ------------------------------------------------------------------------------------------------------


def bundle_format() -> str:
    """What lies in the folder of a saved tagger."""
    layout = inspect.cleandoc(bundle.__doc__ or "").partition("::\n")[2].partition("\n``load``")[0]
    trusted = ", ".join(f"`{name}`" for name in estimator_files.TRUSTED_TYPES)
    return page(
        "Bundle: a saved tagger",
        "A bundle is one folder. It holds everything that tagging needs, can be copied anywhere, and runs without "
        "torch, scikit-learn, MLflow, Hydra or DVC. There is no pickle in it.",
        "```\n" + inspect.cleandoc(layout) + "\n```",
        "The **digest** of a bundle is the sha256 of its manifest. The manifest names the sha256 of every other file, "
        "so the digest names the whole content. Loading checks every hash before anything else reads a file, refuses "
        "files that the manifest does not name, and builds only the kinds of view and head that the code knows.",
        f"Format {bundle.FORMAT} of `{bundle.MANIFEST}`:",
        table(("key", "meaning"), ((f"`{key}`", told) for key, told in MANIFEST_KEYS.items())),
        "When a bundle is saved it is loaded again and compared with the tagger in memory on held-out articles. A "
        f"probability that differs by more than {bundle.LARGEST_DIFFERENCE:g} stops the saving "
        f"({bundle.LARGEST_ACROSS_ENGINES:g} where training used another engine, such as a graphics processor).",
        "`sklearn/` is for inspection and further training; tagging never reads it. It is opened with skops, which "
        f"builds types of its own list and these: {trusted}. That list is in the code and never in a bundle.",
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "exit-codes.md": exit_codes,
    "configuration.md": configuration_page,
    "api.md": api,
    "python.md": python_page,
    "bundle.md": bundle_format,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or only compare them."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    print(f"{'stale' if '--check' in arguments else 'written'}: {', '.join(stale) or 'none'}")
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

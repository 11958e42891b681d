"""The documentation: its commands run, its links and anchors hold, what is generated is what the code says."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import click
import pytest

from cli_parts import process_environ
from crosshead.cli.group import crosshead
from crosshead.settings import compose
from docs_parts import LABELLER, ROOT, SHIM, blocks, make_project, name_of, script

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TASKS = [ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
"""Pages whose commands are run, from top to bottom in one small project."""
LONGEST_README = 100
"""Lines: two screens."""
OVERRIDDEN = ("run", "prepare", "train", "evaluate", "search", "promote")
"""Commands that take overrides of the configuration."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))  # the scripts import their parts from beside them
    spec.loader.exec_module(module)
    return module


# -- what is generated ------------------------------------------------------------------------------------------------


GENERATED = ["cli.md", "exit-codes.md", "configuration.md", "api.md", "python.md", "bundle.md"]


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_reference_is_what_the_code_says(name: str) -> None:
    reference = _load("make_reference")
    assert list(reference.PAGES) == GENERATED
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), f"run `python docs/make_reference.py`: {name} is stale"


def test_the_picture_of_the_architecture_is_the_table_of_its_test() -> None:
    written = (DOCS / "images" / "architecture.svg").read_text(encoding="utf-8")
    assert written == _load("make_picture").draw(), "run `python docs/make_picture.py`: the picture is stale"


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    lines = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| `[\w.]+` \|", line)]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == [], "say it in docs/make_reference.py, MEANINGS_OF_KEYS"


def test_every_key_of_a_manifest_is_described(tiny_bundle: Path) -> None:
    from crosshead.bundle import read_manifest

    assert set(read_manifest(tiny_bundle)) == set(_load("make_reference").MANIFEST_KEYS)


# -- commands ---------------------------------------------------------------------------------------------------------


def _calls() -> dict[str, str]:
    """Find every call of crosshead, in blocks and in the line, and one page that it stands on."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block in blocks(page):
            text = re.sub(r"\\\n", " ", block.text)
            for line in text.splitlines():
                for part in re.split(r"[|;&]+(?=\s)|\$\(", line):
                    if re.match(r"\s*(\$ )?(\.venv/bin/)?crosshead [a-z-]", part):
                        found.append((name_of(page), re.split(r"\s#\s", part)[0].strip().removeprefix("$ ")))
        plain = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        found += [(name_of(page), part) for part in re.findall(r"`(crosshead [a-z][^`]+)`", plain)]
    return {call: page for page, call in sorted(found, reverse=True)}


@pytest.mark.parametrize(("call", "page"), _calls().items())
def test_every_call_names_commands_options_and_keys_that_exist(call: str, page: str) -> None:
    words = [word for word in shlex.split(call.replace("\\|", "|")) if word not in ("[", "]", "…")][1:]
    words = words[: words.index(">")] if ">" in words else words
    command: click.Command = crosshead
    context = click.Context(crosshead, **crosshead.context_settings)
    names = []
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        below = command.get_command(context, words[0])
        assert below is not None, f"{page}: there is no command {words[0]!r}"
        command, names, words = below, [*names, words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in {*known, "-h", "--help"}, f"{page}: {' '.join(names)} has no {word}"
    if names[:1] and names[0] in OVERRIDDEN and not {"…", "OVERRIDES", "KEY=VALUE"} & set(words):
        _check_overrides(names[0], tuple(word for word in words if re.match(r"[a-z]\w*(\.\w+)*=", word)))


@functools.cache
def _check_overrides(command: str, overrides: tuple[str, ...]) -> None:
    """Compose what is typed; of several values the first, and of names that stand for something, the key alone."""
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    first = []
    for override in overrides:
        key, _, value = override.partition("=")
        value = value if value.startswith(("[", "range")) else value.split(",")[0]
        if key in groups and not (ROOT / "conf" / key / f"{value}.yaml").is_file():
            continue  # a file that the page tells to write
        first.append(f"{key}={'null' if 'range' in value or '…' in value else value}")
    if not first:
        return
    asked = {"search": ["search=default"], "promote": ["promotion=default"]}.get(command, [])
    compose([*asked, *(o for o in first if not o.startswith("hydra"))], ROOT)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project that the commands of every page are run in a copy of."""
    return make_project(tmp_path_factory.mktemp("docs") / "project")


@pytest.mark.slow
@pytest.mark.parametrize("page", TASKS, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, small: Path, tmp_path: Path) -> None:
    wanted = [block for block in blocks(page) if block.language == "sh" and not block.not_run]
    if not wanted:
        pytest.skip("the page gives no commands to run")
    project = tmp_path / "project"
    shutil.copytree(small, project)
    (tmp_path / "bin").mkdir()
    for name, text in (
        ("crosshead", SHIM.format(python=sys.executable)),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "labeller.py").write_text(LABELLER, encoding="utf-8")
    environ = process_environ(project, LABELLER=str(tmp_path / "labeller.py"), MLFLOW_DISABLE_TELEMETRY="true")
    environ["PATH"] = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script(page, {"crosshead serve": 0})],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (
        f"{name_of(page)} ended with {done.returncode}\n{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
    )


def test_every_page_of_a_task_gives_commands_and_says_why_some_are_not_run() -> None:
    for page in TASKS:
        told = list(blocks(page))
        if page.name != "index.md":
            assert any(block.language == "sh" for block in told), name_of(page)
        for block in told:
            assert block.language, f"{name_of(page)}:{block.line}: a block needs a language: sh is run, text is not"


# -- the site ---------------------------------------------------------------------------------------------------------

LOADING = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}
SPHINX = ("-m", "sphinx", "-b", "html", "-c", "docs", "-W", "--keep-going", "-q")
"""As `make docs` calls it."""
OTHER_PLACE = re.compile(r"(?:[a-z]+:)?//")


class Resources(HTMLParser):
    """Collects what a page loads by itself; links that a reader may follow are none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADING and (address := given.get(LOADING[tag])):
            self.found.append(address)


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *SPHINX, "-d", str(tmp_path / "doctrees"), ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        resources = Resources()
        resources.feed(page.read_text(encoding="utf-8"))
        assert [address for address in resources.found if OTHER_PLACE.match(address)] == [], page.name
    for sheet in (tmp_path / "site").rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", text), sheet.name


def test_a_page_that_loads_from_elsewhere_would_be_found() -> None:
    resources = Resources()
    resources.feed('<a href="https://a.example">x</a><script src="//b.example/c.js"></script><img src="d.png">')
    assert [address for address in resources.found if OTHER_PLACE.match(address)] == ["//b.example/c.js"]


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "data" / "README.md", *sorted(ROOT.glob("experiments/*/README.md"))],
    ids=name_of,
)
def test_every_link_to_a_file_holds_in_the_repository(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which is not there"


@pytest.mark.parametrize("folder", ["src", "conf", "deploy", "benchmarks", "experiments", "tests"])
def test_what_names_a_page_names_one_that_is_there(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".yaml", ".md") or path.name == "Containerfile":
            for named in re.findall(r"\bdocs/[\w/-]+\.(?:md|py)\b", path.read_text(encoding="utf-8")):
                assert (ROOT / named).is_file(), f"{name_of(path)} names {named}"


# -- README -----------------------------------------------------------------------------------------------------------


def test_readme_leads_to_every_task() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (DOCS / "how-to").glob("*.md")} - {"index.md"}
    assert pages == set(re.findall(r"docs/how-to/([\w-]+\.md)", text)) - {"index.md"}


def test_readme_has_two_screens_and_its_make_targets_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_README
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE))
    assert {"train", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

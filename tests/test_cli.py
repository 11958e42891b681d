"""The command line as a person meets it: help, exit codes, messages, what it imports, what it leaves."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from cli_parts import ARTICLE, process_environ, run_process
from crosshead.cli import main
from crosshead.cli.exits import MEANINGS, Exit
from crosshead.cli.group import SECTIONS, crosshead
from crosshead.cli.output import console
from crosshead.cli.words import counted, printable
from crosshead.environment import DEFAULTS
from crosshead.errors import BundleError, ConfigError, CrossheadError, DataError, TrackingError

COMMANDS = {name: summary for section in SECTIONS.values() for name, (_, summary) in section.items()}
LINE = json.dumps({"id": "7", "text": "Shells fell on the railway yard until noon."}) + "\n"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and undo what `main` sets for a process."""
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSHEAD_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def article(tmp_path: Path) -> Path:
    path = tmp_path / "river.md"
    path.write_text(ARTICLE)
    return path


# -- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", told, re.MULTILINE), name
    for code, meaning in MEANINGS.items():
        assert re.search(rf"^ +{int(code)}  {re.escape(meaning)}$", told, re.MULTILINE), code


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    told = capsys.readouterr().out
    command = crosshead.get_command(click.Context(crosshead), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name], "the line in `crosshead --help` is another"
    for example in getattr(command, "examples", ()):
        assert f"  {example}\n" in told
    assert max(map(len, told.splitlines())) <= 130


def test_the_errors_exit_codes_are_those_that_help_lists() -> None:
    classes = [CrossheadError, *CrossheadError.__subclasses__()]
    assert {c.exit_code for c in classes} <= {int(code) for code in MEANINGS}
    assert (ConfigError.exit_code, DataError.exit_code) == (Exit.USAGE, Exit.DATA)
    assert (BundleError.exit_code, TrackingError.exit_code) == (Exit.MODEL, Exit.TRACKING)


def test_documentation_lists_every_command_option_and_exit_code(root: Path) -> None:
    told = (root / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {int(code)} | {meaning} |" in told
    for name in COMMANDS:
        assert f"crosshead {name}" in told
        command = crosshead.get_command(click.Context(crosshead), name)
        assert command is not None
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}" in told, f"{name} {option}"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: crosshead" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"crosshead \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tga"], "there is no command 'tga'; did you mean 'tag'?"),
        (["fine-tune"], "there is no command 'fine-tune'; did you mean 'finetune'?"),
        (["fintune"], "there is no command 'fintune'; did you mean 'finetune'?"),
        (["fine", "tune"], "there is no command 'fine'; did you mean 'finetune'?"),
        (["tune", "encoder=minilm"], "there is no command 'tune'; did you mean 'finetune'?"),
        (["nonsense"], "there is no command 'nonsense'; there are tag, serve"),
        (["--verison"], "No such option"),
        (["tag"], "Missing argument 'FILE...'"),
        (["tag", "a.md", "--format", "yaml"], "'yaml' is not one of"),
        (["config", "check", "--all", "seed=1"], "--all checks every choice by itself"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


# -- what a process imports, sets and prints -------------------------------------------------------------------------

HEAVY = (
    "torch",
    "sklearn",
    "pandas",
    "mlflow",
    "hydra",
    "dvc",
    "scipy",
    "skops",
    "matplotlib",
    "transformers",
    "pydantic",
)


def imported_by(arguments: list[str], cwd: Path) -> set[str]:
    """Run the command in a fresh process; return the top-level packages that it imported."""
    code = (
        "import json, sys\n"
        "from crosshead.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert code == 0, code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=cwd,
        env=process_environ(cwd),
    )
    return set(json.loads(done.stderr))


def test_help_imports_nothing_but_click(tmp_path: Path) -> None:
    found = imported_by(["--help"], tmp_path) - sys.stdlib_module_names - {"__main__", "_distutils_hack"}
    assert {name for name in found if not name.startswith("_")} == {"click", "crosshead"}


def test_tagging_imports_nothing_of_training(tmp_path: Path, article: Path, tiny_bundle: Path) -> None:
    found = imported_by(["tag", str(article), "--model", str(tiny_bundle)], tmp_path)
    assert not found & set(HEAVY)
    assert not found & {"rich", "trafilatura", "pyarrow", "charset_normalizer", "fastapi"}, "only where they are used"
    assert "numpy" in found


def test_doctor_imports_nothing_heavy(tmp_path: Path) -> None:
    assert not imported_by(["doctor"], tmp_path) & {*HEAVY, "onnxruntime", "openvino", "pyarrow", "fastapi"}


def test_telemetry_is_off_before_anything_is_imported(tmp_path: Path) -> None:
    code = (
        "import os, sys, crosshead.cli\n"
        "assert not {'mlflow', 'dvc', 'huggingface_hub', 'openvino'} & set(sys.modules)\n"
        "crosshead.cli.main(['--version'])\n"
        f"print([os.environ.get(name) for name in {sorted(DEFAULTS)!r}])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=process_environ(tmp_path, DVC_NO_ANALYTICS="", HF_HUB_OFFLINE="0"),
    ).stdout.splitlines()[-1]
    expected = DEFAULTS | {"DVC_NO_ANALYTICS": "", "HF_HUB_OFFLINE": "0"}
    assert told == str([expected[name] for name in sorted(DEFAULTS)]), "what the user sets stays"


def test_normal_use_prints_nothing_on_stderr(tmp_path: Path, article: Path, tiny_bundle: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<html><body><h1>River</h1><p>{'Shells fell on the river bank at dawn. ' * 12}</p></body></html>")
    for arguments in (["tag", article, page, "--model", tiny_bundle], ["doctor"], ["--help"]):
        done = run_process(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b""), arguments


def test_python_m_crosshead_is_crosshead(tmp_path: Path) -> None:
    assert run_process("--version", cwd=tmp_path).stdout.startswith(b"crosshead ")


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Let `crosshead doctor` raise what the test appends."""
    raised: list[BaseException] = []

    def fail(*args: object) -> None:
        raise raised[0]

    monkeypatch.setattr("crosshead.cli.doctor._versions", fail)
    return raised


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("one\ntwo"), 2, "crosshead: one\n  two\n"),
        (DataError("no articles"), 3, "crosshead: no articles\n"),
        (BundleError("damaged"), 4, "crosshead: damaged\n"),
        (TrackingError("no store"), 5, "crosshead: no store\n"),
        (
            PermissionError(13, "Permission denied", "a.csv"),
            3,
            "crosshead: 'a.csv': Permission denied; ask for the right",
        ),
        (OSError(28, "No space left on device"), 3, "crosshead: No space left on device; free some space"),
        (
            OSError(30, "Read-only file system", "a", None, "b"),
            3,
            "'a' and 'b': Read-only file system; the disk is read-",
        ),
        (
            IndexError("five"),
            70,
            "crosshead: unexpected IndexError: five\n  This is a mistake in crosshead. To see where",
        ),
        (ConfigError("\x1b[31mred"), 2, "crosshead: [31mred\n"),
        (KeyboardInterrupt(), 130, "crosshead: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_told_without_a_traceback(
    error: Exception, code: int, message: str, failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(error)
    assert main(["doctor"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


@pytest.mark.parametrize("how", [["--debug", "doctor"], ["doctor", "--debug"], "CROSSHEAD_DEBUG"])
def test_debug_shows_the_traceback(
    how: list[str] | str,
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing.append(IndexError("five"))
    if isinstance(how, str):
        monkeypatch.setenv(how, "1")
    assert main(["doctor"] if isinstance(how, str) else how) == Exit.UNEXPECTED
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "To see where" not in told


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("settings", "schema"):
        monkeypatch.delitem(sys.modules, f"crosshead.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    assert main(["train"]) == Exit.MISSING_EXTRA
    assert "pip install 'crosshead[train]'" in capsys.readouterr().err


AT_WORK = """
import sys
import threading
import openvino
from crosshead.cli import main

core, graph = openvino.Core(), sys.argv.pop()
begun = threading.Event()


def work():
    while True:
        core.compile_model(graph, "CPU")
        begun.set()


for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
begun.wait(60)
sys.exit(main())
"""
"""A process whose threads are in C++ nearly all the time; without care it aborts at its end, nearly every time."""


@pytest.mark.parametrize(("arguments", "code"), [(["doktor"], Exit.USAGE), (["--version"], Exit.OK)])
def test_a_thread_inside_the_engine_does_not_abort_the_end(
    arguments: list[str], code: int, tmp_path: Path, tiny_graph: Path
) -> None:
    (graph,) = tiny_graph.glob("*.onnx")
    done = subprocess.run(
        [sys.executable, "-c", AT_WORK, *arguments, str(graph)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=process_environ(tmp_path),
    )
    assert done.returncode == code, done.stderr
    assert "terminate called" not in done.stderr
    assert "crosshead" in (done.stderr if code else done.stdout), "what was said last is not lost"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
def test_ctrl_c_ends_a_feed_with_130_and_no_traceback(tmp_path: Path, tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "crosshead", "tag", "-", "--input-format", "jsonl", "--model", str(tiny_bundle)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environ(tmp_path),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(LINE.encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == "7", "a feed that goes on must get its answers"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == Exit.INTERRUPTED
        assert process.stderr.read().strip() == b"crosshead: interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
@pytest.mark.parametrize("format", ["jsonl", "table"])
def test_a_reader_that_leaves_ends_it_quietly(format: str, tmp_path: Path, tiny_bundle: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_text(LINE * 5000)
    command = [sys.executable, "-m", "crosshead", "tag", feed, "--format", format, "--model", tiny_bundle]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process_environ(tmp_path)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == Exit.CLOSED_PIPE
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path: Path, tiny_bundle: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_text(LINE)
    for options in (["--output", "/dev/full"], []):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "crosshead", "tag", str(feed), "--model", str(tiny_bundle), *options],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=60,
                env=process_environ(tmp_path),
            )
        where = options[-1] if options else "standard output"
        expected = f"crosshead: '{where}': No space left on device; free some space, or write to another disk\n"
        assert (done.returncode, done.stderr) == (Exit.DATA, expected)


# -- small parts -----------------------------------------------------------------------------------------------------


def test_printable_text_holds_nothing_that_a_terminal_obeys() -> None:
    assert printable("Łódź – 日本 🙂") == "Łódź – 日本 🙂"
    assert printable("a\x1b]0;title\x07b\nc\td\u202ee\x9bf") == "a ]0;title b c de f"


def test_counted() -> None:
    assert [counted(n, "article") for n in (0, 1, 1234)] == ["0 articles", "1 article", "1,234 articles"]


def test_a_console_takes_texts_as_they_are() -> None:
    out = io.StringIO()
    console(out, width=60).print("[bold]not markup[/bold] :smile: 12 /path")
    assert out.getvalue() == "[bold]not markup[/bold] :smile: 12 /path\n"


def test_help_comes_at_once(tmp_path: Path) -> None:
    """A ratio, not a time: against a process that imports click and nothing else."""

    def best(*arguments: str) -> float:
        def once() -> float:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, capture_output=True, env=process_environ(tmp_path), timeout=60
            )
            return time.perf_counter() - started

        return min(once() for _ in range(5))

    assert best("-m", "crosshead", "--help") < 3 * best("-c", "import click")

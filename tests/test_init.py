"""`crosshead init`: a project for own articles, whole or not at all, over nothing, and the next commands work there."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli_parts import process_environ, run_process
from crosshead import __version__, new_project, whole
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.composing import compose
from crosshead.corpora.annotations import read_annotations
from crosshead.environment import DEFAULTS
from crosshead.text import text_digest
from own_articles import PLACES, WORDS, article


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_URI", "CROSSHEAD_ROOT", "CROSSHEAD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Name everything in a folder, hidden names too; the content of files."""
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def end_of(captured: str) -> str:
    return " ".join(captured.split())


# -- what is made ----------------------------------------------------------------------------------------------------


def test_a_project_holds_what_a_newcomer_needs_and_nothing_of_the_repository(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "mine"]) == Exit.OK
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines() == [
        f"project: {Path.cwd() / 'mine'}",
        "next:    cd mine",
        "         cp ARTICLES… data/articles/",
        "         crosshead prepare",
        "         crosshead run",
    ]
    made, conf = tree(Path("mine")), tree(root / "conf")
    assert {name for name in made if "/" not in name} == {"conf", "data", "README.md", ".gitignore"}
    assert {name for name in made if name.startswith("data/")} == {"data/articles", "data/annotations.csv"}
    of_conf = {name.removeprefix("conf/"): content for name, content in made.items() if name.startswith("conf/")}
    assert set(of_conf) == set(conf) - {"corpus/shipped.yaml"}
    assert {name for name in of_conf if of_conf[name] != conf[name]} == {"config.yaml", "corpus/own.yaml"}
    for name in ("config.yaml", "corpus/own.yaml"):
        before, now = ((text or b"").decode().splitlines() for text in (conf[name], of_conf[name]))
        assert len(before) == len(now)
        assert all("#" not in line or line.split("#")[1] in now[i] for i, line in enumerate(before)), "remarks stay"
    assert [path.name for path in Path().iterdir()] == ["mine"], "nothing is left beside it"


def test_its_configuration_is_set_to_own_articles_and_labels() -> None:
    assert main(["init", "mine"]) == Exit.OK
    composed = compose((), Path("mine"))
    assert composed["corpus"]["articles"] == ["data/articles"]
    assert composed["corpus"]["annotations"] == "data/annotations.csv"
    assert composed["corpus"]["labels"] == "both"
    assert read_annotations(Path("mine") / composed["corpus"]["annotations"]) == []


@pytest.mark.slow
def test_every_choice_of_its_configuration_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == Exit.OK
    assert main(["config", "check", "--all"]) == Exit.OK, capsys.readouterr()


def test_its_readme_tells_the_version_and_names_what_is_there() -> None:
    assert main(["init", "."]) == Exit.OK
    text = Path("README.md").read_text(encoding="utf-8")
    assert f"crosshead {__version__} came with" in text
    assert "VERSION" not in text
    for name in re.findall(r"`((?:conf|data)/[\w./]*)`", text):
        assert (
            Path(name).exists()
            or re.search(rf"`{name}`.*not there yet|`{name}`.*make|such as `{name}`", text)
            or (name.startswith("data/prepared/"))
        ), name


def test_git_ignores_what_the_commands_make_and_nothing_that_people_bring() -> None:
    assert main(["init", "."]) == Exit.OK
    subprocess.run(["git", "init", "-q"], check=True)
    made = ("data/prepared/train.parquet", "models/latest/x", "reports/report.html", "mlflow/mlflow.db", ".cache/x")
    kept = ("data/articles/a.md", "data/annotations.csv", "data/labels/anna.jsonl", "conf/config.yaml", "README.md")
    told = subprocess.run(["git", "check-ignore", *made, *kept], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == list(made)


def test_an_empty_folder_stays_the_folder_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("new").mkdir()
    assert main(["init", "new"]) == Exit.OK
    before = Path().stat().st_ino, set(tree(Path("new")))
    shutil.rmtree("new")
    capsys.readouterr()
    assert main(["init", "."]) == Exit.OK
    assert (Path().stat().st_ino, set(tree(Path()))) == before
    assert "cd " not in capsys.readouterr().out, "one is there already"


def test_folders_above_it_are_made_and_names_are_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "some where/mine"]) == Exit.OK
    assert "next:    cd 'some where/mine'\n" in capsys.readouterr().out
    assert (Path("some where") / "mine" / "conf" / "config.yaml").is_file()


def test_it_imports_nothing_heavy() -> None:
    code = "import sys; from crosshead.cli import main; assert main(['init', 'p']) == 0; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=process_environ(Path.cwd())
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"hydra", "omegaconf", "sklearn", "numpy", "pandas", "torch", "mlflow", "rich", "pyarrow"}


# -- what leads elsewhere --------------------------------------------------------------------------------------------


def test_without_the_part_that_trains_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["init", "mine"]) == Exit.OK
    assert "note:    training needs the optional part [train]; install it: pip install" in capsys.readouterr().out


def test_a_root_that_is_set_elsewhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSHEAD_ROOT", str(tmp_path))
    assert main(["init", "mine"]) == Exit.OK
    assert f"note:    CROSSHEAD_ROOT is '{tmp_path}', so every command works there" in capsys.readouterr().out
    monkeypatch.setenv("CROSSHEAD_ROOT", str(Path.cwd() / "other"))
    assert main(["init", "other"]) == Exit.OK
    assert "note:" not in capsys.readouterr().out


def test_a_command_outside_a_project_leads_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare"]) == Exit.USAGE
    assert capsys.readouterr().err.endswith("or make one: crosshead init FOLDER\n")
    assert main(["doctor"]) == Exit.OK
    assert "make one: crosshead init FOLDER" in end_of(capsys.readouterr().out)


# -- refusals: nothing is overwritten, nothing is left ---------------------------------------------------------------


def _file(path: Path) -> None:
    path.write_text("mine")


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


def _notes(path: Path) -> None:
    path.mkdir()
    for name in ("a.txt", "b.txt", "c.txt", ".hidden", "e.txt"):
        (path / name).write_text("mine")


def _project(path: Path) -> None:
    assert main(["init", str(path)]) == 0
    (path / "conf" / "config.yaml").write_text("seed: 3\n")


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (_file, "'p' is a file, and a project is a folder; name a folder that is new or empty"),
        (_link, "'p' is a link to something that is not there, and a project is a folder; name a folder that is"),
        (_notes, "'p' is not empty (it holds .hidden, a.txt, b.txt and 2 more), and nothing is overwritten; name a"),
        (_project, "'p' is a project already, and nothing is overwritten; use it, or name a folder that is new or"),
    ],
)
def test_what_is_there_stays(before: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    before(Path("p"))
    was = tree(Path())
    capsys.readouterr()
    assert main(["init", "p"]) == Exit.DATA
    captured = capsys.readouterr()
    assert (captured.out, captured.err.startswith(f"crosshead: {told}")) == ("", True), captured.err
    assert tree(Path()) == was


@pytest.mark.parametrize("name", ["", " "])
def test_a_name_that_is_empty_is_not_the_current_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", name]) == Exit.USAGE
    assert "the name of the folder is empty; name one that is new or empty" in capsys.readouterr().err
    assert tree(Path()) == {}


def test_a_place_that_is_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine")
    assert main(["init", "file/deep/p"]) == Exit.DATA
    assert "the project 'file/deep/p' cannot be made: " in capsys.readouterr().err
    assert tree(Path()) == {"file": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere; needs setpriv")
@pytest.mark.parametrize("name", ["closed/p", "closed"])
def test_without_the_right_to_write_it_says_so(name: str, tmp_path: Path) -> None:
    """As another user where the test runs as root."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and str(folder) not in ("/", "/tmp"):
            folder.chmod(folder.stat().st_mode | 0o555)
    Path("closed").mkdir()
    Path("closed").chmod(0o555)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-m", "crosshead", "init", name],
        capture_output=True,
        text=True,
        check=False,
        env=process_environ(tmp_path),
    )
    if drop and "crosshead: " not in done.stderr:
        pytest.skip("the interpreter, or crosshead, cannot be read by another user here")
    assert done.returncode == Exit.DATA
    assert f"the project '{name}' cannot be made: Permission denied; nothing of it is left. Make room" in done.stderr
    assert tree(Path("closed")) == {}


FULL = """
import resource, signal, sys
from crosshead.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
sys.exit(main(["init", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit that Windows does not know")
@pytest.mark.parametrize("most", [1, 1000, 9000])
@pytest.mark.parametrize("name", ["p", "above/p", "empty"])
def test_a_write_that_fails_leaves_nothing(name: str, most: int) -> None:
    Path("empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL, name, str(most)],
        capture_output=True,
        text=True,
        check=False,
        env=process_environ(Path.cwd(), PYTHONDONTWRITEBYTECODE="1"),
    )
    assert done.returncode == Exit.DATA, done.stderr
    assert f"the project '{name}' cannot be made: File too large; nothing of it is left." in done.stderr
    assert tree(Path()) == {"empty": None}


@pytest.mark.parametrize("name", ["p", "empty"])
def test_a_last_step_that_fails_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(one: Path, other: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(one), str(other))

    Path("empty").mkdir()
    monkeypatch.setattr(whole.os, "replace", fail)
    assert main(["init", name]) == Exit.DATA
    assert "cannot be made: Input/output error" in capsys.readouterr().err
    assert tree(Path()) == {"empty": None}


KILLED = """
import os, signal, sys
from crosshead import whole
from crosshead.cli import main
whole.os.replace = lambda one, other: os.kill(os.getpid(), signal.SIGKILL)
main(["init", sys.argv[1]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there")
@pytest.mark.parametrize("name", ["p", "empty"])
def test_a_kill_before_the_last_step_leaves_no_project(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, name], check=False, env=process_environ(Path.cwd()))
    assert done.returncode == -signal.SIGKILL
    assert not (Path(name) / "conf").exists()
    assert main(["init", name]) == (Exit.OK if name == "p" else Exit.DATA)
    assert ("'empty' is not empty (it holds .conf." in capsys.readouterr().err) == (name == "empty")
    assert {path.name for path in Path().iterdir() if path.name[0] != "."} == {"empty", name}


@pytest.mark.parametrize("name", ["p", "empty"])
def test_whoever_is_quicker_keeps_the_folder(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    write = new_project._write

    def write_and_be_late(folder: Path, files: dict[str, bytes], made: list[Path]) -> None:
        write(folder, files, made)
        (Path(name) / "conf").mkdir(parents=True, exist_ok=True)
        (Path(name) / "conf" / "theirs").write_text("theirs")

    monkeypatch.setattr(new_project, "_write", write_and_be_late)
    assert main(["init", name]) == Exit.DATA
    assert f"'{name}' is not empty (it holds " in capsys.readouterr().err
    assert (Path(name) / "conf" / "theirs").read_text() == "theirs"
    assert not (Path(name) / "conf" / "config.yaml").exists()


# -- where the configuration comes from ------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the package be a copy that was installed as a wheel, its configuration with it."""
    folder = tmp_path / "lib" / "site" / "crosshead"
    shutil.copytree(root / "conf", folder / "_conf")
    monkeypatch.setattr(new_project, "_PACKAGE", folder)
    return folder


def test_a_wheel_brings_its_own(package: Path) -> None:
    (package / "_conf" / "taxonomy" / "wheel.yaml").write_text("name: wheel\n")
    assert main(["init", "p"]) == Exit.OK
    assert (Path("p") / "conf" / "taxonomy" / "wheel.yaml").read_text() == "name: wheel\n"


def test_one_that_is_lost_is_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(package / "_conf")
    assert main(["init", "p"]) == Exit.USAGE
    assert re.search(
        r"this crosshead has lost its configuration: .*_conf and .*conf hold no config\.yaml; install crosshead again",
        capsys.readouterr().err,
    )
    assert tree(Path()) == {}


def test_one_that_cannot_be_set_to_own_articles_is_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "_conf" / "config.yaml").write_text("seed: 0\n")
    assert main(["init", "p"]) == Exit.USAGE
    assert "config.yaml has 0 lines 'corpus' to set, and needs 1; take the file" in capsys.readouterr().err
    assert tree(Path()) == {}


def test_values_that_were_changed_in_a_checkout_are_set_too(package: Path) -> None:
    path = package / "_conf" / "corpus" / "own.yaml"
    path.write_text(path.read_text().replace("[my_articles]", "[a b, c]   # two"))
    assert main(["init", "p"]) == Exit.OK
    assert compose((), Path("p"))["corpus"]["articles"] == ["data/articles"]
    assert "articles: [data/articles]   # two\n" in (Path("p") / "conf" / "corpus" / "own.yaml").read_text()


# -- the next commands -----------------------------------------------------------------------------------------------


def crosshead(*arguments: str, cwd: Path) -> str:
    done = run_process(*arguments, cwd=cwd)
    assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}"
    return done.stdout.decode()


@pytest.mark.slow
def test_from_nothing_to_tagged_paragraphs_and_labels_that_count() -> None:
    told = crosshead("init", "mine", cwd=Path.cwd())
    project = Path("mine").resolve()
    printed = [shlex.split(line.removeprefix("next:"))[1:] for line in told.splitlines() if "crosshead" in line[:20]]
    assert printed == [["prepare"], ["run"]]
    done = run_process("prepare", cwd=project)
    assert done.returncode == Exit.DATA
    assert "data/articles: the folder holds no file that can be read" in done.stderr.decode()

    for place in PLACES:
        (project / "data" / "articles" / f"{place}.md").write_text(article(place), encoding="utf-8")
    told = crosshead("prepare", cwd=project)
    assert "24 paragraphs of 4 articles" in end_of(told)
    assert "ground_developments" in (project / "data" / "prepared" / "headings.md").read_text(encoding="utf-8")
    assert "crosshead tag FILE" in crosshead("run", *WORDS, cwd=project)
    Path("plain.md").write_text("# News\n\nShells fell on the airfield at dawn.\n\nFamilies fled across the border.\n")
    answers = json.loads(crosshead("tag", "../plain.md", "-f", "jsonl", cwd=project))
    assert len(answers["paragraphs"]) == 2

    text = article("bridge").split("\n\n")[2]
    (project / "anna.csv").write_text(
        f"article_id,paragraph,text_sha256,section_type,annotator\nbridge,0,{text_digest(text)},regional_stability,anna\n"
    )
    crosshead("data", "import", "anna.csv", cwd=project)
    crosshead("prepare", cwd=project)
    splits = json.loads((project / "data" / "prepared" / "corpus.json").read_text(encoding="utf-8"))["splits"].values()
    found = {name: sum(split["section_types"][name] for split in splits) for name in ("ground_developments", "other")}
    assert found == {"ground_developments": 7, "other": 0}, "the label wins over one of eight headings"

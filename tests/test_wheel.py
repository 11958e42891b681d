"""The package: the same bytes wherever it is built, everything in it that it needs, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_parts import process_environ
from own_articles import PLACES, WORDS, article

ROOT = Path(__file__).resolve().parents[1]
ARTICLE = "# River line\n\nTwo columns crossed the river before dawn.\n\nThe envoys met in the harbour town.\n"
LONG_AGO = (1_000_000_000, 1_000_000_000)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a package is built from a commit, and here is no git"),
]


@dataclass(frozen=True)
class Built:
    """A clone, and what was built of it."""

    clone: Path
    wheel: Path
    archive: Path


def call(*command: str, **more: object) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr[-3000:]}"
    return str(done.stdout)


def build(clone: Path, *, umask: int, **environ: str) -> Built:
    """Clone the last commit and build it as `make wheel` does, with the packages of the tests."""
    call("git", "clone", "-q", str(ROOT), str(clone), umask=umask)
    told = call(
        "make",
        "-o",
        ".venv/.complete",
        "wheel",
        f"BIN={Path(sys.executable).parent}",
        cwd=clone,
        env=process_environ(clone / "home", **environ),
        umask=umask,
    )
    (wheel,), (archive,) = (clone / "dist").glob("*.whl"), (clone / "dist").glob("*.tar.gz")
    for path in (wheel, archive):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in told, "its hash is told"
    return Built(clone, wheel, archive)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("package") / "one", umask=0o022, TZ="UTC", LC_ALL="C")


def tracked(clone: Path, *folders: str) -> set[str]:
    """Return the files that git knows below folders."""
    return set(call("git", "ls-files", *folders, cwd=clone).splitlines())


def test_another_folder_umask_clock_and_user_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    other = build(tmp_path / "another place", umask=0o077, TZ="Asia/Tokyo", LC_ALL="C.UTF-8", USER="somebody")
    assert other.wheel.name == built.wheel.name
    assert other.archive.name == built.archive.name
    assert other.wheel.read_bytes() == built.wheel.read_bytes()
    assert other.archive.read_bytes() == built.archive.read_bytes()


def test_the_archive_builds_the_wheel_that_the_repository_builds(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / built.archive.name.removesuffix(".tar.gz")
    for path in folder.rglob("*"):
        os.utime(path, LONG_AGO)
    epoch = call("git", "log", "-1", "--format=%ct", cwd=built.clone).strip()
    environ = process_environ(tmp_path, SOURCE_DATE_EPOCH=epoch)
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=folder, env=environ)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_what_is_not_committed_gets_into_no_package(built: Built, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    call("git", "clone", "-q", str(ROOT), str(clone))
    (clone / "src" / "crosshead" / "scratch.py").write_text("KEY = 'not for others'\n", encoding="utf-8")
    (clone / "src" / "crosshead" / "errors.py").write_text("", encoding="utf-8")
    make = ("make", "-o", ".venv/.complete", "wheel", f"BIN={Path(sys.executable).parent}")
    call(*make, cwd=clone, env=process_environ(tmp_path))
    assert (clone / "dist" / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_the_wheel_holds_the_package_and_its_configuration_and_nothing_else(built: Built) -> None:
    package = {name.removeprefix("src/") for name in tracked(built.clone, "src")}
    conf = {f"crosshead/_{name}" for name in tracked(built.clone, "conf")}
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == package | conf
    assert {name.partition("/")[2] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    assert {Path(name).suffix for name in package} >= {".py", ".typed", ".html", ".css", ".js", ".svg", ".md"}


def test_the_archive_holds_what_is_committed_and_says_of_nobody_who_built_it(built: Built) -> None:
    with tarfile.open(built.archive) as archive:
        members = archive.getmembers()
    assert {member.name.partition("/")[2] for member in members} - {"PKG-INFO"} == tracked(built.clone)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}


@pytest.fixture(scope="module")
def away(built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the wheel where no repository is, and return the environment in which it is what is imported."""
    home = tmp_path_factory.mktemp("away")
    target = home / "installed"
    install = ("install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    call(sys.executable, "-m", "pip", *install, "--target", str(target), str(built.wheel))
    environ = process_environ(home, PYTHONPATH=str(target))
    where = call(sys.executable, "-c", "import crosshead; print(crosshead.__file__)", cwd=home, env=environ)
    assert Path(where.strip()).is_relative_to(target), "the wheel is what is tried, and not the repository"
    return environ


def test_a_wheel_tags_away_from_the_repository(away: dict[str, str], tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "article.md").write_text(ARTICLE, encoding="utf-8")
    tag = (sys.executable, "-m", "crosshead", "tag", "article.md", "--model", str(tiny_bundle), "-f", "jsonl")
    answers = [json.loads(line) for line in call(*tag, cwd=tmp_path, env=away).splitlines()]
    assert len(answers) == 1
    assert [paragraph["text"] for paragraph in answers[0]["paragraphs"]] == ARTICLE.strip().split("\n\n")[1:]


def test_a_wheel_makes_a_project_that_trains_on_own_articles(
    away: dict[str, str], built: Built, tmp_path: Path
) -> None:
    crosshead = (sys.executable, "-m", "crosshead")
    call(*crosshead, "init", "mine", cwd=tmp_path, env=away)
    project = tmp_path / "mine"
    conf = {path.relative_to(project).as_posix() for path in (project / "conf").rglob("*.yaml")}
    assert conf == tracked(built.clone, "conf") - {"conf/corpus/shipped.yaml"}
    for place in PLACES:
        (project / "data" / "articles" / f"{place}.md").write_text(article(place), encoding="utf-8")
    told = call(*crosshead, "run", *WORDS, cwd=project, env=away)
    assert "evaluated" in told
    (tmp_path / "article.md").write_text(ARTICLE, encoding="utf-8")
    answer = json.loads(call(*crosshead, "tag", "../article.md", "-f", "jsonl", cwd=project, env=away))
    assert len(answer["paragraphs"]) == 2

"""`crosshead label`, `agreement`, `adjudicate` and `data`: from a pile of articles to annotations, and back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli_parts import process_environ
from crosshead.cli import main, sitting
from crosshead.cli.exits import Exit
from crosshead.corpora.annotations import check_annotations, count_votes, read_annotations
from crosshead.environment import DEFAULTS
from crosshead.labelling.queue import write_queue
from crosshead.labelling.session import Session
from labelling_parts import ARTICLES, NAMES, queue, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    for name in ("CROSSHEAD_DEBUG", "CROSSHEAD_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    folder = write_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Catch the sittings that commands begin, in the place of serving them."""
    caught: list[Session] = []

    def sit(session: Session, **options: object) -> None:
        caught.append(session)

    for module in ("label", "adjudicate"):
        monkeypatch.setattr(f"crosshead.cli.{module}.sit", sit)
    return caught


def read(session: Session, *labels: str | None) -> None:
    """Label the paragraphs of a sitting in order; None leaves one out."""
    from crosshead.labelling.session import Action

    for item, name in zip(session.items, labels, strict=False):
        if name:
            key = f"{session.log_path.stem}-{item.article_id}-{item.paragraph}-{name}"
            session.record(Action(key, "label", item.article_id, item.paragraph, item.text_sha256, name))


def say(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code > 1 else captured.out


# -- the round trip ----------------------------------------------------------------------------------------------------


def test_from_articles_to_settled_annotations(
    project: Path, sessions: list[Session], capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "label", "data/articles", "--annotator", "anna")
    say(capsys, "label", "data/articles", "--annotator", "ben")
    anna, ben = sessions
    assert [item.article_id for item in anna.items] == ["bridge", "bridge", "draft", "draft", "ford", "ford", "ford"]
    read(anna, "war_front", "rest", "talks", "rest", "war_front", "talks", "rest")
    read(ben, "war_front", "rest", "talks", "rest", "talks", "talks")
    assert anna.log_path == project / "data" / "labels" / "anna.jsonl"

    told = say(capsys, "data", "import", anna.log_path, ben.log_path, "--dry-run")
    assert "would be 13 added, 0 there already" in told
    assert not (project / "data" / "annotations.csv").exists()
    told = say(capsys, "data", "import", anna.log_path, ben.log_path)
    assert "13 added, 0 there already" in told
    assert "a tie of votes and no label: 1 paragraph; next: crosshead adjudicate" in told
    assert "0 added, 7 there already" in say(capsys, "data", "import", anna.log_path)

    told = say(capsys, "agreement")
    assert "labels: anna 7, ben 6" in told
    assert "read by two or more: 6 paragraphs of 3 articles" in told
    assert re.search(r"anna and ben +6 +0\.833 +0\.750", told)
    assert "ford#0  anna: war_front · ben: talks" in told
    assert "Guns fired at the ford." in told

    say(capsys, "adjudicate", "--annotator", "anna")
    judge = sessions[-1]
    assert [(item.article_id, item.paragraph) for item in judge.items] == [("ford", 0)]
    assert judge.items[0].votes == {"anna": "war_front", "ben": "talks"}
    read(judge, "war_front")
    assert judge.log_path.name == "anna.adjudication.jsonl"
    assert "1 added" in say(capsys, "data", "import", judge.log_path)

    annotations = read_annotations(project / "data" / "annotations.csv")
    check_annotations(annotations, ARTICLES, NAMES)
    assert len(annotations) == 14, "every vote is kept"
    assert count_votes(annotations).section_types["ford", 0] == "war_front"
    assert "1 disputed paragraph, 1 of them settled" in say(capsys, "agreement")
    assert "nothing to settle" in say(capsys, "adjudicate", "--annotator", "anna", code=Exit.DATA)


def test_names_of_section_types_break_between_words(
    project: Path, sessions: list[Session], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    write_queue(queue(), project / "queue.jsonl")
    for annotator in ("anna", "ben"):
        say(capsys, "label", "queue.jsonl", "--annotator", annotator)
    read(sessions[0], "war_front", *["talks"] * 6)
    read(sessions[1], *["talks"] * 7)
    words = say(capsys, "agreement").split()
    assert words.count("front") == 2, "in both tables"
    assert "war_fr" not in words


def test_agreement_as_json_and_its_disputes_as_a_queue(
    project: Path, sessions: list[Session], capsys: pytest.CaptureFixture[str]
) -> None:
    write_queue(queue(), project / "queue.jsonl")
    for annotator in ("anna", "ben"):
        say(capsys, "label", "queue.jsonl", "--annotator", annotator)
    read(sessions[0], *["talks"] * 7)
    read(sessions[1], "talks", "rest")
    told = json.loads(say(capsys, "agreement", "--format", "json", "--disputed", "disputed.jsonl"))
    assert told["annotators"] == {"anna": 7, "ben": 2}
    assert told["disputes"] == [
        {
            "article_id": "ford",
            "paragraph": 1,
            "text": "Envoys met by the lake.",
            "votes": {"anna": "talks", "ben": "rest"},
            "notes": {},
            "settled": None,
        }
    ]
    say(capsys, "label", "disputed.jsonl", "--annotator", "clara")
    assert [item.paragraph for item in sessions[-1].items] == [1]
    (project / "data" / "articles" / "ford.md").write_text("Another text.\n")
    assert "its text is in none of the files" in say(capsys, "agreement", "--all")
    assert "Envoys met" in say(capsys, "agreement", "--texts", "queue.jsonl")


def test_a_second_reader_gets_what_others_have_read(
    project: Path, sessions: list[Session], capsys: pytest.CaptureFixture[str]
) -> None:
    write_queue(queue(suggestions=True), project / "queue.jsonl")
    told = say(capsys, "label", "queue.jsonl", "--annotator", "ben", "--second", code=Exit.DATA)
    assert "nobody but 'ben' has labelled any of the 7 paragraphs" in told
    say(capsys, "label", "queue.jsonl", "--annotator", "anna")
    read(sessions[-1], None, "talks", None, "rest")
    for options in ((), ("--labels", "data/labels/anna.jsonl")):
        say(capsys, "label", "queue.jsonl", "--annotator", "ben", "--second", *options)
        ben = sessions[-1]
        assert [(item.article_id, item.paragraph) for item in ben.items] == [("ford", 1), ("bridge", 0)]
        assert ben.overview()["marks"] == [-1, -1]
        assert ben.overview()["suggestions"] is False
    say(capsys, "label", "queue.jsonl", "--annotator", "anna", "--second", code=Exit.DATA)
    told = say(
        capsys, "label", "queue.jsonl", "--annotator", "ben", "--labels", "data/labels/anna.jsonl", code=Exit.USAGE
    )
    assert "it goes with --second" in told


def test_label_studio_and_corrections_come_in_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crosshead.labelling.store import append
    from labelling_parts import vote

    export = [
        {
            "id": 1,
            "data": {"article_id": "ford", "paragraph": 1, "text": "Envoys met by the lake."},
            "annotations": [
                {
                    "completed_by": 3,
                    "updated_at": "2026-01-02T03:04:05Z",
                    "result": [{"from_name": "section_type", "type": "choices", "value": {"choices": ["talks"]}}],
                }
            ],
        }
    ]
    (project / "export.json").write_text(json.dumps(export))
    append(project / "corrections" / "served.csv", vote("ford", 0, "rest", "dan", source="served_page"), "k1")
    say(capsys, "data", "import", "export.json", "corrections/served.csv", "--name", "3=anna")
    found = read_annotations(project / "data" / "annotations.csv")
    assert [(a.annotator, a.section_type, a.extra["source"]) for a in found] == [
        ("anna", "talks", "label_studio"),
        ("dan", "rest", "served_page"),
    ]
    assert found[0].extra["time"] == "2026-01-02T03:04:05Z"
    told = say(
        capsys, "data", "merge", "export.json", "data/annotations.csv", "--output", "all.csv", "--name", "3=anna"
    )
    assert "2 added" in told
    message = say(capsys, "data", "merge", "export.json", "--output", "all.csv", code=Exit.DATA)
    assert "all.csv is there already" in message


def test_a_queue_that_was_filled_in_with_a_spreadsheet(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import csv

    with (project / "filled.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["article_id", "paragraph", "text_sha256", "section_type", "annotator", "text"])
        for item, name in zip(queue(), ("talks", "", "rest"), strict=False):
            writer.writerow([item.article_id, item.paragraph, item.text_sha256, name, "", item.text])
    say(capsys, "data", "import", "filled.csv", "--annotator", "anna")
    found = read_annotations(project / "data" / "annotations.csv")
    assert [(a.paragraph, a.section_type, a.annotator, a.extra["source"]) for a in found] == [
        (0, "talks", "anna", "table"),
        (2, "rest", "anna", "table"),
    ]


def test_contradictions_are_errors_with_both_rows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crosshead.labelling.store import append
    from labelling_parts import vote

    append(project / "data" / "annotations.csv", vote("ford", 0, "rest", "anna", time="2026-01-01T00:00:00Z"), "k1")
    append(project / "new.csv", vote("bridge", 0, "rest", "anna"), "k1")
    append(project / "new.csv", vote("ford", 0, "talks", "anna", time="2026-01-02T00:00:00Z"), "k2")
    before = (project / "data" / "annotations.csv").read_bytes()
    told = say(capsys, "data", "import", "new.csv", code=Exit.DATA)
    assert "'rest' on line 2 of" in told
    assert "'talks' on line 3 of new.csv (2026-01-02T00:00:00Z)" in " ".join(told.split())
    assert (project / "data" / "annotations.csv").read_bytes() == before, "nothing is taken in by halves"
    assert "1 added, 0 there already, 1 replaced" in say(capsys, "data", "import", "new.csv", "--replace")


def test_labels_that_do_not_fit_the_project_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crosshead.corpora.annotations import Annotation
    from crosshead.labelling.store import append

    append(project / "new.csv", Annotation("gone", 0, "0" * 16, "talks", "anna"), "k1")
    told = " ".join(say(capsys, "data", "import", "new.csv", code=Exit.DATA).split())
    assert "line 2 of new.csv cannot be taken in" in told
    assert "paragraph 0 of 'gone'" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "data/articles"], "Missing option '--annotator'"),
        (["label", "data/articles", "--annotator", " "], "the annotator is ' '"),
        (
            ["label", "data/articles", "--annotator", "a", "--taxonomy", "nonsense"],
            "taxonomy is 'nonsense'; allowed are",
        ),
        (["data", "import", "conf/config.yaml"], "ends in '.yaml'"),
        (["data", "merge", "conf/config.yaml", "-o", "x.csv", "--name", "anna"], "write ID=NAME, such as 3=anna"),
        (["agreement"], "no paragraph was read by two annotators"),
        (["data", "diff", "nonsense"], "'nonsense' is neither a folder nor a git revision"),
    ],
)
def test_wrong_usage(
    project: Path, sessions: list[Session], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in (Exit.USAGE, Exit.DATA)
    assert message in capsys.readouterr().err
    assert not sessions


def test_missing_libraries_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = sitting.importlib.util.find_spec
    for library, arguments, extra in (
        ("fastapi", ["label", "data/articles", "--annotator", "anna"], "serve"),
        ("filelock", ["agreement"], "train"),
    ):
        monkeypatch.setattr(
            sitting.importlib.util, "find_spec", lambda name, gone=library: None if name == gone else find_spec(name)
        )
        assert main(arguments) == Exit.MISSING_EXTRA
        assert f"pip install 'crosshead[{extra}]'" in capsys.readouterr().err


# -- what changed ------------------------------------------------------------------------------------------------------


def test_diff_tells_and_exits_as_diff_does(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crosshead.labelling.store import append
    from labelling_parts import vote

    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    append(project / "data" / "annotations.csv", vote("ford", 0, "talks", "anna"), "k1")
    for arguments in (["init"], ["add", "."], ["commit", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    assert "nothing differs" in say(capsys, "data", "diff")
    append(project / "data" / "annotations.csv", vote("ford", 1, "rest", "anna"), "k2")
    bridge = project / "data" / "articles" / "bridge.md"
    bridge.write_text(bridge.read_text().replace("at noon", "at one"))
    (project / "data" / "articles" / "new.md").write_text("A new article.\n\nIts second paragraph.\n")
    told = say(capsys, "data", "diff", code=1)
    assert "+ new  2 paragraphs" in told
    assert "- " in told
    assert "The bridge fell at one." in told
    assert re.search(r"ford#1 +anna +– → rest +Envoys met", told)
    found = json.loads(say(capsys, "data", "diff", "HEAD", ".", "--format", "json", code=1))
    assert (found["different"], found["added"]) == (True, {"new": 2})
    assert found["labels"][0]["new"] == "rest"
    assert json.loads(say(capsys, "data", "diff", "HEAD", "HEAD", "--format", "json"))["different"] is False


# -- the page as a process ---------------------------------------------------------------------------------------------


@contextmanager
def page(project: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "crosshead", *arguments, "--no-open"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=project, env=process_environ(project))
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"(http://\S+) \(Ctrl-C ends it\)", line)
    try:
        assert found, line + process.stderr.read()
        yield found[1], process
    finally:
        process.kill()
        process.communicate()


def fetch(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "data" / "CODEBOOK.md").write_text("Take `war_front`, `talks` or `rest`.\n")
    with page(project, "label", "data/articles", "--annotator", "anna", "--port", "0") as (url, process):
        overview = fetch(f"{url}api/session")
        assert (overview["annotator"], len(overview["marks"]), overview["queue"]) == ("anna", 7, "articles")
        with urllib.request.urlopen(url, timeout=30) as response:
            assert 'chip type-2">Rest' in response.read().decode()
        (item,) = fetch(f"{url}api/items?start=0&n=1")
        event = {name: item[name] for name in ("article_id", "paragraph", "text_sha256")}
        fetch(f"{url}api/events", {"key": "a-key-of-mine", "event": "label", "section_type": "talks", **event})
        port = url.rstrip("/").rpartition(":")[2]
        told = say(capsys, "label", "data/articles", "--annotator", "ben", "--port", port, code=Exit.USAGE)
        assert "cannot be used (Address already in use); choose another with --port" in told
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == Exit.OK
    assert "open 6 · talks 1" in told
    assert f"crosshead data import {project / 'data' / 'labels' / 'anna.jsonl'}" in told


def test_what_to_do_with_labels_of_other_articles_works(
    project: Path, sessions: list[Session], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is proposed at the end can be typed: `data import` for the corpus's articles, `data merge` for others."""
    own = tmp_path / "my articles"
    shutil.copytree(project / "data" / "articles", own)
    for path in own.iterdir():
        path.rename(path.with_name(f"my-{path.name}"))
    say(capsys, "label", "data/articles", "--annotator", "anna")
    say(capsys, "label", own, "--annotator", "ben")
    say(capsys, "label", own, "data/articles", "--annotator", "cleo")
    inside, outside, mixed = sessions
    log = project / "data" / "labels"
    assert inside.next_command == f"crosshead data import {log / 'anna.jsonl'}"
    assert outside.next_command == f"crosshead data merge {log / 'ben.jsonl'} --output my_annotations.csv"
    assert mixed.next_command == f"crosshead data merge {log / 'cleo.jsonl'} --output my_annotations.csv"
    for session in sessions[:2]:
        assert session.overview()["next"] == session.next_command
        read(session, NAMES[0], NAMES[1])
        _, *words = session.next_command.split()
        assert "2 added" in say(capsys, *words)
    assert "not in the corpus" in say(capsys, "data", "import", outside.log_path, code=Exit.DATA)
    say(capsys, "label", own, "--annotator", "ben")
    assert sessions[-1].next_command.endswith("--output my_annotations-2.csv")


def test_a_changed_text_is_not_the_corpuss_own(
    project: Path, sessions: list[Session], capsys: pytest.CaptureFixture[str]
) -> None:
    own = project / "own"
    shutil.copytree(project / "data" / "articles", own)
    for path in own.iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace(".", "!"), encoding="utf-8")
    say(capsys, "label", own, "--annotator", "anna")
    assert sessions[0].next_command.startswith("crosshead data merge ")


def test_a_codebook_about_other_section_types_is_not_shown(project: Path) -> None:
    (project / "data" / "CODEBOOK.md").write_text("Take `cost` or `care`.\n")
    found = sitting.open_project(None)
    assert "Envoys, votes and drafts." in found.codebook(None)
    assert "cost" in found.codebook(project / "data" / "CODEBOOK.md")

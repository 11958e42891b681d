"""`crosshead doctor`, `config`, `run`, `show`: the commands that look after a project; and what a terminal shows."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_parts import ARTICLE, make_tagger, process_environ, run_process
from crosshead.cli import doctor, main
from crosshead.cli.exits import Exit
from crosshead.cli.output import counter, reporter
from crosshead.environment import DEFAULTS
from crosshead.loading import Model
from crosshead.releases import champion


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "MLFLOW_TRACKING_URI", "CROSSHEAD_ROOT", "CROSSHEAD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("seed: 0\n")
    return tmp_path


# -- doctor ----------------------------------------------------------------------------------------------------------


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["doctor"])
    return code, " ".join(capsys.readouterr().out.split())


def test_doctor_outside_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = examine(capsys)
    assert code == 0
    assert "project none here or above (no conf/config.yaml)" in told
    assert re.search(r"numpy \d+\.", told)
    assert re.search(r"engine (openvino|onnxruntime), (bf16|f32): ", told)
    assert f"switches off ({', '.join(doctor.TELEMETRY)})" in told
    assert told.endswith("nothing is broken")


def test_doctor_of_a_sound_project(project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    champion.write(project, champion.keep(project, tiny_bundle, "a" * 64), "a" * 64, name="tags", version=3)
    (project / ".cache" / "crosshead" / "vectors").mkdir(parents=True)
    (project / ".cache" / "crosshead" / "vectors" / "x.sqlite").write_bytes(b"0" * 2_000_000)
    code, told = examine(capsys)
    assert code == 0
    assert "! champion" not in told
    assert "champion tags 3, digest aaaaaaaaaaaa, every file as its manifest says" in told
    assert f"sqlite:///{project}/mlflow/mlflow.db (not made yet)" in told
    assert "2 MB in .cache/crosshead; it can be deleted at any time" in told
    assert "half-written" not in told


def test_doctor_says_what_is_missing_or_left_over_without_calling_it_broken(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("mlruns/0/meta.yaml", "models/.bundle-x1/heads", "models/.champion.lock", "mlflow/unsent/run.json"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("x")
    monkeypatch.setattr(
        doctor,
        "version",
        lambda name: "1.0" if name not in {"torch", "fastapi", "pydantic", "uvicorn"} else _absent(name),
    )
    monkeypatch.setenv("DO_NOT_TRACK", "no")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    code, told = examine(capsys)
    assert (code, told.endswith("nothing is broken")) == (0, True)
    assert "! champion none yet; train one: crosshead run" in told
    assert "mlflow migrate-filestore" in told
    assert "half-written models/.bundle-x1 (1 bytes); a run was killed" in told
    assert ".champion.lock" not in told
    assert "unsent results 1 file in mlflow/unsent" in told
    assert "missing torch; install: pip install 'crosshead[train]'" in told
    assert "[serve] not installed" in told
    assert "you set DO_NOT_TRACK=no" in told
    assert "asked where an encoder is not here" in told


def _absent(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_doctor_exits_with_the_error_that_would_be_met(
    project: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = champion.keep(project, tiny_bundle, "a" * 64)
    champion.write(project, kept, "a" * 64)
    (kept / "heads.safetensors").write_bytes(b"damaged")
    code, told = examine(capsys)
    assert (code, told.endswith("1 thing broken")) == (Exit.MODEL, True)
    assert "✗ champion bundle file 'heads.safetensors' does not have the sha256" in told
    monkeypatch.setattr(doctor, "version", lambda name: _absent(name) if name == "numpy" else "1.0")
    code, told = examine(capsys)
    assert (code, told.endswith("2 things broken")) == (Exit.MISSING_EXTRA, True)
    assert "✗ missing numpy; install crosshead again" in told


def test_doctor_of_a_machine_without_an_engine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosshead.encoders.engines.ENGINES", ())
    code, told = examine(capsys)
    assert code == Exit.MODEL
    assert "✗ engine no engine is installed" in told


# -- config ----------------------------------------------------------------------------------------------------------


def test_config_show_prints_what_a_run_would_use(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    monkeypatch.chdir(root)
    assert main(["config", "show", "seed=7", "classifier=knn"]) == 0
    captured = capsys.readouterr()
    shown = yaml.safe_load(captured.out)
    assert captured.err == ""
    assert shown["seed"] == 7
    assert shown["classifier"]["_target_"].endswith("KNeighborsClassifier")


def test_config_check(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(root)
    assert main(["config", "check", "classifier=knn"]) == 0
    assert capsys.readouterr().out == "the configuration can be used\n"
    assert main(["config", "check", "sede=3"]) == Exit.USAGE
    assert "'seed'" in capsys.readouterr().err
    assert main(["config", "check", "seed=-1"]) == Exit.USAGE
    assert "seed is -1" in capsys.readouterr().err


def test_config_check_all_names_every_choice(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr("crosshead.settings.check_all", lambda: {"default": None, "views=odd": "views is odd"})
    assert main(["config", "check", "--all"]) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == "✓ default\n✗ views=odd: views is odd\n"
    assert captured.err == "crosshead: 1 choice of 2 cannot be used: views=odd\n"


@pytest.mark.parametrize("arguments", [["run", "sede=3"], ["train", "classifier=knnn"], ["prepare", "seed"]])
def test_a_wrong_override_stops_before_anything_is_done(
    arguments: list[str], root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert main(arguments) == Exit.USAGE
    assert capsys.readouterr().out == ""


def test_commands_outside_a_project_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == Exit.USAGE
    assert "no crosshead project at" in capsys.readouterr().err
    assert main(["show"]) == Exit.DATA
    assert "nothing has been evaluated yet" in capsys.readouterr().err


# -- run, show -------------------------------------------------------------------------------------------------------

INTERVAL = {"value": 0.5, "low": 0.25, "high": 0.75}
SCORES: dict[str, Any] = {
    "n_paragraphs": 1234,
    "n_articles": 56,
    **dict.fromkeys(("macro_f1", "accuracy", "log_loss", "brier", "ece"), INTERVAL),
    "classes": {
        "ground_developments": {"support": 1000, "precision": INTERVAL, "recall": INTERVAL, "f1": INTERVAL},
        "other": {"support": 0},
    },
}
METRICS = {
    "model": {**SCORES, "coverage": INTERVAL, "risk": {"value": 0.125, "low": None, "high": None}},
    "tfidf": SCORES,
    "set_accuracy": {"model": INTERVAL, "tfidf": INTERVAL},
    "n_truncated": 3,
}


def test_show_prints_scores_with_intervals_the_report_and_what_to_type(
    project: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (project / "reports").mkdir()
    (project / "reports" / "metrics.json").write_text(json.dumps(METRICS))
    assert main(["show"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "1,234 paragraphs of 56 held-out articles: value, 95 % interval; ↓ less is better"
    assert lines[1] == "model tfidf"
    assert "macro-F1 0.500 0.250–0.750 0.500 0.250–0.750" in lines
    assert "coverage 0.500 0.250–0.750 –" in lines
    assert "selective risk ↓ 0.125 –" in lines
    assert "accuracy: share right · ECE: expected calibration error, the mean gap between" in lines
    assert "contrast sets right 0.500 0.250–0.750 0.500 0.250–0.750" in lines
    assert "ground_developments 0.500 0.250–0.750 0.500 0.500 1,000" in lines
    assert "other – – – 0" in lines
    assert f"report: {project / 'reports' / 'report.html'}" in lines
    assert lines[-1] == "next: crosshead tag --model models/latest/bundle FILE…"
    champion.write(project, champion.keep(project, tiny_bundle, "a" * 64), "a" * 64)
    assert main(["show", "reports"]) == 0
    assert capsys.readouterr().out.endswith("crosshead tag FILE…\n")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 3}'])
def test_show_of_a_damaged_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.json").write_text(text)
    assert main(["show", str(tmp_path)]) == Exit.DATA
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_stages_leave_pythons_tidying_as_it_was(command: str, project: Path) -> None:
    gc.set_threshold(701, 11, 12)
    try:
        assert main([command, "seed=no number"]) != Exit.OK
        assert gc.get_threshold() == (701, 11, 12)
    finally:
        gc.set_threshold(700, 10, 10)


@pytest.mark.slow
def test_run_in_a_process_of_its_own_tells_everything_and_makes_no_noise(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "conf", tmp_path / "conf")
    (tmp_path / "data" / "articles").mkdir(parents=True)
    for article in sorted((root / "data" / "articles").glob("w1*-00*.md")):
        shutil.copy(article, tmp_path / "data" / "articles")
    words = ["encoder=tfidf", "views=tfidf", "tracking=none", "folds=2"]
    headings = ["corpus.labels=headings", "corpus.annotations=null", "corpus.contrast_sets=null"]
    headings.append("corpus.single_paragraphs=null")
    done = run_process("run", *words, *headings, cwd=tmp_path, COLUMNS="200")
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    told = done.stdout.decode()
    for pattern in (
        r"^prepared in \d+\.\d s: \d+ paragraphs of \d+ articles: \d+ to train on, \d+ held out$",
        r"^  note: \d+ paragraphs have no label",
        r"^trained in \d+\.\d s: macro-F1 0\.\d+ \(",
        r"^evaluated in \d+\.\d s: on articles that training never saw$",
        r"^macro-F1 +0\.\d{3}",
        r"^report:  \S+/reports/report\.html$",
        r"^next:    crosshead tag FILE…$",
        r"^prepare \d+\.\d s · train \d+\.\d s · evaluate \d+\.\d s · in all \d+\.\d s$",
    ):
        assert re.search(pattern, told, re.MULTILINE), (pattern, told)
    assert (tmp_path / "reports" / "report.html").is_file()
    article = tmp_path / "river.md"
    article.write_text(ARTICLE)
    tagged = run_process("tag", article, "--model", "models/latest/bundle", cwd=tmp_path)
    assert (tagged.returncode, tagged.stderr) == (0, b"")
    assert len(json.loads(tagged.stdout)["paragraphs"]) == 3


def test_online_lets_the_hub_be_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == Exit.USAGE
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert main(["run", "--online"]) == Exit.USAGE
    assert os.environ["HF_HUB_OFFLINE"] == "0"


# -- what a terminal shows -------------------------------------------------------------------------------------------


def test_without_a_terminal_there_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter() as report, counter("tagged") as advance:
        report("encoding", 1, 2)
        advance(3)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_progress_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with reporter() as report:
        report("encoding", 1, 2)
        report("encoding", 2, 2)
        report("fitting", 0, 3)
    with counter("tagged") as advance:
        advance(1500)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "encoding" in captured.err
    assert "2/2" in captured.err
    assert "1,500 tagged" in captured.err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals there")
def test_a_terminal_gets_a_coloured_table_and_a_pipe_gets_jsonl(tmp_path: Path, tiny_bundle: Path) -> None:
    import pty

    (tmp_path / "river.md").write_text(ARTICLE)
    command = [sys.executable, "-m", "crosshead", "tag", "river.md", "--model", str(tiny_bundle)]
    environ = process_environ(tmp_path, TERM="xterm-256color", COLUMNS="90")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=environ, check=False, timeout=60
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b[38;5;" in shown
    assert "Reactions abroad" in shown
    assert not shown.startswith("{")


def test_the_table_is_what_a_person_sees_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crosshead.loading.load", lambda model: Model(make_tagger(), "hand", "1", ""))
    (tmp_path / "long.md").write_text("word " * 40 + "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe writer keeps bees.\n")
    assert main(["tag", "long.md", "--format", "table"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "end not read: 1 long paragraph" in told
    assert "left out: 1 table" in told

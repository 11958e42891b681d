"""Passwords in the address of the MLflow store: used for the connection, and found nowhere else."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import small_project
from crosshead.cli import main
from crosshead.errors import ConfigError, StoreError
from crosshead.records.mlflow_store import StorePlace
from crosshead.redaction import redact
from crosshead.settings import config_digest, load_settings

PASSWORD = "hush-4711"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:hush@team/x?a@b", "https://…@team/x?a@b"),
        ("https://ann:hu@sh@team:5000/", "https://…@team:5000/"),
        ("HTTP://token@team and http://plain/a@b", "HTTP://…@team and http://plain/a@b"),
        ("postgresql+psycopg2://ann:hu/sh@db:5432/mlflow", "postgresql+psycopg2://…@db:5432/mlflow"),
        ("mysql://db/mlflow?user=ann&password=hush&ssl=1", "mysql://db/mlflow?user=ann&password=…&ssl=1"),
        ("sqlite:////home/ann@home/mlflow.db", "sqlite:////home/ann@home/mlflow.db"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db"),
        ("'tracking.uri=\"https://ann:hush@team\"' seed=3", "'tracking.uri=\"https://…@team\"' seed=3"),
        ("write to ann@team.example: 3 of 4", "write to ann@team.example: 3 of 4"),
    ],
)
def test_names_and_passwords_are_cut_out_of_addresses(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Start a server that lets nobody in; give its address with a password, and who asked."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            body = b'{"error_code": "PERMISSION_DENIED", "message": "no entry"}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = refuse

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://ann:{PASSWORD}@127.0.0.1:{listening.server_address[1]}", asked
        listening.shutdown()


SEARCH = """
name: small
trials: 1
objective: macro_f1
startup_trials: 1
prune: false
workers: 1
space: {neighbours: {key: decoder.weight, type: float, low: 0, high: 1}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = small_project.make(tmp_path / "project")
    (root / "conf" / "search" / "small.yaml").write_text(SEARCH, encoding="utf-8")
    monkeypatch.setenv("CROSSHEAD_ROOT", str(root))
    monkeypatch.chdir(root)
    return root


def holding(folder: Path) -> list[str]:
    """Name the files that hold the password."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_a_password_in_the_stores_address_is_written_nowhere(
    project: Path,
    server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, asked = server
    words = [*small_project.WORDS, f"tracking.uri={uri}"]
    monkeypatch.setenv("CROSSHEAD_DEBUG", "1")  # tracebacks hold what other libraries say
    for command in (
        ["run"],
        ["train", "-m"],
        ["train", "-m", "seed=1,2"],
        ["search", "search=small"],
        ["promote", "champion"],
    ):
        assert main([*command, *words]) == StoreError.exit_code, command
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err, command
        assert "http://…@127.0.0.1:" in err
    assert asked
    assert set(asked) == {f"Basic {base64.b64encode(f'ann:{PASSWORD}'.encode()).decode()}"}
    assert list((project / "mlflow" / "unsent").iterdir())  # what would have been recorded
    assert holding(project) == []
    report = (project / "reports" / "report.html").read_text(encoding="utf-8")
    assert "http://…@127.0.0.1:" in report
    assert main(["config", "show", *words]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["tracking"]["uri"].startswith("http://…@127.0.0.1:")


def test_a_password_in_the_environment_is_written_nowhere(
    project: Path,
    server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, asked = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("CROSSHEAD_DEBUG", "1")
    rows = project / "rows.jsonl"
    rows.write_text('{"text": "Shells fell on the town."}\n')
    assert main(["run", *small_project.WORDS]) == StoreError.exit_code
    commands = (["tag", str(rows), "--model", "models:/crosshead/1"], ["serve", "--model", "models:/crosshead/1"])
    for command in (*commands, ["monitor", str(rows), "--model", "models:/crosshead/1"], ["log"]):
        assert main(command) == StoreError.exit_code, command
    main(["doctor"])
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    assert "http://…@127.0.0.1:" in out
    assert len(asked) > 4
    assert holding(project) == []


def test_what_is_wrong_with_an_address_is_said_without_its_password(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (f"tracking.uri=[https://ann:{PASSWORD}@team]", f"tracking.uri=https://ann:{PASSWORD},x@team"):
        with pytest.raises(ConfigError) as error:
            load_settings([wrong], project)
        assert PASSWORD not in str(error.value)
    assert main(["compare", f"tracking.uri=https://ann:{PASSWORD}@team", "last"]) != 0
    assert main(["tag", f"--tracking-uri=https://ann:{PASSWORD}@team"]) != 0
    assert PASSWORD not in capsys.readouterr().err


def test_settings_connect_with_the_password_and_show_themselves_without(project: Path) -> None:
    settings, other = (load_settings([f"tracking.uri=https://ann:{word}@team"], project) for word in (PASSWORD, "x"))
    assert settings.tracking.uri == f"https://ann:{PASSWORD}@team"
    assert PASSWORD not in repr(settings)
    assert config_digest(settings.resolved) == config_digest(other.resolved)
    assert PASSWORD not in repr(StorePlace(str(settings.tracking.uri), None, project))

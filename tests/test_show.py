"""`crosshead show`: the last scores at once, the chain behind a model; and that a recorded run can be made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import small_project
from cli_parts import process_environ
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.errors import TrackingError
from crosshead.records import predictions, tested
from crosshead.records.provenance import Link, chain
from crosshead.records.runs import finder_of
from crosshead.releases import champion, registry
from crosshead.stages import evaluate, train


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    made = small_project.with_two_runs(tmp_path / "project")
    monkeypatch.chdir(made)
    return made


def links(project: Path, reference: str) -> dict[str, Link]:
    steps = chain(finder_of(small_project.settings(project)), reference)
    return {f"{step.title}: {link.name}": link for step in steps for link in step.links}


# -- the last scores ---------------------------------------------------------------------------------------------------


def test_the_last_evaluation_is_shown_with_what_to_do_next(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5:] == [
        f"report:  {project}/reports/report.html",
        "model:   models/latest/bundle; the champion is crosshead 1",
        "next:    crosshead tag --model models/latest/bundle FILE…",
        "         crosshead compare champion last",
        "         crosshead promote last",
    ]
    assert lines[1].split() == ["model", "tfidf", "majority"]
    train.run(small_project.settings(project, *small_project.POOR, "tracking=none"))
    assert main(["show"]) == 0
    assert "note:    a tagger was trained after this evaluation: crosshead evaluate" in capsys.readouterr().out


def test_a_comparison_that_would_be_refused_is_not_proposed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The champion was tested on other paragraphs, or nobody knows, and the paragraph tables differ."""
    standing = champion.find(project)
    assert standing is not None
    last = json.loads((project / "models" / "latest" / "run.json").read_text())["bundle_digest"]
    of_champion, of_last = (tested.path(project, digest) for digest in (standing.digest, last))
    assert (
        of_champion.read_bytes() == of_last.read_bytes() == tested.content(json.loads(of_last.read_text())["held_out"])
    )
    of_last.write_bytes(tested.content("f" * 64))
    instead = [
        "next:    crosshead tag --model models/latest/bundle FILE…",
        "         crosshead promote last --dry-run",
        "         crosshead promote last",
    ]
    assert main(["show"]) == 0
    *_, note, first, second, third = capsys.readouterr().out.splitlines()
    assert note.startswith("note:    `crosshead compare` cannot compare it with the champion: they were tested on diff")
    assert "With promote --dry-run the champion tags this run's held-out articles" in note
    assert [first, second, third] == instead

    of_last.unlink()
    assert main(["show"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "         crosshead compare champion last"
    manifest = project / "models" / "latest" / "bundle" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["about"]["dataset_digest"] = "f" * 64
    manifest.write_text(json.dumps(content))
    assert main(["show"]) == 0
    *_, note, first, second, third = capsys.readouterr().out.splitlines()
    assert "cannot compare it with the champion: they belong to different paragraph tables" in note
    assert [first, second, third] == instead


def test_the_champion_is_shown_as_such(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finder = finder_of(small_project.settings(project))
    finder.tracking.settle()
    registry.promote(finder.tracking, project, finder.find("2").version)  # type: ignore[arg-type]
    assert main(["show"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "model:   crosshead 2, the champion",
        "next:    crosshead tag FILE…",
    ]
    (project / "models" / champion.POINTER).unlink()
    (project / "models" / "latest" / "run.json").write_text("[]")
    assert main(["show"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "model:   models/latest/bundle; there is no champion yet",
        "note:    a tagger was trained after this evaluation: crosshead evaluate",
        "next:    crosshead tag --model models/latest/bundle FILE…",
    ]


def test_showing_scores_needs_neither_mlflow_nor_anything_else_heavy(project: Path) -> None:
    code = (
        "import sys; from crosshead.cli import main; assert main(['show']) == 0; "
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=process_environ(project),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "rich" in loaded
    heavy = {"mlflow", "sklearn", "pandas", "pyarrow", "hydra", "matplotlib", "torch", "numpy", "scipy", "datasets"}
    assert not loaded & heavy


# -- the chain ---------------------------------------------------------------------------------------------------------


def test_the_chain_leads_from_the_champion_to_its_data(project: Path) -> None:
    found = links(project, "champion")
    run = finder_of(small_project.settings(project)).tracking.client.get_run(found["run: id"].value.split()[0])
    tags = run.data.tags
    assert found["champion: is"].value == "this version"
    assert found["champion: used here"].holds is True
    assert found["version: name"].value == "crosshead 1"
    assert found["configuration: digest"] == Link("digest", tags["crosshead.config_digest"], True)
    assert found["data: paragraph table"] == Link("paragraph table", tags["crosshead.dataset_digest"], True)
    assert found["data: corpus"] == Link("corpus", "36 articles, 16 contrast sets, 490 paragraphs", True)
    assert found["data: test"].value.startswith("139 paragraphs of 10 articles: ground_developments ")
    assert found["code: git"].value == "the project was no git repository"
    assert found["encoder: name"].value == "tfidf"
    assert found["bundle: digest"] == Link("digest", tags["crosshead.bundle_digest"], True)
    assert all(link.holds is not False for link in found.values())
    assert links(project, "last")["champion: is"].value == "version 1; this version is not the champion"


def test_a_changed_file_breaks_the_chain_where_it_was_changed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = next((project / "mlflow" / "artifacts" / "models").glob("*/artifacts/artifacts/bundle/heads.safetensors"))
    for path in (project / "mlflow" / "artifacts" / "models").glob("*/artifacts/artifacts/bundle/heads.safetensors"):
        path.write_bytes(path.read_bytes() + b"0")
    found = links(project, "1")
    assert found["bundle: bundle"].holds is False
    assert f"bundle file '{heads.name}' does not have the sha256" in found["bundle: bundle"].value
    (project / "models" / champion.POINTER).unlink()
    assert links(project, "1")["champion: used here"] == Link(
        "used here", "none; follow the registry: crosshead promote champion", False
    )
    assert main(["show", "1"]) == 0
    assert "2 links to look at: used here, bundle" in capsys.readouterr().out


def test_a_chain_that_ends_early(project: Path) -> None:
    run_id = finder_of(small_project.settings(project)).tracking.log_run([], name="only trained")
    found = links(project, run_id)
    assert found["bundle: bundle"].value == "the run registered no model"
    assert found["data: corpus"].value == "not recorded: the run was not evaluated"
    assert "champion: is" not in found
    with pytest.raises(TrackingError, match="was not recorded in MLflow, so nothing leads back from it"):
        links(project, str(project / "reports"))


def test_the_command_shows_the_chain(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "models:/crosshead/2"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "→ version name crosshead 2 → run id " in told
    assert told.endswith("every digest is what was recorded")
    assert main(["show", "9"]) == Exit.TRACKING
    assert "there is no run or version '9'" in capsys.readouterr().err


# -- the same again ----------------------------------------------------------------------------------------------------


def test_the_same_configuration_predicts_the_same_bit_for_bit(project: Path) -> None:
    chosen = small_project.settings(project, "tracking=none")
    kept = (project / "reports" / predictions.FILE).read_bytes()
    for _ in range(2):
        train.run(chosen)
        evaluate.run(chosen)
        assert (project / "reports" / predictions.FILE).read_bytes() == kept


def test_a_recorded_run_is_made_again_and_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.relative_to(project) for path in (project / "models").rglob("*"))
    assert main(["rerun", "champion"]) == 0
    told = capsys.readouterr().out
    assert told == "run champion (version 1): the same predictions for 139 paragraphs, bit for bit\n"
    assert sorted(path.relative_to(project) for path in (project / "models").rglob("*")) == before

    finder = finder_of(small_project.settings(project))
    with finder.file(finder.find("2"), "config.yaml") as path:
        path.write_text(path.read_text("utf-8").replace("n_max: 2", "n_max: 1"), encoding="utf-8")
    assert main(["rerun", "2"]) == Exit.REFUSED
    assert "paragraphs of 139 differ, by 0." in capsys.readouterr().out


def test_what_cannot_be_made_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finder = finder_of(small_project.settings(project))
    finder.tracking.settle()
    with finder.file(finder.find("2"), "config.yaml") as path:
        path.write_text("[]", encoding="utf-8")
    assert main(["rerun", "2"]) == Exit.USAGE
    assert "config.yaml of run version 2 holds no configuration" in capsys.readouterr().err
    summary = project / "data" / "prepared" / "corpus.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text("utf-8")), "digest": "0" * 64}), encoding="utf-8")
    assert main(["rerun", "1"]) == Exit.DATA
    assert "but the prepared one is 000000000000; prepare that corpus again" in capsys.readouterr().err

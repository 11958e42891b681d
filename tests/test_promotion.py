"""Moving the champion and moving it back, and what a kill between two steps leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_project
from crosshead import bundle
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.errors import BundleError, ConfigError, TrackingError
from crosshead.records import predictions
from crosshead.records.log_items import FileArtifact
from crosshead.records.runs import finder_of
from crosshead.releases import champion, gate, promotion, registry
from crosshead.releases.champion import Move
from crosshead.releases.gate import Decision
from crosshead.schema import Settings
from test_gate import holding

LOOSE = ("promotion=default", "promotion.max_ece=0.5", "promotion.max_latency_ratio=50")


# -- in a project ------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gate, "MAX_ROUNDS", gate.N_WARM + 1)
    return small_project.with_two_runs(tmp_path / "project")


def composed(project: Path, *overrides: str) -> Settings:
    return small_project.settings(project, *(overrides or LOOSE))


def standing(project: Path) -> tuple[int, int]:
    """The champion's version in the registry, and in the pointer."""
    finder = finder_of(composed(project))
    version, pointer = registry.find_version(finder.tracking, "crosshead", "champion"), champion.find(project)
    assert version is not None
    assert pointer is not None
    assert pointer.version is not None
    assert bundle.digest(pointer.bundle) == pointer.digest == version.tags[registry.DIGEST_TAG]
    return version.version, pointer.version


def tags(project: Path, version: int) -> dict[str, str]:
    found = registry.find_version(finder_of(composed(project)).tracking, "crosshead", version)
    assert found is not None
    return dict(found.tags)


def test_a_run_that_is_not_good_enough_stays_where_it_is(project: Path) -> None:
    outcome = promotion.promote(composed(project, "promotion=default", "promotion.max_latency_ratio=50"), "last")
    assert outcome.decision is not None
    assert [check.name for check in outcome.decision.checks if not check.holds] == ["calibrated"]
    assert (outcome.moved, standing(project)) == (False, (1, 1))
    found = tags(project, 2)
    assert (found["promotion"], found["refused_by"]) == ("refused", outcome.decision.decided_by)
    assert "calibrated: ECE 0.144, at most 0.08" in found["promotion_figures"]
    assert found["standing_bundle_digest"] == tags(project, 1)["bundle_digest"]
    assert promotion.PREVIOUS not in found


def test_a_dry_run_changes_nothing(project: Path) -> None:
    before = tags(project, 2)
    outcome = promotion.promote(composed(project), "last", dry_run=True)
    assert outcome.decision is not None
    assert outcome.decision.holds
    assert (outcome.moved, standing(project), tags(project, 2)) == (False, (1, 1), before)


def test_a_better_run_becomes_the_champion_and_can_be_rolled_back(project: Path) -> None:
    outcome = promotion.promote(composed(project), "2")
    assert outcome.decision is not None
    assert (outcome.moved, standing(project)) == (True, (2, 2))
    found = tags(project, 2)
    assert (found["promotion"], found[promotion.PREVIOUS]) == ("promoted", "1")
    assert found["previous_bundle_digest"] == tags(project, 1)["bundle_digest"]

    finder = finder_of(composed(project))
    run = finder.tracking.client.get_run(outcome.decision.candidate.run_id)
    assert (run.info.status, run.data.tags["crosshead.promotion"]) == ("FINISHED", "promoted")
    with finder.file(finder.find("2"), found["promotion_file"].split()[0]) as path:
        record = json.loads(path.read_text("utf-8"))
    assert record["promoted"] is True
    assert [record[side]["bundle_digest"] for side in ("candidate", "champion")] == [
        tags(project, version)["bundle_digest"] for version in (2, 1)
    ]

    assert promotion.rollback(composed(project)).champion == registry.find_version(finder.tracking, "crosshead", 1)
    assert standing(project) == (1, 1)
    assert tags(project, 2)["rolled_back_to"] == "1"
    with pytest.raises(TrackingError, match=r"no champion before version 1 .*: crosshead rollback --to VERSION"):
        promotion.rollback(composed(project))
    assert promotion.rollback(composed(project), to=2).moved
    assert standing(project) == (2, 2)
    assert promotion.rollback(composed(project), to=2).notes == ("version 2 is the champion already",)
    with pytest.raises(TrackingError, match="there is no version 7 of 'crosshead'"):
        promotion.rollback(composed(project), to=7)


def test_the_champion_itself_is_nothing_to_decide_but_renews_the_pointer(project: Path) -> None:
    (project / "models" / champion.POINTER).unlink()
    outcome = promotion.promote(composed(project), "champion")
    assert (outcome.decision, outcome.notes) == (None, ("version 1 is the champion already",))
    assert standing(project) == (1, 1)


def test_somebody_who_was_faster_is_not_overruled(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = promotion._decide

    def meanwhile(chosen: Settings, finder: Any, found: Any, version: Any) -> Decision:
        decision = decide(chosen, finder, found, version)
        finder.tracking.client.set_registered_model_alias("crosshead", "champion", "2")
        return decision

    monkeypatch.setattr(promotion, "_decide", meanwhile)
    with pytest.raises(TrackingError, match="is version 2 by now, not version 1; somebody moved it meanwhile"):
        promotion.promote(composed(project), "2")
    assert tags(project, 2)["promotion"].startswith("failed: the champion of 'crosshead' is version 2 by now")


def test_without_a_champion_the_baselines_must_be_beaten(project: Path) -> None:
    finder = finder_of(composed(project))
    finder.tracking.client.delete_registered_model_alias("crosshead", "champion")
    with pytest.raises(TrackingError, match="has no champion to roll back"):
        promotion.rollback(composed(project))
    outcome = promotion.promote(composed(project), "2")
    assert outcome.decision is not None
    found = holding(list(outcome.decision.checks))
    assert (found["better overall than majority"], found["better overall than tfidf"]) == (True, False)
    assert (outcome.moved, outcome.champion, outcome.decision.champion) == (False, None, None)


def test_a_run_without_version_is_registered_only_if_it_passes(project: Path) -> None:
    finder = finder_of(composed(project))
    finder.tracking.settle()
    with finder.tracking.run("loose") as run:
        registry.log_model(run, project / "models" / "latest" / "bundle")
        run.log([FileArtifact(project / "reports" / predictions.FILE)])
    refused = promotion.promote(composed(project, "promotion=default", "promotion.max_mb=0.01"), run.run_id)
    assert (refused.moved, registry.find_version(finder.tracking, "crosshead", 3)) == (False, None)
    assert finder.tracking.client.get_run(run.run_id).data.tags["crosshead.promotion"] == "refused"
    assert promotion.promote(composed(project), run.run_id).moved
    assert standing(project) == (3, 3)


def test_what_cannot_be_promoted(project: Path) -> None:
    run_id = finder_of(composed(project)).tracking.log_run([], name="only trained")
    with pytest.raises(TrackingError, match="has no model; give a run of `crosshead train`"):
        promotion.promote(composed(project), run_id)
    with pytest.raises(ConfigError, match="promotion is null, so there is no gate; say promotion=default"):
        promotion.promote(composed(project, "seed=0"), "2")
    with pytest.raises(TrackingError, match="was not recorded in MLflow, so it cannot be promoted"):
        promotion.promote(composed(project), str(project / "reports"))


def test_a_champion_that_was_tested_on_other_articles_tags_the_candidates(project: Path) -> None:
    small_project.run(project, "seed=1", stages=("prepare", "train", "evaluate"))
    outcome = promotion.promote(composed(project), "last", dry_run=True)
    assert outcome.decision is not None
    same = next(check for check in outcome.decision.checks if check.name == promotion.SAME)
    assert same.holds
    assert "since it was tested on others: " in same.said
    assert "the champion tagged now those that it was not trained on" in same.said
    n_articles = int(same.said.split(" paragraphs of ")[1].split()[0])
    assert 0 < n_articles < 10


def test_a_champion_that_learnt_from_all_of_them_cannot_be_compared(project: Path) -> None:
    finder = finder_of(composed(project))
    finder.tracking.settle()
    first = finder.find("1")
    with finder.file(first, promotion.OUT_OF_FOLD) as path:
        ids = finder.predictions(first).paragraph_ids
        np.savez(path, paragraph_id=np.array(ids))
    with finder.file(first, predictions.FILE) as path:
        path.unlink()
    outcome = promotion.promote(composed(project), "2", dry_run=True)
    assert outcome.decision is not None
    same = next(check for check in outcome.decision.checks if check.name == promotion.SAME)
    assert not same.holds
    assert same.said.startswith("the champion was trained on every one of the candidate's held-out articles; it was")
    assert "no worse at other" not in holding(list(outcome.decision.checks))


# -- kill -9 -----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import small_project
from crosshead.releases import champion
from crosshead.releases import promotion

champion.write = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
root = Path({root!r})
promotion.promote(small_project.settings(root, *{overrides!r}), "2")
"""


@pytest.mark.slow
def test_a_kill_between_alias_and_pointer_is_named_and_mended(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(project), overrides=LOOSE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    finder = finder_of(composed(project))
    moved, pointer = registry.find_version(finder.tracking, "crosshead", "champion"), champion.find(project)
    assert moved is not None
    assert pointer is not None
    assert (moved.version, pointer.version) == (2, 1)  # tagging goes on with a whole bundle
    assert bundle.load(pointer.bundle).section_types

    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "! half done the champion is to be crosshead 2; finish it: crosshead promote champion" in told

    outcome = promotion.promote(composed(project), "champion")
    assert outcome.notes[0] == "an interrupted move was finished: version 2 is the champion"
    assert standing(project) == (2, 2)
    assert champion.unfinished_move(project) is None
    assert promotion.rollback(composed(project)).moved


def test_a_kill_before_the_alias_moved_is_mended_too(project: Path) -> None:
    champion.begin_move(project, Move("crosshead", 2))
    outcome = promotion.rollback(composed(project), to=1)
    assert outcome.notes == ("an interrupted move was finished: version 2 is the champion",)
    assert standing(project) == (1, 1)


def test_an_unfinished_move_of_something_that_is_gone(project: Path) -> None:
    champion.begin_move(project, Move("crosshead", 9))
    with pytest.raises(TrackingError, match=r"version 9 of 'crosshead' .* is gone from .*; delete .*champion\.moving"):
        promotion.rollback(composed(project))
    (project / "models" / champion.MOVE).write_text("{")
    with pytest.raises(BundleError, match=r"champion\.moving\.json cannot be read .*; delete it, then type"):
        champion.unfinished_move(project)
    shutil.rmtree(project / "models")
    (project / "models").write_text("a file")
    with pytest.raises(BundleError, match=r"champion\.moving\.json cannot be written"):
        champion.begin_move(project, Move("crosshead", 9))
    assert champion.unfinished_move(project) is None


# -- the commands ------------------------------------------------------------------------------------------------------


def test_the_commands_say_what_happened_and_why_not(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["promote", "last", "promotion.max_latency_ratio=50"]) == Exit.REFUSED == 1
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("version 2 against the champion, version 1 ✓ same held-out articles 99 paragraphs of 10")
    assert "✗ calibrated ECE 0.144, at most 0.08" in told
    assert told.endswith("not promoted: 1 of 9 conditions does not hold; version 1 stays the champion")
    assert main(["promote", "last", "--dry-run", *LOOSE[1:]]) == 0
    assert capsys.readouterr().out.endswith("version 2 would become the champion (--dry-run: nothing was changed)\n")
    assert main(["promote", "last", *LOOSE[1:]]) == 0
    assert capsys.readouterr().out.endswith("version 2 is the champion now\n")
    assert main(["promote", "champion"]) == 0
    assert capsys.readouterr().out == "note: version 2 is the champion already\n"
    pointer = project / "models" / champion.POINTER
    for spoil in (pointer.unlink, lambda: pointer.write_text("{")):
        spoil()
        assert main(["tag", str(project / "conf" / "config.yaml")]) == Exit.MODEL
        assert "make it anew from the registry: crosshead promote champion" in capsys.readouterr().err
        main(["doctor"])
        assert "crosshead promote champion" in " ".join(capsys.readouterr().out.split())
        assert main(["promote", "champion"]) == 0
        assert champion.find(project) is not None
        capsys.readouterr()
    assert main(["rollback"]) == 0
    assert capsys.readouterr().out == "crosshead 1 is the champion now\n"
    assert main(["rollback"]) == Exit.TRACKING
    assert main(["promote", "last", "promotion.marign=0.1"]) == Exit.USAGE
    assert "'promotion.margin'" in capsys.readouterr().err

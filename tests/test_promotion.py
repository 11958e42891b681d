"""The gate of promotion, moving the champion and moving it back, and what a kill between two steps leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import small_project
from crosshead import bundle
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.errors import BundleError, ConfigError, TrackingError
from crosshead.records import predictions
from crosshead.records.log_items import FileArtifact
from crosshead.records.predictions import Predictions
from crosshead.records.runs import finder_of
from crosshead.releases import champion, gate, promotion, registry
from crosshead.releases.champion import Move
from crosshead.releases.gate import Check, Decision, Side
from crosshead.schema import PromotionSettings, Settings
from test_compare import TYPES, make_predictions, some_wrong

LIMITS = PromotionSettings(level=0.95, margin=0.03, max_ece=0.3, max_latency_ratio=1.5, max_mb=1, n_resamples=500)
LOOSE = ("promotion=default", "promotion.max_ece=0.5", "promotion.max_latency_ratio=50")


# -- the gate ----------------------------------------------------------------------------------------------------------


def holding(checks: list[Check]) -> dict[str, bool]:
    return {check.name: check.holds for check in checks}


def test_a_clearly_better_run_passes_and_an_equal_one_does_not() -> None:
    poor, good = make_predictions(some_wrong(0, 4)), make_predictions()
    found = [*gate.check_against_champion(good, poor, LIMITS, seed=0)]
    assert all(check.holds for check in found)
    assert [check.name for check in found] == ["better overall than the champion", *(f"no worse at {t}" for t in TYPES)]
    same = [*gate.check_against_champion(poor, poor, LIMITS, seed=0)]
    assert holding(same) == {
        "better overall than the champion": False,
        **{f"no worse at {t}": True for t in TYPES},
    }
    assert "macro-F1 0.778 → 0.778; difference at least +0.000 (95% sure), must be above 0" in same[0].said


def test_a_section_type_that_suffers_stops_a_run_that_is_better_overall() -> None:
    poor = make_predictions(some_wrong(0, 2))  # wrong at every "war" and "rest"
    answers = make_predictions().y.copy()
    answers[1::4] = 2  # right at all but "talks"
    found = holding([*gate.check_against_champion(make_predictions(answers), poor, LIMITS, seed=0)])
    assert found["better overall than the champion"]
    assert not found["no worse at talks"]
    wide = LIMITS.model_copy(update={"margin": 0.99})
    assert holding([*gate.check_against_champion(make_predictions(answers), poor, wide, seed=0)])["no worse at talks"]


def test_a_lucky_point_estimate_does_not_pass() -> None:
    a, b = make_predictions(some_wrong(0, 9)), make_predictions(some_wrong(1, 11))
    overall = next(gate.check_against_champion(b, a, LIMITS, seed=0))
    before, after = (float(word) for word in overall.said.split(";")[0].removeprefix("macro-F1 ").split(" → "))
    assert after > before
    assert not overall.holds


def test_what_cannot_be_shown_does_not_hold() -> None:
    few = make_predictions().rows(range(16))
    assert not any(check.holds for check in gate.check_against_champion(few, few, LIMITS, seed=0))
    without_talks = make_predictions().rows([i for i, y in enumerate(make_predictions().y) if y != 1])
    found = {check.name: check for check in gate.check_against_champion(without_talks, without_talks, LIMITS, seed=0)}
    assert found["no worse at talks"].said == "cannot be shown: too few held-out paragraphs of it"


def test_without_champion_the_baselines_are_the_measure() -> None:
    good, poor = make_predictions(some_wrong(1, 16)), make_predictions(some_wrong(0, 4))
    both = Predictions(**{**vars(good), "proba": {"model": good.model, "tfidf": poor.model, "majority": good.model}})
    assert holding([*gate.check_against_baselines(both, LIMITS, seed=0)]) == {
        "better overall than tfidf": True,
        "better overall than majority": False,
    }
    (none,) = gate.check_against_baselines(good, LIMITS, seed=0)
    assert (none.holds, "kept no baselines" in none.said) == (False, True)


@pytest.mark.parametrize(("sure", "holds"), [(0.99, True), (0.4, False)])
def test_stated_confidence_must_be_near_what_is_right(sure: float, holds: bool) -> None:
    check = gate.check_calibration(make_predictions(sure=sure), LIMITS)
    assert check.holds is holds
    assert check.said == f"ECE {1 - sure:.3f}, at most 0.3"


def test_a_bundle_must_not_be_too_large() -> None:
    assert gate.check_size(1_000_000, LIMITS).holds
    assert gate.check_size(1_000_001, LIMITS) == Check("size", False, "1.0 MB, at most 1 MB")


class SlowTagger:
    """Takes its time on a clock that only it moves."""

    now: ClassVar[float] = 0.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.articles: list[tuple[str, ...]] = []

    def tag_article(self, paragraphs: Any) -> None:
        self.articles.append(tuple(paragraphs))
        SlowTagger.now += self.seconds * (50 if len(self.articles) <= gate.N_WARM else 1)


def test_latency_is_a_ratio_of_taggers_that_take_turns_on_the_same_articles() -> None:
    slow, quick = SlowTagger(0.3), SlowTagger(0.1)
    ratio, seconds = gate.latency_ratio(slow, quick, clock=lambda: SlowTagger.now)  # type: ignore[arg-type]
    assert (ratio, seconds) == pytest.approx((3.0, 0.3))
    assert slow.articles == quick.articles
    assert len(slow.articles) == gate.MIN_ROUNDS
    texts = [text for article in slow.articles for text in article]
    assert len(set(texts)) == len(texts)
    assert 60 < np.mean([len(text.split()) for text in texts]) < 110


@pytest.mark.parametrize(("seconds", "holds"), [(0.14, True), (0.16, False)])
def test_a_tagger_must_not_be_too_slow(monkeypatch: pytest.MonkeyPatch, seconds: float, holds: bool) -> None:
    monkeypatch.setattr(gate, "latency_ratio", lambda candidate, standing: (seconds / 0.1, seconds))
    check = gate.check_latency(SlowTagger(0), SlowTagger(0), LIMITS)  # type: ignore[arg-type]
    assert check.holds is holds
    assert check.said.startswith(f"{seconds / 0.1:.2f} times the champion's, at most 1.5")


def test_a_decision_is_written_for_machines_and_for_people() -> None:
    checks = (Check("size", True, "1 MB"), Check("latency", False, "a | b"))
    made = Decision(Side("r" * 32, 2, "d" * 64), Side("q" * 32, 1, "c" * 64), checks, LIMITS, "2031-05-01", "ann")
    read = json.loads(made.to_json())
    assert (read["promoted"], read["candidate"]["version"], read["limits"]["margin"]) == (False, 2, 0.03)
    assert read["champion"] == {"run_id": "q" * 32, "version": 1, "bundle_digest": "c" * 64}
    assert made.to_markdown().startswith("# version 2 is not good enough to be the champion\n")
    assert "| ✗ | latency | a \\| b |" in made.to_markdown()
    first = Decision(Side("r" * 32, None, ""), None, checks[:1], LIMITS, "2031-05-01", "ann")
    assert first.to_markdown().startswith(f"# run {'r' * 32} is good enough to be the champion\n")
    assert "Measured against its baselines" in first.to_markdown()


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

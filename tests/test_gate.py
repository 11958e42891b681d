"""The gate of promotion: what each condition measures, when it holds, and how a decision is written."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest

from crosshead.records.predictions import Predictions
from crosshead.releases import gate
from crosshead.releases.gate import Check, Decision, Side
from crosshead.schema import PromotionSettings
from test_compare import TYPES, make_predictions, some_wrong

LIMITS = PromotionSettings(level=0.95, margin=0.03, max_ece=0.3, max_latency_ratio=1.5, max_mb=1, n_resamples=500)


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
    said = "cannot be shown: too few held-out paragraphs of it"
    assert found["no worse at talks"] == Check("no worse at talks", False, said)


def test_the_seed_alone_decides_which_articles_are_drawn() -> None:
    few = LIMITS.model_copy(update={"n_resamples": 20})
    a, b = make_predictions(some_wrong(0, 9)), make_predictions(some_wrong(1, 11))
    with_baseline = Predictions(**{**vars(b), "proba": {"model": b.model, "tfidf": a.model}})

    def drawn(seed: int) -> list[Check]:
        against = gate.check_against_champion(b, a, few, seed=seed)
        return [*against, *gate.check_against_baselines(with_baseline, few, seed=seed)]

    first = [drawn(seed) for seed in range(5)]
    assert [drawn(seed) for seed in range(5)] == first
    assert any(other != first[0] for other in first[1:])


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
    assert check.name == "latency"
    assert check.said == f"{seconds / 0.1:.2f} times the champion's, at most 1.5 ({seconds * 1000:.1f} ms an article)"


def test_a_decision_is_written_for_machines_and_for_people() -> None:
    checks = (Check("size", True, "1 MB"), Check("latency", False, "a | b"))
    made = Decision(Side("r" * 32, 2, "d" * 64), Side("q" * 32, 1, "c" * 64), checks, LIMITS, "2031-05-01", "ann")
    read = json.loads(made.to_json())
    assert made.to_json() == json.dumps(read, indent=2) + "\n"
    assert (read["promoted"], read["candidate"]["version"], read["limits"]["margin"]) == (False, 2, 0.03)
    assert read["champion"] == {"run_id": "q" * 32, "version": 1, "bundle_digest": "c" * 64}
    assert made.to_markdown().startswith("# version 2 is not good enough to be the champion\n")
    assert "| ✗ | latency | a \\| b |" in made.to_markdown()
    first = Decision(Side("r" * 32, None, ""), None, checks[:1], LIMITS, "2031-05-01", "ann")
    assert first.to_markdown().startswith(f"# run {'r' * 32} is good enough to be the champion\n")
    assert "Measured against its baselines" in first.to_markdown()

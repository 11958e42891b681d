from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from crosshead.errors import DataError
from crosshead.evaluation import (
    ABSTAIN_ALWAYS,
    LENGTH_BUCKETS,
    Interval,
    abstention_threshold,
    check_scores,
    conformal_quantile,
    confusion,
    errors,
    evaluate,
    examples_right,
    label_sets,
    length_buckets,
    mcnemar,
    paired_bootstrap,
    reliability,
    risk_coverage,
    set_accuracy,
    set_coverage,
    slices,
)

TYPES = ("ground_developments", "regional_stability", "international_role", "other")
NAMES = np.asarray(TYPES)


def sample(seed: int = 0, n_articles: int = 40, spread: float = 1.0, gain: float = 2.3):
    """Invent true columns, probabilities and article numbers; some articles are harder than others."""
    rng = np.random.default_rng(seed)
    article = np.repeat(np.arange(n_articles), rng.poisson(8, n_articles) + 1)
    codes = rng.choice(4, len(article), p=[0.4, 0.2, 0.25, 0.15])
    logits = rng.normal(0, 1, (len(article), 4))
    logits[np.arange(len(article)), codes] += np.clip(gain - rng.normal(0, spread, n_articles)[article], -1, 9)
    proba = np.exp(1.6 * logits)
    return codes, proba / proba.sum(axis=1, keepdims=True), article


def with_right_share(right: list[bool], confidence: list[float]):
    """Build two-type rows with the given answers right and the given confidences."""
    proba = np.asarray([[c, 1 - c] for c in confidence])
    return np.asarray([0 if r else 1 for r in right]), proba


# --- evaluate


def test_scores_of_four_paragraphs_are_those_computed_by_hand():
    y = ["front", "front", "region", "region"]
    proba = [[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7]]
    scores = evaluate(y, proba, ["a", "a", "b", "b"], ["front", "region"])
    front, region = scores.classes
    assert (front.support, region.support) == (2, 2)
    assert (front.precision.value, front.recall.value) == (1.0, 0.5)
    assert front.f1.value == pytest.approx(2 / 3)
    assert region.f1.value == pytest.approx(4 / 5)
    assert scores.macro_f1.value == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.accuracy.value == 0.75
    assert scores.brier.value == pytest.approx((2 * 0.2**2 + 2 * 0.6**2 + 2 * 0.1**2 + 2 * 0.3**2) / 4)
    assert scores.log_loss.value == pytest.approx(-np.log([0.8, 0.4, 0.9, 0.7]).mean())
    # four confidences, four bins: 0.8 right, 0.6 wrong, 0.9 right, 0.7 right
    assert scores.ece.value == pytest.approx((0.2 + 0.6 + 0.1 + 0.3) / 4)
    assert (scores.n_paragraphs, scores.n_articles, scores.missing) == (4, 2, ())


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(seed):
    codes, proba, article = sample(seed)
    predicted = proba.argmax(axis=1)
    scores = evaluate(NAMES[codes], proba, article, TYPES, n_resamples=0)
    assert scores.macro_f1.value == pytest.approx(f1_score(codes, predicted, average="macro"))
    assert scores.accuracy.value == pytest.approx(accuracy_score(codes, predicted))
    assert scores.log_loss.value == pytest.approx(log_loss(codes, proba))
    assert scores.brier.value == pytest.approx(brier_score_loss(codes, proba))
    precision, recall, f1, support = precision_recall_fscore_support(codes, predicted)
    assert [c.precision.value for c in scores.classes] == pytest.approx(precision)
    assert [c.recall.value for c in scores.classes] == pytest.approx(recall)
    assert [c.f1.value for c in scores.classes] == pytest.approx(f1)
    assert [c.support for c in scores.classes] == support.tolist()
    assert np.array_equal(confusion(codes, predicted, TYPES), confusion_matrix(codes, predicted))
    assert confusion(codes, predicted, TYPES).dtype.kind == "i"


def test_log_loss_of_a_certain_mistake_is_that_of_scikit_learn():
    codes, proba = np.asarray([0, 1, 1]), np.asarray([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    scores = evaluate(codes, proba, [1, 2, 3], ["a", "b"])
    assert scores.log_loss.value == pytest.approx(log_loss(codes, proba))


def test_names_and_columns_give_the_same_scores():
    codes, proba, article = sample()
    assert evaluate(codes, proba, article, TYPES) == evaluate(NAMES[codes].tolist(), proba, article, TYPES)


def test_intervals_are_those_of_resampling_the_rows_of_whole_articles():
    codes, proba, article = sample(n_articles=12)
    predicted = proba.argmax(axis=1)
    drawn = np.random.default_rng(7).integers(0, 12, size=(300, 12))
    macro_f1, losses = [], []
    for articles in drawn:
        rows = np.concatenate([np.flatnonzero(article == a) for a in articles])
        macro_f1.append(f1_score(codes[rows], predicted[rows], average="macro", labels=np.unique(codes[rows])))
        losses.append(log_loss(codes[rows], proba[rows], labels=range(4)))
    ids = [f"article-{a:02}" for a in article]
    scores = evaluate(codes, proba, ids, TYPES, n_resamples=300, seed=7)
    assert [scores.macro_f1.low, scores.macro_f1.high] == pytest.approx(np.quantile(macro_f1, [0.025, 0.975]).tolist())
    assert [scores.log_loss.low, scores.log_loss.high] == pytest.approx(np.quantile(losses, [0.025, 0.975]).tolist())


def test_intervals_hold_the_truth_as_often_as_they_say_where_articles_differ():
    """Paragraphs resampled one by one would hold it far too seldom; that is what the articles are for."""
    held, held_by_rows = 0, 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        ease = rng.choice([0.5, 0.95], 40)
        right = rng.random(40 * 10) < np.repeat(ease, 10)
        codes, proba = with_right_share(right.tolist(), [0.8] * 400)
        for article, by_rows in ((np.repeat(np.arange(40), 10), False), (np.arange(400), True)):
            accuracy = evaluate(codes, proba, article, ["a", "b"], n_resamples=200).accuracy
            inside = accuracy.low <= 0.725 <= accuracy.high
            held, held_by_rows = held + (inside and not by_rows), held_by_rows + (inside and by_rows)
    assert 0.90 <= held / 120 <= 0.985
    assert held_by_rows / 120 < 0.80


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 25), st.integers(0, 100))
def test_scores_do_not_depend_on_the_order_of_rows(seed, n_articles, shuffle):
    codes, proba, article = sample(seed, n_articles)
    order = np.random.default_rng(shuffle).permutation(len(codes))
    first = evaluate(codes, proba, article, TYPES, n_resamples=50).metrics()
    second = evaluate(codes[order], proba[order], article[order], TYPES, n_resamples=50).metrics()
    assert first == pytest.approx(second)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(-2, 4))
def test_scores_stay_in_their_ranges_and_intervals_hold_their_values(seed, n_articles, gain):
    codes, proba, article = sample(seed, n_articles, gain=gain)
    scores = evaluate(codes, proba, article, TYPES, n_resamples=60, abstained=proba.max(axis=1) < 0.5)
    overall = scores.overall()
    tops = {"log_loss": np.inf, "brier": 2.0}
    classes = [x for c in scores.classes for x in (c.precision, c.recall, c.f1) if x is not None]
    for name, interval in [*overall.items(), *(("f1", c) for c in classes)]:
        assert 0 <= interval.value <= tops.get(name, 1.0)
        if interval.has_ends:
            assert 0 <= interval.low <= interval.value <= interval.high <= tops.get(name, 1.0) + 1e-12
        else:
            assert n_articles < 5 or name == "f1"


def test_more_articles_narrow_the_interval():
    few, many = (evaluate(*sample(3, n), TYPES).macro_f1 for n in (20, 320))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_a_calibrated_model_has_a_small_ece_and_an_overconfident_one_a_large():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    codes, proba = with_right_share((rng.random(20_000) < confidence).tolist(), confidence.tolist())
    article = np.arange(20_000) // 20
    assert evaluate(codes, proba, article, ["a", "b"]).ece.value < 0.015
    sure = np.where(proba > 0.5, 0.99, 0.01)
    ece = evaluate(codes, sure, article, ["a", "b"]).ece
    assert ece.value == pytest.approx(0.99 - 0.75, abs=0.01)
    assert ece.high - ece.low < 0.05


def test_ece_of_one_constant_confidence_is_its_distance_from_the_accuracy():
    codes, proba = with_right_share([True, True, True, False], [0.6] * 4)
    assert evaluate(codes, proba, [1, 2, 3, 4], ["a", "b"]).ece.value == pytest.approx(0.15)


def test_a_section_type_that_never_occurs_has_no_scores_and_does_not_count():
    codes, proba, article = sample()
    seen = codes != 3
    scores = evaluate(codes[seen], proba[seen], article[seen], TYPES)
    last = scores.classes[3]
    assert (last.support, last.precision, last.recall, last.f1) == (0, None, None, None)
    assert scores.missing == ("other",)
    assert scores.macro_f1.value == pytest.approx(np.mean([c.f1.value for c in scores.classes[:3]]))
    assert "f1_other" not in scores.metrics()


def test_a_section_type_never_answered_has_precision_0_as_in_scikit_learn():
    scores = evaluate([0, 1, 1], [[0.9, 0.1]] * 3, [1, 2, 3], ["a", "b"])
    assert (scores.classes[1].precision.value, scores.classes[1].f1.value) == (0.0, 0.0)


@pytest.mark.parametrize("n_articles", [1, 4])
def test_few_articles_give_values_without_intervals(n_articles):
    codes, proba, _ = sample()
    scores = evaluate(codes, proba, np.arange(len(codes)) % n_articles, TYPES)
    assert scores.macro_f1 == Interval(scores.macro_f1.value, None, None)
    assert not any(name.endswith("_low") for name in scores.metrics())


def test_abstentions_give_coverage_and_the_risk_of_what_is_answered():
    codes, proba = with_right_share([True, True, False, False], [0.9, 0.8, 0.7, 0.6])
    scores = evaluate(codes, proba, [1, 2, 3, 4], ["a", "b"], abstained=[False, False, False, True])
    assert scores.coverage.value == 0.75
    assert scores.risk.value == pytest.approx(1 / 3)
    assert scores.accuracy.value == 0.5  # also where it abstained, the best section type is scored
    silent = evaluate(codes, proba, [1, 2, 3, 4], ["a", "b"], abstained=[True] * 4)
    assert silent.coverage.value == 0.0
    assert silent.risk is None
    assert evaluate(codes, proba, [1, 2, 3, 4], ["a", "b"]).coverage is None


def test_scores_become_json_and_flat_metrics():
    codes, proba, article = sample()
    scores = evaluate(codes, proba, article, TYPES, abstained=proba.max(axis=1) < 0.5)
    told = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert told["macro_f1"] == {
        "value": scores.macro_f1.value,
        "low": scores.macro_f1.low,
        "high": scores.macro_f1.high,
    }
    assert told["classes"]["other"]["support"] == scores.classes[3].support
    flat = scores.metrics()
    assert flat["f1_other_low"] == scores.classes[3].f1.low
    assert flat["risk"] == scores.risk.value
    assert all(isinstance(value, float | int) for value in flat.values())


def test_an_interval_reads_as_one_would_say_it():
    assert str(Interval(0.8526, 0.8311, 0.8744)) == "0.853 (0.831–0.874)"
    assert str(Interval(0.8526)) == "0.853"


GOOD = {"y_true": ["a", "b"], "y_proba": [[0.9, 0.1], [0.2, 0.8]], "article_ids": [1, 2], "section_types": ["a", "b"]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_true": ["a"]}, "different lengths .y_true 1, y_proba 2."),
        ({"article_ids": [1]}, "article_ids 1"),
        ({"article_ids": ["x", None]}, "article_ids has an empty entry"),
        ({"article_ids": ["x", float("nan")]}, "article_ids has an empty entry"),
        (
            {"y_true": ["a", "ab"], "section_types": ["a", "abc"]},
            "holds 'ab'; the section types are a, abc; did you mean",
        ),
        ({"y_true": [0, 2]}, "holds the column 2, but y_proba has the columns 0 to 1"),
        ({"y_true": [0, -1]}, "holds the column -1"),
        ({"y_true": [["a"], ["b"]]}, "y_true has the shape"),
        ({"y_proba": [[0.9, 0.1], [0.2, 0.7]]}, "row 1 is .0.2, 0.7., which is not a set of probabilities"),
        ({"y_proba": [[0.9, 0.1], [float("nan"), 0.8]]}, "row 1 is .nan"),
        ({"y_proba": [[1.5, -0.5], [0.2, 0.8]]}, "1 of 2 rows do not"),
        ({"y_proba": [0.9, 0.8]}, "y_proba has the shape"),
        ({"y_proba": [[1.0], [1.0]]}, "2 columns"),
        ({"y_true": [], "y_proba": np.empty((0, 2)), "article_ids": []}, "at least one paragraph"),
        ({"n_resamples": -1}, "n_resamples is -1"),
        ({"abstained": [True]}, "abstained 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changed, message):
    with pytest.raises(DataError, match=message):
        evaluate(**(GOOD | changed))


def test_names_need_the_section_types():
    with pytest.raises(DataError, match="no section_types say which columns"):
        risk_coverage(["a", "b"], GOOD["y_proba"], [1, 2])


# --- contrast sets


def test_a_set_counts_only_when_every_paragraph_is_right():
    truth = ["g", "r", "i", "o", "g", "r"]
    answer = ["g", "r", "i", "o", "g", "i"]
    share = set_accuracy(truth, answer, ["bridge", "bridge", "truce", "truce", "port", "port"])
    assert share.value == pytest.approx(2 / 3)
    assert not share.has_ends  # three sets are too few
    many = set_accuracy(truth * 10, answer * 10, [f"{name}-{i}" for i in range(10) for name in "aabbcc"])
    assert many.low < many.value < many.high


def test_set_accuracy_refuses_nothing_and_unequal_columns():
    with pytest.raises(DataError, match="no contrast set to score"):
        set_accuracy([], [], [])
    with pytest.raises(DataError, match="set_ids 1"):
        set_accuracy(["g", "r"], ["g", "r"], ["x"])


# --- answering only when sure


def test_risk_coverage_of_four_paragraphs():
    codes, proba = with_right_share([True, False, True, False], [0.9, 0.8, 0.7, 0.6])
    curve = risk_coverage(codes, proba, [1, 2, 3, 4])
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.at(0.75) == (0.5, 0.5)
    assert curve.at(0.0) == (1.0, 0.5)
    assert curve.at(ABSTAIN_ALWAYS) == (0.0, 0.0)


def test_the_band_of_the_risk_has_the_width_of_a_share():
    """One paragraph an article: what resampling articles gives is what the binomial distribution has."""
    codes, proba = with_right_share([i % 4 != 0 for i in range(400)], [0.9] * 200 + [0.8] * 200)
    curve = risk_coverage(codes, proba, list(range(400)), n_resamples=2000)
    margins = 1.96 * np.sqrt(0.25 * 0.75 / np.array([200, 400]))
    np.testing.assert_allclose(curve.low, 0.25 - margins, atol=0.012)
    np.testing.assert_allclose(curve.high, 0.25 + margins, atol=0.012)
    assert np.array_equal(risk_coverage(codes, proba, list(range(400)), n_resamples=0).high, curve.risk)


def test_equal_confidences_are_answered_together():
    codes, proba = with_right_share([True, False, True, False], [0.9, 0.7, 0.7, 0.7])
    curve = risk_coverage(codes, proba, [1, 2, 3, 4])
    assert curve.coverage.tolist() == [0.25, 1.0]
    assert curve.area == pytest.approx((0 + 3 * 0.5) / 4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 60))
def test_risk_coverage_is_a_curve_within_its_band(seed, n_articles, n_points):
    codes, proba, article = sample(seed, n_articles)
    curve = risk_coverage(codes, proba, article, n_points=n_points, n_resamples=40)
    assert len(curve.thresholds) <= n_points
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.coverage[-1] == pytest.approx(1.0)
    assert curve.risk[-1] == pytest.approx((proba.argmax(axis=1) != codes).mean())
    assert ((curve.low <= curve.risk) & (curve.risk <= curve.high)).all()
    for threshold, coverage, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        answered = proba.max(axis=1) >= threshold
        assert coverage == pytest.approx(answered.mean())
        assert risk == pytest.approx((proba.argmax(axis=1) != codes)[answered].mean())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.01, 0.4))
def test_without_margin_the_threshold_is_the_smallest_that_keeps_to_the_risk(seed, n_articles, risk):
    codes, proba, _ = sample(seed, n_articles)
    confidence, wrong = proba.max(axis=1), proba.argmax(axis=1) != codes
    threshold = abstention_threshold(codes, proba, risk=risk, level=None)
    kept = [t for t in confidence if wrong[confidence >= t].mean() <= risk]
    if not kept:
        assert threshold == ABSTAIN_ALWAYS
    else:
        assert threshold == (0.0 if min(kept) == confidence.min() else min(kept))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(5, 60))
def test_a_margin_never_lowers_the_threshold_and_articles_never_lower_the_margin(seed, n_articles):
    codes, proba, article = sample(seed, n_articles)
    measured = abstention_threshold(codes, proba, risk=0.1, level=None)
    by_rows = abstention_threshold(codes, proba, risk=0.1)
    by_articles = abstention_threshold(codes, proba, risk=0.1, article_ids=article)
    assert measured <= by_rows <= by_articles


def test_perfect_answers_on_few_rows_prove_little():
    codes, proba = with_right_share([True] * 10, [0.9] * 10)
    assert abstention_threshold(codes, proba, risk=0.1) == ABSTAIN_ALWAYS
    codes, proba = with_right_share([True] * 100, [0.9] * 100)
    assert abstention_threshold(codes, proba, risk=0.1) == 0.0


def test_the_threshold_uses_the_effective_number_of_rows():
    """Ten copies of each paragraph in an article tell no more than one: the bound must not get tighter."""
    rng = np.random.default_rng(1)
    right, confidence = rng.random(300) < 0.9, np.full(300, 0.8)
    once = with_right_share(right.tolist(), confidence.tolist())
    tenfold = with_right_share(np.repeat(right, 10).tolist(), np.repeat(confidence, 10).tolist())
    article = np.repeat(np.arange(300), 10)
    risks = np.linspace(0.05, 0.2, 61)

    def lowest(codes, proba, **kwargs):
        return next(r for r in risks if abstention_threshold(codes, proba, risk=r, **kwargs) == 0.0)

    assert lowest(*tenfold, article_ids=article) == pytest.approx(lowest(*once), abs=0.005)
    assert lowest(*tenfold) < lowest(*once)


def risk_at_most(confidence, wrong, article, threshold):
    """Wilson's bound on the risk, with as many rows as the mistakes of whole articles are worth: by its definition."""

    def effect(answered):
        share, n = wrong[answered].mean(), answered.sum()
        if share in (0, 1):
            return 1.0
        of_article = [answered & (article == one) for one in np.unique(article[answered])]
        spread = sum((wrong[rows].sum() - share * rows.sum()) ** 2 for rows in of_article)
        return max(1.0, spread / (share * (1 - share) * n) * len(of_article) / max(1, len(of_article) - 1))

    answered = confidence >= threshold
    share = wrong[answered].mean()
    n = answered.sum() / max(effect(answered), effect(confidence >= 0))
    z = 1.6448536269514722
    centre, width = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre + width) / (1 + z**2 / n)


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_lowest_whose_bound_keeps_to_the_risk(seed):
    rng = np.random.default_rng(seed)
    article = np.repeat(np.arange(8), 5)
    often = rng.choice([0.5, 0.95], 8)[article]  # mistakes come in clusters
    codes, proba = with_right_share((rng.random(40) < often).tolist(), (0.6 + rng.integers(0, 30, 40) / 100).tolist())
    confidence, wrong = proba.max(axis=1), proba.argmax(axis=1) != codes
    bounds = {t: risk_at_most(confidence, wrong, article, t) for t in np.unique(confidence)}
    for risk in [*(np.array([*bounds.values()]) + 1e-7), *(np.array([*bounds.values()]) - 1e-7)]:
        kept = [t for t, bound in bounds.items() if bound <= risk]
        expected = (0.0 if min(kept) == confidence.min() else min(kept)) if kept else ABSTAIN_ALWAYS
        if risk < 1:
            assert abstention_threshold(codes, proba, risk=risk, article_ids=article) == expected


def test_names_of_section_types_give_the_same_threshold_and_curve():
    codes, proba, article = sample(3, 20)
    types = [f"type {i}" for i in range(proba.shape[1])]
    names = [types[code] for code in codes]
    by_codes, by_names = (
        (
            abstention_threshold(y, proba, risk=0.2, **known),
            risk_coverage(y, proba, article, n_resamples=0, **known).area,
        )
        for y, known in ((codes, {}), (names, {"section_types": types}))
    )
    assert by_codes == by_names


def test_the_risk_on_new_articles_is_kept_about_as_often_as_stated():
    """Choosing the smallest threshold is a little optimistic: of 200, at most 10 % exceed instead of 5 %."""
    codes, proba, _ = sample(99, 6000)
    confidence, wrong = proba.max(axis=1), proba.argmax(axis=1) != codes
    exceeded = {0.95: 0, None: 0}
    for seed in range(200):
        own_codes, own_proba, article = sample(seed, 80)
        for level in exceeded:
            threshold = abstention_threshold(own_codes, own_proba, risk=0.1, article_ids=article, level=level)
            answered = confidence >= threshold
            exceeded[level] += bool(answered.any() and wrong[answered].mean() > 0.1)
    assert exceeded[0.95] / 200 <= 0.10
    assert exceeded[None] / 200 >= 0.35


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"risk": 0.0}, "risk is 0.0"),
        ({"risk": 1.0}, "risk is 1.0"),
        ({"risk": 0.1, "level": 0.3}, "level is 0.3"),
        ({"risk": 0.1, "level": 1.0}, "level is 1.0"),
        ({"risk": 0.1, "article_ids": [1]}, "article_ids 1"),
    ],
)
def test_a_threshold_needs_a_risk_and_a_level(wrong, message):
    with pytest.raises(DataError, match=message):
        abstention_threshold([0, 1], [[0.9, 0.1], [0.1, 0.9]], **wrong)


# --- label sets


def test_the_conformal_quantile_is_the_right_order_statistic():
    proba = np.column_stack([np.arange(1, 10) / 10, 1 - np.arange(1, 10) / 10])
    scores = np.sort(1 - proba[:, 0])
    # nine rows, alpha 0.1: the ceil(10 * 0.9) = 9th smallest, the largest
    assert conformal_quantile([0] * 9, proba, alpha=0.1) == scores[8]
    assert conformal_quantile([0] * 9, proba, alpha=0.5) == scores[4]
    assert conformal_quantile([0] * 9, proba, alpha=0.05) == 1.0


def test_label_sets_hold_what_is_likely_enough_and_always_the_best():
    sets = label_sets([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1]], quantile=0.6)
    assert sets.tolist() == [[True, True, False], [True, False, False]]
    assert label_sets([[0.4, 0.35, 0.25]], quantile=0.1).tolist() == [[True, False, False]]
    assert label_sets([[0.4, 0.35, 0.25]], quantile=1.0).all()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_cover_new_paragraphs_as_often_as_promised(alpha):
    covered = []
    for seed in range(40):
        codes, proba, _ = sample(seed, 60, spread=0.0)
        quantile = conformal_quantile(codes[::2], proba[::2], alpha)
        sets = label_sets(proba[1::2], quantile)
        covered.append(set_coverage(codes[1::2], sets, np.arange(len(sets)), n_resamples=0).coverage.value)
    assert np.mean(covered) >= 1 - alpha - 0.01
    if alpha < (proba.argmax(axis=1) != codes).mean():  # else naming the best type alone covers more than promised
        assert np.mean(covered) <= 1 - alpha + 0.02


def test_set_coverage_counts_hits_sizes_and_each_section_type():
    sets = np.asarray([[True, False], [True, True], [True, False], [False, True]])
    told = set_coverage(["a", "b", "b", "b"], sets, ["x", "x", "y", "y"], section_types=["a", "b"])
    assert told.coverage.value == 0.75
    assert told.mean_size == 1.25
    assert told.single == 0.75
    assert told.by_section_type == (1.0, pytest.approx(2 / 3))
    assert set_coverage([0], np.asarray([[True, False]]), [1]).by_section_type == (1.0, None)


def test_the_coverage_of_sets_has_the_interval_of_a_share():
    """One paragraph an article: what resampling articles gives is what the binomial distribution has."""
    held = np.arange(400) % 4 != 0
    told = set_coverage(np.zeros(400, dtype=int), np.column_stack([held, ~held]), np.arange(400), n_resamples=2000)
    margin = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (told.coverage.low, told.coverage.high) == pytest.approx((0.75 - margin, 0.75 + margin), abs=0.01)


def test_label_sets_refuse_nonsense():
    for alpha in (0.0, 1.0, 1.5):
        with pytest.raises(DataError, match=f"alpha is {alpha}"):
            conformal_quantile([0], [[1.0, 0.0]], alpha)
    with pytest.raises(DataError, match="sets has the shape"):
        set_coverage([], np.empty((0, 2), dtype=bool), [])


# --- comparison


def test_a_model_is_no_better_than_itself():
    codes, proba, article = sample()
    same = paired_bootstrap(codes, proba, proba, article)
    assert (same.difference.value, same.difference.low, same.difference.high) == (0, 0, 0)
    assert same.not_better == 1.0
    assert not same.clear


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "log_loss", "brier"])
def test_a_better_model_is_found_clearly_better_by_every_measure(metric):
    codes, proba, article = sample(5, 60)
    worse = 0.5 * proba + 0.5 * np.roll(proba, 1, axis=0)
    found = paired_bootstrap(NAMES[codes], worse, proba, article, metric=metric, section_types=TYPES)
    assert found.clear
    assert found.not_better == pytest.approx(1 / 1001)
    turned = paired_bootstrap(codes, proba, worse, article, metric=metric)
    assert not turned.clear
    assert turned.difference.value == pytest.approx(-found.difference.value)
    alone = evaluate(codes, proba, article, TYPES, n_resamples=0)
    assert found.b == pytest.approx(getattr(alone, metric).value)
    assert found.difference.value == pytest.approx(found.b - found.a)


def test_pairing_makes_the_interval_of_the_difference_narrower():
    codes, proba, article = sample(2, 60, spread=2.0)
    other = 0.8 * proba + 0.2 / 4
    paired = paired_bootstrap(codes, other, proba, article, metric="brier").difference
    alone = evaluate(codes, proba, article, TYPES).brier
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)


def test_a_comparison_needs_a_known_measure_and_the_same_paragraphs():
    codes, proba, article = sample(n_articles=3)
    with pytest.raises(DataError, match="metric is 'f1'; it is one of macro_f1"):
        paired_bootstrap(codes, proba, proba, article, metric="f1")
    wider = np.column_stack([proba, np.zeros(len(proba))])
    with pytest.raises(DataError, match="proba_a has the shape"):
        paired_bootstrap(codes, proba, wider, article)
    with pytest.raises(DataError, match="article_ids 1"):
        paired_bootstrap(codes, proba, proba, article[:1])
    assert not paired_bootstrap(codes, proba, proba, article).clear  # three articles: no interval, nothing clear
    assert paired_bootstrap(codes, proba, proba, article).not_better is None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b, both):
    truth = np.ones(only_a + only_b + both + 1, dtype=int)
    a, b = truth.copy(), truth.copy()
    b[:only_a] = 0
    a[only_a : only_a + only_b] = 0
    test = mcnemar(truth, a, b)
    assert (test.only_a, test.only_b) == (only_a, only_b)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert test.p_value == pytest.approx(expected)


def test_mcnemar_stays_exact_with_many_rows_and_refuses_unequal_columns():
    truth = np.ones(5000, dtype=int)
    a, b = truth.copy(), truth.copy()
    a[:2400] = 0
    b[2400:] = 0
    assert mcnemar(truth, a, b).p_value == pytest.approx(binomtest(2400, 5000).pvalue)
    with pytest.raises(DataError, match="pred_b 1"):
        mcnemar([1, 1], [1, 1], [1])


# --- where it is right and wrong


def test_reliability_bins_hold_every_paragraph_and_give_the_ece():
    codes, proba, article = sample(n_articles=80)
    told = reliability(NAMES[codes], proba, article, section_types=TYPES)
    assert len(told.bins) == 15
    assert sum(b.n for b in told.bins) == sum(told.histogram) == len(codes)
    assert max(b.n for b in told.bins) - min(b.n for b in told.bins) <= 2
    ece = sum(b.n * abs(b.accuracy.value - b.confidence) for b in told.bins) / len(codes)
    assert ece == pytest.approx(evaluate(codes, proba, article, TYPES).ece.value)
    for before, after in zip(told.bins, told.bins[1:], strict=False):
        assert before.low <= before.confidence <= before.high < after.low
        assert before.accuracy.low <= before.accuracy.value <= before.accuracy.high


def test_reliability_of_certainty_fits_the_histogram():
    told = reliability([0, 1], [[1.0, 0.0], [1.0, 0.0]], [1, 2])
    assert told.histogram[-1] == 2
    assert [b.accuracy.value for b in told.bins] == [0.5]


def test_slices_score_each_value_apart_the_largest_first():
    codes, proba, article = sample()
    genre = np.where(article < 25, "wire_report", np.where(article < 35, "op_ed", "live_blog"))
    found = slices(NAMES[codes], proba, article, TYPES, genre)
    assert [s.value for s in found] == ["wire_report", "op_ed", "live_blog"]
    rows = genre == "op_ed"
    alone = evaluate(codes[rows], proba[rows], article[rows], TYPES)
    assert (found[1].macro_f1, found[1].accuracy) == (alone.macro_f1, alone.accuracy)
    assert (found[1].n_paragraphs, found[1].n_articles) == (rows.sum(), 10)
    ordered = slices(codes, proba, article, TYPES, genre, order=["live_blog", "absent"])
    assert [s.value for s in ordered] == ["live_blog", "wire_report", "op_ed"]
    with pytest.raises(DataError, match="column 1"):
        slices(codes, proba, article, TYPES, ["one"])


def test_length_buckets_name_the_number_of_words():
    texts = ["word " * n for n in (0, 39, 40, 79, 80, 119, 120, 900)]
    assert length_buckets(texts) == [LENGTH_BUCKETS[i] for i in (0, 0, 1, 1, 2, 2, 3, 3)]


TEXTS = [
    "Two columns of infantry crossed the dry riverbed before dawn and took the grain depot.",
    "Bakeries on the far side of the frontier ran out of flour within the week.",
    "The envoy left the capital with a list of prisoners and no date for a second round.",
    "My grandmother kept the key of a house that had no door any more.",
]


def test_errors_come_surest_first_with_what_a_reader_needs():
    proba = [[0.7, 0.1, 0.1, 0.1], [0.6, 0.3, 0.05, 0.05], [0.05, 0.02, 0.03, 0.9], [0.0, 0.2, 0.3, 0.5]]
    headings = [("The crossing",), ("Bread", "Prices"), None, ()]
    found = errors(list("pqrs"), TEXTS, headings, list(TYPES), proba, TYPES)
    assert [e.paragraph_id for e in found] == ["r", "q"]
    first = found[0]
    assert (first.text, first.headings) == (TEXTS[2], ())
    assert (first.section_type, first.predicted, first.second) == ("international_role", "other", "ground_developments")
    assert (first.confidence, first.second_confidence) == (0.9, 0.05)
    assert found[1].headings == ("Bread", "Prices")
    assert not first.right


def test_examples_right_are_the_surest_of_each_section_type():
    proba = [[0.7, 0.3], [0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]
    found = examples_right(list("pqrs"), TEXTS, [()] * 4, ["a", "a", "a", "b"], proba, ["a", "b"], per_section_type=2)
    assert [e.paragraph_id for e in found] == ["q", "r", "s"]
    assert all(e.right for e in found)


def test_errors_refuse_columns_that_do_not_fit():
    with pytest.raises(DataError, match="texts 1"):
        errors(["p", "q"], TEXTS[:1], [(), ()], ["a", "b"], [[0.7, 0.3], [0.9, 0.1]], ["a", "b"])


def test_confusion_refuses_what_is_no_section_type():
    assert confusion(["a", "b", "b"], ["b", "b", "b"], ["a", "b"]).tolist() == [[0, 1], [0, 2]]
    with pytest.raises(DataError, match="y_pred holds 'c'"):
        confusion(["a"], ["c"], ["a", "b"])


def test_methodology_findings_name_what_weakens_the_scores():
    codes, proba, article = sample(1, 12)
    seen = codes != 3
    weak = evaluate(codes[seen], np.full((seen.sum(), 4), 0.25), article[seen], TYPES)
    better = evaluate(codes[seen], proba[seen], article[seen], TYPES)
    found = {f.code: f for f in check_scores("weak", {"weak": weak, "better": better})}
    assert {"CH001", "CH002", "CH003", "CH005", "CH006"} <= found.keys()
    assert "other" in found["CH002"].message
    assert "no better than better" in found["CH005"].message
    sound = evaluate(*sample(1, 400, gain=4.0), TYPES)
    assert check_scores("sound", {"sound": sound, "weak": weak}) == []


@pytest.mark.parametrize(
    ("n", "words"), [(1, "Only 1 article was scored; below"), (2, "Only 2 articles were scored; below")]
)
def test_few_articles_are_counted_in_words_that_fit(n, words):
    scores = evaluate(*sample(1, n), TYPES)
    assert scores.n_articles == n
    assert {f.code: f.message for f in check_scores("m", {"m": scores})}["CH001"].startswith(words)


def test_wide_intervals_are_noted():
    scores = evaluate(*sample(4, 31, spread=2.5), TYPES)
    assert scores.macro_f1.high - scores.macro_f1.low > 0.1
    assert "CH004" in {f.code for f in check_scores("m", {"m": scores})}


def test_importing_the_measures_loads_only_numpy():
    heavy = "{'sklearn', 'scipy', 'pandas', 'matplotlib', 'mlflow', 'torch', 'jinja2'}"
    code = f"import sys, crosshead.evaluation; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

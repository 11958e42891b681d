"""What monitoring computes: tests that hold their level, and changes that are found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.evaluation import Interval
from crosshead.monitoring import label_shift, language, resampling, two_sample
from crosshead.monitoring.checks import Draws
from crosshead.monitoring.drift import Fitted, compare
from crosshead.monitoring.page import to_html
from crosshead.monitoring.results import Check, Drift, describe, judged
from crosshead.monitoring.sample import Reservoir, Sample, numbered
from crosshead.monitoring.sentences import sentences

TYPES = ("fighting", "region", "talks")
FEW_DRAWS = Draws(shares=999, fits=999)
WORDS = ["river", "bridge", "envoy", "border", "flour", "shell", "column", "truce", "market", "winter"]


def make_sample(
    n_articles: int,
    *,
    seed: int,
    mixture: tuple[float, float, float] = (0.5, 0.3, 0.2),
    shift: float = 0.0,
    sure: float = 3.0,
    name: str = "made",
    **changes: Any,
) -> Sample:
    """Make articles whose paragraphs have something in common, and a tagger that is right as often as it says."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, n_articles)
    article = np.repeat(np.arange(n_articles), lengths)
    leaning = np.array(mixture)[None] * rng.gamma(4.0, 1 / 4.0, size=(n_articles, 3))
    leaning /= leaning.sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=leaning[a]) for a in article])
    logits = sure * np.eye(3)[truth] + rng.normal(size=(len(article), 3)) * np.sqrt(sure)
    proba = np.array([0.5, 0.3, 0.2]) * np.exp(logits)
    proba /= proba.sum(axis=1, keepdims=True)
    vectors = rng.normal(size=(len(article), 12)) + rng.normal(size=(n_articles, 12))[article] * 0.7
    vectors[:, 0] += shift
    texts = [" ".join(rng.choice(WORDS, rng.integers(20, 40))) for _ in article]
    sample = Sample(
        name=name,
        article=article,
        ids=tuple(f"{name}-{a}#{i}" for i, a in enumerate(article)),
        texts=tuple(texts),
        n_words=np.array([float(len(text.split())) for text in texts]),
        unknown=rng.beta(2, 30, size=len(article)),
        languages=("en",) * len(article),
        vectors=vectors.astype(np.float32),
        answers=proba.argmax(axis=1),
        confidence=proba.max(axis=1),
        proba=proba,
        abstained=proba.max(axis=1) < 0.5,
        truncated=rng.random(len(article)) < 0.05,
        truth=truth,
        n_articles_seen=n_articles,
    )
    return replace(sample, **changes)


def compared(reference: Sample, current: Sample, **options: Any) -> Drift:
    prior = np.array([0.5, 0.3, 0.2])
    return compare(reference, current, Fitted(TYPES, prior), **{"draws": FEW_DRAWS, **options})


def verdicts(drift: Drift) -> dict[str, str]:
    return {check.name: check.verdict for check in drift.checks}


def test_equal_sides_give_no_alarm_and_every_check_is_made() -> None:
    drift = compared(make_sample(60, seed=1), make_sample(40, seed=2))
    assert set(verdicts(drift)) == {
        "class_shares", "corrected_shares", "confidence", "abstention", "embedding", "unknown_words", "length",
        "language", "truncation",
    }  # fmt: skip
    assert set(verdicts(drift).values()) == {"ok"}
    assert drift.verdict == "ok"
    assert all(check.adjusted is not None and check.p_value is not None for check in drift.checks)
    assert all(check.adjusted >= check.p_value for check in drift.checks)  # type: ignore[operator]


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "another mixture": ({"mixture": (0.1, 0.2, 0.7)}, {"class_shares", "corrected_shares"}),
    "other vectors": ({"shift": 2.5}, {"embedding"}),
    "less sure": ({"sure": 0.6}, {"confidence", "abstention"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_where_it_is(change: str) -> None:
    options, expected = CHANGES[change]
    drift = compared(make_sample(60, seed=1), make_sample(40, seed=2, **options))
    assert expected <= {check.name for check in drift.of("alarm")}
    untouched = {"length", "language", "truncation", "unknown_words"}
    assert not untouched & {check.name for check in drift.of("alarm")}
    assert drift.verdict == "alarm"


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("languages", "de", "language"),
        ("truncated", True, "truncation"),
        ("n_words", 400.0, "length"),
        ("unknown", 0.9, "unknown_words"),
    ],
)
def test_a_change_of_some_paragraphs_of_every_article_is_found(column: str, value: Any, check: str) -> None:
    current = make_sample(40, seed=2)
    changed = [value if i % 2 else old for i, old in enumerate(getattr(current, column))]
    kept = tuple(changed) if isinstance(value, str) else np.array(changed)
    drift = compared(make_sample(60, seed=1), replace(current, **{column: kept}))
    assert [found.name for found in drift.of("alarm")] == [check]


def test_a_change_that_is_sure_but_small_is_a_notice() -> None:
    found = judged([Check("a", "A", "a", change=0.04, matters=0.05, p_value=0.0001)], 0.01)
    assert found[0].verdict == "notice"
    assert judged([replace(found[0], change=0.05)], 0.01)[0].verdict == "alarm"


def test_p_values_are_corrected_for_the_checks_that_were_made() -> None:
    made = [Check(name, name, "", change=1.0, p_value=p) for name, p in (("a", 0.004), ("b", 0.03), ("c", None))]
    found = judged(made, 0.01)
    assert [check.adjusted for check in found] == [0.008, 0.03, None]
    assert [check.verdict for check in found] == ["alarm", "notice", "left out"]


@pytest.mark.parametrize("false_alarms", [0.002, 0.01, 0.2])
def test_there_are_draws_enough_for_an_alarm(false_alarms: float) -> None:
    draws = Draws.enough_for(false_alarms)
    n_checks = len(compared(make_sample(5, seed=1), make_sample(4, seed=2)).checks)
    assert n_checks / (1 + min(draws.shares, draws.fits)) < false_alarms


def test_an_alarm_comes_from_chance_as_seldom_as_is_said() -> None:
    """Share p-values are exact: of many comparisons of equals, the share below a level is that level at most."""
    pool = make_sample(200, seed=5)
    sums = resampling.article_sums(pool.article, np.eye(3)[pool.answers])
    rng = np.random.default_rng(0)
    p_values = []
    for seed in range(300):
        chosen = rng.permutation(len(sums))[:40]
        p_values.append(resampling.compare_shares(sums[chosen[:25]], sums[chosen[25:]], n_draws=199, seed=seed)[1])
    for level in (0.05, 0.2, 0.5):
        share = float((np.array(p_values) <= level).mean())
        assert share <= level + 3 * np.sqrt(level * (1 - level) / len(p_values))
        assert share >= level / 3, "the test never finds anything"


def test_paragraphs_alone_would_cry_wolf() -> None:
    """Articles lean one way each: a test that dealt out paragraphs would call equals different."""
    article = np.repeat(np.arange(20), 30)
    rng = np.random.default_rng(4)
    leaning = rng.random(20)
    says = rng.random(600) < leaning[article]
    by_article = resampling.article_sums(article, says)
    by_paragraph = np.column_stack([np.ones(600), says]).astype(float)
    _, honest = resampling.compare_shares(by_article[:10], by_article[10:], n_draws=999)
    _, naive = resampling.compare_shares(by_paragraph[:300], by_paragraph[300:], n_draws=999)
    assert naive <= 0.005
    assert honest > 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_redrawn_sides_keep_their_sizes(n_reference: int, n_current: int, seed: int) -> None:
    drawn = np.concatenate(list(resampling.masks(n_reference + n_current, n_current, 50, seed)))
    assert drawn.shape == (50, n_reference + n_current)
    assert (drawn.sum(axis=1) == n_current).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 30), st.integers(5, 30), st.integers(0, 2**32 - 1))
def test_redrawn_sides_keep_the_sizes_within_folds(n_reference: int, n_current: int, seed: int) -> None:
    is_current = np.arange(n_reference + n_current) >= n_reference
    folds = two_sample.fold_of(is_current, seed)
    for mask in resampling.masks_within(folds, is_current, 20, seed):
        for fold in range(two_sample.N_FOLDS):
            assert (mask[:, folds == fold].sum(axis=1) == is_current[folds == fold].sum()).all()


def test_every_split_is_drawn_equally_often() -> None:
    drawn = np.concatenate(list(resampling.masks(5, 2, 20_000, 0)))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 10
    assert abs(counts / 2000 - 1).max() < 0.1


def test_auroc_is_what_sklearn_says() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 3))
    is_current = rng.random((50, 3)) < 0.4
    expected = [roc_auc_score(is_current[:, i], scores[:, i]) for i in range(3)]
    assert two_sample.auroc(scores, is_current) == pytest.approx(expected)


def test_the_two_sample_test_fits_what_a_ridge_classifier_would() -> None:
    from sklearn.linear_model import Ridge

    sample = make_sample(30, seed=3)
    assert sample.vectors is not None
    is_current = np.arange(30) >= 18
    means = two_sample.article_means(sample.vectors, sample.article)
    held_out = two_sample.fold_of(is_current, 0) == 0
    fold = two_sample._Fold(sample.vectors, sample.article, means, held_out)
    learnt = ~held_out[sample.article]
    X, y = sample.vectors[learnt].astype(float), is_current[sample.article][learnt].astype(float)
    weight = (1 / np.bincount(sample.article))[sample.article][learnt]
    centred = X - np.average(X, axis=0, weights=weight)
    variance = np.average((centred**2).sum(axis=1), weights=weight) / X.shape[1]
    ridge = Ridge(alpha=two_sample.RIDGE * variance * weight.sum()).fit(X, y, sample_weight=weight)
    ours = fold.scores(is_current[None])[:, 0]
    assert np.corrcoef(ours, ridge.predict(means[held_out]))[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_a_few_articles_that_lie_far_out_are_noticed() -> None:
    """A third of the current articles reads otherwise: the mean score moves, where ranks hardly do."""
    reference, current = make_sample(80, seed=1), make_sample(15, seed=2)
    assert current.vectors is not None
    vectors = current.vectors + 8.0 * (np.arange(12) == 3) * (current.article < 5)[:, None]
    drift = compared(reference, replace(current, vectors=vectors.astype(np.float32)))
    assert [check.name for check in drift.of("alarm")] == ["embedding"]


def test_two_samples_of_one_kind_are_not_told_apart_and_the_same_seed_gives_the_same() -> None:
    sample = make_sample(50, seed=8)
    assert sample.vectors is not None
    is_current = np.arange(50) >= 30
    first = two_sample.two_sample_test(sample.vectors, sample.article, is_current, n_draws=199)
    again = two_sample.two_sample_test(sample.vectors, sample.article, is_current, n_draws=199)
    assert first.p_value == again.p_value > 0.05
    assert first.auroc == again.auroc
    assert first.auroc.low is not None
    assert first.auroc.low < 0.5 + 0.1


@pytest.mark.parametrize("mixture", [(0.5, 0.3, 0.2), (0.1, 0.2, 0.7), (0.8, 0.1, 0.1)])
def test_corrected_shares_are_nearer_to_the_truth_than_the_answers(mixture: tuple[float, float, float]) -> None:
    current = make_sample(200, seed=11, mixture=mixture, sure=1.8)
    reference = make_sample(150, seed=12, sure=1.8)
    assert current.truth is not None
    truth = np.bincount(current.truth, minlength=3) / len(current)
    drift = compared(reference, current, draws=Draws(99, 19))
    answered = np.array([share.current.value for share in drift.classes])
    corrected = np.array([share.corrected.value for share in drift.classes if share.corrected])
    solved = np.array([share.solved for share in drift.classes])
    assert np.abs(corrected - truth).max() < 0.08
    assert np.abs(solved - truth).max() < 0.15
    if mixture == (0.1, 0.2, 0.7):
        assert np.abs(corrected - truth).max() < np.abs(answered - truth).max()
    for share in drift.classes:
        assert share.corrected is not None
        assert share.corrected.low is not None
        assert share.corrected.low <= share.corrected.value <= (share.corrected.high or 0)


def test_em_with_a_perfect_tagger_counts() -> None:
    proba = np.repeat(np.eye(3), [6, 3, 1], axis=0)
    found = label_shift.em_shares(proba, np.full(3, 1 / 3), np.ones((1, 10)), start=np.full(3, 1 / 3))
    assert found[0] == pytest.approx([0.6, 0.3, 0.1])


def test_solving_gives_up_where_section_types_cannot_be_told_apart() -> None:
    truth, answers = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert label_shift.bbse_shares(truth, answers, np.array([0, 1]), 2) is None
    assert label_shift.bbse_shares(truth, truth, np.array([0, 1]), 3) is None
    solved = label_shift.bbse_shares(truth, truth, np.array([0, 1, 1, 1]), 2)
    assert solved is not None
    assert solved == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"texts": None, "n_words": None, "unknown": None, "languages": None, "vectors": None},
         {"embedding", "length", "language", "unknown_words"}),
        ({"proba": None}, {"corrected_shares"}),
        ({"abstained": None, "truncated": None}, {"abstention", "truncation"}),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_out_and_said(changes: dict[str, Any], left_out: set[str]) -> None:
    drift = compared(make_sample(20, seed=1), make_sample(20, seed=2, **changes))
    assert {check.name for check in drift.checks if check.left_out} == left_out
    assert all("the current has rows" in check.left_out for check in drift.checks if check.left_out)
    assert all(check.p_value is None and check.verdict == "left out" for check in drift.checks if check.left_out)
    assert "Not compared" in to_html(drift)


def test_few_articles_are_not_tested() -> None:
    drift = compared(make_sample(20, seed=1), make_sample(4, seed=2))
    assert {check.left_out for check in drift.checks} == {
        "the current has 4 articles; at least 5 articles are needed on each side"
    }
    assert drift.verdict == "left out"
    assert "nothing could be compared" in sentences(drift)[0].lower()


def test_paragraphs_that_were_trained_on_count_for_texts_alone() -> None:
    reference = make_sample(40, seed=1)
    learnt = reference.article < 25
    confident = np.where(learnt, 0.999, reference.confidence)
    drift = compared(replace(reference, learnt=learnt, confidence=confident), make_sample(30, seed=2))
    assert drift.verdict == "ok"
    assert drift.reference.n_learnt == learnt.sum()
    unaware = compared(replace(reference, confidence=confident), make_sample(30, seed=2))
    assert "confidence" in {check.name for check in unaware.of("alarm")}
    every = compared(replace(reference, learnt=np.ones(len(reference), bool)), make_sample(30, seed=2))
    told = {check.name: check.left_out for check in every.checks if check.left_out}
    assert told["confidence"] == "the model was trained on every paragraph of the reference"
    assert "length" not in told


def test_telling_words_are_those_of_one_side_only() -> None:
    current = make_sample(20, seed=2)
    assert current.texts is not None
    changed = replace(current, texts=tuple(f"{text} penalty keeper" for text in current.texts))
    drift = compared(make_sample(20, seed=1), changed)
    more = [word for word in drift.words if word.weight > 0]
    assert {word.term for word in more[:2]} == {"penalty", "keeper"}
    assert (more[0].reference, more[0].current) == (0.0, 1.0)
    assert not compared(make_sample(20, seed=1), changed, with_text=False).words


def test_the_page_holds_everything_escaped_and_no_text_if_none_is_wanted() -> None:
    current = make_sample(20, seed=2, name="<b>june</b>")
    assert current.texts is not None
    texts = tuple(f"<script>alert(1)</script> tram {text}" for text in current.texts)
    drift = compared(make_sample(20, seed=1), replace(current, texts=texts))
    page = to_html(drift, "2026-01-01")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; tram" in page
    assert "<script" not in page
    assert "<b>june</b>" not in page
    assert page.count('role="img"') == 2
    assert "Shares of section types with 95 % intervals. Fighting:" in page
    without = to_html(drift, with_text=False)
    assert "tram" not in without
    assert "Telling words" not in without


def test_results_as_json_and_items_hold_no_paragraph() -> None:
    import json

    drift = compared(make_sample(20, seed=1), make_sample(20, seed=2, shift=3.0))
    assert drift.unlike
    told = json.dumps(drift.as_dict(), allow_nan=False)
    items = list(describe(drift))
    for row in drift.unlike:
        assert row.text not in told
        assert all(row.text not in str(item) for item in items)
    keys = {item.key: item.value for item in items if hasattr(item, "key") and hasattr(item, "value")}
    assert keys["alarms"] == 1
    assert keys["embedding_change"] == pytest.approx(drift.of("alarm")[0].change)
    assert {"confidence_p", "share_fighting", "corrected_share_fighting", "current_articles"} <= set(keys)


def test_a_sample_is_cut_by_article_and_articles_may_stand_twice() -> None:
    sample = make_sample(6, seed=1)
    twice = sample.articles(np.array([4, 4, 1]))
    assert twice.n_articles == 3
    rows = [np.flatnonzero(sample.article == a) for a in (4, 4, 1)]
    assert twice.texts == tuple(sample.texts[i] for part in rows for i in part)  # type: ignore[index]
    assert np.array_equal(twice.article, np.repeat([0, 1, 2], [len(part) for part in rows]))
    assert numbered(["b", "a", "b"]).tolist() == [0, 1, 0]


def test_a_reservoir_keeps_all_or_some_in_order() -> None:
    small, large = Reservoir(10, 0), Reservoir(10, 0)
    for i in range(7):
        small.offer(lambda i=i: i)  # type: ignore[misc]
    for i in range(1000):
        large.offer(lambda i=i: i)  # type: ignore[misc]
    assert small.kept() == list(range(7))
    assert len(large.kept()) == 10
    assert large.kept() == sorted(large.kept())
    assert large.n_seen == 1000
    assert max(large.kept()) > 500


def test_languages_are_told_apart_and_what_is_too_short_is_not() -> None:
    texts = [
        "Die Unterhändler trafen sich in der Stadt am See und sprachen über die Brücke.",
        "The envoys met in the town on the lake and spoke about the bridge.",
        "Les émissaires se sont rencontrés dans la ville au bord du lac.",
        "12 %",
    ]
    assert language.languages(texts) == ["de", "en", "fr", language.UNKNOWN]


def test_a_missing_detector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from crosshead.errors import MissingExtraError

    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(MissingExtraError, match=r"telling languages apart needs the optional part \[train\]"):
        language.languages(["The envoys met in the town on the lake."])


def test_sentences_say_what_changed_and_by_how_much() -> None:
    drift = compared(make_sample(60, seed=1), make_sample(40, seed=2, mixture=(0.1, 0.2, 0.7), shift=2.5))
    told = sentences(drift)
    assert told[0].startswith("The text has changed: ")
    assert any(line.startswith("Embedding: how well a classifier tells articles of both sides apart") for line in told)
    assert any("are in doubt" in line for line in told)


def test_an_interval_without_ends_is_written_without() -> None:
    from crosshead.monitoring.sentences import p_text, value_text

    check = Check("a", "A", "a")
    assert value_text(check, Interval(0.123, 0.1, 0.2), with_ends=True) == "12.3 % (10.0–20.0)"
    assert value_text(check, Interval(0.123)) == "12.3 %"
    assert value_text(check, None) == "–"
    assert (p_text(None), p_text(0.0001), p_text(0.02)) == ("–", "under 0.001", "0.020")

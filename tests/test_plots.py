from __future__ import annotations

import io
import warnings
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from crosshead.errors import DataError
from crosshead.evaluation import ABSTAIN_ALWAYS, Interval, confusion, evaluate, reliability, risk_coverage
from crosshead.reporting.plots import (
    LearningPoint,
    Plot,
    plot_class_f1,
    plot_confusion,
    plot_learning_curve,
    plot_reliability,
    plot_risk_coverage,
    readable,
)

TYPES = ["ground_developments", "regional_stability", "other"]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    logits = rng.normal(0, 1, (300, 3))
    logits[np.arange(300), codes] += 1.5
    proba = np.exp(logits)
    return codes, proba / proba.sum(axis=1, keepdims=True), np.arange(300) // 10


@pytest.fixture(scope="module")
def scores(rows):
    codes, proba, article = rows
    flat = np.full_like(proba, 1 / 3)
    return {"blend": evaluate(codes, proba, article, TYPES), "majority": evaluate(codes, flat, article, TYPES)}


def draw_all(rows, scores, **kwargs) -> dict[str, Plot]:
    codes, proba, article = rows
    points = [LearningPoint(20, Interval(0.6, 0.5, 0.7)), LearningPoint(80, Interval(0.71))]
    return {
        "confusion": plot_confusion(confusion(codes, proba.argmax(axis=1), TYPES), TYPES, **kwargs),
        "reliability": plot_reliability(reliability(codes, proba, article), ece=scores["blend"].ece, **kwargs),
        "risk_coverage": plot_risk_coverage(risk_coverage(codes, proba, article), threshold=0.5, risk=0.2, **kwargs),
        "class_f1": plot_class_f1(scores, **kwargs),
        "learning_curve": plot_learning_curve({"blend": points}, **kwargs),
    }


@pytest.fixture(scope="module")
def drawn(rows, scores):
    return draw_all(rows, scores)


def words(plot: Plot) -> str:
    """Read what the SVG says as text."""
    return " ".join(
        "".join(node.itertext()) for node in ET.fromstring(plot.data).iter("{http://www.w3.org/2000/svg}text")
    )


def test_every_plot_is_an_svg_with_words_and_an_alternative_text(drawn):
    for name, plot in drawn.items():
        assert ET.fromstring(plot.data).tag == "{http://www.w3.org/2000/svg}svg", name
        assert len(plot.data) < 80_000, name
        assert len(words(plot)) > 20, name
        assert len(plot.alt) > 40, name


def test_every_plot_can_be_a_png(rows, scores):
    for name, plot in draw_all(rows, scores, format="png").items():
        image = Image.open(io.BytesIO(plot.data))
        assert image.format == "PNG", name
        assert image.width > 500, name
        assert len(image.convert("L").getcolors(256)) > 20, name  # not an empty sheet


def test_equal_figures_are_equal_bytes_and_the_settings_of_matplotlib_stay(rows, scores, drawn):
    before = dict(mpl.rcParams)
    again = draw_all(rows, scores)
    assert {name: plot.data for name, plot in again.items()} == {name: plot.data for name, plot in drawn.items()}
    assert dict(mpl.rcParams) == before


def test_the_confusion_matrix_says_what_is_taken_for_what():
    plot = plot_confusion(np.asarray([[9, 1, 0], [0, 4, 4], [0, 0, 0]]), TYPES)
    assert "Ground developments: 90% of 10 right, 10% taken for Regional stability" in plot.alt
    assert "Regional stability: 50% of 8 right, 50% taken for Other" in plot.alt
    assert "Other: 0% of 0 right" in plot.alt
    said = words(plot)
    assert "90%" in said
    assert "True section type" in said


def test_a_large_taxonomy_still_fits():
    names = [f"section_type_number_{i}" for i in range(20)]
    plot = plot_confusion(np.eye(20, dtype=int) * 3, names)
    assert words(plot).count("100%") == 20


def test_the_reliability_diagram_tells_its_bins(rows, scores):
    codes, proba, article = rows
    told = reliability(codes, proba, article, n_bins=3)
    plot = plot_reliability(told, ece=Interval(0.04, 0.02, 0.06))
    assert "Mean gap (ECE) 0.040 (0.020–0.060)" in plot.alt
    assert plot.alt.count("stated") == 4  # once for the axis, once a bin
    assert "ECE" not in plot_reliability(told).alt


def test_the_risk_coverage_curve_marks_the_threshold_in_use(rows):
    codes, proba, article = rows
    curve = risk_coverage(codes, proba, article)
    share, wrong = curve.at(0.5)
    said = words(plot_risk_coverage(curve, threshold=0.5, risk=0.2))
    assert f"in use: answers {share:.0%}, of these {wrong:.1%} wrong" in said
    assert "goal: at most 20% wrong" in said
    assert "in use" not in words(plot_risk_coverage(curve))
    assert "answers nothing" in words(plot_risk_coverage(curve, threshold=ABSTAIN_ALWAYS))


def test_models_stand_beside_each_other(scores):
    plot = plot_class_f1(scores)
    assert "blend" in words(plot)
    assert "majority" in words(plot)
    assert f"blend: macro-F1 {scores['blend'].macro_f1}" in plot.alt
    assert "majority: macro-F1" in plot.alt


def test_a_section_type_without_paragraphs_is_said_not_to_be_tested(rows):
    codes, proba, article = rows
    seen = codes != 2
    plot = plot_class_f1({"blend": evaluate(codes[seen], proba[seen], article[seen], TYPES)})
    assert "Other not tested" in plot.alt


def test_names_are_drawn_as_they_are_written():
    """Dollar signs are no formulae, angle brackets no markup, and letters the font lacks no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = plot_confusion(np.eye(3, dtype=int), ["cost_$a$_$b", "<script>", "地域"])
    assert "Cost $a$ $b" in words(plot).replace("\n", " ")
    assert "<script>" in words(plot)
    assert b"<script>" not in plot.data
    assert "地域" in words(plot)


def test_model_names_of_any_kind_are_drawn(scores):
    plot = plot_class_f1({"_private": scores["blend"], "a\x00b\ud800": scores["majority"]})
    assert "_private" in words(plot)
    assert "a\ufffdb\ufffd" in words(plot)


def test_plots_refuse_what_cannot_be_drawn(scores, rows):
    codes, proba, article = rows
    with pytest.raises(DataError, match="confusion matrix has the shape"):
        plot_confusion(np.eye(2, dtype=int), TYPES)
    with pytest.raises(DataError, match="0 different lists of section types"):
        plot_class_f1({})
    with pytest.raises(DataError, match="2 different lists of section types"):
        plot_class_f1({**scores, "else": evaluate(codes, proba, article, ["a", "b", "c"], n_resamples=0)})
    with pytest.raises(DataError, match="learning curve without a point"):
        plot_learning_curve({"blend": []})


def test_names_become_readable():
    assert readable("regional_stability") == "Regional stability"
    assert readable("") == ""

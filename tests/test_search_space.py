"""What a search may vary, and the settings and files that come of it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crosshead.cli import main
from crosshead.errors import ConfigError
from crosshead.search.space import Dimension, SearchSettings, rounded
from crosshead.search.variations import Variations, describe, widenable
from crosshead.settings import check_all, choices, compose, load_settings

C: dict[str, Any] = {"key": "classifier.C", "type": "float", "low": 0.1, "high": 100, "log": True}
CHOICE: dict[str, Any] = {"key": "classifier", "type": "categorical", "choices": ["logreg", "linear_svm"]}


def search_settings(**space: dict[str, Any]) -> SearchSettings:
    plain = {"name": "test", "trials": 5, "objective": "macro_f1", "startup_trials": 2, "prune": True, "workers": 1}
    return SearchSettings.model_validate({**plain, "space": space})


# -- dimensions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({**CHOICE, "choices": ["logreg"]}, r"choices is \['logreg'\]; give two different ones at least"),
        ({**CHOICE, "choices": ["a", "a"]}, "give two different ones at least"),
        ({**CHOICE, "low": 1}, "low, high, log and the like are for float and int"),
        ({**CHOICE, "log": True}, "low, high, log and the like are for float and int"),
        ({**C, "choices": [1, 2]}, "choices are for categorical dimensions; give low and high"),
        ({**C, "low": None}, "low is None and high is 100.0; give both, low smaller than high"),
        ({**C, "low": 100}, "low is 100.0 and high is 100.0; give both"),
        ({**C, "low": 0}, "with log, low must be greater than 0 and there can be no step"),
        ({**C, "step": 0.1}, "with log, low must be greater than 0 and there can be no step"),
        ({**C, "log": False, "per_decade": 2}, "per_decade is for float dimensions with log"),
        ({**C, "type": "int", "low": 1.5}, "low, high and step of an int dimension must be whole numbers"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Dimension(**given_)


@given(st.floats(0.1, 100), st.integers(2, 4), st.none() | st.integers(1, 5))
def test_a_value_stays_in_its_range_and_is_rounded_once(value: float, digits: int, per_decade: int | None) -> None:
    dimension = Dimension(**C, digits=digits, per_decade=per_decade)
    shown = dimension.shown(value)
    assert isinstance(shown, float)
    assert 0.1 <= shown <= 100
    assert dimension.shown(shown) == shown
    assert dimension.holds(shown)


def test_values_per_decade_are_few_and_round() -> None:
    dimension = Dimension(**C, per_decade=2)
    assert {dimension.shown(10 ** (i / 50 - 1)) for i in range(151)} == {0.1, 0.32, 1.0, 3.2, 10.0, 32.0, 100.0}


@given(st.floats(1e-6, 1e6), st.integers(1, 6))
def test_rounding_keeps_significant_digits(value: float, digits: int) -> None:
    assert rounded(value, digits) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "end", "beyond"), [(0.1, "low", 0.01), (0.103, "low", 0.01), (95.0, "high", 1000.0), (3.0, None, 0)]
)
def test_the_edge_of_a_logarithmic_range(value: float, end: str | None, beyond: float) -> None:
    dimension = Dimension(**C)
    assert dimension.edge(value) == end
    if end is not None:
        assert dimension.beyond(end) == pytest.approx(beyond)


def test_edges_of_whole_numbers_and_choices() -> None:
    n_max = Dimension(key="views.tfidf.n_max", type="int", low=1, high=3)
    assert (n_max.edge(1), n_max.edge(2), n_max.edge(3)) == ("low", None, "high")
    assert (n_max.beyond("low"), n_max.beyond("high")) == (0, 4)
    assert Dimension(**CHOICE).edge("logreg") is None
    assert not n_max.holds(1.5)
    assert not n_max.holds(True)
    assert not n_max.holds("2")


@pytest.mark.parametrize(("value", "stepped"), [(0.3, 0.25), (0.9, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_the_nearest_step_to_a_value(value: float, stepped: float) -> None:
    assert Dimension(key="decoder.weight", type="float", low=0, high=1, step=0.25).on_step(value) == stepped
    assert Dimension(key="decoder.weight", type="float", low=0, high=1).on_step(value) == value


def test_steps_of_whole_numbers_and_choices() -> None:
    odd = Dimension(key="views.tfidf.min_df", type="int", low=1, high=6, step=2)
    assert [odd.on_step(value) for value in range(1, 7)] == [1, 1, 3, 5, 5, 5]
    assert Dimension(**CHOICE).on_step("logreg") == "logreg"


def test_a_dimension_is_described() -> None:
    assert describe(Dimension(**C)) == "0.1 to 100, logarithmic"
    assert describe(Dimension(**CHOICE)) == "logreg, linear_svm"


@pytest.mark.parametrize("key", ["seed", "folds", "corpus.labels", "taxonomy", "tracking.uri"])
def test_what_decides_what_is_scored_is_not_searched(key: str) -> None:
    with pytest.raises(ValidationError, match=f"space.x varies '{key}', which decides what is scored"):
        search_settings(x={**C, "key": key})


@pytest.mark.parametrize("when", [{"classifier": "knn"}, {"decoder": "none"}])
def test_a_condition_must_be_a_choice_above(when: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="it must be a categorical dimension above it, and one of its choices"):
        search_settings(classifier=CHOICE, C={**C, "when": when})


def test_a_dimension_counts_where_its_condition_holds() -> None:
    search = search_settings(classifier=CHOICE, C={**C, "when": {"classifier": "logreg"}})
    assert search.active("C", {"classifier": "logreg"})
    assert not search.active("C", {"classifier": "linear_svm"})
    assert not search.active("C", {})


# -- files of conf/search/ ---------------------------------------------------------------------------------------------


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root / "conf", tmp_path / "conf")
    return tmp_path


def write_space(project: Path, **space: dict[str, Any]) -> None:
    content = {
        "name": "mine", "trials": 3, "objective": "macro_f1", "startup_trials": 1, "prune": True, "workers": 1,
    }  # fmt: skip
    (project / "conf" / "search" / "mine.yaml").write_text(yaml.safe_dump({**content, "space": space}, sort_keys=False))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"C": {**C, "lo": 1}},
            r"'search\.space\.C\.lo' is no configuration key; did you mean 'search\.space\.C\.low'",
        ),
        ({"C": {**C, "low": 200}}, r"search\.space\.C: low is 200\.0 and high is 100\.0; give both"),
        ({"C": {**C, "type": "flot"}}, r"search\.space\.C\.type is 'flot'"),
        ({"a.b": C}, r"search\.space\.a\.b"),
        (
            {"C": {**C, "key": "classifier.CC"}},
            r"search\.space\.C with 0\.1: classifier\.CC is no argument of LinearSVC",
        ),
        ({"C": {**C, "key": "decoder.wait"}}, r"search\.space\.C with 0\.1: 'decoder\.wait' is no configuration key"),
        ({"C": {**C, "key": "decoder.weight.x"}}, r"'decoder\.weight\.x' is no configuration key"),
        (
            {"C": {**C, "key": "decoder.weight"}},
            r"search\.space\.C with 100\.0: decoder\.weight is 100\.0: .*less than",
        ),
        (
            {"which": {**CHOICE, "choices": ["logreg", "linear_svn"]}},
            r"search\.space\.which with 'linear_svn': classifier is 'linear_svn'; allowed .*did you mean 'linear_svm'",
        ),
    ],
)
def test_a_mistake_in_a_space_is_named(project: Path, space: dict[str, Any], message: str) -> None:
    write_space(project, **space)
    with pytest.raises(ConfigError, match=message):
        load_settings(["search=mine"], project)


def test_config_check_covers_searches_and_experiments(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = choices((), project)
    for path in (project / "conf").glob("*/*.yaml"):
        if chosen.get(path.parent.name) != path.stem:
            path.unlink()  # the shipped files are checked elsewhere
    write_space(project, C={**C, "key": "decoder.wait"})
    (project / "conf" / "experiment" / "typo.yaml").write_text("# @package _global_\ndecoder: {weigth: 0.1}\n")
    found = check_all(project)
    wrong = {choice: problem for choice, problem in found.items() if problem}
    assert set(wrong) == {"search=mine", "experiment=typo"}
    assert "'decoder.weigth' is no configuration key; did you mean 'decoder.weight'?" in str(wrong["experiment=typo"])
    monkeypatch.chdir(project)
    assert main(["config", "check", "search=mine"]) == 2
    assert "search.space.C with 0.1: 'decoder.wait' is no configuration key" in capsys.readouterr().err


def test_a_search_leaves_other_commands_as_they_are(project: Path) -> None:
    plain = compose([], project)
    assert "search" not in plain
    assert Variations(["search=default"], project).plain({}) == plain


# -- variations --------------------------------------------------------------------------------------------------------

VALUES = [
    ([], {"classifier": "logreg", "classifier.C": 3.2}),
    (["seed=3"], {"classifier": "linear_svm", "classifier.C": 0.1, "views.tfidf.n_max": 3, "decoder.weight": 0.55}),
    (["views=sentences", "views.sentence.weight=2.5"], {"views.tfidf.classifier.C": 10.0, "decoder": "none"}),
    ([], {"encoder": "tfidf", "views": "tfidf", "classifier": "logreg", "classifier.class_weight": "balanced"}),
]


@pytest.mark.parametrize(("overrides", "values"), VALUES)
def test_values_as_overrides_and_as_an_experiment_give_the_same_configuration(
    project: Path, overrides: list[str], values: dict[str, Any]
) -> None:
    variations = Variations([*overrides, "tracking=none"], project)
    wanted = {**variations.plain(values), "tracking": compose([], project)["tracking"]}
    assert compose(variations.as_overrides(values), project) == wanted
    text = variations.as_experiment(values, "Two lines\nof comment")
    assert text.startswith("# @package _global_\n# Two lines\n# of comment\n")
    (project / "conf" / "experiment" / "found.yaml").write_text(text)
    assert load_settings(["experiment=found"], project).resolved == wanted


def test_an_experiment_holds_only_what_differs(root: Path) -> None:
    variations = Variations([], root)
    same = {"classifier": variations.current("classifier"), "decoder.weight": variations.current("decoder.weight")}
    assert variations.differing(same) == {}
    assert variations.as_overrides(same) == []
    assert variations.as_experiment(same, "Nothing.") == "# @package _global_\n# Nothing.\n"
    text = variations.as_experiment({**same, "classifier.C": 7.0}, "C.")
    assert yaml.safe_load(text) == {"classifier": {"C": 7.0}}


def test_what_the_base_has_is_known(root: Path) -> None:
    variations = Variations(["classifier=knn", "classifier.n_neighbors=9"], root)
    assert variations.current("classifier") == "knn"
    assert variations.current("classifier.n_neighbors") == 9
    assert variations.current("classifier.C") is None


@pytest.mark.parametrize(
    ("name", "value", "end"),
    [("weight", 1.0, None), ("weight", 0.0, None), ("n_max", 4, None), ("n_max", 1, None), ("C", 100.0, "high")],
)
def test_a_range_that_cannot_be_wider_has_no_edge_to_warn_of(
    root: Path, name: str, value: float, end: str | None
) -> None:
    search = search_settings(
        weight={"key": "decoder.weight", "type": "float", "low": 0, "high": 1},
        n_max={"key": "views.tfidf.n_max", "type": "int", "low": 1, "high": 4},
        C={**C, "key": "views.tfidf.classifier.C"},
    )
    key = search.space[name].key
    assert widenable(Variations([], root), search, name, {key: value}) == end


def test_logarithms_are_what_edges_go_by() -> None:
    dimension = Dimension(key="classifier.C", type="float", low=1, high=math.e**10, log=True)
    assert dimension.edge(math.e) is None
    assert Dimension(key="classifier.C", type="float", low=1, high=math.e**10).edge(math.e) == "low"

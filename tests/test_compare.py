"""Runs on the same held-out paragraphs: what they kept, whether they may be compared, and what differs."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import small_project
from crosshead.cli import main
from crosshead.errors import ConfigError, DataError, TrackingError
from crosshead.evaluation import evaluate, holm, mcnemar, paired_bootstrap, paired_differences, paired_set_accuracy
from crosshead.records import names, predictions
from crosshead.records.predictions import (
    FILE,
    Predictions,
    check_same_paragraphs,
    held_out_digest,
    in_order_of,
    write,
)
from crosshead.records.runs import RunFinder, finder_of
from crosshead.releases import registry
from crosshead.reporting.compare_report import corrections, p_text, sentences, to_html, to_markdown
from crosshead.stages.compare import Contender, Shown, changed_sides, compare, read_texts, run
from crosshead.text import text_digest

TYPES = ("war", "talks", "rest")
N_ARTICLES, N_EACH = 12, 4


def make_predictions(answers: Sequence[int] | None = None, *, sure: float = 0.8, n_sets: int = 0) -> Predictions:
    """Twelve articles of four paragraphs, truth 0 1 2 0 each; answers default to the truth."""
    n = N_ARTICLES * N_EACH
    y = np.tile([0, 1, 2, 0], N_ARTICLES)
    ids = [f"a{i}" for i in range(N_ARTICLES) for _ in range(N_EACH)]
    origins = ["article"] * n
    if n_sets:
        y = np.concatenate([y, np.tile([0, 1], n_sets)])
        ids += [f"set-{i}" for i in range(n_sets) for _ in range(2)]
        origins += ["contrast_set"] * (2 * n_sets)
    return Predictions(
        section_types=TYPES,
        dataset_digest="d" * 64,
        paragraph_ids=tuple(f"{id_}#{i}" for i, id_ in enumerate(ids)),
        article_ids=tuple(ids),
        origins=tuple(origins),
        text_digests=tuple(f"{i:016x}" for i in range(len(ids))),
        y=y.astype(np.int64),
        abstained=np.zeros(len(ids), dtype=bool),
        proba={"model": as_proba(y if answers is None else np.asarray(answers), sure)},
    )


def as_proba(answers: NDArray[Any], sure: float = 0.8) -> NDArray[np.float64]:
    proba = np.full((len(answers), len(TYPES)), (1 - sure) / (len(TYPES) - 1))
    proba[np.arange(len(answers)), answers] = sure
    return proba


def some_wrong(first: int, every: int, n_sets: int = 0) -> NDArray[np.int64]:
    answers = make_predictions(n_sets=n_sets).y.copy()
    answers[first::every] = (answers[first::every] + 1) % len(TYPES)
    return answers


# -- what a run keeps ------------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 6),
    texts=st.lists(st.text(max_size=8), min_size=6, max_size=6, unique=True),
    names=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, n: int, texts: list[str], names: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    columns = {
        "paragraph_id": texts[:n],
        "article_id": texts[:n],
        "origin": ["article"] * n,
        "text": texts[:n],
        "section_type": [names[i % len(names)] for i in range(n)],
    }
    proba = {name: rng.dirichlet(np.ones(len(names)), size=n) for name in ("model", "tfidf")}
    made = predictions.from_columns(columns, proba, section_types=names, dataset_digest="d", threshold=0.5)
    folder = tmp_path_factory.mktemp("predictions")
    path = predictions.write(folder / "one.parquet", made)
    found = predictions.read(path)
    assert (found.section_types, found.paragraph_ids, found.text_digests) == (
        tuple(names),
        tuple(texts[:n]),
        made.text_digests,
    )
    assert found.model.tobytes() == proba["model"].tobytes()
    assert found.baselines["tfidf"].tobytes() == proba["tfidf"].tobytes()
    assert found.abstained.tolist() == (proba["model"].max(axis=1) < 0.5).tolist()
    assert found.y.tolist() == [i % len(names) for i in range(n)]
    assert predictions.write(folder / "two.parquet", found).read_bytes() == path.read_bytes()


def test_rows_of_articles_and_of_contrast_sets() -> None:
    made = make_predictions(n_sets=3)
    assert (len(made.of_articles()), len(made.of_contrast_sets())) == (48, 6)
    assert made.of_contrast_sets().article_ids == ("set-0", "set-0", "set-1", "set-1", "set-2", "set-2")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / predictions.FILE).write_bytes(content)
    with pytest.raises(DataError, match=r"holds no predictions .*; evaluate again: crosshead evaluate"):
        predictions.read(tmp_path / predictions.FILE)


def test_a_file_of_another_kind_or_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        predictions.read(tmp_path / predictions.FILE)
    monkeypatch.setattr(predictions, "FORMAT", 99)
    path = predictions.write(tmp_path / predictions.FILE, make_predictions())
    monkeypatch.undo()
    with pytest.raises(DataError, match="its format is 99, this crosshead reads 1"):
        predictions.read(path)


# -- may they be compared? ---------------------------------------------------------------------------------------------


def test_the_same_paragraphs_in_another_order_are_the_same() -> None:
    first = make_predictions(some_wrong(0, 5))
    turned = first.rows(list(range(len(first)))[::-1])
    check_same_paragraphs(first, turned, ("a", "b"))
    assert in_order_of(first, first) is first
    again = in_order_of(first, turned)
    assert again.paragraph_ids == first.paragraph_ids
    assert again.model.tobytes() == first.model.tobytes()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda p: p.rows(range(4, 48)), r"4 paragraphs only in one \(a0#0, a0#1, a0#2, …\)"),
        (lambda p: replace(p, text_digests=("x", *p.text_digests[1:])), r"1 paragraph with another text \(a0#0\)"),
        (lambda p: replace(p, y=np.where(np.arange(48) == 5, 2, p.y)), r"1 paragraph with another section type as "),
        (
            lambda p: replace(p, section_types=("war", "talks", "other")),
            "section types are war, talks, rest against war",
        ),
    ],
)
def test_other_paragraphs_are_refused_saying_what_differs(changed: Any, told: str) -> None:
    other = changed(replace(make_predictions(), dataset_digest="e" * 64))
    with pytest.raises(DataError, match=told) as error:
        compare([Contender("one", make_predictions()), Contender("two", other)], {})
    assert "one and two were not tested on the same paragraphs (paragraph tables dddddddddddd and eeeeeeeeeeee)" in str(
        error.value
    )


def test_one_table_may_still_hold_different_rows() -> None:
    with pytest.raises(
        DataError, match=r"both come from the paragraph table dddddddddddd\): 44 paragraphs only in one"
    ):
        check_same_paragraphs(make_predictions(), make_predictions().rows(range(4)), ("one", "two"))


def test_another_table_with_the_same_held_out_rows_is_compared_and_named() -> None:
    other = replace(make_predictions(some_wrong(0, 9)), dataset_digest="e" * 64)
    compared = compare([Contender("one", make_predictions()), Contender("two", other)], {}, n_resamples=200)
    assert compared.notes == (
        "The runs were trained on different paragraph tables (one: dddddddddddd, two: eeeeeeeeeeee); the held-out "
        "paragraphs, their texts and their section types are the same.",
    )


def test_one_run_is_not_a_comparison() -> None:
    with pytest.raises(ConfigError, match="1 run was named; name two at least"):
        compare([Contender("one", make_predictions())], {})


def test_runs_without_articles_are_refused() -> None:
    sets = make_predictions(n_sets=3).of_contrast_sets()
    with pytest.raises(DataError, match="one was tested on no article"):
        compare([Contender("one", sets), Contender("two", sets)], {})


# -- the tests behind it -----------------------------------------------------------------------------------------------


def test_differences_are_those_of_the_single_measures() -> None:
    a, b = make_predictions(some_wrong(0, 5)), make_predictions(some_wrong(1, 9))
    told = (a.y, a.model, b.model, a.article_ids)
    found = paired_differences(*told, TYPES, n_resamples=300, seed=3)
    for metric, comparison in found.overall.items():
        assert comparison == paired_bootstrap(*told, metric=metric, section_types=TYPES, n_resamples=300, seed=3)
    scores = [evaluate(p.y, p.model, p.article_ids, TYPES, n_resamples=0) for p in (a, b)]
    for i, name in enumerate(TYPES):
        before, after = (side.classes[i].f1 for side in scores)
        assert before is not None
        assert after is not None
        assert (found.f1[name].a, found.f1[name].b) == (before.value, after.value)


def test_a_bound_is_below_the_difference_and_turns_round_for_losses() -> None:
    a, b = make_predictions(some_wrong(0, 4)), make_predictions(some_wrong(1, 16))
    found = paired_differences(a.y, a.model, b.model, a.article_ids, TYPES, n_resamples=500)
    f1, loss = found.overall["macro_f1"], found.overall["log_loss"]
    assert f1.difference.value > 0 > loss.difference.value
    for comparison in (f1, loss):
        gain = comparison.sign * comparison.difference.value
        strict, loose = comparison.gain_at_least(0.99), comparison.gain_at_least(0.6)
        assert strict is not None
        assert loose is not None
        assert strict < loose < gain + 0.05
        assert comparison.p_value is not None
        assert comparison.p_value < 0.05


def test_a_section_type_that_is_not_tested_has_no_difference() -> None:
    rows = [i for i, y in enumerate(make_predictions().y) if y != 1]
    only = make_predictions().rows(rows)
    found = paired_differences(only.y, only.model, only.model, only.article_ids, TYPES, n_resamples=50)
    assert list(found.f1) == ["war", "rest"]


def test_too_few_articles_give_no_bound() -> None:
    few = make_predictions().rows(range(16))
    found = paired_differences(few.y, few.model, few.model, few.article_ids, TYPES)
    assert found.overall["macro_f1"].p_value is None
    assert found.overall["macro_f1"].gain_at_least(0.95) is None


def test_equal_models_differ_by_nothing() -> None:
    same = make_predictions(some_wrong(0, 3))
    found = paired_differences(same.y, same.model, same.model, same.article_ids, TYPES, n_resamples=100)
    for comparison in [*found.overall.values(), *found.f1.values()]:
        assert comparison.difference.as_dict() == {"value": 0, "low": 0, "high": 0}
        assert comparison.p_value == 1


def test_contrast_sets_count_as_wholes() -> None:
    truth, ids = [0, 1] * 6, [i for i in range(6) for _ in range(2)]
    half = [0, 0] * 6
    found = paired_set_accuracy(truth, half, truth, ids, n_resamples=100)
    assert (found.a, found.b, found.difference.value) == (0, 1, 1)
    with pytest.raises(DataError, match="there is no contrast set to compare on"):
        paired_set_accuracy([], [], [], [])


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holm_raises_p_values_and_keeps_their_order(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    known = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None]
    assert [q is None for q in adjusted] == [p is None for p in p_values]
    assert all(q is not None and p <= q <= min(1.0, p * max(len(known), 1) + 1e-12) for p, q in known)
    assert [q for _, q in sorted(known)] == sorted(q for _, q in known if q is not None)


# -- the comparison ----------------------------------------------------------------------------------------------------


def three() -> list[Contender]:
    return [
        Contender("base", make_predictions(some_wrong(0, 4, 6), n_sets=6), {"run": "1" * 32}),
        Contender("better", make_predictions(some_wrong(1, 16, 6), n_sets=6), {"run": "2" * 32}),
        Contender("same", make_predictions(some_wrong(0, 4, 6), n_sets=6)),
    ]


def test_the_first_run_is_the_baseline_of_all_others() -> None:
    compared = compare(three(), {}, n_resamples=500)
    assert compared.baseline == "base"
    assert [(row.name, row.verdict) for row in compared.against] == [("better", "better"), ("same", "may be chance")]
    better, same = compared.against
    assert better.differences.overall["macro_f1"].difference.value > 0.1
    assert better.mcnemar == mcnemar(
        *(three()[0].predictions.of_articles().y,), *(c.predictions.of_articles().answers for c in three()[:2])
    )
    assert better.sets is not None
    assert (compared.sets["base"].value, compared.sets["better"].value) == (better.sets.a, better.sets.b)
    assert same.changed == ()
    assert "same predicts exactly what base predicts." in compared.notes


def test_several_runs_are_corrected_by_holm_and_told_so() -> None:
    alone = compare(three()[:2], {}, n_resamples=500)
    several = compare(three(), {}, n_resamples=500)
    for measure, p in alone.against[0].p_values.items():
        corrected = several.against[0].p_values[measure]
        assert p is not None
        assert corrected == pytest.approx(min(1.0, 2 * p))
    assert "corrected by Holm's method" in corrections(several)
    assert "2 runs are compared with base" in corrections(several)
    assert "Holm" not in corrections(alone)
    assert "of twenty such tests one misleads by chance" in corrections(alone)


def test_changed_sides_are_those_lost_then_gained_then_wrong_in_another_way() -> None:
    truth = make_predictions()
    before, after = truth.y.copy(), truth.y.copy()
    after[2] = 0  # lost
    before[5] = 2  # gained
    before[9], after[9] = 0, 2  # truth 1: wrong both times
    shown = {"a0#2": Shown("A text.", ("Top", "Sub"))}
    rows = changed_sides(make_predictions(before), make_predictions(after, sure=0.9), shown)
    assert [(row.kind, row.paragraph_id, row.before, row.after) for row in rows] == [
        ("lost", "a0#2", "rest", "war"),
        ("gained", "a1#5", "rest", "talks"),
        ("other", "a2#9", "war", "rest"),
    ]
    assert (rows[0].text, rows[0].headings, rows[1].text) == ("A text.", ("Top", "Sub"), None)
    assert (rows[0].before_confidence, rows[0].after_confidence) == pytest.approx((0.8, 0.9))


def test_sentences_say_who_is_better_by_how_much_and_how_sure() -> None:
    told = sentences(compare(three(), {}, n_resamples=500))
    assert told[0] == "All runs tagged the same 48 paragraphs of 12 held-out articles."
    assert re.fullmatch(
        r"better is better than base: macro-F1 \+0\.\d{3} \(\+0\.\d{3} to \+0\.\d{3}\), p (under )?0\.\d{3}; "
        r"12 paragraphs became right, 3 became wrong\.",
        told[1],
    )
    assert told[2].startswith("No clear difference between same and base: macro-F1 +0.000")
    few = [Contender(c.name, c.predictions.rows(range(16))) for c in three()[:2]]
    assert "cannot be said: too few articles" in sentences(compare(few, {}))[1]
    worse = sentences(compare(three()[1::-1], {}, n_resamples=500))[1]
    assert worse.startswith("base is worse than better")


def test_a_p_value_is_never_written_as_nought() -> None:
    assert [p_text(p) for p in (None, 0.0004, 0.0316, 1.0)] == ["–", "under 0.001", "0.032", "1.000"]


# -- pages -------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Everything that a page loads, links to and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given: Mapping[str, str | None] = dict(attrs)
        self.tags.append(tag)
        self.ids |= {str(given["id"])} if "id" in given else set()
        self.links |= {str(given[name]) for name in ("href", "src") if given.get(name)}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


HOSTILE = "<script>alert(1)</script> | `x` **y**"


def hostile() -> list[Contender]:
    return [Contender(HOSTILE, three()[0].predictions, {"name": HOSTILE}), Contender("b", three()[1].predictions)]


def test_the_page_holds_everything_and_loads_nothing() -> None:
    shown = {id_: Shown(f"Text of {id_}.", ()) for id_ in make_predictions().paragraph_ids}
    compared = compare(three(), shown, n_resamples=200)
    page = Page(to_html(compared, "2031-05-01 12:00 UTC"))
    assert all(link.startswith("#") for link in page.links)
    assert {link.removeprefix("#") for link in page.links} <= page.ids
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    said = " ".join(" ".join(page.words).split())
    for words in ("base · better · same", "Baseline: base", "corrected by Holm", "Text of a0#0.", "1" * 32, "McNemar"):
        assert words in said


def test_hostile_names_and_texts_stay_text() -> None:
    shown = {id_: Shown(HOSTILE, (HOSTILE,)) for id_ in make_predictions().paragraph_ids}
    compared = compare(hostile(), shown, n_resamples=50)
    page = Page(to_html(compared))
    assert "script" not in page.tags
    markdown = to_markdown(compared)
    headings = [line for line in markdown.splitlines() if line.startswith(("#", "|"))]
    assert not any("<script" in line or " **y**" in line for line in headings)
    tables = [line for line in headings if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {3, 4}


def test_markdown_tells_the_same() -> None:
    shown = {id_: Shown(f"Text of {id_}.\nSecond line.", ()) for id_ in make_predictions().paragraph_ids}
    text = to_markdown(compare(three()[:2], shown, n_resamples=200))
    assert text.startswith("# base · better\n\nAll runs tagged the same 48 paragraphs of 12 held-out articles.\n\n")
    for words in ("## better against base", "| macro-F1 | +0.", "| McNemar | only this right 12, only the other 3 |"):
        assert words in text
    assert "### better: wrong before, right now (12)" in text
    assert "> Text of a0#0. Second line." in text
    none = to_markdown(compare([three()[0], three()[2]], {}, n_resamples=50))
    assert "## Paragraphs that changed sides\n\nNone." in none


def test_a_page_stays_handy_whatever_it_is_given() -> None:
    long = "word " * 100_000
    shown = {id_: Shown(long, ()) for id_ in make_predictions().paragraph_ids}
    assert len(to_html(compare(three(), shown, n_resamples=50)).encode()) < 3_000_000


# -- runs in a project -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_project.with_two_runs(tmp_path_factory.mktemp("compare") / "project")


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    return project


@pytest.fixture
def finder(project: Path) -> RunFinder:
    return finder_of(small_project.settings(project))


def run_ids(finder: RunFinder) -> list[str]:
    finder.tracking.settle()
    found = finder.tracking.client.search_runs([finder.tracking.experiment_id], order_by=["attributes.start_time"])
    return [run.info.run_id for run in found]


def test_a_run_is_found_by_all_its_names(finder: RunFinder, project: Path) -> None:
    first, second = run_ids(finder)
    assert finder.find(first).run_id == first
    assert finder.find(second[:12]).run_id == second
    assert finder.find("champion").run_id == first
    assert (finder.find("champion").shown, finder.find("2").shown) == ("champion (version 1)", "version 2")
    for uri in ("models:/crosshead/2", f"runs:/{second}", "2"):
        assert finder.find(uri).run_id == second
        assert finder.find(uri).version is not None
    last = finder.find("last")
    assert (last.run_id, last.folder) == (second, project / "reports")
    assert finder.find(str(project / "reports")).folder == project / "reports"
    assert finder.find(str(project / "reports" / predictions.FILE)).folder == project / "reports"
    logged = finder.tracking.client.get_run(second).outputs.model_outputs[0].model_id
    assert finder.find(f"models:/{logged}").run_id == second


def test_a_number_is_a_version_or_else_the_beginning_of_an_id(finder: RunFinder, project: Path) -> None:
    first = run_ids(finder)[0]
    with closing(sqlite3.connect(project / "mlflow" / "mlflow.db")) as database, database:
        columns = ", ".join(row[1] for row in database.execute("PRAGMA table_info(runs)"))
        copied = columns.replace("run_uuid", "'270683' || substr(run_uuid, 7)")
        database.execute(f"INSERT INTO runs ({columns}) SELECT {copied} FROM runs WHERE run_uuid = ?", (first,))
    assert finder.find("270683").run_id == f"270683{first[6:]}"
    assert finder.find("2706").shown == "270683" + first[6:8]
    assert finder.find("1").run_id == first
    with closing(sqlite3.connect(project / "mlflow" / "mlflow.db")) as database, database:
        database.execute("DELETE FROM runs WHERE run_uuid LIKE '270683%'")


def test_what_was_kept_is_the_same_from_mlflow_and_from_disk(finder: RunFinder) -> None:
    kept, local = (finder.predictions(finder.find(name)) for name in ("2", "last"))
    assert kept.model.tobytes() == local.model.tobytes()
    assert set(kept.baselines) == {"tfidf", "majority"}
    assert len(kept.of_contrast_sets()) == 40


def test_names_that_fit_none_or_several(finder: RunFinder, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"there is no run 'nobody' in .*; a run is named by a run's id, its first"):
        finder.find("nobody")
    twins = [finder.tracking.log_run([], name="twin") for _ in range(2)]
    with pytest.raises(TrackingError, match=r"2 runs are called 'twin': \w{8} \(\d{4}-.* UTC\), .*; name one"):
        finder.find("twin")
    for run_id in twins:
        finder.tracking.client.delete_run(run_id)
    with pytest.raises(TrackingError, match="there is no run 'both"):
        finder.find("both ' and \" in one")
    with pytest.raises(TrackingError, match="there is no run or version '9' in"):
        finder.find("9")
    with pytest.raises(DataError, match=r"holds no predictions\.parquet; name a folder that `crosshead evaluate`"):
        finder.find(str(tmp_path))


def test_a_run_that_kept_nothing(finder: RunFinder) -> None:
    run_id = finder.tracking.log_run([], name="only trained")
    with pytest.raises(TrackingError, match=r"kept no predictions\.parquet: it was not evaluated"):
        finder.predictions(finder.find("only trained"))
    finder.tracking.client.delete_run(run_id)
    empty = replace(finder, reports_dir=Path("nowhere"))
    with pytest.raises(DataError, match=r"predictions\.parquet is not there; evaluate first"):
        empty.predictions(empty.find("last"))


def test_a_project_without_champion(tmp_path: Path) -> None:
    made = small_project.make(tmp_path / "new")
    with pytest.raises(TrackingError, match=r"has no champion \(none was trained\); name a run, or promote one"):
        finder_of(small_project.settings(made)).find("champion")


def test_the_command_shows_and_writes_the_comparison(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, markdown = tmp_path / "c.html", tmp_path / "c.md"
    words = ["compare", "champion", "last", "--html", str(html), "--markdown", str(markdown), "--paragraphs", "3"]
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "99 paragraphs of 10 held-out articles. Baseline: champion (version 1)." in told
    assert "last is better than champion (version 1): macro-F1 +0." in told
    assert re.search(
        r"59 paragraphs changed sides: 7 right before, wrong now, 47 wrong before, right now, 5 wrong", told
    )
    assert "accuracy: share right · ECE: expected calibration error, the mean gap" in told
    assert "right in one run only (McNemar) +40 " in told
    assert re.search(r"▌ truly \w+: before \w+ \d+%, now \w+ \d+%", told)
    assert "56 more: --paragraphs N, or --html FILE" in told
    assert "What to look for overnight" in html.read_text("utf-8")
    assert "### last: right before, wrong now (7)" in markdown.read_text("utf-8")


def test_texts_come_from_the_table_that_was_tested_on(finder: RunFinder, project: Path) -> None:
    kept = finder.predictions(finder.find("2"))
    folder = project / "data" / "prepared"
    shown = read_texts(folder, kept)
    assert {text_digest(shown[id_].text) for id_ in kept.paragraph_ids} == set(kept.text_digests)
    with pytest.raises(DataError, match=r"has another text for 1 of the 139 .* leave the texts out: --no-texts"):
        read_texts(folder, replace(kept, text_digests=("x", *kept.text_digests[1:])))
    with pytest.raises(DataError, match=r"lacks 1 of the 139 paragraphs that these runs were .* such as 'new#1'"):
        read_texts(folder, replace(kept, paragraph_ids=("new#1", *kept.paragraph_ids[1:])))


def test_without_texts_no_table_is_needed(project: Path, tmp_path: Path) -> None:
    chosen = small_project.settings(project).model_copy(update={"prepared_dir": tmp_path})
    with pytest.raises(DataError, match="no corpus was prepared here"):
        run(chosen, ["1", "2"])
    compared = run(chosen, ["1", "2", "last"], with_texts=False)
    assert compared.names == ("version 1", "version 2", "last")
    assert {changed.text for row in compared.against for changed in row.changed} == {None}
    assert compared.against[0].changed == compared.against[1].changed


def test_one_run_named_twice_is_shown_under_two_names(project: Path) -> None:
    assert run(small_project.settings(project), ["2", "2"]).names == ("version 2", "version 2 (2)")


def test_why_runs_cannot_be_compared_is_said_before_their_texts_are_missed(
    here: Path, finder: RunFinder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = finder.predictions(finder.find("2"))
    other = replace(other, paragraph_ids=tuple(f"x{id_}" for id_ in other.paragraph_ids))
    write(tmp_path / "other" / FILE, other)
    assert held_out_digest(other) != held_out_digest(finder.predictions(finder.find("2")))
    for more in ([], ["--no-texts"]):
        for words in (["champion", str(tmp_path / "other")], [str(tmp_path / "other"), "champion"]):
            assert main(["compare", *words, *more]) == DataError.exit_code
            told = capsys.readouterr().err
            assert "were not tested on the same paragraphs" in told
            assert "139 paragraphs only in" in told
            assert f"crosshead promote {tmp_path / 'other'} --dry-run" in told
            assert "--no-texts" not in told
    assert main(["compare", "1", str(tmp_path / "other")]) == DataError.exit_code
    assert "promote" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["champion"], ConfigError.exit_code, "1 run was named; name two at least, the first is the baseline"),
        (["champion", "lsat"], TrackingError.exit_code, "there is no run 'lsat' in .*; did you mean 'last'?"),
    ],
)
def test_wrong_names_are_told_before_anything_heavy_is_imported(
    words: list[str], code: int, told: str, project: Path
) -> None:
    script = (
        "import sys; from crosshead.cli import main; code = main(sys.argv[1:]); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "compare", *words], capture_output=True, text=True, check=False, cwd=project
    )
    assert done.returncode == code, done.stderr
    assert re.search(told, done.stderr)
    assert not {"sklearn", "pyarrow", "mlflow", "matplotlib", "datasets"} & set(done.stdout.split())


def test_what_may_be_a_run_is_looked_for(project: Path, tmp_path: Path) -> None:
    tracking = finder_of(small_project.settings(project)).tracking
    store = tracking.place
    there = tracking.client.search_runs([tracking.experiment_id])[0].info.run_name
    for name in ("champion", "last", "models:/crosshead/9", "runs:/x", "12", "abcd", str(project), f"x/{FILE}"):
        names.check(name, store)
    names.check(there, store)
    with pytest.raises(
        TrackingError, match=rf"there is no run '{re.escape(there[:-1])}' .*did you mean '{re.escape(there)}'\?"
    ):
        names.check(there[:-1], store)
    names.check("lsat", replace(store, uri="https://mlflow.example"))
    with pytest.raises(TrackingError, match="there is no run 'lsat'"):
        names.check("lsat", replace(store, uri=f"sqlite:///{tmp_path / 'none.db'}"))
    broken = tmp_path / "broken.db"
    broken.write_text("no database")
    names.check("lsat", replace(store, uri=f"sqlite:///{broken}"))
    assert (names.CHAMPION, names.PREDICTIONS) == (registry.CHAMPION, FILE)

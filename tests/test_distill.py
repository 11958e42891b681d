from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import small_project
import tiny
from crosshead import bundle, loading
from crosshead.cli import main
from crosshead.encoders.static import StaticEncoder, static_for
from crosshead.errors import DataError
from crosshead.records.tracking import Tracking
from crosshead.releases import champion, registry
from crosshead.stages import distill as stage
from crosshead.training.distilling import BELIEF_IN_LABELS, distil, fit_soft, measure_speed, targets_of, unseen_proba
from crosshead.training.train import Paragraphs

SILENT: Callable[[str, int, int], None] = lambda what, done, total: None  # noqa: E731


def tiny_paragraphs() -> tuple[Paragraphs, list[tuple[np.ndarray, np.ndarray]]]:
    texts, y, lengths, ids = tiny.training_rows()
    article = np.repeat(np.arange(len(lengths)), lengths)
    folds = [(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))]
    return Paragraphs(texts, y, lengths, ids), folds


# -- learning from probabilities ---------------------------------------------------------------------------------------


def test_labels_as_probabilities_give_scikit_learns_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    ours = fit_soft(X, np.eye(3)[y], strength=0.5)
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=2000).fit(X, y)
    np.testing.assert_allclose(np.exp(ours.log_proba(X)), theirs.predict_proba(X), atol=2e-3)


@given(st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_probabilities_count_as_that_many_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, targets = rng.normal(size=(30, 4)).astype(np.float32), rng.dirichlet([1, 1, 1], 30)
    soft = fit_soft(X, targets, strength=1.0)
    hard = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(
        np.repeat(X, 3, axis=0), np.tile([0, 1, 2], 30), sample_weight=targets.ravel()
    )
    np.testing.assert_allclose(np.exp(soft.log_proba(X)), hard.predict_proba(X), atol=2e-3)


def test_labels_and_teacher_are_mixed() -> None:
    mixed = targets_of(np.array([1]), np.array([[0.8, 0.2]]))
    share = BELIEF_IN_LABELS
    np.testing.assert_allclose(mixed, [[(1 - share) * 0.8, share + (1 - share) * 0.2]])


def test_the_teacher_is_asked_about_articles_that_it_never_saw(tiny_graph: Path) -> None:
    result = tiny.build_tagger(tiny_graph)
    paragraphs, folds = tiny_paragraphs()
    unseen = unseen_proba(result.tagger, result.estimators, paragraphs, folds, SILENT)
    np.testing.assert_allclose(unseen, result.out_of_fold, atol=0.05)  # pairs of words are counted from two on
    seen = unseen_proba(result.tagger, {}, paragraphs, folds, SILENT)
    rows = np.arange(len(paragraphs.y))
    assert seen[rows, paragraphs.y].mean() > unseen[rows, paragraphs.y].mean() + 0.1


# -- the student -------------------------------------------------------------------------------------------------------


def test_the_student_learns_from_unlabelled_text(tiny_graph: Path, tmp_path: Path) -> None:
    teacher = tiny.build_tagger(tiny_graph).tagger
    paragraphs, folds = tiny_paragraphs()
    encoder = StaticEncoder(static_for(tiny_graph, tmp_path, n_dimensions=8))
    targets = targets_of(paragraphs.y, teacher.predict_proba([[text] for text in paragraphs.texts]))
    more = ["Quokkas and wombats shelled the quay.", "Quokkas with wombats shelled the quay again."] * 4
    wanted = np.tile([0.97, 0.01, 0.01, 0.01], (len(more), 1))
    alone = distil(teacher, paragraphs, targets, encoder=encoder, folds=folds)
    taught = distil(
        teacher, paragraphs, targets, encoder=encoder, folds=folds, unlabelled=more, unlabelled_targets=wanted
    )
    text = ["Quokkas, wombats."]
    of_first = tiny.SECTION_TYPES[0]
    assert taught.tagger.tag_texts(text)[0].scores[of_first] > alone.tagger.tag_texts(text)[0].scores[of_first]
    assert len(alone.tried) == 6
    assert max(alone.tried.values()) == alone.chosen["macro_f1"]


def test_without_an_encoder_the_words_learn_alone(tiny_graph: Path) -> None:
    teacher = tiny.build_tagger(tiny_graph).tagger
    paragraphs, folds = tiny_paragraphs()
    student = distil(teacher, paragraphs, np.eye(4)[paragraphs.y], encoder=None, folds=folds)
    assert student.tagger.encoder is None
    assert [view.kind for view in student.tagger.views] == ["tfidf"]


def test_speed_counts_what_was_tagged(tiny_graph: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph).tagger
    speed = measure_speed(tagger, tiny.training_rows()[0], at_least_s=0.01)
    assert speed.per_s > 0
    assert speed.cpu_us > 0


# -- the stage and the command -----------------------------------------------------------------------------------------


def test_held_out_and_labelled_articles_are_not_learned_from() -> None:
    articles = [["One.", "Two."], ["*Three.*", "Four."], ["Five.", "  "], ["Five.", "Six."], []]
    kept, n_left_out = stage.leave_out(articles, ["Three."])
    assert kept == [["One.", "Two."], ["Five."]]
    assert n_left_out == 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.make(tmp_path_factory.mktemp("distil") / "project")
    small_project.prepare.run(small_project.settings(root))
    return root


def test_distilling_saves_a_tagger_and_measures_it_beside_its_teacher(
    project: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    chosen = small_project.settings(project)
    held_out = stage.read_table(chosen.prepared_dir)["test"]["text"]
    result = stage.run(
        chosen,
        loading.load(str(tiny_bundle)),
        [["A text that nobody labelled, on guns and councils."], [held_out[0]]],
        output=tmp_path / "student",
        n_dimensions=8,
    )
    assert (result.n_unlabelled, result.n_left_out) == (1, 1)
    assert result.student_side.scores.n_paragraphs == result.teacher_side.scores.n_paragraphs
    assert result.student_side.scores.macro_f1.value > 0.5, "labels are learned from too"
    assert result.share_kept > 1, "twelve paragraphs made no good teacher"
    assert "another paragraph table" in result.notes[0]
    saved = bundle.load(tmp_path / "student")
    assert bundle.digest(tmp_path / "student") == result.digest
    assert bundle.read_manifest(tmp_path / "student")["about"]["teacher"] == bundle.digest(tiny_bundle)
    texts = list(held_out[:5])
    assert [tag.scores for tag in saved.tag_texts(texts)] == [
        tag.scores for tag in result.student.tagger.tag_texts(texts)
    ]


def test_scores_and_student_are_kept_in_a_run(project: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    chosen = small_project.settings(project)
    result = stage.run(chosen, loading.load(str(tiny_bundle)), output=tmp_path / "student", n_dimensions=8)
    tracking = Tracking.at(project, chosen.tracking.experiment, chosen.tracking.uri)
    run = tracking.client.get_run(str(result.run_id))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_macro_f1"] == pytest.approx(result.student_side.scores.macro_f1.value)
    assert run.data.metrics["share_kept"] == pytest.approx(result.share_kept)
    assert run.data.tags["crosshead.teacher_digest"] == bundle.digest(tiny_bundle)
    fetched = registry.fetch(tracking, f"runs:/{result.run_id}", tmp_path / "fetched")
    assert bundle.digest(fetched) == result.digest
    assert champion.find(project) is None, "a student is not the first model"


def test_a_teacher_of_other_section_types_is_refused(project: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    manifest["section_types"][0] = "weather"
    (tiny_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="weather"):
        stage.run(small_project.settings(project), loading.load(str(tiny_bundle)), output=tmp_path / "student")


def test_the_command(
    project: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project)
    (tmp_path / "more.md").write_text("# Title\n\nGuns fired on the quay until the garrison left.\n", encoding="utf-8")
    args = ["distill", str(tmp_path / "more.md"), str(tmp_path / "none.md"), "--model", str(tiny_bundle)]
    assert main([*args, "--dimensions", "8", "--set", "folds=2"]) == 0
    told = capsys.readouterr()
    assert "none.md" in told.err
    for said in ("and 1 other", "teacher", "student", "paragraphs/s", "of the teacher's macro-F1 kept"):
        assert said in told.out
    assert "next:   crosshead tag --model models/distilled FILE…" in told.out
    assert (project / "models" / "distilled" / "manifest.json").is_file()

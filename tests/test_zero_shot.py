"""Taggers from the taxonomy's words and from guesses, and `crosshead zero-shot`, which saves one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead import bundle
from crosshead.cli import main
from crosshead.errors import BundleError, ConfigError, DataError, EncoderError
from crosshead.evaluation import ABSTAIN_ALWAYS
from crosshead.tagging.heads import LinearHead
from crosshead.taxonomy import Taxonomy
from crosshead.training.first_model import MIN_CHECKED, build, learn, surest
from crosshead.training.zero_shot import describe, type_vectors, zero_shot
from label_parts import TAXONOMY, WordsEncoder, make_project, paragraphs, use_tiny_encoder

ENCODER = WordsEncoder()


def accuracy(head: LinearHead, vectors: np.ndarray, y: np.ndarray) -> float:
    return float((head.log_proba(vectors).argmax(axis=1) == y).mean())


# -- descriptions ----------------------------------------------------------------------------------------------------


def test_a_section_type_is_the_mean_of_what_it_says_of_itself() -> None:
    found = type_vectors(TAXONOMY, ENCODER)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    weather = [
        ENCODER.encode(["Rain and wind: storms, frost, forecasts."]).vectors[0],
        ENCODER.encode(["Rain and wind", "storms", "frost", "forecasts"]).vectors.mean(axis=0),
    ]
    expected = np.sum([vector / np.linalg.norm(vector) for vector in weather], axis=0)
    assert np.allclose(found[2], expected / np.linalg.norm(expected), atol=1e-6)


def test_a_paragraph_goes_to_the_nearest_description() -> None:
    texts, y = paragraphs(300)
    vectors = ENCODER.encode(texts).vectors
    assert accuracy(describe(TAXONOMY, ENCODER, vectors), vectors, y) > 0.85


def test_what_is_usual_is_taken_off_so_that_no_description_wins_everything() -> None:
    texts, y = paragraphs(300, filler=8)
    greedy = TAXONOMY.as_mapping()
    greedy["section_types"][1]["description"] = "Pupils exams " + " ".join(f"word{i}" for i in range(40))
    taxonomy = Taxonomy.from_mapping(greedy)
    vectors = ENCODER.encode(texts).vectors
    head = describe(taxonomy, ENCODER, vectors)
    raw = (vectors @ head.coef.T).argmax(axis=1)
    centred = head.log_proba(vectors).argmax(axis=1)
    assert (raw == 1).mean() > 0.5 > (centred == 1).mean()
    assert (centred == y).mean() > (raw == y).mean() + 0.1
    assert np.allclose((vectors @ head.coef.T + head.intercept).mean(axis=0), 0.0, atol=1e-4)


def test_the_surest_answers_teach_words_that_no_description_has() -> None:
    texts, y = paragraphs(600)
    more = [["gangways", "satchels", ""][label] for label in y]
    vectors = ENCODER.encode([f"{word} {text}" for word, text in zip(more, texts, strict=True)]).vectors
    new, new_y = ["Gangways", "Satchels"], np.array([0, 1])
    asked = ENCODER.encode(new).vectors
    described, taught = describe(TAXONOMY, ENCODER, vectors), zero_shot(TAXONOMY, ENCODER, vectors)
    assert accuracy(taught, vectors, y) >= accuracy(described, vectors, y)
    assert accuracy(taught, asked, new_y) == 1.0
    confidence = [head.log_proba(asked)[np.arange(2), new_y] for head in (described, taught)]
    assert (confidence[1] > confidence[0]).all()
    assert np.array_equal(zero_shot(TAXONOMY, ENCODER, vectors, rounds=0).coef, described.coef)


def test_a_section_type_without_words_is_refused() -> None:
    bare = Taxonomy.from_mapping({"section_types": [{"name": "a", "description": "Boats"}, {"name": "b"}]})
    with pytest.raises(ConfigError, match="'b' has neither a description nor heading phrases"):
        type_vectors(bare, ENCODER)


def test_vectors_of_another_encoder_are_refused() -> None:
    with pytest.raises(EncoderError, match="the paragraphs' vectors have 3 dimensions, the encoder's 64"):
        describe(TAXONOMY, ENCODER, np.ones((2, 3), dtype=np.float32))


# -- learning from guesses -------------------------------------------------------------------------------------------


def test_the_surest_are_picked_in_equal_numbers() -> None:
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8]])
    assert surest(np.log(proba), share=2 / 3).tolist() == [0, 1, 4, 5]
    assert surest(np.log(proba), share=0.01).tolist() == [0, 5]
    among = np.array([False, True, True, True, True, False])
    assert surest(np.log(proba), share=0.5, among=among).tolist() == [1, 4]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(2, 5), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_the_surest_are_allowed_and_not_too_many(n: int, n_types: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    proba, among = rng.dirichlet(np.ones(n_types), n), rng.random(n) < 0.7
    rows = surest(np.log(proba), share=share, among=among)
    assert among[rows].all()
    assert len(set(rows.tolist())) == len(rows)
    assert np.bincount(proba[rows].argmax(axis=1), minlength=1).max(initial=0) <= max(1, share * among.sum() / n_types)


def test_known_labels_are_believed_against_the_guess() -> None:
    texts, y = paragraphs(300)
    vectors = ENCODER.encode(texts).vectors
    wrong = np.log(np.full((300, 3), 0.05) + 0.85 * np.eye(3)[(y + 1) % 3])
    known = np.where(np.arange(300) < 250, y, -1)
    assert accuracy(learn(vectors, wrong), vectors, y) < 0.1
    assert accuracy(learn(vectors, wrong, y=known), vectors, y) > 0.7
    assert accuracy(learn(vectors, wrong, y=y), vectors, y) > 0.9


def test_guesses_that_tell_nothing_apart_are_refused() -> None:
    with pytest.raises(DataError, match="the guesses for 5 paragraphs name fewer than two section types"):
        learn(np.eye(5, dtype=np.float32), np.log(np.tile([0.9, 0.1], (5, 1))))


def make(n: int, n_labelled: int, *, n_articles: int = 30, risk: float = 0.3):
    texts, y = paragraphs(n)
    vectors = ENCODER.encode(texts).vectors
    known = np.where(np.arange(n) < n_labelled, y, -1)
    lengths = [len(part) for part in np.array_split(np.arange(n), n_articles)]
    ids = [f"a{i}" for i, length in enumerate(lengths) for _ in range(length)]
    asked: list[np.ndarray] = []

    def guess(labels: np.ndarray) -> LinearHead:
        asked.append(labels)
        head = describe(TAXONOMY, ENCODER, vectors)
        return learn(vectors, head.log_proba(vectors), y=labels)

    model = build(
        guess,
        vectors,
        known,
        lengths,
        ids,
        section_types=TAXONOMY.section_types,
        encoder=ENCODER,
        name="first",
        decoder_weight=0.3,
        risk=risk,
    )
    return model, asked, known, np.array(ids)


def test_a_first_model_is_measured_by_heads_that_did_not_see_the_label() -> None:
    model, asked, known, ids = make(300, 120)
    assert model.scores is not None
    assert model.scores.n_paragraphs == 120
    assert np.array_equal(asked[0], known)
    hidden = [np.flatnonzero((known >= 0) & (labels < 0)) for labels in asked[1:]]
    assert sorted(np.concatenate(hidden).tolist()) == list(range(120))  # each label hidden once
    assert all(not set(ids[rows]) & set(ids[labels >= 0]) for rows, labels in zip(hidden, asked[1:], strict=True))


def test_enough_labels_make_its_confidence_mean_something() -> None:
    model = make(300, 120)[0]
    assert model.is_calibrated
    assert model.tagger.threshold < ABSTAIN_ALWAYS
    tags = model.tagger.tag_texts(["Ferries and cargo at the quays"])
    assert (tags[0].section_type, tags[0].abstained) == ("harbour", False)


@pytest.mark.parametrize(("n_labelled", "n_articles"), [(0, 30), (MIN_CHECKED - 1, 30), (120, 2)])
def test_too_few_labels_make_it_sure_of_nothing(n_labelled: int, n_articles: int) -> None:
    model = make(300, n_labelled, n_articles=n_articles)[0]
    assert not model.is_calibrated
    assert (model.scores is None) == (n_labelled == 0)
    assert model.tagger.tag_texts(["Ferries and cargo"])[0].abstained


# -- crosshead zero-shot ---------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tiny_graph: Path) -> Path:
    made = make_project(tmp_path / "project", root / "conf")
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "160")
    use_tiny_encoder(monkeypatch, tiny_graph)
    return made


def test_zero_shot_saves_a_tagger_and_says_how_good_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zero-shot"]) == 0
    out = capsys.readouterr().out
    assert "12 paragraphs of 4 articles" in out
    assert "against annotations: macro-F1" in out
    assert "none of them is labelled by headings" in out
    assert "crosshead tag --model models/zero_shot" in out
    assert main(["tag", "--model", "models/zero_shot", "data/articles/talks.md", "-f", "jsonl"]) == 0
    tagged = json.loads(capsys.readouterr().out)
    assert [p["abstained"] for p in tagged["paragraphs"]] == [True, True, True]
    assert set(tagged["paragraphs"][0]["scores"]) == set(bundle.load("models/zero_shot").section_types)


def test_zero_shot_takes_inputs_another_folder_and_no_refining(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zero-shot", "data/articles/bread.md", "--no-refine", "-o", "elsewhere"]) == 0
    assert "3 paragraphs of 1 article" in capsys.readouterr().out
    assert bundle.load("elsewhere").name == "zero-shot"
    with pytest.raises(BundleError):
        bundle.load("models/zero_shot")


def test_zero_shot_needs_an_encoder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zero-shot", "--set", "encoder=tfidf"]) == ConfigError.exit_code
    assert "makes no vectors" in capsys.readouterr().err

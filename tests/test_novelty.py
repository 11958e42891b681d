"""Text of another kind: the distance, its threshold, and the way of the answer through bundle, pieces and doors."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import tiny
from cli_parts import make_tagger
from crosshead import bundle
from crosshead.cli.table import NOVEL, TableWriter
from crosshead.cli.writers import Csv
from crosshead.encoders.graph import GraphEncoder
from crosshead.feeds.items import Item, answer
from crosshead.loading import Model
from crosshead.server.model import Served
from crosshead.tagging.explain import explain
from crosshead.tagging.novelty import Novelty, fit_novelty
from crosshead.tagging.tagger import Looked, Tagger
from crosshead.training.train import NOVELTY_FALSE_ALARMS
from server_parts import client_of

TEXTS = ["Shells fell on the river bank.", "The neighbours closed a border.", "The writer keeps bees.", "Snow."]


def halves(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(n)
    return [(rows[rows % 2 == 0], rows[rows % 2 == 1]), (rows[rows % 2 == 1], rows[rows % 2 == 0])]


def cloud(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 5)) * [1, 2, 3, 0.1, 1] + 4).astype(np.float32)


def telling(tagger: Tagger, last_is_far: bool = True) -> Tagger:
    """Let a tagger take the text of ``TEXTS`` that lies farthest for one of another kind."""
    vectors = tagger.read(TEXTS).vectors
    assert vectors is not None
    n = vectors.shape[1]
    plain = Novelty(np.zeros(n, np.float32), np.diag(np.arange(1, n + 1)).astype(np.float32), np.inf, 0.01)
    near, far = np.sort(plain.distance(vectors))[-2:]
    return replace(tagger, novelty=replace(plain, threshold=float((near + far) / 2) if last_is_far else np.inf))


# -- the distance ------------------------------------------------------------------------------------------------------


def test_the_distance_is_mahalanobis() -> None:
    known, asked = cloud(400), cloud(20, seed=1)
    found = fit_novelty(known, halves(400), 0.1).distance(asked)
    away = asked - known.mean(axis=0)
    wanted = np.sqrt(np.einsum("nd,de,ne->n", away, np.linalg.inv(np.cov(known.T, bias=True)), away))
    np.testing.assert_allclose(found, wanted, rtol=0.1)  # apart from the ridge, which holds back the narrow direction


def test_a_direction_without_variance_does_no_harm() -> None:
    known = cloud(50)
    known[:, 2] = 1.0
    assert np.isfinite(fit_novelty(known, halves(50), 0.1).distance(cloud(5))).all()


@pytest.mark.parametrize("false_alarms", [0.01, 0.1, 0.5])
def test_as_many_new_vectors_lie_beyond_the_threshold_as_stated(false_alarms: float) -> None:
    found = fit_novelty(cloud(4000), halves(4000), false_alarms)
    assert found.false_alarms == false_alarms
    assert found.is_beyond(cloud(4000, seed=1)).mean() == pytest.approx(false_alarms, rel=0.3)
    assert found.is_beyond(cloud(100, seed=2) + 30).all()


def test_the_threshold_comes_from_vectors_that_were_not_fitted_on() -> None:
    known = cloud(12)
    distances = [fit_novelty(known[learned], halves(6), 0.1).distance(known[asked]) for learned, asked in halves(12)]
    assert fit_novelty(known, halves(12), 0.25).threshold == np.quantile(np.concatenate(distances), 0.75)


@given(st.lists(st.integers(0, 49), min_size=1, max_size=50))
def test_a_distance_depends_on_its_vector_alone(rows: list[int]) -> None:
    found = fit_novelty(cloud(50), halves(50), 0.1)
    np.testing.assert_array_equal(found.distance(cloud(50)[rows]), found.distance(cloud(50))[rows])


# -- the tagger --------------------------------------------------------------------------------------------------------


def test_training_fits_it_where_it_is_asked_to(tiny_graph: Path) -> None:
    assert tiny.build_tagger(tiny_graph).tagger.novelty is None
    tagger = tiny.build_tagger(tiny_graph, tells_novelty=True).tagger
    assert tagger.novelty is not None
    assert tagger.novelty.false_alarms == NOVELTY_FALSE_ALARMS == 0.01
    texts = tiny.training_rows()[0]
    assert {tag.out_of_distribution for tag in tagger.tag_texts(texts)} == {False}


def test_a_tagger_that_cannot_tell_says_nothing() -> None:
    tags = make_tagger().tag_texts(TEXTS)
    assert {tag.out_of_distribution for tag in tags} == {None}
    assert "out_of_distribution" not in tags[0].as_dict()


def test_the_answer_stays_and_the_mark_comes_beside_it() -> None:
    plain, found = make_tagger().tag_article(TEXTS), telling(make_tagger()).tag_article(TEXTS)
    assert [replace(tag, out_of_distribution=None) for tag in found] == plain
    assert sum(tag.out_of_distribution is True for tag in found) == 1
    assert [tag.as_dict()["out_of_distribution"] for tag in found] == [tag.out_of_distribution for tag in found]


@pytest.mark.parametrize("tagger", [make_tagger(), telling(make_tagger())], ids=["cannot tell", "tells"])
def test_looking_in_pieces_changes_nothing(tagger: Tagger) -> None:
    whole = tagger.look(TEXTS)
    for pieces in (
        [whole.part(0, 1), whole.part(1, 4)],
        [tagger.look(TEXTS[:3]), tagger.look([]), tagger.look(TEXTS[3:])],
    ):
        joined = Looked.join(pieces)
        assert tagger.conclude(joined, [1, 3]) == tagger.tag_articles([TEXTS[:1], TEXTS[1:]])
    assert tagger.conclude(tagger.look([]), [0]) == [[]]


def test_a_server_that_remembers_paragraphs_remembers_the_mark() -> None:
    tagger = telling(make_tagger())
    served = Served(Model(tagger, "hand", "1", "f" * 64))
    for texts in (TEXTS[:2], TEXTS, TEXTS[::-1]):
        assert served.tagger.conclude(served.look(texts), [1] * len(texts)) == [
            [tag] for tag in tagger.tag_texts(texts)
        ]


def test_an_explanation_has_the_mark() -> None:
    tagger = telling(make_tagger())
    tags = tagger.tag_article(TEXTS)
    found = [explain(tagger, TEXTS[i], before=TEXTS[:i], after=TEXTS[i + 1 :]).tag for i in range(len(TEXTS))]
    assert [tag.out_of_distribution for tag in found] == [tag.out_of_distribution for tag in tags]


# -- the bundle --------------------------------------------------------------------------------------------------------


def test_the_bundle_keeps_it_to_the_bit_and_an_old_one_cannot_tell(tiny_graph: Path, tmp_path: Path) -> None:
    tagger = tiny.build_tagger(tiny_graph, tells_novelty=True).tagger
    bundle.save(tagger, tmp_path / "b", encoder_dir=tiny_graph)
    loaded = bundle.load(tmp_path / "b").novelty
    assert loaded is not None
    assert tagger.novelty is not None
    assert (loaded.threshold, loaded.false_alarms) == (tagger.novelty.threshold, tagger.novelty.false_alarms)
    for name, array in tagger.novelty.arrays().items():
        np.testing.assert_array_equal(array, loaded.arrays()[name])
    manifest = json.loads((tmp_path / "b" / bundle.MANIFEST).read_text())
    del manifest["novelty_threshold"], manifest["novelty_false_alarms"]
    (tmp_path / "b" / bundle.MANIFEST).write_text(json.dumps(manifest))
    assert bundle.load(tmp_path / "b").novelty is None


def test_a_bundle_without_it_is_as_before(tiny_bundle: Path) -> None:
    assert json.loads((tiny_bundle / bundle.MANIFEST).read_text())["novelty_threshold"] is None
    assert isinstance(bundle.load(tiny_bundle).encoder, GraphEncoder)


# -- the doors ---------------------------------------------------------------------------------------------------------


def shown(tagger: Tagger) -> str:
    out = io.StringIO()
    item = Item(tuple(TEXTS), file="notes.txt")
    TableWriter(Console(file=out, width=100), tagger.section_types).write(answer(tagger, [item]))
    return out.getvalue()


def test_the_table_marks_it_and_counts_it() -> None:
    assert NOVEL not in shown(make_tagger())
    assert NOVEL not in shown(telling(make_tagger(), last_is_far=False))
    assert shown(telling(make_tagger())).count(NOVEL) == 2
    assert f"unlike the training text {NOVEL} 1" in shown(telling(make_tagger()))


def test_the_api_says_it_and_null_where_the_model_cannot_tell() -> None:
    for tagger in (make_tagger(), telling(make_tagger())):
        with client_of(lambda tagger=tagger: Model(tagger, "hand", "3", "f" * 64)) as client:
            given = client.post("/v1/tag", json={"texts": TEXTS}).json()["paragraphs"]
        assert [row["out_of_distribution"] for row in given] == [t.out_of_distribution for t in tagger.tag_texts(TEXTS)]


def test_csv_has_a_column_of_it() -> None:
    rows = {}
    for name, tagger in (("cannot", make_tagger()), ("tells", telling(make_tagger()))):
        out = io.BytesIO()
        writer = Csv(out, tagger.section_types)
        writer.write(answer(tagger, [Item((TEXTS[0],), is_article=False, line=1)]))
        header, row = (line.split(",") for line in out.getvalue().decode().splitlines())
        rows[name] = row[header.index("out_of_distribution")]
    assert rows == {"cannot": "", "tells": str(telling(make_tagger()).tag_texts(TEXTS)[0].out_of_distribution)}

"""The accurate tier: a larger encoder whose folder the user names, of the published weights and no others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import small_project
import tiny_transformer
from crosshead import bundle
from crosshead.encoders import export
from crosshead.encoders.open import open_encoder
from crosshead.errors import EncoderError
from crosshead.settings import load_settings
from crosshead.stages import prepare, train

FOLDER = "CROSSHEAD_ACCURATE"
"""Variable that names the folder of all-mpnet-base-v2."""
PUBLISHED = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
SMALL = ("experiment=accurate", "folds=2", "curve_shares=[]", "corpus.test_share=0.3", "tracking=none")


def test_the_variable_names_the_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    assert load_settings(["experiment=accurate"], root).encoder.source == "models/all-mpnet-base-v2"
    monkeypatch.setenv(FOLDER, "elsewhere/mpnet")
    chosen = load_settings(["experiment=accurate"], root)
    assert (chosen.encoder.source, chosen.encoder.sha256) == ("elsewhere/mpnet", PUBLISHED)
    default = load_settings([], root)
    assert {name: (view.kind, view.weight) for name, view in chosen.views.items()} == {
        name: (view.kind, view.weight) for name, view in default.views.items()
    }
    assert load_settings(["experiment=accurate", "encoder.sha256=null"], root).encoder.sha256 is None


def test_other_weights_are_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tiny_transformer.build(tmp_path / "model")))
    chosen = load_settings(["experiment=accurate"], root).encoder
    with pytest.raises(EncoderError, match=f"but encoder.sha256 says {PUBLISHED}"):
        open_encoder(str(chosen.source), tmp_path / "cache", **chosen.options())


@pytest.mark.slow
def test_a_small_project_is_tagged_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = os.environ.get(FOLDER, "")
    if not Path(named).is_dir() or not named:
        pytest.skip(f"{FOLDER} names no folder with all-mpnet-base-v2, which no package that crosshead needs brings")
    monkeypatch.setenv(FOLDER, str(Path(named).resolve()))
    monkeypatch.setattr(small_project, "N_ARTICLES", 8)
    monkeypatch.setattr(small_project, "N_SETS", 2)
    root = small_project.make(tmp_path / "project")
    settings = load_settings(list(SMALL), root)
    prepare.run(settings)
    trained = train.run(settings)
    tagger = bundle.load(trained.bundle_dir)
    assert {view.kind for view in tagger.views} == {"paragraph", "tfidf"}
    texts = ["Two brigades crossed the river before dawn.", "The council voted for sanctions on fuel."]
    vectors = tagger.read(texts).vectors
    assert vectors is not None
    wanted = export.load_model(Path(named)).encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert (vectors * wanted).sum(axis=1).min() >= 0.999
    assert np.isfinite(tagger.predict_proba([texts])).all()

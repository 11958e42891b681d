"""Fine-tuning: what learns and what stays, going on after a kill, and encoders that are honest about what they saw."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import small_project
import tiny
import tiny_transformer
from crosshead.encoders.tuned import TUNED_FILE, Tuned, text_digest
from crosshead.errors import ConfigError, DataError, EncoderError
from crosshead.training import finetuning
from crosshead.training.finetuning import Epoch, Recipe, finetune, in_batches

RECIPE = Recipe(
    layers=1,
    epochs=3,
    learning_rate=2e-3,
    layer_decay=0.8,
    batch_tokens=96,
    label_smoothing=0.0,
    average=1.0,
    max_tokens=64,
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformer.build(tmp_path_factory.mktemp("transformer") / "model")


def tune(folder: Path, checkpoint: Path, recipe: Recipe = RECIPE) -> tuple[dict[str, np.ndarray], list[Epoch]]:
    texts, y, *_ = tiny.training_rows()
    learned = np.arange(len(texts) - 3)
    model, history = finetune(
        folder, texts, y, learned=learned, recipe=recipe, n_section_types=4, checkpoint=checkpoint, device="cpu"
    )
    return {name: value.detach().numpy().copy() for name, value in model[0].model.named_parameters()}, history


def first_weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in load_file(next(folder.rglob("*.safetensors"))).items()}


# -- what learns -------------------------------------------------------------------------------------------------------


def test_the_upper_layers_learn_and_the_others_stay(model_dir: Path, tmp_path: Path) -> None:
    before = first_weights(model_dir)
    after, history = tune(model_dir, tmp_path / "c.safetensors")
    moved = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    last = tiny_transformer.N_LAYERS - 1
    assert moved
    assert {name.split(".")[2] for name in moved if name.startswith("encoder.layer")} == {str(last)}
    assert all(name.startswith("encoder.layer") for name in moved)
    assert len(history) == RECIPE.epochs
    assert history[-1].loss < history[0].loss


def test_what_the_frozen_layers_left_is_what_the_whole_model_computes(model_dir: Path) -> None:
    texts = tiny.training_rows()[0]
    tuner = finetuning.Tuner(model_dir, RECIPE, 4, "cpu")
    tuner._dtype = finetuning.torch.float32
    states = tuner.lower(tuner.tokenise(texts), lambda what, done, total: None)
    with finetuning.torch.inference_mode():
        tuner.head.weight[:, :] = finetuning.torch.eye(4, tiny_transformer.N_HIDDEN)
        found = tuner.logits(states).numpy() / finetuning.HEAD_SCALE
    wanted = tuner.model.encode(texts, normalize_embeddings=True, show_progress_bar=False)[:, :4]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_average_lies_between_the_first_weights_and_the_tuned(model_dir: Path, tmp_path: Path) -> None:
    before = first_weights(model_dir)
    whole, _ = tune(model_dir, tmp_path / "a.safetensors")
    half, _ = tune(model_dir, tmp_path / "b.safetensors", replace(RECIPE, average=0.5))
    for name, value in before.items():
        np.testing.assert_allclose(half[name], (value + whole[name]) / 2, atol=1e-6)


def test_batches_keep_the_budget_and_hold_every_row_once() -> None:
    ids = [[0] * n for n in (3, 50, 7, 20, 20, 90, 4)]
    batches = in_batches(ids, 60, rng=np.random.default_rng(0))
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(batch) == 1 or max(len(ids[i]) for i in batch) * len(batch) <= 60 for batch in batches)


# -- stopped and taken up again ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """What stands for the end of the process between two steps."""


@pytest.mark.parametrize("after", [1, 4, 7])
def test_work_taken_up_again_ends_as_if_never_interrupted(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    wanted, history = tune(model_dir, tmp_path / "whole.safetensors")
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    checkpoint = tmp_path / "work" / "c.safetensors"
    learn = finetuning._Work.learn
    steps: list[int] = []

    def learn_and_die(work: finetuning._Work, *args: object) -> None:
        learn(work, *args)  # type: ignore[arg-type]
        steps.append(work.step)
        if len(steps) == after:
            raise Killed

    monkeypatch.setattr(finetuning._Work, "learn", learn_and_die)
    with pytest.raises(Killed):
        tune(model_dir, checkpoint)
    found, history_again = tune(model_dir, checkpoint)
    assert len(steps) == len(set(steps))  # no step was taken twice
    assert history_again == history
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_process_that_is_killed_goes_on_where_it_was(model_dir: Path, tmp_path: Path) -> None:
    wanted, _ = tune(model_dir, tmp_path / "whole.safetensors")
    checkpoint = tmp_path / "c.safetensors"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_finetuning as tests; from crosshead.training import finetuning\n"
        "finetuning.CHECKPOINT_S, learn, steps = 0.0, finetuning._Work.learn, []\n"
        "def dying(work, *args):\n"
        "    if work.step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    learn(work, *args)\n"
        "finetuning._Work.learn = dying\n"
        f"tests.tune(Path({str(model_dir)!r}), Path({str(checkpoint)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert checkpoint.is_file()
    found, _ = tune(model_dir, checkpoint)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_checkpoint_of_other_work_is_not_taken_up(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    tune(model_dir, tmp_path / "c.safetensors", replace(RECIPE, seed=1))
    found, _ = tune(model_dir, tmp_path / "c.safetensors")
    wanted, _ = tune(model_dir, tmp_path / "fresh.safetensors")
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_more_layers_than_there_are(model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.layers is 9; 'model' has 3 layers"):
        finetuning.Tuner(model_dir, replace(RECIPE, layers=9), 4)


def test_a_model_of_another_make(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    static = StaticEmbedding(Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "words"), create_model_card=False)
    with pytest.raises(EncoderError, match=r"'words' cannot be fine-tuned: it is built from StaticEmbedding"):
        finetuning.Tuner(tmp_path / "words", RECIPE, 4)


def test_a_damaged_note_beside_the_weights(tmp_path: Path) -> None:
    assert Tuned.read(tmp_path) is None
    (tmp_path / TUNED_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"cannot be read \(JSONDecodeError\).*crosshead finetune"):
        Tuned.read(tmp_path)
    for seen in (None, 5, [], [1]):
        Tuned("b", "", "", {}, seen).write(tmp_path)  # type: ignore[arg-type]
        with pytest.raises(EncoderError, match=r"cannot be read \(ValueError\)"):
            Tuned.read(tmp_path)


# -- the stage and the command -----------------------------------------------------------------------------------------

SMALL = ("finetune.layers=1", "finetune.epochs=1", "finetune.max_tokens=32", "folds=2", "curve_shares=[]")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """A small project whose encoder is the small transformer, fine-tuned."""
    from crosshead.settings import load_settings
    from crosshead.stages import finetune as stage
    from crosshead.stages import prepare

    root = small_project.make(tmp_path_factory.mktemp("tuned") / "project")
    shutil.copytree(model_dir, root / "models" / "base")
    overrides = ("encoder=custom", "encoder.source=models/base", "finetune=default", *SMALL)
    settings = load_settings([*overrides, "corpus.test_share=0.3"], root)
    prepare.run(settings)
    result = stage.run(settings)
    assert result.folder == root / "models" / "finetuned"
    assert result.n_unseen > 0
    assert result.history[0].accuracy is not None
    return root


def test_the_note_names_what_was_seen_by_digest_alone(project: Path) -> None:
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table
    from crosshead.text import normalise

    told = Tuned.read(project / "models" / "finetuned")
    assert told is not None
    table = read_table(project / "data" / "prepared")
    train, test = (labelled.columns_of(table[split]) for split in ("train", "test"))
    seen = told.has_seen([normalise(text) for text in train["text"]])
    assert 0.05 < 1 - seen.mean() < 0.5
    assert not told.has_seen([normalise(text) for text in test["text"]]).any()
    raw = (project / "models" / "finetuned" / TUNED_FILE).read_text(encoding="utf-8")
    assert not any(text in raw for text in train["text"])
    groups = np.array(train["group_id"])
    assert not set(groups[seen]) & set(groups[~seen])


def test_the_tuned_encoder_trains_a_tagger_that_is_measured_on_unseen_articles_alone(project: Path) -> None:
    from crosshead import bundle
    from crosshead.settings import load_settings
    from crosshead.stages import evaluate, train

    settings = load_settings(["encoder=finetuned", "folds=2", "curve_shares=[]"], project)
    trained = train.run(settings)
    told = Tuned.read(project / "models" / "finetuned")
    assert told is not None
    with np.load(settings.model_dir / train.OUT_OF_FOLD) as kept:
        rows = {name: kept[name] for name in kept.files}
    from crosshead.corpora.corpus import read_table

    table = read_table(settings.prepared_dir)["train"].to_dict()
    text_of = dict(zip(table["paragraph_id"], table["text"], strict=True))
    asked = [text_of[name] for name in rows["paragraph_id"]]
    assert len(asked) == len(rows["proba"]) == len(rows["y"]) > 0
    assert not told.has_seen(asked).any()
    assert trained.scores.n_paragraphs == len(asked)
    assert any("fine-tuned" in warning for warning in trained.warnings)
    assert bundle.load(trained.bundle_dir).encoder is not None
    assert evaluate.run(settings).scores["model"].n_paragraphs > 0


def test_what_was_seen_is_never_tested(project: Path) -> None:
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table
    from crosshead.encoders.tuned import Tuned
    from crosshead.search.measuring import read_data, refuse_seen
    from crosshead.settings import load_settings

    columns = labelled.columns_of(read_table(project / "data" / "prepared")["train"])
    tuned_dir = project / "models" / "finetuned"
    told = Tuned.read(tuned_dir)
    assert told is not None
    cut = labelled.folds_of(columns, 2, 0, tuned_dir)
    seen = np.flatnonzero(told.has_seen(list(columns["text"])))
    for train_rows, test_rows in cut.splits:
        assert set(seen.tolist()) <= set(train_rows.tolist())
        assert sorted([*train_rows, *test_rows]) == list(range(len(columns["text"])))
    assert cut.warning is not None
    assert "the encoder was fine-tuned on" in cut.warning
    assert labelled.folds_of(columns, 2, 0, project / "models" / "base").warning is None
    settings = load_settings(["encoder=finetuned", "folds=2"], project)
    refuse_seen(settings, read_data(settings))
    other = load_settings(["encoder=custom", "encoder.source=models/base", "folds=2"], project)
    with pytest.raises(DataError, match="was fine-tuned on paragraphs that cross-validation tests here"):
        refuse_seen(settings, read_data(other))


def test_an_encoder_that_saw_everything(project: Path, tmp_path: Path) -> None:
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table

    columns = labelled.columns_of(read_table(project / "data" / "prepared")["train"])
    Tuned("b", "", "", {}, [text_digest(text) for text in columns["text"]]).write(tmp_path)
    with pytest.raises(DataError, match=r"was fine-tuned on every training article.*crosshead finetune"):
        labelled.folds_of(columns, 2, 0, tmp_path)


def test_nothing_half_done_is_left_behind(project: Path) -> None:
    assert not list((project / "models").glob(".finetuned*.work"))
    assert not list((project / "models").glob(".finetuned-*"))


@pytest.mark.parametrize("output", ["", ".", "data", "my_file", "models"])
def test_nothing_of_the_users_is_replaced(project: Path, output: str) -> None:
    from crosshead.settings import load_settings
    from crosshead.stages import finetune as stage

    (project / "my_file").write_text("mine", encoding="utf-8")
    overrides = ["encoder=custom", "encoder.source=models/base", "finetune=default", *SMALL]
    before = sorted(path for path in project.rglob("*") if path.is_file())
    with pytest.raises(ConfigError, match=r"finetune\.output is .*, which holds something else and would be replaced"):
        stage.run(load_settings([*overrides, f"finetune.output={output}", "corpus.test_share=0.3"], project))
    assert sorted(path for path in project.rglob("*") if path.is_file()) == before


def test_held_out_articles_that_were_seen_are_not_tested_on(project: Path, tmp_path: Path) -> None:
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table

    columns = labelled.columns_of(read_table(project / "data" / "prepared")["test"])
    labelled.refuse_seen(columns, project / "models" / "finetuned")
    labelled.refuse_seen(columns, None)
    Tuned("b", "", "", {}, [text_digest(columns["text"][0])]).write(tmp_path)
    with pytest.raises(DataError, match=r"1 of [\d,]+ held-out paragraphs .* crosshead finetune"):
        labelled.refuse_seen(columns, tmp_path)


def test_a_damaged_checkpoint_is_begun_anew(model_dir: Path, tmp_path: Path) -> None:
    wanted, _ = tune(model_dir, tmp_path / "whole.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"\x00" * 50)
    found, _ = tune(model_dir, tmp_path / "c.safetensors")
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_no_recipe_and_no_encoder(project: Path) -> None:
    from crosshead.settings import load_settings
    from crosshead.stages import finetune as stage

    with pytest.raises(ConfigError, match="finetune is null, so nothing says how to fine-tune; say finetune=default"):
        stage.run(load_settings([], project))
    with pytest.raises(ConfigError, match=r"encoder 'tfidf' has nothing to fine-tune; .* encoder=minilm"):
        stage.run(load_settings(["encoder=tfidf", "finetune=default"], project))


def test_the_command_says_what_came_out_and_what_is_next(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    overrides = ("encoder=custom", "encoder.source=models/base", "tracking=none", "finetune.output=models/again")
    assert main(["finetune", *overrides, *SMALL]) == 0
    told = capsys.readouterr().out
    assert "kept from it" in told
    assert "crosshead run encoder=finetuned" in told
    assert json.loads((project / "models" / "again" / TUNED_FILE).read_text(encoding="utf-8"))["base"] == "custom"
    digest = text_digest("a")
    assert len(digest) == 16

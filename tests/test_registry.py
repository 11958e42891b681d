from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import stores
from crosshead import bundle
from crosshead.errors import BundleError, TrackingError
from crosshead.records.log_items import FileArtifact, Metric, Param
from crosshead.records.tracking import Tracking
from crosshead.releases import champion, registry
from crosshead.releases.registry import RegisteredVersion


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return stores.make_project(tmp_path / "project")


@pytest.fixture
def tracking(project: Path) -> Tracking:
    return Tracking.at(project)


@pytest.fixture
def other_bundle(tiny_bundle: Path) -> Path:
    """Return a bundle of another digest."""
    folder = Path(shutil.copytree(tiny_bundle, tiny_bundle.with_name("other_bundle")))
    manifest = json.loads((folder / bundle.MANIFEST).read_text(encoding="utf-8"))
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest | {"version": "other"}), encoding="utf-8")
    return folder


def record(tracking: Tracking, folder: Path, **tags: str) -> RegisteredVersion:
    with tracking.run("train") as run:
        model_id = registry.log_model(run, folder)
    return registry.register(tracking, model_id, "crosshead", tags=tags)


def test_a_model_is_found_by_version_alias_id_and_run(tracking: Tracking, project: Path, tiny_bundle: Path) -> None:
    with tracking.run("train") as run:
        model_id = registry.log_model(run, tiny_bundle)
    made = registry.register(tracking, model_id, "crosshead", tags={"macro_f1": "0.9000"})
    registry.promote(tracking, project, made)
    assert (made.name, made.version, made.run_id, made.uri) == ("crosshead", 1, run.run_id, "models:/crosshead/1")

    digest = bundle.digest(tiny_bundle)
    uris = ["models:/crosshead@champion", "models:/crosshead/1", f"models:/{model_id}", f"runs:/{run.run_id}"]
    folders = {registry.fetch(tracking, uri, project / "cache") for uri in [*uris, f"runs:/{run.run_id}/tagger"]}
    (folder,) = folders
    assert folder.is_relative_to(project / "mlflow" / "artifacts")
    assert bundle.digest(folder) == digest
    assert not (project / "cache").exists()

    found = registry.find_version(tracking, "crosshead", "champion")
    assert found == registry.find_version(tracking, "crosshead", 1)
    assert found is not None
    assert found.tags == {"macro_f1": "0.9000", "bundle_digest": digest}
    logged = tracking.client.get_logged_model(model_id)
    assert logged.status.value == "READY"
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "crosshead", "version": "1"}]


def test_the_first_model_becomes_champion_and_the_second_does_not(
    tracking: Tracking, project: Path, tiny_bundle: Path, other_bundle: Path
) -> None:
    first = record(tracking, tiny_bundle)
    pointer = registry.promote_first(tracking, project, first)
    assert (pointer.name, pointer.version, pointer.digest) == ("crosshead", 1, bundle.digest(tiny_bundle))
    assert champion.find(project) == pointer

    second = record(tracking, other_bundle)
    assert second.version == 2
    assert registry.promote_first(tracking, project, second) == pointer
    assert champion.find(project) == pointer

    assert registry.promote(tracking, project, second).version == 2
    found = champion.find(project)
    assert found is not None
    assert bundle.digest(found.bundle) == bundle.digest(other_bundle)
    standing = registry.find_version(tracking, "crosshead", registry.CHAMPION)
    assert standing is not None
    assert standing.version == 2
    assert bundle.load(found.bundle).tag_texts(["Shells fell on the railway yard."])[0].section_type


@pytest.mark.parametrize("spoilt", ["missing", "broken", "folder gone"])
def test_a_lost_pointer_is_made_again_from_the_registry(
    tracking: Tracking, project: Path, tiny_bundle: Path, other_bundle: Path, spoilt: str
) -> None:
    before = registry.promote_first(tracking, project, record(tracking, tiny_bundle))
    if spoilt == "broken":
        (project / "models" / champion.POINTER).write_text("{", encoding="utf-8")
    elif spoilt == "missing":
        shutil.rmtree(project / "models")
    else:
        shutil.rmtree(before.bundle)
    after = registry.promote_first(tracking, project, record(tracking, other_bundle))
    assert after == before
    assert champion.find(project) == before


def test_scores_can_be_noted_on_a_version_later(tracking: Tracking, tiny_bundle: Path) -> None:
    made = record(tracking, tiny_bundle)
    registry.set_version_tags(tracking, made, {"macro_f1": "0.8000"})
    found = registry.find_version(tracking, "crosshead", 1)
    assert found is not None
    assert found.tags["macro_f1"] == "0.8000"
    with pytest.raises(TrackingError, match="MLflow failed while tagging models:/crosshead/9"):
        registry.set_version_tags(tracking, RegisteredVersion("crosshead", 9, ""), {"a": "b"})


@pytest.mark.parametrize("which", [1, 99, "champion", "no such alias"])
def test_what_is_not_registered_is_not_found(tracking: Tracking, which: str | int) -> None:
    assert registry.find_version(tracking, "crosshead", which) is None


@pytest.mark.parametrize(
    "uri",
    [
        "models:/crosshead",
        "models:crosshead/1",
        "models:/crosshead/latest",
        "models:/crosshead/",
        "models:/a@b/c",
        "x",
        "",
    ],
)
def test_other_forms_of_uri_are_refused(tracking: Tracking, tmp_path: Path, uri: str) -> None:
    with pytest.raises(
        TrackingError, match=r"allowed are models:/NAME@ALIAS, .* for example models:/crosshead@champion"
    ):
        registry.fetch(tracking, uri, tmp_path)


def test_what_the_store_does_not_hold(tracking: Tracking, tmp_path: Path) -> None:
    empty_run = tracking.log_run([], name="no model")
    for uri, told in {
        "models:/crosshead@champion": "there is no models:/crosshead@champion in .*; train and promote a model first",
        "models:/crosshead/7": "there is no models:/crosshead/7 in",
        f"models:/m-{'0' * 32}": "there is no model m-0000",
        f"runs:/{empty_run}": "has no model; give a run of `crosshead train`",
        f"runs:/{'0' * 32}": "has no model; give a run of `crosshead train`",
    }.items():
        with pytest.raises(TrackingError, match=told):
            registry.fetch(tracking, uri, tmp_path)


def test_files_that_are_gone_or_changed(tracking: Tracking, project: Path, tiny_bundle: Path) -> None:
    made = record(tracking, tiny_bundle)
    folder = registry.fetch(tracking, made.uri, project / "cache")
    manifest = folder / bundle.MANIFEST
    content = manifest.read_text(encoding="utf-8")
    manifest.write_text(content.replace("tiny", "tinY"), encoding="utf-8")
    with pytest.raises(BundleError, match=r"is not the one that was registered .* do not use it"):
        registry.promote(tracking, project, made)
    assert champion.find(project) is None
    assert registry.find_version(tracking, "crosshead", registry.CHAMPION) is None
    manifest.unlink()
    with pytest.raises(TrackingError, match="the model's files are gone from"):
        registry.fetch(tracking, made.uri, project / "cache")


def test_only_a_bundle_is_logged(tracking: Tracking, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no saved tagger"), tracking.run("x") as run:
        registry.log_model(run, tmp_path)


def test_registering_a_model_that_is_not_there(tracking: Tracking) -> None:
    with pytest.raises(TrackingError, match="MLflow failed while registering a version of 'crosshead'"):
        registry.register(tracking, f"m-{'0' * 32}", "crosshead")


def test_a_project_that_moves_still_finds_its_models(tracking: Tracking, project: Path, tiny_bundle: Path) -> None:
    made = record(tracking, tiny_bundle)
    moved = project.with_name("moved")
    project.rename(moved)
    after = Tracking.at(moved)
    after.log_run([], name="the first run in the new place")
    folder = registry.fetch(after, made.uri, moved / "cache")
    assert folder.is_relative_to(moved)
    assert bundle.load(folder).section_types


# -- a team's server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[stores.Server]:
    made = stores.Server(tmp_path / "server")
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_teams_server_works_unchanged_and_may_be_lost(
    server: stores.Server, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        root.mkdir()
    tracking = Tracking.at(ours)
    made = record(tracking, tiny_bundle)
    pointer = registry.promote_first(tracking, ours, made)
    assert champion.find(ours) == pointer
    assert not (ours / "mlflow" / "mlflow.db").exists()

    # A colleague's fresh clone follows the team's champion.
    colleague = Tracking.at(theirs)
    second = record(colleague, tiny_bundle)
    found = registry.promote_first(colleague, theirs, second)
    assert (second.version, found.version) == (2, 1)
    assert bundle.digest(found.bundle) == pointer.digest
    assert found.bundle.is_relative_to(theirs.resolve())

    run_id = tracking.log_run([Param("seed", 1)], name="train")
    report = tmp_path / "report.html"
    report.write_text("<p>", encoding="utf-8")

    def lose_the_server() -> None:
        with tracking.run("evaluate", run_id=run_id) as run:
            server.stop()
            run.log([Metric("f1", 0.5), FileArtifact(report)])

    with pytest.raises(TrackingError, match=r"cannot be reached while recording run .*; the results are kept in"):
        lose_the_server()
    # What was fetched before needs no server.
    assert champion.find(theirs) == found

    server.start()
    assert tracking.send_unsent() == [run_id]
    run = tracking.client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"f1": 0.5})
    assert [found.path for found in tracking.client.list_artifacts(run_id)] == ["report.html"]

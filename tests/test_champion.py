from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from crosshead import bundle
from crosshead.errors import BundleError
from crosshead.releases import champion

DIGEST = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "latest" / "bundle"
    (made / "encoder").mkdir(parents=True)
    (made / "manifest.json").write_text("{}", encoding="utf-8")
    (made / "encoder" / "graph.onnx").write_bytes(b"graph")
    return made


def test_a_project_without_a_champion(tmp_path: Path) -> None:
    assert champion.find(tmp_path) is None
    (tmp_path / "models").write_text("a file where a folder should be", encoding="utf-8")
    assert champion.find(tmp_path) is None


def test_what_is_written_is_found_also_after_the_project_moved(tmp_path: Path, folder: Path) -> None:
    kept = champion.keep(tmp_path, folder, DIGEST)
    written = champion.write(tmp_path, kept, DIGEST, name="crosshead", version=3)
    assert champion.find(tmp_path) == written
    assert (written.digest, written.name, written.version) == (DIGEST, "crosshead", 3)

    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    found = champion.find(moved)
    assert found is not None
    assert found.bundle == moved.resolve() / "models" / DIGEST[: champion.N_DIGITS]
    assert (found.bundle / "encoder" / "graph.onnx").read_bytes() == b"graph"


def test_training_again_does_not_change_the_champion(tmp_path: Path, folder: Path) -> None:
    champion.write(tmp_path, champion.keep(tmp_path, folder, DIGEST), DIGEST)
    (folder / "encoder" / "graph.onnx").write_bytes(b"another graph")
    found = champion.find(tmp_path)
    assert found is not None
    assert (found.bundle / "encoder" / "graph.onnx").read_bytes() == b"graph"


def test_a_real_bundle_is_kept_and_loads(tmp_path: Path, tiny_bundle: Path) -> None:
    digest = bundle.digest(tiny_bundle)
    champion.write(tmp_path, champion.keep(tmp_path, tiny_bundle, digest), digest)
    shutil.rmtree(tiny_bundle)
    found = champion.find(tmp_path)
    assert found is not None
    assert bundle.digest(found.bundle) == digest
    assert bundle.load(found.bundle).tag_texts(["Shells fell on the railway yard."])[0].section_type


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "it holds a list, not an object"),
        ("{}", "its schema is None; this crosshead reads 1"),
        ({"schema": 2}, "its schema is 2"),
        ({"bundle": 7}, "must be text"),
        ({"bundle": "../elsewhere"}, "not below the project root"),
        ({"bundle": "/etc"}, "not below the project root"),
        ({"bundle": ""}, "not below the project root"),
        ({"version": "three"}, "version is 'three', not a number"),
        ({"version": True}, "version is True, not a number"),
        ({"bundle_digest": None}, "must be text"),
    ],
)
def test_a_spoilt_pointer_is_refused_and_says_what_to_do(
    tmp_path: Path, folder: Path, content: object, why: str
) -> None:
    champion.write(tmp_path, champion.keep(tmp_path, folder, DIGEST), DIGEST, name="crosshead", version=1)
    path = tmp_path / "models" / champion.POINTER
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text(encoding="utf-8")) | content)
    path.write_text(str(content), encoding="utf-8")
    with pytest.raises(
        BundleError,
        match=r"champion\.json cannot be used: .*; make it anew from the registry: crosshead promote champion",
    ) as error:
        champion.find(tmp_path)
    assert why in str(error.value)


def test_a_pointer_that_is_not_text_or_lacks_a_key_is_refused(tmp_path: Path, folder: Path) -> None:
    champion.write(tmp_path, folder, DIGEST)
    path = tmp_path / "models" / champion.POINTER
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["bundle"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleError, match="cannot be used: 'bundle'"):
        champion.find(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="codec can't decode"):
        champion.find(tmp_path)


def test_a_champion_whose_folder_is_gone(tmp_path: Path, folder: Path) -> None:
    kept = champion.keep(tmp_path, folder, DIGEST)
    champion.write(tmp_path, kept, DIGEST)
    shutil.rmtree(kept)
    with pytest.raises(
        BundleError, match=r"is gone, but .* names it; put the folder back, or let the registry put it there"
    ):
        champion.find(tmp_path)


def test_the_champion_must_lie_below_the_root(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "project").mkdir()
    with pytest.raises(BundleError, match="must be a folder below the project root"):
        champion.write(tmp_path / "project", folder, DIGEST)
    with pytest.raises(BundleError, match="must be a folder below the project root"):
        champion.write(tmp_path, tmp_path / "nothing here", DIGEST)


def test_a_disk_that_refuses(tmp_path: Path, folder: Path) -> None:
    project = tmp_path / "project"
    (project / "bundle").mkdir(parents=True)
    (project / "models").write_text("in the way", encoding="utf-8")
    with pytest.raises(BundleError, match=r"pointer cannot be written: .*; make the folder writable"):
        champion.write(project, project / "bundle", DIGEST)
    with pytest.raises(BundleError, match="cannot be copied to"):
        champion.keep(project, folder, DIGEST)


def test_only_a_digest_names_a_folder(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleError, match="must be a sha256 in hexadecimal digits"):
        champion.keep(tmp_path, folder, "../../elsewhere")


def test_keeping_twice_keeps_one_and_mends_a_damaged_copy(tmp_path: Path, folder: Path) -> None:
    kept = champion.keep(tmp_path, folder, DIGEST)
    (kept / "encoder" / "graph.onnx").write_bytes(b"grapf")
    (kept / "stray").write_bytes(b"")
    assert champion.keep(tmp_path, folder, DIGEST) == kept
    assert (kept / "encoder" / "graph.onnx").read_bytes() == b"graph"
    assert not (kept / "stray").exists()
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [kept.name, "latest"]


def test_two_threads_may_keep_the_same_bundle(tmp_path: Path, folder: Path) -> None:
    (folder / "large").write_bytes(os.urandom(4_000_000))
    errors: list[BaseException] = []

    def keep() -> None:
        try:
            champion.keep(tmp_path, folder, DIGEST)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (tmp_path / "models" / DIGEST[:16] / "large").read_bytes() == (folder / "large").read_bytes()


def test_prune_spares_the_champion_and_the_newest(tmp_path: Path, folder: Path) -> None:
    kept = []
    for number in range(4):
        (folder / "manifest.json").write_text(str(number), encoding="utf-8")
        kept.append(champion.keep(tmp_path, folder, f"{number}" * 64))
        time.sleep(0.01)  # so that their times differ
    champion.write(tmp_path, kept[1], "1" * 64)
    assert champion.prune(tmp_path) == [kept[0], kept[2]]
    assert champion.prune(tmp_path) == []
    assert kept[1].is_dir()
    assert kept[3].is_dir()
    assert folder.is_dir()


def test_prune_counts_a_bundle_kept_again_as_new(tmp_path: Path, folder: Path) -> None:
    first = champion.keep(tmp_path, folder, "1" * 64)
    (folder / "manifest.json").write_text("2", encoding="utf-8")
    time.sleep(0.01)
    second = champion.keep(tmp_path, folder, "2" * 64)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    time.sleep(0.01)
    champion.keep(tmp_path, folder, "1" * 64)
    assert champion.prune(tmp_path) == [second]
    assert first.is_dir()


def test_a_writer_killed_at_any_moment_leaves_a_whole_pointer(tmp_path: Path, folder: Path) -> None:
    champion.write(tmp_path, folder, DIGEST, version=0)
    code = (
        "import itertools, sys; from pathlib import Path; from crosshead.releases import champion\n"
        "root, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "for n in itertools.count(1): champion.write(root, folder, 'ab' * 32, name='x' * 5000, version=n)"
    )
    for moment_s in (0.005, 0.02, 0.035):
        command = [sys.executable, "-c", code, str(tmp_path), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(moment_s)
            writer.send_signal(signal.SIGKILL)
        found = champion.find(tmp_path)
        assert found is not None
        assert found.bundle == folder.resolve()


def test_finding_the_champion_imports_nothing_heavy() -> None:
    heavy = {"mlflow", "pandas", "sklearn", "numpy"}
    code = f"import sys, crosshead.releases.champion; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

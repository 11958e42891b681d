"""Files and folders appear as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crosshead import whole


def modes(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def ordinary_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_file_can_be_read_by_others_as_one_made_the_ordinary_way(tmp_path: Path) -> None:
    whole.write(tmp_path / "deep" / "a.txt", b"one")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"one"
    assert modes(tmp_path / "deep" / "a.txt") == 0o644


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"one")
    path.chmod(0o600)
    whole.write(path, b"two")
    assert (path.read_bytes(), modes(path)) == (b"two", 0o600)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What the disk was waited for, as the files and folders were called then."""
    found: list[Path] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux what a descriptor stands for")
def test_the_disk_is_waited_for_unless_one_says_otherwise(tmp_path: Path, synced: list[Path]) -> None:
    whole.write(tmp_path / "a", b"one", durable=False)
    assert synced == []
    whole.write(tmp_path / "a", b"one")
    content, folder = synced
    assert folder == tmp_path
    assert (content.parent, content.suffix) == (tmp_path, whole.TEMPORARY)


@pytest.mark.parametrize("durable", [True, False])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole.new_file(path, durable=durable) as file:
        file.write(b"half" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"/a'$") as caught:
        whole.write(tmp_path / "a", b"x")
    assert caught.value.filename == str(tmp_path / "a")
    assert caught.value.filename2 is None
    with pytest.raises(OSError, match=r"No space left on device: '.*/b'") as caught, whole.new_file(tmp_path / "b"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with whole.new_folder(target) as made:
            (made / content).write_text(content)
            assert modes(made) == 0o755
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["model"]
    assert modes(target) == 0o755


@pytest.mark.parametrize(("umask", "folder_mode", "file_mode"), [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640)])
def test_what_a_library_wrote_for_one_user_is_for_all_whom_the_umask_allows(
    tmp_path: Path, umask: int, folder_mode: int, file_mode: int
) -> None:
    os.umask(umask)
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    outside.chmod(0o600)
    with whole.new_folder(tmp_path / "model") as made:
        (made / "deep").mkdir()
        for name in ("weights", "deep/weights", "plain", "run"):
            (made / name).write_bytes(b"1")
        (made / "weights").chmod(0o600)
        (made / "deep" / "weights").chmod(0o600)
        (made / "run").chmod(0o700)
        (made / "closed").mkdir(mode=0o700)
        (made / "link").symlink_to(outside)
    model = tmp_path / "model"
    assert (modes(model), modes(model / "deep")) == (folder_mode, folder_mode)
    assert {modes(model / name) for name in ("weights", "deep/weights", "plain")} == {file_mode}
    assert modes(model / "run") == file_mode | 0o100
    assert modes(model / "closed") == 0o700
    assert modes(outside) == 0o600


def test_a_folder_that_is_there_already_may_stay(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with whole.new_folder(tmp_path / "graph", replace=False) as made:
            (made / content).touch()
    assert os.listdir(tmp_path / "graph") == ["one"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    with whole.new_folder(tmp_path / "model") as made:
        (made / "one").touch()
    with pytest.raises(ZeroDivisionError), whole.new_folder(tmp_path / "model") as made:
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path / "model") == ["one"]
    assert os.listdir(tmp_path) == ["model"]

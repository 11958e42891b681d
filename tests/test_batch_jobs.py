"""Jobs that are stopped, killed, crowded or starved, and what they leave behind."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batch_parts import build_words_bundle, content_of, paragraph_rows, rows_of, write_archive, write_feed
from cli_parts import process_environ
from crosshead.batch import crew
from crosshead.batch.folder import OutputFolder, make_manifest
from crosshead.batch.inputs import find_sources
from crosshead.batch.job import Options, tag_archive
from crosshead.batch.parts import Part, Shape
from crosshead.batch.plan import Plan, make_plan
from crosshead.batch.worker import Job, Worker
from crosshead.bundle import digest
from crosshead.cli.exits import Exit
from crosshead.errors import BundleError, DataError, EncoderError

ROWS_PER_PART = 50


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def _words_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_words_bundle(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture
def words_bundle(tmp_path: Path, _words_bundle: Path) -> Path:
    return Path(shutil.copytree(_words_bundle, tmp_path / "bundle"))


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    return write_feed(tmp_path / "feed.jsonl", 600)


def do(names: list[Path], output: Path, bundle: Path, **options: Any) -> Any:
    given = Options(**{"rows_per_part": ROWS_PER_PART, **options})
    return tag_archive(find_sources([str(name) for name in names], "auto").found, str(output), str(bundle), given)


def start(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Begin a job in a process of its own."""
    command = [sys.executable, "-m", "crosshead", "tag", *map(str, arguments), "--model", "bundle"]
    return subprocess.Popen(
        command, cwd=cwd, env=process_environ(cwd), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def run(*arguments: str | Path, cwd: Path, **options: Any) -> tuple[int, str]:
    process = start(*arguments, cwd=cwd, **options)
    _, err = process.communicate(timeout=120)
    return process.returncode, err.decode()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file is there; fail if the process ends before."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


# -- resume ----------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def interrupted_after(n_parts: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a job in this process end after some parts; return the list in which the parts it writes are noted."""
    written: list[int] = []
    really = OutputFolder.add

    def add(self: OutputFolder, number: int, part: Part) -> None:
        if len(written) == n_parts:
            raise Interrupted
        written.append(number)
        really(self, number, part)

    monkeypatch.setattr(OutputFolder, "add", add)
    return written


def test_resume_repeats_no_finished_part_and_loses_none(
    feed: Path, tmp_path: Path, words_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = do([feed], tmp_path / "whole", words_bundle)
    with monkeypatch.context() as patch:
        before = interrupted_after(5, patch)
        with pytest.raises(Interrupted):
            do([feed], tmp_path / "out", words_bundle)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").iterdir()}
    with monkeypatch.context() as patch:
        after = interrupted_after(10**6, patch)
        assert do([feed], tmp_path / "out", words_bundle, resume=True) == expected
    assert (before, after) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11])
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_a_finished_job_may_be_resumed_and_nothing_happens(feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    first = do([feed], tmp_path / "out", words_bundle, resume=True)
    before = content_of(tmp_path / "out")
    assert do([feed], tmp_path / "out", words_bundle, resume=True) == first
    assert content_of(tmp_path / "out") == before


def test_a_part_without_its_note_or_cut_off_is_done_again(
    feed: Path, tmp_path: Path, words_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do([feed], tmp_path / "whole", words_bundle)
    with monkeypatch.context() as patch:
        interrupted_after(6, patch)
        with pytest.raises(Interrupted):
            do([feed], tmp_path / "out", words_bundle)
    notes, parts = tmp_path / "out" / "progress", tmp_path / "out" / "parts"
    (notes / "part-000000.json").unlink()
    (notes / "part-000001.json").write_text("half of {")
    (parts / "part-000002.parquet").write_bytes(b"PAR1")
    (parts / "part-000003.parquet").unlink()
    (parts / ".part-000004.parquet.xyz.part").write_bytes(b"left behind")
    with monkeypatch.context() as patch:
        again = interrupted_after(10**6, patch)
        do([feed], tmp_path / "out", words_bundle, resume=True)
    assert again == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_resume_is_refused_where_anything_that_decides_the_output_changed(
    feed: Path, tmp_path: Path, words_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        with pytest.raises(Interrupted):
            do([feed], tmp_path / "out", words_bundle)

    def resume(names: list[Path], **options: Any) -> None:
        do(names, tmp_path / "out", words_bundle, **{"resume": True, **options})

    before = content_of(tmp_path / "out")
    with pytest.raises(DataError, match=r"holds a job already; go on with it by --resume"):
        resume([feed], resume=False)
    with pytest.raises(DataError, match=r"cannot be resumed: --rows-per-part was 50, is 60\. .*tag into a new folder"):
        resume([feed], rows_per_part=60)
    with pytest.raises(DataError, match=r": --text was on, is off"):
        resume([feed], shape=Shape(with_text=False))
    with pytest.raises(DataError, match=r": --format was 'parquet', is 'jsonl'"):
        resume([feed], shape=Shape("jsonl"))
    other = write_feed(tmp_path / "other.jsonl", 5)
    with pytest.raises(DataError, match=r"the input '.*other\.jsonl' is new"):
        resume([feed, other])
    with pytest.raises(DataError, match=r"the input '.*feed\.jsonl' is no longer there"):
        resume([other])
    feed.write_bytes(feed.read_bytes().replace(b"hives", b"bikes", 1))
    with pytest.raises(DataError, match=r"the input '.*feed\.jsonl' was changed"):
        resume([feed])
    write_feed(feed, 600)
    manifest = json.loads((words_bundle / "manifest.json").read_text())
    (words_bundle / "manifest.json").write_text(json.dumps({**manifest, "name": "other"}))
    with pytest.raises(DataError, match=r"the model: digest was '"):
        resume([feed])
    (words_bundle / "manifest.json").write_text(json.dumps(manifest, indent=2))
    assert content_of(tmp_path / "out") == before


def test_the_order_of_inputs_counts(feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    other = write_feed(tmp_path / "other.jsonl", 5)
    do([feed, other], tmp_path / "out", words_bundle)
    with pytest.raises(DataError, match="the inputs stand in another order"):
        do([other, feed], tmp_path / "out", words_bundle, resume=True)


def test_a_job_of_another_version_or_with_a_damaged_manifest_is_refused(
    feed: Path, tmp_path: Path, words_bundle: Path
) -> None:
    do([feed], tmp_path / "out", words_bundle)
    path = tmp_path / "out" / "manifest.json"
    path.write_text(path.read_text().replace('"crosshead": "', '"crosshead": "0.0.'))
    with pytest.raises(DataError, match=r"it was begun by crosshead 0\.0\."):
        do([feed], tmp_path / "out", words_bundle, resume=True)
    path.write_text("half of {")
    with pytest.raises(DataError, match=r"manifest\.json in .* is damaged; tag into a new folder"):
        do([feed], tmp_path / "out", words_bundle, resume=True)


def test_books_are_not_closed_over_a_missing_part(feed: Path, tmp_path: Path) -> None:
    plan = make_plan(find_sources([str(feed)], "auto").found, rows_per_part=100)
    folder = OutputFolder(str(tmp_path / "out"), Shape())
    with pytest.raises(DataError, match=r"part-000000\.parquet is missing in .*; go on with --resume"):
        folder.finish(make_manifest(plan, Shape(), {}, {}), len(plan.units))


def test_nothing_to_tag_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is nothing to tag; name files, folders or patterns"):
        make_plan([])


def test_a_model_that_changes_while_the_job_runs_ends_it(tmp_path: Path, words_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"was changed while the job ran.*go on with --resume"):
        Worker(Job(str(tmp_path / "out"), str(words_bundle), "0" * 64, "none"))
    with pytest.raises(EncoderError, match=r"begun with the engine abacus, this machine would use none"):
        Worker(Job(str(tmp_path / "out"), str(words_bundle), digest(words_bundle), "abacus"))


# -- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_twenty_jobs_killed_at_random_moments_end_with_the_same_bytes(
    feed: Path, tmp_path: Path, words_bundle: Path
) -> None:
    """Each job is killed some times; a watcher that waits for a part makes sure that there is something to kill."""
    archive = write_archive(tmp_path / "archive")
    names = ["feed.jsonl", "archive"]
    do([Path(name) for name in names], tmp_path / "whole", words_bundle, rows_per_part=20)
    expected = content_of(tmp_path / "whole")
    assert archive.exists()
    n_parts = len(list((tmp_path / "whole" / "parts").iterdir()))
    rng = random.Random(7)
    n_killed = 0
    for attempt in range(20):
        output = tmp_path / "out"
        workers = 1 + attempt % 2
        arguments = [*names, "-o", output, "--resume", "--rows-per-part", 20, "--workers", workers]
        process = start(*arguments, cwd=tmp_path, start_new_session=True)
        wait_for(output / "parts" / f"part-{rng.randrange(n_parts):06}.parquet", process)
        time.sleep(rng.random() * 0.02)
        process.kill()
        process.communicate()
        n_killed += process.returncode == -signal.SIGKILL
        do([Path(name) for name in names], output, words_bundle, rows_per_part=20, resume=True)
        assert content_of(output) == expected
        shutil.rmtree(output)
    assert n_killed > 10


def test_after_the_parent_is_killed_no_worker_lives_on(feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    process = start(feed, "-o", "out", "--workers", 2, "--rows-per-part", 5, cwd=tmp_path)
    wait_for(tmp_path / "out" / "parts", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(is_at_work(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(children) >= 2


def is_at_work(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_worker_that_dies_is_replaced(feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    do([feed], tmp_path / "whole", words_bundle)
    process = start(feed, "-o", "out", "--workers", 2, "--rows-per-part", 5, cwd=tmp_path)
    wait_for(tmp_path / "out" / "parts" / "part-000003.parquet", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == Exit.FAILED_INPUTS, err
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


def _die(*args: object) -> None:
    os._exit(9)


def test_a_unit_that_kills_every_worker_is_given_up(
    feed: Path, tmp_path: Path, words_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_serve", _die)
    monkeypatch.setattr(crew, "MOST_DEATHS", 2)
    with pytest.raises(DataError, match=r"2 workers died at part \d+ \(exit code 9\).*fewer --workers"):
        do([feed], tmp_path / "out", words_bundle, n_workers=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_the_job_and_resume_ends_it(workers: int, feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    arguments = (feed, "-o", "out", "--rows-per-part", 10, "--workers", workers)
    process = start(*arguments, cwd=tmp_path, start_new_session=True)
    wait_for(tmp_path / "out" / "parts" / "part-000001.parquet", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.decode().strip()) == (Exit.INTERRUPTED, "crosshead: interrupted")
    assert not json.loads((tmp_path / "out" / "manifest.json").read_text())["finished"]
    do([feed], tmp_path / "whole", words_bundle)
    do([feed], tmp_path / "out", words_bundle, rows_per_part=10, resume=True)
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


# -- crowded, starved ------------------------------------------------------------------------------------------------


def test_a_second_job_on_one_folder_is_refused(feed: Path, tmp_path: Path, words_bundle: Path) -> None:
    with (
        OutputFolder(str(tmp_path / "out"), Shape()).locked(),
        pytest.raises(DataError, match=r"another job writes to .*out'; wait for its end, or name another folder"),
    ):
        do([feed], tmp_path / "out", words_bundle)
    assert do([feed], tmp_path / "out", words_bundle).n_parts == 12


def _no_large_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_takes_no_more_ends_the_job_and_resume_goes_on(
    workers: int, tmp_path: Path, words_bundle: Path
) -> None:
    lines = ['{"text": "Guns."}'] * 300 + [
        json.dumps({"id": i, "text": f"Guns {os.urandom(40).hex()}"}) for i in range(300)
    ]
    (tmp_path / "feed.jsonl").write_text("\n".join(lines))
    arguments = ("feed.jsonl", "-o", "out", "--rows-per-part", 100, "--workers", workers)
    run("feed.jsonl", "-o", "warm", cwd=tmp_path)  # the engine's own cache is written before files are limited
    code, err = run(*arguments, cwd=tmp_path, preexec_fn=_no_large_files)
    assert code == Exit.DATA, err
    assert "File too large; the parts that are finished stay. Make room" in err
    assert err.count("\n") == 1
    left = {path.name for path in (tmp_path / "out" / "parts").iterdir()}
    assert left & {"part-000000.parquet", "part-000001.parquet", "part-000002.parquet"}
    assert not any("tmp" in name for name in left)
    code, err = run(*arguments, "--resume", cwd=tmp_path)
    assert (code, err) == (0, "crosshead: 600 paragraphs in 6 parts in out\n")
    do([tmp_path / "feed.jsonl"], tmp_path / "whole", words_bundle, rows_per_part=100)
    assert [row["text"] for row in rows_of(tmp_path / "out")] == [row["text"] for row in rows_of(tmp_path / "whole")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk(tmp_path: Path, words_bundle: Path) -> None:
    feed = write_feed(tmp_path / "feed.jsonl", 3000)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode()}")
    try:
        arguments = (feed, "-o", disk / "out", "--rows-per-part", 100)
        code, err = run(*arguments, cwd=tmp_path)
        assert code == Exit.DATA
        assert "No space left on device; the parts that are finished stay. Make room" in err
        n_left = len(list((disk / "out" / "parts").glob("part-*")))
        assert 0 < n_left < 30
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        code, err = run(*arguments, "--resume", cwd=tmp_path)
        assert code == Exit.FAILED_INPUTS, err
        do([feed], tmp_path / "whole", words_bundle, rows_per_part=100)
        assert content_of(disk / "out") == content_of(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


# -- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
from crosshead.cli import main
code = main(["tag", sys.argv[1], "-o", sys.argv[2], "--model", sys.argv[3], "--format", "parquet"])
assert code == 0, code
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_mib(feed: Path, output: str, bundle: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, feed, output, bundle],
        cwd=bundle.parent,
        env=process_environ(bundle.parent),
        capture_output=True,
        check=True,
    )
    return int(done.stdout) // 1024


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n"), [("jsonl", 200_000), ("csv", 60_000), ("parquet", 60_000)])
def test_memory_does_not_grow_with_the_input(kind: str, n: int, tmp_path: Path, words_bundle: Path) -> None:
    few = peak_mib(write_rows(tmp_path, kind, 12_000), "few", words_bundle)
    many = peak_mib(write_rows(tmp_path, kind, n), "many", words_bundle)
    assert many < few + 40
    assert many < 400


def write_rows(folder: Path, kind: str, n: int) -> Path:
    path = folder / f"rows{n}.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(paragraph_rows(n * 2 // 5)), path, row_group_size=10_000)
    elif kind == "csv":
        path.write_text("article_id,text\n" + "".join(f"a{i},Guns struck {i}.\n" for i in range(n)))
    else:
        path.write_text("".join(f'{{"id": {i}, "text": "Guns struck {i}."}}\n' for i in range(n)))
    return path


def test_a_plan_is_the_same_each_time(feed: Path) -> None:
    def plan() -> Plan:
        return make_plan(find_sources([str(feed)], "auto").found, rows_per_part=77)

    assert plan() == plan()

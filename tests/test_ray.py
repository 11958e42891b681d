"""`--engine ray`: real clusters of several nodes on this machine, one of which is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_parts import build_words_bundle, content_of, write_archive, write_feed
from cli_parts import process_environ, run_process
from crosshead.batch.inputs import Source
from crosshead.batch.plan import Segment, Unit
from crosshead.batch.reading import Reader
from crosshead.cli import main
from crosshead.cli.exits import Exit

JOB = r"""
import json, os, signal, sys, threading
from pathlib import Path

import ray
from ray.cluster_utils import Cluster as Nodes

from crosshead.batch.inputs import find_sources
from crosshead.batch.job import Options, Silent, tag_archive
from crosshead.batch.ray_job import Cluster, ray_engine

def main(kill):
    small = {"object_store_memory": 80 * 1024**2}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    workers = [nodes.add_node(num_cpus=1, **small) for _ in range(2)]
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, log_to_driver=False)

    class Killer(Silent):
        n_told = 0

        def tagged(self, n_records, n_paragraphs):
            self.n_told += 1
            if self.n_told == 6 and kill == "node":
                nodes.remove_node(workers.pop(), allow_graceful=False)
            if self.n_told == 6 and kill == "worker":
                pids = [path.name for path in Path("/proc").iterdir() if path.name.isdigit() and is_actor(path)]
                assert pids
                os.kill(int(pids[0]), signal.SIGKILL)

    def is_actor(process):
        try:
            command = (process / "cmdline").read_bytes()
            session = os.environ["SESSION_MARK"].encode() in (process / "environ").read_bytes()
        except OSError:
            return False
        return session and command.startswith(b"ray::") and b"MapWorker" in command

    sources = find_sources(["feed.jsonl"], "auto").found
    engine = ray_engine(Cluster(None, 2))
    totals = tag_archive(sources, "out", "bundle", Options(rows_per_part=20), engine=engine, watcher=Killer())
    print(json.dumps({"parts": totals.n_parts, "nodes": len(workers)}))
    ray.shutdown()
    nodes.shutdown()

main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def _words_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_words_bundle(tmp_path_factory.mktemp("words") / "bundle")


@pytest.fixture
def bundle(tmp_path: Path, _words_bundle: Path) -> Path:
    return Path(shutil.copytree(_words_bundle, tmp_path / "bundle"))


def environ(home: Path) -> dict[str, str]:
    # Ray's sockets have long names: its folder must not be one of pytest's.
    return {**process_environ(home), "RAY_USAGE_STATS_ENABLED": "0", "SESSION_MARK": home.name}


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["nothing", "node", "worker"])
def test_a_cluster_gives_the_same_bytes_even_if_part_of_it_is_killed(kill: str, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the optional part [scale] is not installed")
    write_feed(tmp_path / "feed.jsonl", 1200)
    done = subprocess.run(
        [sys.executable, "-c", JOB, kill],
        cwd=tmp_path,
        env=environ(tmp_path),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told = [
        line for line in done.stdout.splitlines() if line.startswith(b"{")
    ]  # Ray speaks there of what was killed, too
    assert json.loads(told[-1]) == {"parts": 60, "nodes": 1 if kill == "node" else 2}
    here = run_process("tag", "feed.jsonl", "-o", "here", "--model", "bundle", "--rows-per-part", "20", cwd=tmp_path)
    assert here.returncode == Exit.FAILED_INPUTS
    assert content_of(tmp_path / "out") == content_of(tmp_path / "here")


@pytest.mark.slow
def test_the_command_starts_a_cluster_of_its_own(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the optional part [scale] is not installed")
    write_archive(tmp_path / "archive")
    common = ("tag", "archive", "--model", "bundle", "--rows-per-part", "30", "-o")
    here = run_process(*common, "here", cwd=tmp_path)
    there = run_process(*common, "there", "--engine", "ray", "--workers", "2", cwd=tmp_path)
    assert there.returncode == here.returncode == Exit.FAILED_INPUTS, there.stderr
    assert there.stderr == here.stderr.replace(b"here", b"there")
    assert content_of(tmp_path / "there") == content_of(tmp_path / "here")


@pytest.mark.slow
def test_what_an_actor_cannot_do_is_said_without_a_traceback(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the optional part [scale] is not installed")
    write_feed(tmp_path / "feed.jsonl", 50)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{")
    done = run_process(
        "tag", "feed.jsonl", "-o", "out", "--model", "bundle", "--engine", "ray", "--resume", cwd=tmp_path
    )
    assert done.returncode == Exit.DATA
    assert b"is damaged; tag into a new folder" in done.stderr
    done = run_process(
        *("tag", "feed.jsonl", "-o", "new", "--model", "bundle", "--engine", "ray", "--address", "127.0.0.1:1"),
        cwd=tmp_path,
        RAY_gcs_rpc_server_connect_timeout_s="1",
    )
    assert done.returncode == Exit.USAGE, done.stderr
    assert b"--address '127.0.0.1:1' is no Ray cluster that can be reached" in done.stderr
    assert b"Traceback" not in done.stderr


def test_without_ray_the_extra_is_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_feed(tmp_path / "feed.jsonl", 5)
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["tag", "feed.jsonl", "-o", "out", "--model", "bundle", "--engine", "ray"]) == Exit.MISSING_EXTRA
    assert "--engine ray needs the optional part [scale]" in capsys.readouterr().err
    assert main(["tag", "feed.jsonl", "-o", "out", "--model", "bundle", "--address", "auto"]) == Exit.USAGE
    assert "--address goes with --engine ray" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@given(st.text(), st.integers(0), st.booleans(), st.text())
def test_a_unit_comes_back_from_its_way_through_ray(text: str, number: int, is_whole: bool, problem: str) -> None:
    from crosshead.batch.ray_job import as_json, from_json

    source = Source(text, "jsonl", text, "1-2", number, "0" * 64, problem, is_whole)
    unit = Unit(number, (Segment(source, number, 3, 4), Segment(source, 0, 0, problem=problem)), 4, number)
    assert from_json(as_json(unit)) == unit


def _values(answer: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: value for name, (value,) in answer.items()}


def test_an_actor_tells_what_went_wrong_and_never_raises(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the optional part [scale] is not installed")
    from crosshead.batch.inputs import find_sources
    from crosshead.batch.plan import make_plan
    from crosshead.batch.ray_job import Actor, as_json
    from crosshead.batch.worker import Job
    from crosshead.bundle import digest

    monkeypatch.setattr(ray, "get", lambda reference: reference)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    feed = write_feed(tmp_path / "feed.jsonl", 30)
    (unit,) = make_plan(find_sources([str(feed)], "auto").found).units

    def told_by(actor: Actor, unit: str) -> dict[str, Any]:
        return {name: value for name, (value,) in actor({"unit": [unit]}).items()}

    job = Job(str(tmp_path / "out"), "on another machine", digest(bundle), "none")
    actor = Actor(asdict(job), files)
    good = told_by(actor, as_json(unit))
    assert (good["number"], good["n_records"], good["error"]) == (0, 30, "")
    assert (tmp_path / "out" / "parts" / "part-000000.parquet").exists()
    assert "KeyError" in told_by(actor, "{}")["error"]
    feed.unlink()
    monkeypatch.setattr(actor._worker, "_reader", Reader())
    assert "was there when the job began" in told_by(actor, as_json(unit))["error"]
    other = Actor(asdict(replace(job, digest="0" * 64)), files)
    assert "was changed while the job ran" in told_by(other, as_json(unit))["error"]
    assert told_by(other, as_json(unit))["error"].startswith("on the machine ")

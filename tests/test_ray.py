"""`--engine ray`: real clusters of several nodes on this machine, one of which is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batch_parts import build_words_bundle, content_of, write_archive, write_feed
from cli_parts import process_environ, run_process
from crosshead.batch import ray_job
from crosshead.batch.inputs import Source
from crosshead.batch.plan import Segment, Unit
from crosshead.batch.ray_job import UNITS_IN_FLIGHT, _Team, cores_of_each, from_json
from crosshead.batch.reading import Reader
from crosshead.batch.worker import Done, Job
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.cli.group import crosshead
from crosshead.errors import DataError

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
        return session and command.startswith(b"ray::Actor")

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


@given(st.integers(1, 40), st.lists(st.integers(0, 64), min_size=1, max_size=6))
def test_actors_share_the_cores_and_all_of_them_find_a_place(n_workers: int, cores: list[int]) -> None:
    share = cores_of_each(n_workers, cores)
    assert share >= 1
    if n_workers <= sum(cores):
        assert sum(there // share for there in cores) >= n_workers
    else:
        assert share == 1
    assert cores_of_each(None, cores) == 1


def test_one_worker_has_all_cores_of_one_machine_as_without_ray() -> None:
    assert [cores_of_each(n, [2]) for n in (1, 2, 3)] == [2, 1, 1]
    assert [cores_of_each(n, [4, 4]) for n in (1, 2, 3, 8)] == [4, 4, 2, 1]


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

    job = Job(str(tmp_path / "out"), "on another machine", digest(bundle), "none")
    actor = Actor(asdict(job), [files])
    assert actor.ready() == {"error": ""}
    good = actor.do(as_json(unit))
    assert (good["done"]["number"], good["done"]["n_records"], good["error"]) == (0, 30, "")
    assert (tmp_path / "out" / "parts" / "part-000000.parquet").exists()
    assert "KeyError" in actor.do("{}")["error"]
    feed.unlink()
    actor._worker.close()  # what it holds open can still be read
    monkeypatch.setattr(actor._worker, "_reader", Reader())
    assert "was there when the job began" in actor.do(as_json(unit))["error"]
    other = Actor(asdict(replace(job, digest="0" * 64)), [files])
    assert "was changed while the job ran" in other.ready()["error"]
    assert other.do(as_json(unit)) == other.ready()
    assert other.ready()["error"].startswith("on the machine ")


def test_the_job_for_kubernetes_is_a_command_that_there_is() -> None:
    """No Kubernetes is here: held are shape and versions, and that crosshead understands the command."""
    root = Path(__file__).resolve().parents[1]
    text = (root / "deploy" / "kuberay.yaml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    version = cluster["rayVersion"]
    assert f"ray=={version}\n" in (root / "constraints.txt").read_text(encoding="utf-8")
    assert f"rayproject/ray:{version}-" in text
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # what the CRD takes
        (container,) = group["template"]["spec"]["containers"]
        (mounted,) = container["volumeMounts"]
        (volume,) = group["template"]["spec"]["volumes"]
        assert mounted["name"] == volume["name"]
        assert job["spec"]["entrypoint"].count(f" {mounted['mountPath']}/") == 3
    program, command, *arguments = job["spec"]["entrypoint"].split()
    assert program == "crosshead"
    given = crosshead.get_command(click.Context(crosshead), command).make_context(command, arguments).params
    assert (given["engine"], given["address"], given["resume"]) == ("ray", "auto", True)
    assert given["keep_going"] is True  # or the job would be submitted again for each input that cannot be tagged


# -- who gets which unit: a Ray of a few lines, which does one task at a time ------------------------------------------


class DiedError(Exception):
    pass


class FakeRay:
    """Actors whose tasks are done in the order in which they were given; some die, some never start."""

    def __init__(self, *, poison: int = -1, stillborn: bool = False, n_places: int = 99) -> None:
        self.exceptions = SimpleNamespace(RayError=DiedError)
        self.poison, self.stillborn, self.n_places = poison, stillborn, n_places
        self.n_made = 0
        self.killed: set[int] = set()
        self.most_held = 0

    def remote(self, cls: type) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *given: self._actor()))

    def _actor(self) -> Any:
        number, self.n_made = self.n_made, self.n_made + 1
        return SimpleNamespace(
            number=number,
            ready=SimpleNamespace(remote=lambda: (number, None)),
            do=SimpleNamespace(remote=lambda unit: (number, from_json(unit).number)),
        )

    def wait(self, tasks: list[tuple[int, int | None]], timeout: float) -> tuple[list[Any], list[Any]]:
        held = Counter(actor for actor, unit in tasks if unit is not None)
        self.most_held = max(self.most_held, *held.values(), 0)
        able = [task for task in tasks if task[0] - len(self.killed) < self.n_places]
        return able[:1], able[1:]

    def get(self, task: tuple[int, int | None]) -> dict[str, Any]:
        actor, unit = task
        if actor in self.killed or unit == self.poison or self.stillborn:
            raise DiedError
        return {"error": ""} if unit is None else {"error": "", "done": asdict(Done(unit, 1, 1, 0))}

    def kill(self, actor: Any) -> None:
        self.killed.add(actor.number)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 3.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]


def done_by(fake: FakeRay, monkeypatch: pytest.MonkeyPatch, n_units: int = 7) -> Iterator[int]:
    monkeypatch.setitem(sys.modules, "ray", fake)
    team = _Team(Job("out", "model", "0" * 64, "none"), None, None)
    yield from (done.number for done in team.do([Unit(number, (), 1, 1) for number in range(n_units)]))


def test_every_unit_is_done_once_and_no_actor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay()
    assert sorted(done_by(fake, monkeypatch)) == list(range(7))
    assert (fake.n_made, fake.killed, fake.most_held) == (3, {0, 1, 2}, UNITS_IN_FLIGHT)


def test_where_ray_has_no_place_for_an_actor_the_others_do_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(done_by(FakeRay(n_places=1), monkeypatch)) == list(range(7))


def test_a_unit_at_which_actors_die_again_and_again_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(poison=4)
    done = []
    with pytest.raises(DataError, match=r"3 actors died at part 4.* go on with --resume and fewer --workers"):
        done.extend(done_by(fake, monkeypatch))
    assert fake.killed == set(range(fake.n_made))


def test_actors_that_die_before_they_begin_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"3 actors died before they had a part, perhaps for want of memory"):
        list(done_by(FakeRay(stillborn=True), monkeypatch))


def test_that_no_actor_can_start_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeRay(n_places=0)
    monkeypatch.setattr(ray_job, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(ray_job, "TELL_AFTER_S", 0.0)
    really = fake.wait

    def wait(tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if caplog.messages:
            fake.n_places = 3
        return really(tasks, timeout)

    monkeypatch.setattr(fake, "wait", wait)
    assert sorted(done_by(fake, monkeypatch)) == list(range(7))
    assert caplog.messages == ["no actor could start yet: each waits for cores and 1 GiB of memory that Ray has free"]

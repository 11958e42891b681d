"""Kills writers at seeded moments and looks at what they left: see `kill_writers` for what is written.

Every piece of work is done in a process of its own, forked from one that has imported everything and started nothing,
so that a kill costs a fraction of a second. A moment is the number of an event in the process: a call that opens,
makes, moves, removes, cuts, writes or syncs a file, or an acknowledgement. There the process kills itself, before the
call, or it is killed from outside a moment later, in the midst of whatever it is doing by then.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENDED_WELL = 0
_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.utime", "os.link"}
_CALLS = ("write", "fsync", "ftruncate")
_NOTE = "#"
"""Begins a line that the harness sends, and not the work."""
_REACHED = f"{_NOTE}reached"

Acknowledge = Callable[[str], None]


@dataclass(frozen=True)
class Writer:
    """Something that writes, and how to see whether what it wrote is there."""

    prepare: Callable[[Path], None]
    """Put into an empty folder what the work needs."""
    work: Callable[[Path, Acknowledge], None]
    """Do the work, or go on with it, and tell what is acknowledged."""
    check: Callable[[Path, list[str]], None]
    """Raise `Lost` if something acknowledged is not there, and anything else if something is torn."""
    content: Callable[[Path], Any]
    """What is to be equal to that of work that was never killed."""
    longest_delay_s: float = 0.003
    """Between the event and a kill from outside."""


class Lost(AssertionError):
    """Something acknowledged is not there."""


@dataclass(frozen=True)
class Moment:
    """When to die."""

    event: int
    delay_s: float | None = None
    """None for the moment just before the call."""


@dataclass
class Ended:
    """How a process ended, and what it said."""

    exit_code: int
    lines: list[str]
    notes: dict[str, Any]


@dataclass
class Tally:
    """What came of some kills."""

    writer: str
    kills: int = 0
    """Processes that were killed, second kills of the same work among them."""
    before: int = 0
    """Killed before anything was acknowledged."""
    during: int = 0
    after: int = 0
    """Killed when everything was acknowledged, or too late."""
    acknowledged: int = 0
    leftovers: int = 0
    """Hidden files and folders that a kill left behind."""
    remaining: int = 0
    """Those of them that were there yet when the work was done."""
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.torn, *self.unequal]

    def as_row(self) -> str:
        numbers = (self.kills, self.before, self.during, self.after, self.acknowledged)
        found = (len(self.lost), len(self.torn), len(self.unequal), self.leftovers, self.remaining)
        return f"| {self.writer} | {' | '.join(map(str, numbers + found))} |"


COLUMNS = ["kills", "before", "during", "after", "acknowledged", "lost", "torn", "unequal", "left_over", "remaining"]
HEADER = f"| writer | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}".replace("_", " ")


# -- processes ---------------------------------------------------------------------------------------------------------


def _context() -> Any:
    """Return the way to start processes: forked from one that has imported the writers, but runs no threads."""
    before = os.environ.get("PYTHONPATH", "")
    if str(HERE) not in before.split(os.pathsep):  # its interpreter looks there; what is preloaded must be found
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), before]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kill_nursery"])
    return context


def run(name: str, role: str, folder: Path, *, acknowledged: Iterable[str] = (), moment: Moment | None = None) -> Ended:
    """Do one thing with a writer in a process of its own; kill it at the moment."""
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(theirs, name, role, str(folder), list(acknowledged), moment))
    process.start()
    theirs.close()
    said = b""
    with ours:
        while chunk := os.read(ours.fileno(), 65536):
            said += chunk
            if moment is not None and moment.delay_s is not None and _REACHED.encode() in said:
                time.sleep(moment.delay_s)
                process.kill()
                moment = None
    process.join()
    lines = said.decode().split("\n")[:-1]  # what has no end was cut off, and so not said
    notes = dict(json.loads(line[1:]) for line in lines if line.startswith(f"{_NOTE}["))
    return Ended(process.exitcode or 0, [line for line in lines if not line.startswith(_NOTE)], notes)


def _play(pipe: Connection, name: str, role: str, folder: str, acknowledged: list[str], moment: Moment | None) -> None:
    """Be the process."""
    import starved
    from kill_writers import CARELESS, WRITERS

    writer, place = (WRITERS | CARELESS)[name], Path(folder)
    write = os.write
    os.environ["XDG_CACHE_HOME"] = str(place.parent / "cache")

    def say(line: str) -> None:
        write(pipe.fileno(), f"{line}\n".encode())

    try:
        if role == "prepare":
            writer.prepare(place)
        elif role == "work":
            events = _Events(place, moment, lambda: say(_REACHED))

            def acknowledge(what: str) -> None:
                say(what)
                events.happened()

            writer.work(place, acknowledge)
            say(_NOTE + json.dumps(["events", events.n]))
        elif role == "check":
            writer.check(place, acknowledged)
        elif role == "full":
            say(_NOTE + json.dumps(["found", starved.work_on_a_full_disk(writer, place, int(acknowledged[0]))]))
        elif role == "read-only":
            found = starved.work_where_nothing_can_be_written(writer, place, Path(acknowledged[0]))
            say(_NOTE + json.dumps(["found", found]))
        else:
            say(_NOTE + json.dumps(["content", writer.content(place)]))
    except Lost as error:
        say(_NOTE + json.dumps(["lost", str(error)]))
    except BaseException as error:
        trace = "".join(traceback.format_exception(error)[-6:])
        say(_NOTE + json.dumps(["torn", f"{type(error).__name__}: {error}\n{trace}"]))
    os._exit(ENDED_WELL)


class _Events:
    """Counts what happens to files, and ends the process at the moment."""

    def __init__(self, folder: Path, moment: Moment | None, reached: Callable[[], None]) -> None:
        self.n = 0
        self._folder, self._moment, self._reached = str(folder), moment, reached
        sys.addaudithook(self._hear)
        for name in _CALLS:
            setattr(os, name, self._counted(getattr(os, name)))

    def happened(self) -> None:
        self.n += 1
        if self._moment is not None and self.n == self._moment.event:
            if self._moment.delay_s is None:
                os.kill(os.getpid(), signal.SIGKILL)
            self._reached()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and any(self._folder in str(argument) for argument in arguments[:2]):
            self.happened()

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.happened()
            return call(*arguments, **options)

        return counted


# -- the matrix --------------------------------------------------------------------------------------------------------


class Matrix:
    """One writer, prepared once, killed many times."""

    def __init__(self, name: str, folder: Path) -> None:
        from kill_writers import WRITERS

        self.name, self.folder = name, folder
        self._longest_delay_s = WRITERS[name].longest_delay_s
        (folder / "template").mkdir(parents=True)
        self._well(run(name, "prepare", folder / "template"))
        whole = self._copy("whole")
        ended = self._well(run(name, "work", whole))
        self.acknowledged, self.n_events = ended.lines, ended.notes["events"]
        assert self.acknowledged, "work that acknowledges nothing proves nothing"
        self._well(run(name, "check", whole, acknowledged=self.acknowledged))
        self.expected = self._content(whole)
        self._hidden_when_whole = hidden(whole)

    def kill(self, seed: int, tally: Tally) -> None:
        """Kill the work at a moment, look, let it go on, and compare; every fourth time, kill it twice."""
        chance = random.Random(f"{self.name} {seed}")
        folder = self._copy(f"run-{seed}")
        told = f"{self.name}, seed {seed}"
        for _ in range(2 if seed % 4 == 3 else 1):
            ended = run(self.name, "work", folder, moment=self._moment(chance))
            self._count(tally, ended)
            self._note(tally, told, ended)
            self._note(tally, told, run(self.name, "check", folder, acknowledged=ended.lines))
        before = hidden(folder)
        for name in before:  # some time passes: what is younger than a minute might be somebody's work
            os.utime(folder / name, (0, 0))
        ended = run(self.name, "work", folder)
        self._note(tally, f"{told}, going on", ended)
        self._note(tally, f"{told}, at the end", run(self.name, "check", folder, acknowledged=ended.lines))
        if self._content(folder) != self.expected:
            tally.unequal.append(f"{told}: the end is not that of work never killed")
        tally.leftovers += len(before - self._hidden_when_whole)
        tally.remaining += len(hidden(folder) & before - self._hidden_when_whole)
        shutil.rmtree(folder)

    def _moment(self, chance: random.Random) -> Moment:
        event = chance.randint(1, self.n_events)
        return Moment(event, None if chance.random() < 0.4 else chance.random() * self._longest_delay_s)

    def _count(self, tally: Tally, ended: Ended) -> None:
        tally.kills += 1
        tally.acknowledged += len(ended.lines)
        if ended.exit_code == ENDED_WELL or len(ended.lines) == len(self.acknowledged):
            tally.after += 1
        elif ended.lines:
            tally.during += 1
        else:
            tally.before += 1

    @staticmethod
    def _note(tally: Tally, told: str, ended: Ended) -> None:
        for kind, found in (("lost", tally.lost), ("torn", tally.torn)):
            if kind in ended.notes:
                found.append(f"{told}: {ended.notes[kind]}")

    def _copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.folder / "template", self.folder / name / "work", symlinks=True))

    def _content(self, folder: Path) -> Any:
        return self._well(run(self.name, "content", folder)).notes["content"]

    def _well(self, ended: Ended) -> Ended:
        assert ended.exit_code == ENDED_WELL, (self.name, ended)
        assert not {"lost", "torn"} & set(ended.notes), ended.notes
        return ended


def hidden(folder: Path) -> set[str]:
    """Return what lies in a folder under hidden names and is no lock."""
    found = (path for path in folder.rglob(".*") if not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix() for path in found}


def fill(name: str, folder: Path, seeds: Iterable[int]) -> Tally:
    """Kill one writer with each seed."""
    matrix, tally = Matrix(name, folder), Tally(name)
    for seed in seeds:
        matrix.kill(seed, tally)
    return tally


def main(n_kills: int, names: list[str]) -> int:
    """Print the table."""
    import tempfile

    from kill_writers import WRITERS

    print(HEADER, flush=True)
    problems: list[str] = []
    for name in names or list(WRITERS):
        with tempfile.TemporaryDirectory(prefix="crosshead-kills-") as work:
            started = time.monotonic()
            tally = fill(name, Path(work), range(n_kills))
            print(tally.as_row(), f"{time.monotonic() - started:.0f} s", flush=True)
            problems += tally.problems
    print(*problems, sep="\n", file=sys.stderr)
    return min(1, len(problems))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    from kill_matrix import main as in_module

    raise SystemExit(in_module(int(sys.argv[1]) if sys.argv[1:] else 20, sys.argv[2:]))

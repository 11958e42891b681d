"""Fuzz for hours: ``python tests/fuzz_long.py --seconds 3600``, or ``make fuzz FUZZ_SECONDS=3600``.

Every target gets the same share of the time. What fails is told with a command that repeats it, is kept in
``.hypothesis/``, from where ``tests/test_fuzz.py`` takes it up, and ends its target's turn; the others go on.
With ``--atheris`` one target is driven by atheris, which sees which branches an input reaches, where that is installed
(``pip install atheris``).
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import traceback
from typing import Any

os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp(prefix="crosshead-fuzz-cache-"))
os.environ.update(HF_HUB_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", TOKENIZERS_PARALLELISM="false")

from hypothesis import HealthCheck, Phase, given, settings

if "--atheris" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["crosshead"], enable_loader_override=False):
        from fuzz_targets import TARGETS, close
else:
    from fuzz_targets import TARGETS, close

AT_ONCE = 200
"""Examples between two looks at the clock."""
MOST_MB = 3000
"""Memory that the process may have at most; a target that needs more holds more than its input asks for."""


class Look:
    """A long look at one target."""

    def __init__(self, name: str) -> None:
        self.name, self.target = name, TARGETS[name]
        self.n_asked = 0
        self.failures: dict[str, str] = {}

    def ask(self, given_input: Any) -> None:
        self.n_asked += 1
        self.target.ask(given_input)

    def go_on_until(self, end: float) -> None:
        once = settings(
            max_examples=AT_ONCE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.target],
            report_multiple_bugs=False,
        )
        while time.monotonic() < end:
            try:
                once(given(self.target.inputs)(self.ask))()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                last = traceback.extract_tb(error.__traceback__)[-1]
                kind = f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
                if kind not in self.failures:
                    self.failures[kind] = "".join(traceback.format_exception(error))
                    print(f"\n--- {self.name}: {kind}\n{self.failures[kind][-6000:]}", file=sys.stderr, flush=True)


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def drive_with_atheris(name: str, seconds: int) -> None:
    """Let atheris choose the bytes from which hypothesis draws an input."""
    target = TARGETS[name]
    test = settings(deadline=None, database=None)(given(target.inputs)(target.ask))
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=8192"], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    told = parser.parse_args()
    names = told.names or list(TARGETS)
    if told.atheris:
        drive_with_atheris(names[0], told.seconds)
    n_failures = 0
    for name in names:
        look, began, before = Look(name), time.monotonic(), time.process_time()
        look.go_on_until(began + told.seconds / len(names))
        n_failures += len(look.failures)
        spent = f"{time.monotonic() - began:.0f} s ({time.process_time() - before:.0f} s of a core)"
        print(
            f"{name:28} {look.n_asked:>9,} inputs {spent:>26} {peak_mb():>6} MB {len(look.failures)} findings",
            flush=True,
        )
        if peak_mb() > MOST_MB:
            print(f"{name}: more than {MOST_MB} MB", file=sys.stderr)
            n_failures += 1
    close()
    return 1 if n_failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""How many small defects of the core modules do the tests notice? A seeded sample, by mutmut; see `make mutation`.

Only the wording of messages is left out: a literal with a blank in it. mutmut itself leaves out what stands outside of
functions, and functions with decorators. What survives is listed; `mutmut show NAME` shows what was changed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import re
from pathlib import Path
from statistics import NormalDist

# One thread each, set before a library starts its own: two cores, and a time limit that counts processor seconds.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.state import reset_state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir

CAUGHT = {"killed", "timeout", "segfault", "suspicious"}
PROSE = re.compile(r'"[^"{}]*\S +\S[^"]*"|"[^"]*\{[^"]*\} [^"]*"|"[^"]* \{[^"]*"')


def is_wording(name: str, path: Path) -> bool:
    """Whether a mutant differs from the code in the text of a message alone."""
    changed = [
        line[1:] for line in get_diff_for_mutant(name, path=path).splitlines()[2:] if line.startswith(("-", "+"))
    ]
    if len(changed) != 2:
        return False
    before, after = (re.sub(r"\W|XX", "", line).lower() for line in changed)
    return before == after and bool(PROSE.search(changed[0]))


def interval(caught: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, width = caught / n + z * z / (2 * n), z * math.sqrt(caught / n * (1 - caught / n) / n + z * z / (4 * n * n))
    return max(0.0, (centre - width) / (1 + z * z / n)), min(1.0, (centre + width) / (1 + z * z / n))


def module_of(path: Path) -> str:
    return path.relative_to("src/crosshead").with_suffix("").as_posix()


def mutants_of(path: Path) -> dict[str, int | None]:
    data = SourceFileMutationData(path=path)
    data.load()
    return data.exit_code_by_key


def draw(path: Path, n_each: int, seed: int) -> list[str]:
    """Draw mutants of one module; the same ones as long as the module is the same."""
    names = sorted(mutants_of(path))
    random.Random(f"{path.as_posix()} {seed}").shuffle(names)
    drawn: list[str] = []
    for name in names:
        if len(drawn) == n_each:
            break
        if not is_wording(name, path):
            drawn.append(name)
    return drawn


def report(drawn: dict[Path, list[str]]) -> None:
    survived: list[tuple[str, str]] = []
    print("| module | mutants | drawn | noticed | survived | score | 95 % |\n|---|--:|--:|--:|--:|--:|--:|")
    for path, names in drawn.items():
        codes = mutants_of(path)
        found = {name: mutmut.status_by_exit_code[codes[name]] for name in names}
        caught = sum(status in CAUGHT for status in found.values())
        low, high = interval(caught, len(names))
        counts = f"{len(codes)} | {len(names)} | {caught} | {len(names) - caught}"
        print(f"| `{module_of(path)}` | {counts} | {caught / len(names):.0%} | {low:.0%}–{high:.0%} |")
        survived += [(name, status) for name, status in found.items() if status not in CAUGHT]
    for name, status in survived:
        print(f"\n{status}: {name}")
        print("\n".join(get_diff_for_mutant(name).splitlines()[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="as tagging/decoding; all core modules if none is named")
    parser.add_argument("--each", type=int, default=25, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="mutants by name, instead of a sample")
    chosen = parser.parse_args()
    paths = [Path(path) for path in config().only_mutate]
    if chosen.modules:
        paths = [path for path in paths if module_of(path) in chosen.modules]
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    mutmut.create_mutants(1)
    reset_state()  # the run below makes everything once more, out of what is there
    drawn = {path: draw(path, chosen.each, chosen.seed) for path in paths}
    if chosen.only:
        drawn = {path: [n for n in chosen.only if n in mutants_of(path)] for path in paths}
        drawn = {path: names for path, names in drawn.items() if names}
    print({path.stem: (len(mutants_of(path)), len(names)) for path, names in drawn.items()}, flush=True)
    mutmut._run([name for names in drawn.values() for name in names], 1)
    report(drawn)


if __name__ == "__main__":
    main()

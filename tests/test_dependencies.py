"""What is depended on: bounds that are tried, pins that fit them, licences looked at, an SBOM that names all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cli_parts import process_environ

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def direct(*extras: str) -> dict[str, Requirement]:
    """Return what the base and extras ask for, by canonical name."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {canonicalize_name(asked.name): asked for asked in map(Requirement, lines)}


def pins(name: str) -> dict[str, Version]:
    """Read a file of pins."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    parts = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(part[0]): Version(part[1]) for part in parts}


DIRECT = direct(*EXTRAS)


# -- bounds and pins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_the_lowest_version_that_is_allowed_is_the_one_that_is_tried(name: str) -> None:
    bounds = [Version(part.version) for part in DIRECT[name].specifier if part.operator in (">=", "==")]
    assert len(bounds) == 1, f"{name} has no lower bound in pyproject.toml"
    tried = pins("constraints-lowest.txt")[name]
    assert tried == bounds[0], f"pyproject.toml allows {name} {bounds[0]}, tried is {tried}; run `make pins-lowest`"


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_every_pin_is_in_its_range(file: str) -> None:
    pinned = pins(file)
    # No `make` installs [gcs].
    missing = set(DIRECT) - set(pinned) - ({"gcsfs"} if file == "constraints.txt" else set())
    assert missing == set()
    outside = [name for name, asked in DIRECT.items() if name in pinned and pinned[name] not in asked.specifier]
    assert outside == []


def test_an_audit_that_could_ask_for_nothing_does_not_pass() -> None:
    """pip-audit ends with 0 when it can look nothing up, unless it is strict."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    calls = re.findall(r"bin/pip-audit .*", makefile)
    assert calls
    assert all("--strict" in call for call in calls)


# -- licences ----------------------------------------------------------------------------------------------------------

FREE = re.compile(r"\b(MIT|BSD|Apache|ISC|PSF|Python|0BSD|Zlib|HPND|ZPL|Zope|Unlicense)\b", re.IGNORECASE)
"""Licences that ask for no more than that their text goes along."""
BINDING = re.compile(r"GPL|MPL|Mozilla|EPL|EUPL|CDDL|-SA\b|GNU|Proprietary", re.IGNORECASE)
"""Licences that bind what is built on them, or may; and those that allow nothing."""
LOOKED_AT = {
    "asyncssh": "EPL-2.0 or GPL-2.0",
    "certifi": "MPL-2.0",
    "dulwich": "Apache-2.0 or GPL-2.0",
    "grandalf": "EPL-1.0 or GPL-2.0",
    "huey": "MIT",
    "orjson": "MPL-2.0 and (Apache-2.0 or MIT)",
    "pathspec": "MPL-2.0",
    "pygit2": "GPL-2.0, linking allowed",
    "shtab": "MPL-2.0",
    "skops": "MIT",
    "tld": "MPL-1.1, GPL-2.0 or LGPL-2.1",
    "tqdm": "MPL-2.0 and MIT",
}
"""What is under another licence, or does not say under which; docs/reference/packaging.md says why it may stay."""


def closure(lines: list[str]) -> dict[str, Distribution]:
    """Return everything that requirements bring along, as it is installed here."""
    todo = [Requirement(line) for line in lines]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        asked = todo.pop()
        key = (canonicalize_name(asked.name), frozenset(asked.extras))
        if key in seen:
            continue
        seen.add(key)
        found[key[0]] = distribution(asked.name)
        for line in found[key[0]].requires or []:
            brought = Requirement(line)
            if brought.marker is None or any(brought.marker.evaluate({"extra": e}) for e in ("", *asked.extras)):
                todo.append(brought)
    return found


def licence(found: Distribution) -> str:
    """Return what a distribution says of its licence: an expression, else classifiers, else the line of old."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return expression
    classifiers = [line for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if not line.endswith("OSI Approved")]
    return " / ".join(named) or (about.get("License") or "").partition("\n")[0]


def brought_to_users() -> dict[str, Distribution]:
    """Return what the base and the extras that `make test` installs bring along, but for tools of development."""
    extras = [name for name in EXTRAS if name not in ("dev", "gcs")]
    markers = (asked for asked in direct(*extras).values() if asked.marker is None or asked.marker.evaluate())
    return closure([f"{asked.name}[{','.join(asked.extras)}]" if asked.extras else asked.name for asked in markers])


def test_licences_that_bind_are_known_one_by_one() -> None:
    told = {name: licence(found) for name, found in brought_to_users().items()}
    assert len(told) > 150
    new = {
        name: words
        for name, words in told.items()
        if name not in LOOKED_AT and (BINDING.search(words) or not FREE.search(words))
    }
    assert new == {}, "look at these, and say in docs/reference/packaging.md why they may stay"


@pytest.mark.parametrize(
    ("words", "stays"),
    [
        ("MIT License", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("GNU Affero General Public License v3", False),
        ("Apache-2.0 OR GPL-2.0-or-later", False),
        ("CC-BY-NC-4.0", False),
        ("", False),
    ],
)
def test_a_licence_that_binds_would_be_found(words: str, stays: bool) -> None:
    assert (FREE.search(words) is not None and BINDING.search(words) is None) == stays


def test_the_page_names_every_licence_that_was_looked_at() -> None:
    page = (ROOT / "docs" / "reference" / "packaging.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+) \| ([^|]+) \|", page, re.MULTILINE))
    assert {name: rows.get(name) for name in LOOKED_AT} == LOOKED_AT


# -- SBOM --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_sbom_is_valid_names_what_we_depend_on_and_is_the_same_twice(tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    environ = process_environ(tmp_path)
    make = ("make", "-o", ".venv/.complete", "sbom", f"BIN={folder}", f"DIST={tmp_path}")
    done = subprocess.run(make, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]  # it is validated against the schema before it is written
    text = (tmp_path / "sbom.json").read_text(encoding="utf-8")
    sbom = json.loads(text)
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "crosshead")
    assert "timestamp" not in sbom["metadata"]
    assert "serialNumber" not in sbom
    named = {canonicalize_name(component["name"]): component for component in sbom["components"]}
    expected = {name for name, asked in direct(*(e for e in EXTRAS if e != "gcs")).items()}
    here = {name for name in expected if DIRECT[name].marker is None or DIRECT[name].marker.evaluate()}
    assert here - set(named) == set()
    assert all(component["purl"] and component["version"] for component in named.values())
    silent = {name for name in brought_to_users() if not named[name].get("licenses")}
    assert silent <= set(LOOKED_AT)
    assert str(ROOT) not in text
    again = tmp_path / "again.json"
    recipe = re.search(r"cyclonedx-py (environment .*) -o ", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert recipe is not None
    tool = [str(folder / "cyclonedx-py"), *recipe[1].split(), "--no-validate", "-o", str(again), sys.executable]
    subprocess.run(tool, cwd=ROOT, env=environ, capture_output=True, timeout=600, check=True)
    assert again.read_text(encoding="utf-8") == text

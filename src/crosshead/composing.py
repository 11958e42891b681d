"""The configuration as plain values: Hydra composes conf/, and says which key or choice is wrong.

Nothing here needs the libraries of training, so that a misspelt key is told before they are imported. Only this module
and `settings`, which checks and builds what was composed, import hydra and omegaconf.
"""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from crosshead.errors import ConfigError
from crosshead.redaction import redact

CONFIG_NAME = "config"


def find_root(start: Path | None = None) -> Path:
    """Find the project: the nearest folder, from ``start`` upwards, that holds conf/config.yaml.

    Raises
    ------
    ConfigError
        If there is none.
    """
    start = (start or Path(os.environ.get("CROSSHEAD_ROOT") or Path.cwd())).resolve()
    for folder in (start, *start.parents):
        if (folder / "conf" / f"{CONFIG_NAME}.yaml").is_file():
            return folder
    raise ConfigError(
        f"no crosshead project at {start.name!r} or above: no conf/{CONFIG_NAME}.yaml; "
        "change to the project's folder, or set CROSSHEAD_ROOT to it, or make one: crosshead init FOLDER"
    )


def compose(overrides: Sequence[str] = (), root: Path | None = None) -> dict[str, Any]:
    """Compose conf/ with overrides and return plain values, interpolations resolved.

    Raises
    ------
    ConfigError
        If a key, a group or a value is not known; the message names the nearest spelling.
    """
    return _compose(overrides, find_root(root))[0]


def choices(overrides: Sequence[str] = (), root: Path | None = None) -> dict[str, str]:
    """Say which file of each group in conf/ is composed.

    Raises
    ------
    ConfigError
        As `compose`.
    """
    return _compose(overrides, find_root(root))[1]


def _compose(overrides: Sequence[str], root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Compose, or remember: a search composes the same many times, and everything that decides is part of the key."""
    files = sorted((root / "conf").rglob("*.yaml"))
    state = [(str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files]
    plain, chosen = _compose_once(tuple(overrides), root, tuple(state), tuple(sorted(os.environ.items())))
    return copy.deepcopy(plain), dict(chosen)


@lru_cache(maxsize=64)
def _compose_once(
    overrides: tuple[str, ...], root: Path, files: tuple[object, ...], environ: tuple[object, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        with initialize_config_dir(config_dir=str(root / "conf"), version_base="1.3"):
            cfg = hydra_compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
        chosen = {name: file for name, file in cfg.hydra.runtime.choices.items() if file and "/" not in name}
        with open_dict(cfg):
            del cfg["hydra"]
        return to_plain(cfg), chosen
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, TypeError) as error:
        raise ConfigError(redact(_explain(error, overrides, root))) from error


def to_plain(cfg: Any) -> dict[str, Any]:
    """Return what Hydra composed as plain values, interpolations resolved."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _explain(error: Exception, overrides: Sequence[str], root: Path) -> str:
    """Say which override is wrong and what is allowed, without Hydra's stack of reasons."""
    groups: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals and not key.startswith("~"):
            return f"override {override!r} has no '='; write key=value, such as seed=3"
        if told := unreadable(override):
            return told
        group = root / "conf" / key.lstrip("+~").partition("@")[0]
        if not os.path.isdir(group):  # unlike a Path's, this takes names of any length
            continue
        allowed = sorted(path.stem for path in group.glob("*.yaml"))
        if value not in allowed:
            several = "; to run several one after the other, add -m" if "," in value else ""
            return f"{group.name} is {value!r}; allowed are {', '.join(allowed)}{nearest(value, allowed)}{several}"
        groups.append(override)
    known: set[str] | None = None
    for override in overrides:
        key = override.partition("=")[0].lstrip("~").partition("@")[0]
        if override in groups or override.startswith(("+", "hydra")):
            continue
        known = set(_dotted(compose(groups if len(groups) < len(overrides) else (), root))) if known is None else known
        if key not in known:
            return f"{key!r} is no configuration key{nearest(key, known)}; see them all: crosshead config show"
    return f"the configuration cannot be composed: {' '.join(str(error).split())}"


def unreadable(override: str) -> str:
    """Say why Hydra's grammar cannot read an override; nothing where it can."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        key, _, value = override.partition("=")
        for opened, closed in ("[]", "{}", "()"):
            if value.count(opened) != value.count(closed):
                missing = closed if value.count(opened) > value.count(closed) else opened
                remedy = f"write {key}=[a,b]" if missing in "[]" else "write it, or put the value into quotes"
                return f"override {override!r} cannot be read: a {missing!r} is missing; {remedy}"
        return (
            f"override {override!r} cannot be read; put a value that holds marks such as = : , ( ) into quotes, "
            f"and these into quotes of the shell: '{key}=\"…\"'"
        )
    return ""


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the nearest spelling; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""

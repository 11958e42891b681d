"""Configuration ends here: `composing` composes conf/, this module checks it and hands out typed, frozen objects."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crosshead.composing import CONFIG_NAME, choices, compose, find_root, to_plain
from crosshead.errors import ConfigError
from crosshead.redaction import redact, redacted
from crosshead.schema import Settings
from crosshead.taxonomy import Taxonomy
from crosshead.training.estimators import build
from crosshead.values import mistakes

__all__ = [
    "CONFIG_NAME",
    "check_all",
    "choices",
    "compose",
    "config_digest",
    "find_root",
    "from_hydra",
    "from_plain",
    "load_settings",
    "telling",
    "to_yaml",
]

_UNTOLD = re.compile(r"\+*~?(tracking|hydra|search|promotion|finetune|(cache|prepared|model|reports)_dir)\b")
"""Overrides that are about places and other commands, not about the model; an address may hold a password."""


def from_hydra(cfg: Any, root: Path) -> Settings:
    """Check and build the settings of what Hydra hands to a job.

    Raises
    ------
    ConfigError
        As `load_settings`.
    """
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = to_plain(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(redact(f"the configuration cannot be composed: {' '.join(str(error).split())}")) from error
    return from_plain(plain, root)


def load_settings(overrides: Sequence[str] = (), root: Path | None = None) -> Settings:
    """Compose, check and build the settings.

    Raises
    ------
    ConfigError
        Naming the dotted key, what it got, and the nearest spelling or what is allowed.
    """
    root = find_root(root)
    settings = from_plain(compose(overrides, root), root).model_copy(update={"overrides": tuple(overrides)})
    if settings.search is not None:
        from crosshead.search.variations import check_space

        check_space(settings.search, overrides, root)
    return settings


def differing(overrides: Sequence[str], root: Path) -> tuple[str, ...]:
    """Leave out the overrides that give what the project's configuration holds already."""
    if not overrides:
        return ()
    plain, chosen = compose((), root), choices((), root)
    given = [override.lstrip("+").partition("=")[::2] for override in overrides]
    # Another file of a group has defaults of its own, so nothing can be said of a single key below it.
    others = {key for key, value in given if key in chosen and chosen[key] != value}
    values = {**_leaves(plain), **chosen}
    return tuple(
        override
        for override, (key, value) in zip(overrides, given, strict=True)
        if key in others or key.partition(".")[0] in others or values.get(key) != value
    )


def telling(settings: Settings) -> tuple[str, ...]:
    """Return the overrides that say something of what is made: no places, no other commands, no store's address."""
    return tuple(word for word in differing(settings.overrides, settings.root) if not _UNTOLD.match(word))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return every single value by its dotted key, as it is written on the command line."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def from_plain(plain: Mapping[str, Any], root: Path, taxonomy: Taxonomy | None = None) -> Settings:
    """Check and build the settings of a composed configuration.

    Parameters
    ----------
    taxonomy
        That of ``plain``, where it was built before: its patterns take longest.

    Raises
    ------
    ConfigError
        As `load_settings`.
    """
    built = dict(plain)
    # What is recorded and shown must not hold the password of an MLflow store; what connects to it must.
    built["root"], built["overrides"] = root, ()
    built["resolved"] = {**plain, "tracking": redacted(plain.get("tracking"))} if "tracking" in plain else dict(plain)
    for name in ("cache_dir", "prepared_dir", "model_dir", "reports_dir"):
        built[name] = root / str(plain.get(name, ""))
    encoder = plain.get("encoder")
    if isinstance(encoder, Mapping) and encoder.get("source") and (root / str(encoder["source"])).is_dir():
        built["encoder"] = {**encoder, "source": str(root / str(encoder["source"]))}
    built["taxonomy"] = taxonomy or Taxonomy.from_mapping(plain.get("taxonomy", {}))
    built["classifier"] = build(plain.get("classifier", {}), "classifier")
    built["views"] = {
        name: {**view, "classifier": build(view["classifier"], f"views.{name}.classifier")}
        if isinstance(view, Mapping) and view.get("classifier")
        else view
        for name, view in (plain.get("views") or {}).items()
    }
    try:
        return Settings.model_validate(built)
    except ValidationError as error:
        raise ConfigError(mistakes(error)) from error


def to_yaml(resolved: Mapping[str, Any]) -> str:
    """Write a resolved configuration as YAML."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_yaml(OmegaConf.create(dict(resolved))))


def config_digest(resolved: Mapping[str, Any]) -> str:
    """Name a resolved configuration by its content."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True, default=str).encode()).hexdigest()


def check_all(root: Path | None = None) -> dict[str, str | None]:
    """Check the default and every group's every file; the problem of each, or None where there is none."""
    root = find_root(root)
    found: dict[str, str | None] = {}
    for overrides in [[], *_every_choice(root)]:
        try:
            load_settings(overrides, root)
            found[" ".join(overrides) or "default"] = None
        except ConfigError as error:
            found[" ".join(overrides) or "default"] = str(error)
    return found


def _every_choice(root: Path) -> list[list[str]]:
    files = sorted(path for path in (root / "conf").rglob("*.yaml") if path.parent != root / "conf")
    return [[f"{path.parent.relative_to(root / 'conf')}={path.stem}"] for path in files]

"""Configuration ends here: Hydra composes conf/, this module checks it and hands out typed, frozen objects.

The only module that imports hydra and omegaconf.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from crosshead.errors import ConfigError
from crosshead.schema import Settings
from crosshead.taxonomy import Taxonomy
from crosshead.training.estimators import build, nearest

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
        "change to the project's folder, or set CROSSHEAD_ROOT to it"
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
        return _to_plain(cfg), chosen
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(_explain(error, overrides, root)) from error


def _to_plain(cfg: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def from_hydra(cfg: Any, root: Path) -> Settings:
    """Check and build the settings of what Hydra hands to a job.

    Raises
    ------
    ConfigError
        As `load_settings`.
    """
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = _to_plain(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the configuration cannot be composed: {' '.join(str(error).split())}") from error
    return from_plain(plain, root)


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
        if not group.is_dir():
            continue
        if not (group / f"{value}.yaml").is_file():
            allowed = sorted(path.stem for path in group.glob("*.yaml"))
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
    plain, chosen = _compose((), root)
    given = [override.lstrip("+").partition("=")[::2] for override in overrides]
    # Another file of a group has defaults of its own, so nothing can be said of a single key below it.
    others = {key for key, value in given if key in chosen and chosen[key] != value}
    values = {**_leaves(plain), **chosen}
    return tuple(
        override
        for override, (key, value) in zip(overrides, given, strict=True)
        if key in others or key.partition(".")[0] in others or values.get(key) != value
    )


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
    built["root"], built["resolved"], built["overrides"] = root, dict(plain), ()
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
        raise ConfigError(_say(error)) from error


def _say(error: ValidationError) -> str:
    """One line a mistake: the dotted key, what it got, what is wrong, the nearest spelling."""
    lines = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            lines.append(f"{key!r} is no configuration key{nearest(key, _known_keys(mistake['loc']))}")
        elif mistake["type"] == "missing":
            lines.append(f"{key!r} is missing; give it a value")
        else:
            told = mistake["msg"].removeprefix("Value error, ")
            given = f" is {mistake['input']!r}" if not isinstance(mistake["input"], Mapping) else ""
            is_single = mistake["type"] == "list_type" and isinstance(mistake["input"], str | int | float)
            remedy = f"; write [{mistake['input']}]" if is_single else ""
            lines.append(f"{key}{given}: {told[0].lower()}{told[1:]}{remedy}")
    return "\n".join(lines)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed beside a mistaken one."""
    models: list[type[BaseModel]] = [Settings]
    for part in location[:-1]:
        fields = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        # A part that is no field is a name of the user's own, of a view or a dimension of a search.
        models = [found for field in fields for found in _models_in(field.annotation)] or models
    prefix = "".join(f"{part}." for part in location[:-1])
    return [f"{prefix}{name}" for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


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

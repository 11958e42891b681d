"""Settings that differ from a base in some values: what a search tries, and what it writes down in the end."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crosshead.composing import choices, compose, nearest
from crosshead.errors import ConfigError
from crosshead.schema import Settings
from crosshead.search.space import Dimension, SearchSettings, Value
from crosshead.settings import from_plain
from crosshead.taxonomy import Taxonomy

CONF = "conf"
_NOT_WRITTEN = ("experiment", "search", "promotion", "tracking")
Values = Mapping[str, Value]
"""Values by configuration key; the key of a group, such as ``classifier``, takes the name of a choice."""


class Variations:
    """Settings that differ from a base in some values; composed once for every choice of groups.

    Parameters
    ----------
    overrides
        What makes the base; an override of ``search`` has no effect on what is varied.
    """

    def __init__(self, overrides: Sequence[str], root: Path) -> None:
        self.root = root
        self.overrides = tuple(o for o in overrides if o.partition("=")[0].lstrip("+~").split(".")[0] != "search")
        self._composed: dict[tuple[str, ...], dict[str, Any]] = {}
        self._choices: dict[str, str] = {}
        self._taxonomy: Taxonomy | None = None  # values never change it

    def is_group(self, key: str) -> bool:
        """Say if a key is a group of files in conf/."""
        return "." not in key and (self.root / CONF / key).is_dir()

    def plain(self, values: Values) -> dict[str, Any]:
        """Compose the configuration with these values.

        Raises
        ------
        ConfigError
            If there is no such choice or key.
        """
        choices = tuple(f"{key}={value}" for key, value in values.items() if self.is_group(key))
        if choices not in self._composed:
            composed = compose([*self.overrides, *choices], self.root)
            self._composed[choices] = {key: value for key, value in composed.items() if key != "search"}
        plain = copy.deepcopy(self._composed[choices])
        for key, value in values.items():
            if not self.is_group(key):
                _set(plain, key, value)
        return plain

    def settings(self, values: Values) -> Settings:
        """Check and build the settings with these values.

        Raises
        ------
        ConfigError
            If a value cannot be used.
        """
        settings = from_plain(self.plain(values), self.root, self._taxonomy)
        self._taxonomy = settings.taxonomy
        return settings

    def current(self, key: str) -> Value:
        """Return the value that the base has; of a group, the choice that it was composed with."""
        if self.is_group(key):
            self._choices = self._choices or choices(self.overrides, self.root)
            return self._choices.get(key)
        return _get(self.plain({}), key)  # type: ignore[no-any-return]

    def differing(self, values: Values) -> dict[str, Value]:
        """Return the values that the base does not have already."""
        kept: dict[str, Value] = {}
        for key, value in values.items():
            if self.plain({**kept, key: value}) != self.plain(kept):
                kept[key] = value
        return kept

    def as_overrides(self, values: Values) -> list[str]:
        """Return command-line overrides that give these settings: the base's, then what differs from it."""
        given = [o for o in self.overrides if not o.lstrip("+~").startswith(("tracking=", "tracking.", "tracking@"))]
        wanted = self.differing(values)
        composed = self.plain({key: value for key, value in wanted.items() if self.is_group(key)})
        return given + [f"{'' if _has(composed, key) else '+'}{key}={_word(value)}" for key, value in wanted.items()]

    def as_experiment(self, values: Values, about: str) -> str:
        """Write what differs from conf/config.yaml as a file for conf/experiment/."""
        chosen = [f"{key}={value}" for key, value in values.items() if self.is_group(key)]
        shipped, own = choices((), self.root), choices([*self.overrides, *chosen], self.root)
        groups = {
            name: choice for name, choice in own.items() if name not in _NOT_WRITTEN and shipped.get(name) != choice
        }
        composed = compose([f"{name}={choice}" for name, choice in groups.items()], self.root)
        tree = _difference(composed, self.plain(values))
        lines = ["# @package _global_", *(f"# {line}".rstrip() for line in about.splitlines())]
        if groups:
            lines += ["defaults:", *(f"  - override /{name}: {choice}" for name, choice in groups.items())]
        text = "\n".join(lines) + "\n"
        return text + ("\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True) if tree else "")


def check_space(search: SearchSettings, overrides: Sequence[str], root: Path) -> None:
    """Check that every key of a search is there, and that the ends of its range, or its choices, can be used.

    Raises
    ------
    ConfigError
        Naming the dimension.
    """
    variations = Variations(overrides, root)
    for name, dimension in search.space.items():
        given = _conditions(search, name)
        for value in dimension.choices or (dimension.low, dimension.high):
            try:
                variations.settings({**given, dimension.key: dimension.shown(value)})
            except ConfigError as error:
                raise ConfigError(f"search.space.{name} with {value!r}: {error}") from error


def widenable(variations: Variations, search: SearchSettings, name: str, values: Values) -> str | None:
    """Say at which end of its range a value lies, if the range could be made wider there."""
    dimension = search.space[name]
    end = dimension.edge(values[dimension.key])
    if end is None:
        return None
    try:
        variations.settings({**values, dimension.key: dimension.beyond(end)})
    except ConfigError:
        return None
    return end


def _conditions(search: SearchSettings, name: str) -> dict[str, Value]:
    """Return the values with which a dimension counts, conditions of conditions included, groups first."""
    given = dict(search.space[name].when)
    for other, dimension in search.space.items():
        if dimension.key in given:
            given = {**_conditions(search, other), **given}
    return given


def describe(dimension: Dimension) -> str:
    """Say in a few words what a dimension ranges over."""
    if dimension.type == "categorical":
        return ", ".join(str(choice) for choice in dimension.choices)
    return f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else ''}"


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key that is there, or is an argument of an estimator."""
    *parents, last = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if not isinstance(node.get(part), dict):
            raise _no_such(key, ".".join(parents[:depth]), node)
        node = node[part]
    if last not in node and "_target_" not in node:
        raise _no_such(key, ".".join(parents), node)
    node[last] = value


def _difference(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of ``other`` that ``base`` does not have."""
    found: dict[str, Any] = {}
    for key, value in other.items():
        if key in _NOT_WRITTEN or (key in base and base[key] == value):
            continue
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        found[key] = _difference(base[key], value) if both else value
    return found


def _no_such(key: str, parent: str, node: Mapping[str, Any]) -> ConfigError:
    known = [f"{parent}.{name}" if parent else str(name) for name in node]
    return ConfigError(f"{key!r} is no configuration key{nearest(key, known)}")


def _get(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _has(tree: Mapping[str, Any], key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = _get(tree, parent) if parent else tree
    return isinstance(node, Mapping) and last in node


def _word(value: Value) -> str:
    """Write a value as an override takes it: JSON is YAML is Hydra's own grammar, but for plain words."""
    return value if isinstance(value, str) and value.replace("_", "").isalnum() else json.dumps(value)

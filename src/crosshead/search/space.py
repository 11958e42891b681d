"""What a search may vary: the typed form of a file in conf/search/."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = bool | int | float | str | None
SEARCHABLE = ("encoder", "views", "classifier", "calibration", "decoder")
"""Parts of the configuration that a search may vary; the others decide what is scored, and on what."""
OBJECTIVES: Mapping[str, Literal["maximize", "minimize"]] = {"macro_f1": "maximize", "log_loss": "minimize"}


class Dimension(BaseModel):
    """One value that a search chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["float", "int", "categorical"]
    key: str
    """Configuration key, or group."""
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = Field(default=None, gt=0)
    digits: int = Field(default=2, ge=1, le=9)
    """Significant digits that a float keeps: files stay readable, and equal values need no second fit."""
    per_decade: int | None = Field(default=None, ge=1)
    """With ``log``: so many values a power of ten, such as 1, 3.2, 10, 32 with 2; equal values share their fits."""
    choices: tuple[Value, ...] = ()
    when: dict[str, Value] = {}
    """Keys of categorical dimensions, and the choices with which this dimension counts."""

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        if self.type == "categorical":
            self._check_categorical()
        else:
            self._check_numeric()
        return self

    def _check_categorical(self) -> None:
        if len(self.choices) < 2 or len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError(f"choices is {list(self.choices)!r}; give two different ones at least")
        if {self.low, self.high, self.step, self.per_decade} != {None} or self.log:
            raise ValueError(
                "low, high, log and the like are for float and int; a categorical dimension has choices only"
            )

    def _check_numeric(self) -> None:
        if self.choices:
            raise ValueError("choices are for categorical dimensions; give low and high")
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"low is {self.low!r} and high is {self.high!r}; give both, low smaller than high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log, low must be greater than 0 and there can be no step")
        if self.per_decade is not None and not (self.log and self.type == "float"):
            raise ValueError("per_decade is for float dimensions with log")
        whole = [bound for bound in (self.low, self.high, self.step) if bound is not None]
        if self.type == "int" and any(bound != int(bound) for bound in whole):
            raise ValueError("low, high and step of an int dimension must be whole numbers")

    def shown(self, value: Any) -> Value:
        """Return a value as it goes into the configuration."""
        if self.type == "categorical":
            return value  # type: ignore[no-any-return]
        if self.type == "int":
            return int(value)
        assert self.low is not None
        assert self.high is not None
        if self.per_decade is not None:
            value = 10 ** (round(math.log10(value) * self.per_decade) / self.per_decade)
        return min(max(rounded(float(value), self.digits), self.low), self.high)

    def holds(self, value: Value) -> bool:
        """Say if a value lies in the range, or is among the choices."""
        if self.type == "categorical":
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high and (self.type == "float" or value == int(value))

    def on_step(self, value: Value) -> Value:
        """Return the value that steps of the range come nearest to; of a range without steps, the value itself."""
        if self.type == "categorical" or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        assert self.low is not None
        assert self.high is not None
        step = self.step or (1 if self.type == "int" and not self.log else None)
        if step is None:
            return value
        nearest = round(self.low + min(round((value - self.low) / step), (self.high - self.low) // step) * step, 10)
        return int(nearest) if self.type == "int" else nearest

    def edge(self, value: Value) -> Literal["low", "high"] | None:
        """Say at which end of its range a value lies, if at one: within one hundredth of the range."""
        if self.type == "categorical" or not isinstance(value, int | float):
            return None
        assert self.low is not None
        assert self.high is not None
        scale = math.log if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return "low" if share <= 0.01 else "high" if share >= 0.99 else None

    def beyond(self, end: Literal["low", "high"]) -> float:
        """Return a value beyond an end of the range, by a tenth of the range and one step at least."""
        assert self.low is not None
        assert self.high is not None
        bound, direction = (self.low, -1) if end == "low" else (self.high, 1)
        if self.type == "int":
            return int(bound) + direction * int(self.step or 1)
        return bound * 10.0**direction if self.log else bound + direction * 0.1 * (self.high - self.low)


class SearchSettings(BaseModel):
    """One search: what is varied, how often, and what counts as better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    trials: int = Field(ge=1)
    objective: Literal["macro_f1", "log_loss"]
    startup_trials: int = Field(ge=1)
    """Trials that are drawn at random before the sampler learns from them, and before any is pruned."""
    prune: bool
    """Whether a trial ends after a fold when it is worse than the median of earlier trials after as many folds."""
    workers: int = Field(ge=1)
    """Processes that search together; with one, the same seed gives the same trials."""
    space: dict[Annotated[str, Field(pattern=r"^\w+$")], Dimension] = Field(min_length=1)
    """By name. A name has no dots, so that the command line can reach into it: ``search.space.NAME.high=3``."""

    @model_validator(mode="after")
    def _check(self) -> SearchSettings:
        for name, dimension in self.space.items():
            key = dimension.key
            if key.partition(".")[0] not in SEARCHABLE:
                raise ValueError(
                    f"space.{name} varies {key!r}, which decides what is scored, so trials could not be compared; "
                    f"allowed are keys of {', '.join(SEARCHABLE)}"
                )
            for condition, value in dimension.when.items():
                self._check_condition(name, condition, value)
        return self

    def _check_condition(self, name: str, condition: str, value: Value) -> None:
        earlier = list(self.space)[: list(self.space).index(name)]
        known = {self.space[other].key: self.space[other].choices for other in earlier}
        if value not in known.get(condition, ()):
            raise ValueError(
                f"space.{name}.when says {condition}={value}; it must be a categorical dimension above it, and one of "
                "its choices"
            )

    def active(self, name: str, values: Mapping[str, Value]) -> bool:
        """Say if a dimension counts, given the values chosen so far."""
        return all(key in values and values[key] == value for key, value in self.space[name].when.items())


def rounded(value: float, digits: int) -> float:
    """Round to significant digits.

    Examples
    --------
    >>> rounded(0.012345, 2), rounded(87654.0, 1)
    (0.012, 90000.0)
    """
    return float(f"{value:.{digits}g}")

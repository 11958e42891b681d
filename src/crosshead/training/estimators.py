"""Build the classifiers that conf/ names, and say what is wrong with a name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin

from crosshead.composing import nearest
from crosshead.errors import ConfigError

_ALLOWED_TARGETS = ("crosshead.", "sklearn.")
_OF_LOGISTIC_REGRESSION = {
    "penalty": "l1_ratio (0 is L2, 1 is L1) together with C",
    "multi_class": "nothing: scikit-learn is multinomial by itself",
    "n_jobs": "nothing: crosshead sets the number of threads",
}
RENAMED = {
    "LogisticRegression": _OF_LOGISTIC_REGRESSION,
    "LogisticRegressionCV": _OF_LOGISTIC_REGRESSION,
    "SVC": {"probability": "nothing: crosshead calibrates by itself"},
}
"""Arguments that scikit-learn 1.9 dropped or deprecated, by classifier, and what to write instead."""


def build(config: Any, key: str) -> BaseEstimator:
    """Build the estimator that ``config`` names by ``_target_``, restricted to crosshead and scikit-learn.

    Raises
    ------
    ConfigError
        If the target is not allowed or not there, or an argument is not known to it.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise ConfigError(
            f"{key} is {config!r}; give a mapping with _target_, such as sklearn.linear_model.LogisticRegression"
        )
    target = str(config["_target_"])
    if not target.startswith(_ALLOWED_TARGETS):
        raise ConfigError(f"{key}._target_ is {target!r}; allowed are names in {' and '.join(_ALLOWED_TARGETS)}")
    module, _, name = target.rpartition(".")
    try:
        constructor = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_ is {target!r}, which is not there ({error}); correct the name") from error
    if not (inspect.isclass(constructor) and issubclass(constructor, ClassifierMixin)):
        raise ConfigError(f"{key}._target_ is {target!r}, which is no classifier; give a scikit-learn classifier class")
    arguments = {str(k): v for k, v in config.items() if k != "_target_"}
    _check_arguments(constructor, arguments, key)
    estimator: BaseEstimator = constructor(**arguments)
    _check_values(estimator, key)
    return estimator


def _check_values(estimator: BaseEstimator, key: str) -> None:
    # scikit-learn looks at values only when it fits, which is after minutes of encoding; every estimator can be asked.
    if "random_state" in estimator.get_params():  # the seed's, whose own message is better
        estimator = type(estimator)(**{**estimator.get_params(deep=False), "random_state": None})
    try:
        estimator._validate_params()
    except ValueError as error:
        raise ConfigError(f"{key}: {str(error).rstrip('.')}; correct the value") from error


def _check_arguments(constructor: Any, arguments: Mapping[str, Any], key: str) -> None:
    known = list(inspect.signature(constructor).parameters)
    for name in arguments:
        if name in (renamed := RENAMED.get(constructor.__name__, {})):
            raise ConfigError(f"{key}.{name} is an old scikit-learn name; write {renamed[name]}")
        if name not in known:
            raise ConfigError(f"{key}.{name} is no argument of {constructor.__name__}{nearest(name, known)}")

"""Every error that crosshead raises on purpose.

::

    CrossheadError
    ├── ConfigError      (ValueError)    a configuration that cannot be used
    ├── DataError        (ValueError)    articles, annotations or tables that contradict themselves
    │   └── ArticleError                 one input that cannot be read as an article
    ├── EncoderError     (RuntimeError)  weights missing, changed, or a graph that is not faithful
    ├── BundleError      (RuntimeError)  a saved tagger that is damaged, foreign or not to be trusted
    ├── TrackingError    (RuntimeError)  MLflow's records do not hold, or do not allow, what was asked for
    │   └── StoreError                   the MLflow store cannot be reached, opened or written
    └── MissingExtraError (ImportError)  an optional part of crosshead is not installed

A message says what it is, what it got, what is allowed, and what to do.
"""

from __future__ import annotations


class CrossheadError(Exception):
    """Base class; the command line prints its message without a traceback and exits with ``exit_code``."""

    exit_code = 1


class ConfigError(CrossheadError, ValueError):
    """A configuration that cannot be used."""

    exit_code = 2


class DataError(CrossheadError, ValueError):
    """Articles, annotations or tables that contradict themselves."""

    exit_code = 3


class ArticleError(DataError):
    """One input that cannot be read as an article."""


class EncoderError(CrossheadError, RuntimeError):
    """Encoder weights that are missing or changed, or a graph that is not faithful to them."""

    exit_code = 4


class BundleError(CrossheadError, RuntimeError):
    """A saved tagger that is damaged, foreign or not to be trusted."""

    exit_code = 4


class TrackingError(CrossheadError, RuntimeError):
    """MLflow's records do not hold, or do not allow, what was asked for."""

    exit_code = 5


class StoreError(TrackingError):
    """The MLflow store cannot be reached, opened or written."""


class MissingExtraError(CrossheadError, ImportError):
    """An optional part of crosshead is not installed."""

    exit_code = 6

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the optional part [{extra}]; install it: pip install 'crosshead[{extra}]'")

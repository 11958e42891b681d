"""The scikit-learn objects beside a saved tagger's arrays, for inspection and further training; no pickle.

The only module that knows skops. Tagging never comes here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from crosshead.errors import BundleError

FOLDER = "sklearn"
TRUSTED_TYPES: tuple[str, ...] = ("sklearn.linear_model._stochastic_gradient.SGDClassifier",)
"""scikit-learn types beyond skops' own list that ``read`` may build; the list is never in a bundle."""


def write(folder: Path, name: str, estimator: Any) -> None:
    """Write the object of one view into a bundle's folder."""
    path = folder / FOLDER / f"{name}.skops"
    path.parent.mkdir(parents=True, exist_ok=True)
    _skops_io().dump(estimator, path)


def read(folder: Path) -> dict[str, Any]:
    """Read the object of each view, building only types that skops or ``TRUSTED_TYPES`` trust.

    Raises
    ------
    BundleError
        If a file asks for a type that is not on the list.
    """
    skops_io = _skops_io()
    from skops.io.exceptions import UntrustedTypesFoundException

    estimators = {}
    for path in sorted((folder / FOLDER).glob("*.skops")):
        try:
            estimators[path.stem] = skops_io.load(path, trusted=list(TRUSTED_TYPES))
        except UntrustedTypesFoundException as error:
            raise BundleError(
                f"{FOLDER}/{path.name} asks for types that crosshead does not build ({error}); do not use this bundle"
            ) from error
    return estimators


def import_writers() -> None:
    """Import what `write` needs, where there is time for it."""
    _skops_io()


def _skops_io() -> Any:
    """Import skops, but not torch.

    skops looks for estimators in all packages of scikit-learn, one of which imports torch and holds none: 1.7 of the
    2.2 seconds that the import takes.
    """
    needless = "sklearn.externals.array_api_compat.torch"
    is_kept_out = "torch" not in sys.modules and sys.modules.setdefault(needless, None) is None  # type: ignore[arg-type]
    try:
        import skops.io
    finally:
        if is_kept_out:
            del sys.modules[needless]
    return skops.io

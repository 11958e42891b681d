"""Where the project is, found without the configuration's libraries: `crosshead tag` starts faster than they import."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path | None:
    """Return the nearest folder from ``CROSSHEAD_ROOT``, or from here, upwards that holds conf/config.yaml.

    The same folder as ``settings.find_root``, which raises where this gives None.
    """
    start = Path(os.environ.get("CROSSHEAD_ROOT") or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "conf" / "config.yaml").is_file()), None)

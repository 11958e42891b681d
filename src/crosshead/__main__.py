"""`python -m crosshead` is `crosshead`."""

from __future__ import annotations

import sys

from crosshead.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""crosshead: learn section types from articles with headings; tag articles without."""

from __future__ import annotations

__version__ = "0.1.0"

"""What one input may be at most, the same on the command line and over HTTP."""

from __future__ import annotations

MAX_INPUT_BYTES = 10 * 1024**2
"""Longest line of JSONL, and longest body of a request."""
MAX_PARAGRAPHS = 10_000
"""Most paragraphs in one line of JSONL, or in one request."""

"""Structured logs: one JSON object a line, or words for people. Neither ever holds text of a request."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

NAME = "crosshead.server"
FIELDS = "fields"
"""Attribute of a log record that holds what is told beside its message; set with ``extra={FIELDS: {...}}``."""


def log_mistake(event: str, error: BaseException, **fields: Any) -> None:
    """Log where an exception arose, without its message: other people's exceptions may quote a text."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    told = {**fields, "exception": type(error).__name__, "frames": frames}
    logging.getLogger(NAME).error(event, extra={FIELDS: told})


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        return json.dumps(told, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A line of words, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        fields = dict(getattr(record, FIELDS, {}))
        frames = fields.pop("frames", "")
        told = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:7} {record.getMessage()}{told}"
        return f"{line}\n{frames}" if frames else line


def log_to(stream: TextIO | None = None, *, as_json: bool) -> None:
    """Send the logs of the server, and uvicorn's, to a stream; by default to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    for name, level in ((NAME, logging.INFO), ("crosshead.labelling", logging.WARNING), ("uvicorn", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False


def logs_are_json() -> bool:
    """Say whether `log_to` was told so."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger(NAME).handlers)

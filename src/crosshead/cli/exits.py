"""Exit codes: part of the interface."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says; the classes in ``crosshead.errors`` carry theirs themselves."""

    OK = 0
    FAILED_INPUTS = 1
    REFUSED = 1
    USAGE = 2
    DATA = 3
    MODEL = 4
    TRACKING = 5
    MISSING_EXTRA = 6
    DRIFT = 7
    UNEXPECTED = 70
    INTERRUPTED = 130
    CLOSED_PIPE = 141


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED_INPUTS: "done, but some inputs could not be tagged, a run was not promoted, or a rerun differs",
    Exit.USAGE: "wrong usage or configuration",
    Exit.DATA: "data or files that cannot be used",
    Exit.MODEL: "encoder or saved tagger missing, damaged or foreign",
    Exit.TRACKING: "MLflow store cannot be used",
    Exit.MISSING_EXTRA: "an optional part of crosshead is not installed",
    Exit.DRIFT: "the text has changed: a check of `crosshead monitor` stands at alarm",
    Exit.UNEXPECTED: "a mistake in crosshead; please report it",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
    Exit.CLOSED_PIPE: "whoever read the output left before its end",
}

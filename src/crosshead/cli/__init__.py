"""The command line, `crosshead --help`; sub-commands are imported when they are called.

Exit codes are part of the interface: docs/reference/cli.md and `crosshead --help` list them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from crosshead.cli import ending
from crosshead.cli.exits import Exit
from crosshead.cli.group import ClosedPipeError, State, crosshead
from crosshead.cli.words import printable
from crosshead.environment import prepare_process
from crosshead.errors import CrossheadError
from crosshead.redaction import redact


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; no error of the user's making shows a traceback.

    Without ``argv`` the process is the command's own, and ends with it.
    """
    if argv is not None:
        return _run(argv)
    ending.begin()
    return ending.end_with(_run(None))


def _run(argv: Sequence[str] | None) -> int:
    state = State(debug=os.environ.get("CROSSHEAD_DEBUG", "") not in ("", "0"))
    prepare_process(debug=state.debug)
    try:
        code = crosshead.main(args=argv, prog_name="crosshead", standalone_mode=False, obj=state)
    except Exception as error:
        return _explain(error, state)
    except KeyboardInterrupt:
        _complain("interrupted")
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _explain(error: Exception, state: State) -> int:
    """Say on stderr what went wrong and return the exit code."""
    if isinstance(error, click.ClickException):
        error.show(told := io.StringIO())
        click.echo(redact(told.getvalue()), err=True, nl=False)
        return error.exit_code
    if isinstance(error, click.Abort):
        _complain("interrupted")
        return Exit.INTERRUPTED
    if isinstance(error, ClosedPipeError):
        _silence_stdout()
        return Exit.CLOSED_PIPE
    if state.debug:
        import traceback

        click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    if isinstance(error, CrossheadError):
        _complain(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        _silence_stdout()
        _complain(_about_file(error))
        return Exit.DATA
    _complain(f"unexpected {type(error).__name__}: {error}\nThis is a mistake in crosshead. {_how_to_debug(state)}")
    return Exit.UNEXPECTED


def _about_file(error: OSError) -> str:
    import errno

    remedies = {
        errno.ENOSPC: "free some space, or write to another disk",
        errno.EDQUOT: "free some space, or write to another disk",
        errno.EROFS: "the disk is read-only; write to another folder",
        errno.EACCES: "ask for the right to use it, or use another folder",
        errno.EPERM: "ask for the right to use it, or use another folder",
        errno.ENOENT: "correct the name",
        errno.EISDIR: "it is a folder; name a file",
    }
    names = " and ".join(repr(str(name)) for name in (error.filename, error.filename2) if name is not None)
    remedy = remedies.get(error.errno or 0)
    return f"{names + ': ' if names else ''}{error.strerror}{f'; {remedy}' if remedy else ''}"


def _how_to_debug(state: State) -> str:
    return "" if state.debug else "To see where: the same command with --debug, or CROSSHEAD_DEBUG=1."


def _complain(message: str) -> None:
    lines = (printable(line) for line in redact(message).splitlines())
    click.echo("crosshead: " + "\n  ".join(lines), err=True)


def _silence_stdout() -> None:
    """Let the interpreter's last flush go nowhere: what it would write to has left, or is full."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return

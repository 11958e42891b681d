"""`crosshead serve`."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.tag import model_option
from crosshead.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from crosshead.server.keys import Keys

NEEDED = ("fastapi", "filelock", "httptools", "prometheus_client", "pydantic", "uvicorn")
CORRECTIONS = Path("corrections") / "annotations.csv"
"""Below the project's folder."""
KEYED_REQUESTS_PER_S = 50.0
"""What one key may ask for by default, in the long run."""


@command(
    "crosshead serve",
    "curl -s localhost:8000/v1/tag -H 'content-type: application/json' -d '{\"texts\": [\"Shells fell at dawn.\"]}'",
    "crosshead serve --host 0.0.0.0 --api-keys keys.txt --workers 2",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes any that is free."
)
@model_option
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, each with its own model."
)
@click.option(
    "--api-keys",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keys that requests must carry, one a line, or name:key; CROSSHEAD_API_KEYS gives keys too.",
)
@click.option("--allow-host", metavar="NAME", multiple=True, help="Another name of this machine; only without keys.")
@click.option(
    "--corrections",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV file that corrections are appended to.  [default: corrections/annotations.csv of the project]",
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Requests a second for each key.  [default: 50 with keys]"
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds a request may take."
)
@click.option(
    "--log-format",
    type=click.Choice(("auto", "json", "text")),
    default="auto",
    show_default=True,
    help="auto writes text on a terminal, else JSON.",
)
def serve(
    host: str,
    port: int,
    model: str | None,
    workers: int,
    api_keys: Path | None,
    allow_host: tuple[str, ...],
    corrections: Path | None,
    rate: float | None,
    timeout: float,
    log_format: str,
) -> int:
    """Tag over HTTP, for programs and, at /, for people.

    Without keys only this machine is served. /openapi.json describes the API, docs/reference/serving.md all the rest.
    """
    _check_installed()
    from crosshead.loading import find, load_aside
    from crosshead.server.keys import read_keys

    keys = read_keys(api_keys)
    _check_host(host, keys)
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    with _listen(host, port) as listener:  # before the model is loaded, which takes seconds
        first = load_aside(model) if workers == 1 else None  # the imports below take their time as well
        from crosshead.server import process
        from crosshead.server.model import Named
        from crosshead.server.settings import LOOPBACK_HOSTS, ServerSettings

        settings = ServerSettings(
            keys=keys,
            keys_file=api_keys,
            hosts=(*LOOPBACK_HOSTS, *(name.lower() for name in allow_host)),
            corrections=corrections or _corrections(),
            requests_per_s=rate or (KEYED_REQUESTS_PER_S if keys else None),
            timeout_s=timeout,
            # What the registry holds is fetched, not looked at: only POST /v1/reload asks for it again.
            watch_s=0.0 if model is not None and model.startswith(("models:/", "runs:/")) else 1.0,
        )
        if first is None:
            find(model)  # said here once, and not by every worker
        else:
            first.result()
        _tell(host, listener, as_json=as_json)
        try:
            process.run(listener, Named(model, first=first), model, settings, workers=workers)
        except KeyboardInterrupt:  # uvicorn raises it again when it has stopped, as it was told to
            if not as_json:
                click.echo("crosshead: stopped", err=True)
            return Exit.INTERRUPTED
    return Exit.OK


def _check_host(host: str, keys: Keys | None) -> None:
    """Refuse addresses that other machines reach, unless requests must carry a key."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        local = False
    if not local and keys is None:
        raise ConfigError(
            f"host is {host!r}, which other machines may reach; without API keys only this machine is served: give "
            "--api-keys FILE or set CROSSHEAD_API_KEYS, or use localhost, 127.0.0.1 or ::1"
        )


def _check_installed() -> None:
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise MissingExtraError("crosshead serve", "serve")


def _corrections() -> Path | None:
    from crosshead.loading import project_root

    root = project_root()
    return root / CORRECTIONS if root else None


def _listen(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    try:
        return socket.create_server(
            (bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another with --port; 0 takes any free one"
        ) from error


def _tell(host: str, listener: socket.socket, *, as_json: bool) -> None:
    """Say where the server is, and begin its log."""
    from crosshead.server.logs import FIELDS, NAME, log_to

    log_to(as_json=as_json)
    place = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    if as_json:
        logging.getLogger(NAME).info("listening", extra={FIELDS: {"url": place}})
    else:
        click.echo(f"crosshead tags at {place}; Ctrl-C ends it", err=True)

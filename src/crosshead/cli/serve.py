"""`crosshead serve`."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import socket
import sys

import click

from crosshead.cli.exits import Exit
from crosshead.cli.group import command
from crosshead.cli.tag import model_option
from crosshead.errors import ConfigError, MissingExtraError


@command(
    "crosshead serve",
    "curl -s localhost:8000/v1/tag -H 'content-type: application/json' -d '{\"texts\": [\"Shells fell at dawn.\"]}'",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes any that is free."
)
@model_option
def serve(host: str, port: int, model: str | None) -> int:
    """Tag over HTTP, on this machine.

    POST /v1/tag takes {"text": "…"}, {"paragraphs": ["…"]} or {"texts": ["…"]}; /openapi.json describes it.
    """
    _check_host(host)
    _check_installed()
    import uvicorn

    from crosshead.loading import load
    from crosshead.server.app import create_app

    loaded = load(model)
    with _listen(host, port) as listener:
        _log_to_stderr()
        # No log of uvicorn's own: it would hold paths with their queries.
        config = uvicorn.Config(create_app(lambda: loaded), access_log=False, log_level="warning", server_header=False)
        place = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        click.echo(f"crosshead tags at {place} with {loaded.name} {loaded.version}; Ctrl-C ends it", err=True)
        uvicorn.Server(config).run(sockets=[listener])
    return Exit.OK


def _check_host(host: str) -> None:
    """Refuse addresses that other machines reach: there is no key to tell them apart yet."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ConfigError(
            f"host is {host!r}; only this machine is served, until requests can carry an API key: allowed are "
            "localhost, 127.0.0.1 and ::1; for other machines put a reverse proxy that checks who asks in front"
        )


def _check_installed() -> None:
    missing = [name for name in ("fastapi", "pydantic", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError("crosshead serve", "serve")


def _listen(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    try:
        return socket.create_server((bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another with --port; 0 takes any free one"
        ) from error


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("crosshead.server")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False

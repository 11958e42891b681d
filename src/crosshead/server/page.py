"""The page at ``/``: a few files that a browser runs as they are, and the gallery of example articles.

All of them are read once and answered from memory, so no path of a request ever reaches the file system.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, HTTPException, Request, Response

from crosshead.readers.formats import read_article

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Everything from this server and nothing inline; no script may turn a string into markup (trusted types).
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Names stay the same from version to version, so a browser asks each time; the answer is mostly an empty 304.
    "cache-control": "no-cache",
}
_STANDFIRST_CHARACTERS = 180

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """What is sent for one path."""

    body: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Send the page."""
    return _send("index.html", request)


@router.api_route("/page/{path:path}", methods=["GET", "HEAD"])
def file(path: str, request: Request) -> Response:
    """Send a file that the page is made of."""
    return _send(path, request)


def _send(path: str, request: Request) -> Response:
    found = files().get(path)
    if found is None:
        raise HTTPException(404)
    headers = HEADERS | {"etag": found.etag}
    asked = request.headers.get("if-none-match", "")
    if found.etag in (tag.strip().removeprefix("W/") for tag in asked.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


@cache
def files() -> Mapping[str, File]:
    """Return all files of the page by their path below ``/page/``."""
    return {path: _file(path, body) for path, body in _read()}


def _file(path: str, body: bytes) -> File:
    media_type = MEDIA_TYPES[path[path.rindex(".") :]]
    return File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _read() -> Iterator[tuple[str, bytes]]:
    here = resources.files("crosshead.server")
    for entry in _known(here / "page"):
        yield entry.name, entry.read_bytes()
    articles = {entry.name: entry.read_bytes() for entry in _known(here / "gallery")}
    for name, body in articles.items():
        yield f"gallery/{name}", body
    yield "gallery.json", json.dumps([_card(*item) for item in articles.items()], ensure_ascii=False).encode()


def _known(folder: Traversable) -> list[Traversable]:
    return sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(tuple(MEDIA_TYPES))), key=lambda entry: entry.name
    )


def _card(name: str, body: bytes) -> dict[str, str | int | None]:
    article = read_article(body.decode(), format="markdown")
    first = article.texts[0]
    standfirst = first if len(first) <= _STANDFIRST_CHARACTERS else f"{_shorten(first)} …"
    return {
        "name": name.removesuffix(".md"),
        "title": article.title,
        "standfirst": standfirst,
        "n_paragraphs": len(article.paragraphs),
    }


def _shorten(text: str) -> str:
    return text[:_STANDFIRST_CHARACTERS].rsplit(" ", 1)[0].rstrip(",;:–- ")

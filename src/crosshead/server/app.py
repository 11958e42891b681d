"""The HTTP application: `create_app` with a source of models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from crosshead import __version__
from crosshead.loading import Model
from crosshead.server import page, routes, scoring
from crosshead.server.errors import add_error_handlers
from crosshead.server.middleware import Bodies, Doors, Entry
from crosshead.server.model import LoadedOnce, Source
from crosshead.server.service import Service
from crosshead.server.settings import ServerSettings


def create_app(source: Source | Callable[[], Model], settings: ServerSettings | None = None) -> FastAPI:
    """Make the application; its ``state.service`` is what the routes share.

    Parameters
    ----------
    source
        Where models come from; or a function that gives one, called once, when the server starts.
    """
    settings = settings or ServerSettings()
    service = Service(LoadedOnce(source) if callable(source) else source, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="crosshead",
        summary="Tags the paragraphs of articles with section types.",
        version=__version__,
        lifespan=lifespan,
        # Those pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    routers = (routes.router, scoring.router, page.router)
    for router in routers:
        app.include_router(router)
    paths = frozenset(getattr(route, "path", "") for part in (app, *routers) for route in part.routes)
    add_error_handlers(app)
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(Doors, settings=settings)
    app.add_middleware(Entry, metrics=service.metrics, routes=paths)
    return app

"""The HTTP application: `create_app` with a function that loads the model."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request

from crosshead import __version__
from crosshead.limits import MAX_INPUT_BYTES
from crosshead.loading import Model
from crosshead.readers.formats import read_article
from crosshead.server.errors import add_error_handlers
from crosshead.server.middleware import AccessLog, BodyLimit
from crosshead.server.schemas import ERRORS, Health, ModelInfo, TaggedParagraph, TagRequest, TagResponse
from crosshead.tagger import Tag

router = APIRouter()


class Service:
    """The model, one request at a time: an engine that works on all cores gains nothing from two."""

    def __init__(self, model: Model) -> None:
        self.info = ModelInfo(name=model.name, version=model.version, digest=model.digest)
        self._tagger = model.tagger
        self._lock = threading.Lock()

    def tag(self, articles: Sequence[Sequence[str]]) -> list[Tag]:
        """Tag the paragraphs of articles, all in one list."""
        with self._lock:
            return [tag for tags in self._tagger.tag_articles(articles) for tag in tags]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


# A plain function: it runs in a worker thread and does not hold up other connections.
@router.post("/v1/tag", responses=ERRORS)
def tag(body: TagRequest, service: Annotated[Service, Depends(_service)]) -> TagResponse:
    """Tag the paragraphs of an article, or texts each on its own."""
    if body.text is not None:
        return _tag_text(body.text, body.format, service)
    articles = [body.paragraphs] if body.paragraphs is not None else [[text] for text in body.texts or []]
    tags = service.tag(articles)
    return TagResponse(
        paragraphs=[TaggedParagraph(index=i, **tag.as_dict()) for i, tag in enumerate(tags)], model=service.info
    )


@router.get("/healthz")
def healthz(service: Annotated[Service, Depends(_service)]) -> Health:
    """Say that the server is up and holds a model."""
    return Health()


def _tag_text(text: str, format: str, service: Service) -> TagResponse:
    article = read_article(text, format=format)
    tags = service.tag([article.texts])
    return TagResponse(
        paragraphs=list(map(_tagged, article.paragraphs, tags)),
        title=article.title,
        left_out=dict(article.left_out),
        source=None if article.source == text else article.source,
        model=service.info,
    )


def _tagged(paragraph: Any, tag: Tag) -> TaggedParagraph:
    return TaggedParagraph(
        index=paragraph.index,
        start=paragraph.start,
        end=paragraph.end,
        headings=list(paragraph.headings),
        **tag.as_dict(),
    )


def create_app(load: Callable[[], Model], *, max_body_bytes: int = MAX_INPUT_BYTES) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    load
        Gives the model; called once, when the server starts.
    max_body_bytes
        Larger requests are refused before they are read to the end.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service(load())
        yield

    app = FastAPI(
        title="crosshead",
        summary="Tags the paragraphs of articles with section types.",
        version=__version__,
        lifespan=lifespan,
        # Those pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(AccessLog)
    return app

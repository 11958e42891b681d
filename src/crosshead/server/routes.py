"""The API, version 1, and what watches over a server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from crosshead.articles import Article
from crosshead.errors import CrossheadError, DataError
from crosshead.limits import MAX_PARAGRAPHS
from crosshead.server import answers
from crosshead.server.errors import RefusedError
from crosshead.server.metrics import CONTENT_TYPE
from crosshead.server.middleware import KEY_NAME
from crosshead.server.model import Served
from crosshead.server.schemas import (
    TAGGING_ERRORS,
    CorrectionRequest,
    CorrectionResponse,
    ExplainRequest,
    ExplainResponse,
    Health,
    ModelResponse,
    ReloadResponse,
    TagRequest,
    TagResponse,
    responses,
)
from crosshead.server.service import Service
from crosshead.server.stream import Stream
from crosshead.tagging.explain import MAX_CHARACTERS as MAX_EXPLAINED
from crosshead.tagging.tagger import Tag
from crosshead.text import MAX_CHARACTERS

router = APIRouter()
JSON = "application/json"
JSONL = "application/x-ndjson"


def service_of(request: Request) -> Service:
    """Return what the application's routes share."""
    service: Service = request.app.state.service
    return service


Shared = Annotated[Service, Depends(service_of)]


@router.post("/v1/tag", response_model=TagResponse, responses=TAGGING_ERRORS)
async def tag(body: TagRequest, service: Shared) -> Response:
    """Tag the paragraphs of an article, or texts each on its own."""
    article: Article | None = None
    if body.text is not None:
        article = await service.read(body.text, body.format)
        articles: list[list[str]] = [list(article.texts)]
    else:
        articles = [body.paragraphs] if body.paragraphs is not None else [[text] for text in body.texts or []]
    if sum(map(len, articles)) > MAX_PARAGRAPHS:
        raise DataError(f"the article has more than {MAX_PARAGRAPHS:,} paragraphs; send a part at a time")

    def write(served: Served, tags: list[list[Tag]]) -> bytes:
        texts, flat = (part for paragraphs in articles for part in paragraphs), (t for found in tags for t in found)
        return answers.dumps(answers.tag_answer(texts, flat, served.info, article, body.text))

    return Response(await service.tag(articles, write), media_type=JSON)


_LINES = (
    '{"id": "7", "text": "Two columns crossed the river before dawn."}\n'
    '{"article_id": "a", "paragraphs": ["Two columns crossed the river.", "Envoys met in the lake town."]}\n'
)
_STREAM_BODY: dict[str, Any] = {
    "requestBody": {"required": False, "content": {JSONL: {"schema": {"type": "string"}, "example": _LINES}}},
}


@router.post(
    "/v1/tag/stream",
    openapi_extra=_STREAM_BODY,
    response_class=Response,
    responses={200: {"content": {JSONL: {"schema": {"type": "string"}}}}, **responses(503)},
)
async def tag_stream(service: Shared) -> Response:
    """Tag a feed in JSONL: a line out for each line in, in order, while more come in.

    The contract is that of `crosshead tag`: a line that cannot be used gives `{"error": …, "line": n}` in its place.
    A body of any length may be sent; read while you write.
    """
    if service.n_streams >= service.settings.max_streams:
        raise RefusedError(429, "overloaded", "too many streams at once; ask again later", retry_after=5)
    return Stream(service)


@router.post("/v1/explain", response_model=ExplainResponse, responses=TAGGING_ERRORS)
async def explain(body: ExplainRequest, service: Shared) -> Response:
    """Name the sentences and words that moved the decision, by leaving each out."""
    return Response(await service.explain(body.paragraph, body.before, body.after), media_type=JSON)


@router.post(
    "/v1/corrections",
    status_code=201,
    response_model=CorrectionResponse,
    responses=responses(400, 408, 409, 413, 415, 422, 503),
)
async def correct(
    body: CorrectionRequest,
    request: Request,
    service: Shared,
    idempotency_key: Annotated[
        str,
        Header(
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="Names this correction, as a UUID; sent again with the same key it is kept once.",
        ),
    ],
) -> CorrectionResponse:
    """Keep the section type that a reader gives a paragraph; when this answers, it is on the disk."""
    known = service.keeper.current.tagger.section_types
    if body.section_type not in known:
        raise DataError(f"section_type is none of this model's: {', '.join(known)}")
    annotator = str(request.scope.get(KEY_NAME, ""))
    key = f"{annotator}\0{idempotency_key}"
    # Shielded: a client that leaves does not stop a correction half-way, and one that asks again finds it.
    saved = asyncio.shield(asyncio.to_thread(service.corrections.add, body, key, annotator))
    name = await saved
    service.metrics.corrections.labels(body.section_type).inc()
    return CorrectionResponse(id=name)


@router.get("/v1/model", response_model=ModelResponse, responses=responses(503))
async def model(service: Shared) -> Response:
    """Give the card of the model that answers."""
    settings = service.settings
    limits = {
        "body_bytes": settings.max_body_bytes,
        "paragraphs": MAX_PARAGRAPHS,
        "paragraph_characters": MAX_CHARACTERS,
        "explained_characters": MAX_EXPLAINED,
        "tokens": settings.max_tokens,
    }
    card = await asyncio.to_thread(answers.card, service.keeper.current.model)
    told = {**card, "takes_corrections": service.corrections.are_taken, "limits": limits}
    return Response(answers.dumps(told), media_type=JSON)


@router.post("/v1/reload", responses=responses(409, 503))
async def reload(service: Shared) -> ReloadResponse:
    """Take the model that the champion's pointer, or the folder, holds now; a broken one is refused."""
    try:
        changed = await asyncio.to_thread(service.keeper.reload)
    except CrossheadError as error:
        message = "the new model cannot be used, the old one goes on; the server's log says why"
        raise RefusedError(409, "broken_model", message) from error
    return ReloadResponse.model_validate({"changed": changed, "model": service.keeper.current.info})


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process is up."""
    return Health()


@router.get("/readyz", responses=responses(503))
async def readyz(service: Shared) -> Health:
    """Say that requests are answered: a model is there and the server is not stopping."""
    if service.stopping.is_set():
        raise RefusedError(503, "stopping", "the server is stopping", retry_after=2)
    assert service.keeper.current
    return Health()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses()},
)
async def metrics(service: Shared) -> Response:
    """Give all numbers in the format of Prometheus."""
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

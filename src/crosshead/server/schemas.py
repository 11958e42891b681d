"""What goes over the wire. Errors never repeat what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from crosshead.limits import MAX_PARAGRAPHS
from crosshead.tagging.explain import MAX_CHARACTERS as MAX_EXPLAINED
from crosshead.text import MAX_CHARACTERS

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARACTERS)]
Line = StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")
"""No line ends and no control characters: it becomes a cell of a CSV file."""

_PARAGRAPHS: list[JsonValue] = [
    "The column reached the river before dawn and held both banks by noon, the regional command said.",
    "The two foreign ministers agreed to keep the crossing open for aid convoys until the end of the month.",
]
_MODEL: dict[str, JsonValue] = {"name": "crosshead", "version": "3", "digest": "9f2c…"}


MAX_FIELDS = 100


def _request(*examples: dict[str, JsonValue]) -> ConfigDict:
    return ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": list(examples)})


class Request(BaseModel):
    """What is sent; a field that is not known is refused."""

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: object) -> object:
        """Refuse a heap of fields at once: a problem for each takes seconds to write down."""
        if isinstance(given, dict) and len(given) > MAX_FIELDS:
            raise ValueError(f"has more than {MAX_FIELDS} fields; /openapi.json lists those there are")
        return given


class TagRequest(Request):
    """An article as one text, the paragraphs of an article, or texts that have nothing to do with each other."""

    model_config = _request(
        {"text": f"# River line\n\n{_PARAGRAPHS[0]}\n\n## Reactions\n\n{_PARAGRAPHS[1]}", "format": "markdown"},
        {"paragraphs": _PARAGRAPHS},
        {"texts": _PARAGRAPHS},
    )

    text: Annotated[str, Field(min_length=1)] | None = Field(default=None, description="An article; see `format`.")
    format: Literal["auto", "markdown", "html", "text"] = Field(
        default="auto", description="How `text` is written; `auto` looks at it."
    )
    paragraphs: Annotated[list[Text], Field(max_length=MAX_PARAGRAPHS)] | None = Field(
        default=None, description="The paragraphs of one article in order; neighbours inform each other."
    )
    texts: Annotated[list[Text], Field(max_length=MAX_PARAGRAPHS)] | None = Field(
        default=None, description="Texts that are tagged each on its own."
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [name for name in ("text", "paragraphs", "texts") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of text, paragraphs and texts; got {' and '.join(given) or 'none of them'}")
        return self


class ExplainRequest(Request):
    """A paragraph, and the paragraphs of its article that stand before and after it."""

    model_config = _request({"paragraph": _PARAGRAPHS[0], "before": [], "after": [_PARAGRAPHS[1]]})

    paragraph: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EXPLAINED)]
    before: Annotated[list[Text], Field(max_length=MAX_PARAGRAPHS)] = Field(
        default=[], description="In order; neighbours inform the decision."
    )
    after: Annotated[list[Text], Field(max_length=MAX_PARAGRAPHS)] = []


class CorrectionRequest(Request):
    """The section type that a reader gives a paragraph."""

    model_config = _request(
        {
            "article_id": "river-line",
            "paragraph": 1,
            "text": _PARAGRAPHS[1],
            "section_type": "international_role",
            "annotator": "ana",
            "note": "the ministers act from outside",
        }
    )

    article_id: Annotated[str, Line, StringConstraints(min_length=1, max_length=200)]
    paragraph: Annotated[int, Field(ge=0, lt=MAX_PARAGRAPHS)] = Field(
        description="Its number in the article, from 0, headings not counted: `index` of the answer."
    )
    text: Text = Field(description="The paragraph as it was answered; only its sha256 is kept.")
    section_type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    annotator: Annotated[str, Line, StringConstraints(max_length=100)] = ""
    note: Annotated[str, StringConstraints(max_length=2000)] = ""


class Scored(BaseModel):
    """What the tagger says of a paragraph."""

    section_type: str = Field(description="The most probable section type, also when `abstained`.")
    confidence: float = Field(description="Calibrated probability of `section_type`.")
    scores: dict[str, float] = Field(description="Calibrated probability of every section type.")
    abstained: bool = Field(description="Not sure: the confidence is below the model's threshold.")
    label_set: list[str] | None = Field(
        description="Section types that hold the true one as often as the model's `label_set_coverage` says; null "
        "where it promises nothing."
    )
    truncated_tokens: int = Field(description="Tokens at the paragraph's end that the encoder did not see.")
    out_of_distribution: bool | None = Field(
        description="Text of another kind than that of training, such as a recipe or another language; null where the "
        "model cannot tell."
    )


class TaggedParagraph(Scored):
    """A paragraph and what the tagger says of it."""

    index: int = Field(description="Counts from 0, in the order of the request.")
    text: str
    start: int | None = Field(
        default=None,
        description="Where the paragraph begins, in characters (Unicode code points) of the article's text.",
    )
    end: int | None = Field(default=None, description="Where it ends; `text[start:end]` is the paragraph.")
    headings: list[str] | None = Field(
        default=None, description="Headings above it, outermost first; the title left out."
    )


class ModelInfo(BaseModel):
    """Which model answered."""

    name: str
    version: str
    digest: str = Field(description="sha256 of the bundle's manifest, which holds the sha256 of every file.")


_TAGGED: dict[str, JsonValue] = {
    "section_type": "ground_developments",
    "confidence": 0.93,
    "scores": {"ground_developments": 0.93, "regional_stability": 0.04, "international_role": 0.02, "other": 0.01},
    "abstained": False,
    "label_set": ["ground_developments"],
    "truncated_tokens": 0,
    "out_of_distribution": False,
    "index": 0,
    "text": _PARAGRAPHS[0],
    "start": 14,
    "end": 110,
    "headings": [],
}


class TagResponse(BaseModel):
    """The tagged paragraphs, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"title": "River line", "source": None, "paragraphs": [_TAGGED], "left_out": {}, "model": _MODEL}
            ]
        }
    )

    title: str | None = Field(default=None, description="Title of the article, where `text` was given.")
    source: str | None = Field(
        default=None,
        description="The text that offsets count in, where it is not the `text` that was sent: what was extracted from "
        "HTML, or the same text with other line ends.",
    )
    paragraphs: list[TaggedParagraph]
    left_out: dict[str, int] | None = Field(
        default=None, description="What in `text` is no paragraph, by kind: tables, lists, code."
    )
    model: ModelInfo


class Part(BaseModel):
    """A sentence or word of the paragraph."""

    text: str
    start: int
    end: int = Field(description="`paragraph[start:end]` is the part.")
    effect: float = Field(
        description="Log-odds of the decided section type with the part minus without it: positive spoke for the "
        "section type, negative against it."
    )


class ExplainResponse(Scored):
    """What was decided, and what moved the decision."""

    sentences: list[Part] = Field(description="In the order of the paragraph.")
    words: list[Part] = Field(description="The strongest first; words that carry little are left out.")
    model: ModelInfo


class CorrectionResponse(BaseModel):
    """The correction is on the disk."""

    id: str


class SectionType(BaseModel):
    """A section type of the taxonomy."""

    name: str
    description: str


class Limits(BaseModel):
    """What one request may be at most."""

    body_bytes: int
    paragraphs: int
    paragraph_characters: int
    explained_characters: int
    tokens: int


class Score(BaseModel):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float


class ModelResponse(ModelInfo):
    """The card of the model that answers."""

    section_types: list[SectionType] = Field(description="In the order of every list of scores.")
    threshold: float = Field(description="Confidence below which a paragraph is `abstained`.")
    risk: float = Field(description="Share of mistakes among the others that `threshold` was chosen for.")
    label_set_coverage: float | None = Field(description="Share of label sets that hold the true section type.")
    scores: dict[str, float | Score] | None = Field(
        description="Measured on held-out articles: by the bundle itself, or by this project's evaluation; else null."
    )
    encoder: dict[str, str | int] | None = Field(description="What turns texts into vectors; null where nothing does.")
    about: dict[str, Any] = Field(
        description="What else the bundle says of itself: views, digests of data and settings."
    )
    takes_corrections: bool
    limits: Limits


class ReloadResponse(BaseModel):
    """Whether another model answers from now on, and which."""

    changed: bool
    model: ModelInfo


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """One thing that is wrong, and where in the request."""

    where: str = Field(examples=["paragraphs.3"])
    message: str


class Error(BaseModel):
    """Why a request was not answered."""

    kind: str = Field(examples=["invalid"], description="A word for programs.")
    message: str = Field(examples=["the request cannot be used"])
    problems: list[Problem] = Field(default=[])


class ErrorResponse(BaseModel):
    """What every request gets that is not answered."""

    error: Error


_BY_PATH: dict[str, type[BaseModel]] = {
    "/v1/tag": TagRequest,
    "/v1/explain": ExplainRequest,
    "/v1/corrections": CorrectionRequest,
}


def field_names(path: str) -> Sequence[str]:
    """Return the fields of a request's body."""
    model = _BY_PATH.get(path)
    return list(model.model_fields) if model else []


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors of a route for the OpenAPI document."""
    return {status: {"model": ErrorResponse, "description": _WHY[status]} for status in sorted({*statuses, *_ALWAYS})}


_ALWAYS = (401, 403, 429, 500)
_WHY = {
    400: "The body is no JSON, or not UTF-8.",
    401: "The server wants a key.",
    403: "Called by a name or from a page that the server does not answer to.",
    408: "The body did not arrive in time.",
    409: "The Idempotency-Key was used for another correction, or the new model is broken.",
    413: "The body is larger than the server takes.",
    415: "The body is not said to be JSON.",
    422: "The request cannot be used, or holds no paragraph.",
    429: "Too many requests: of this key, or more than can be answered in time; see Retry-After.",
    500: "A mistake in the server.",
    503: "The server is starting or stopping, or the disk refuses.",
    504: "Not answered in time.",
}
TAGGING_ERRORS = responses(400, 408, 413, 415, 422, 503, 504)

"""What goes over the wire. Errors never repeat what was sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from crosshead.limits import MAX_PARAGRAPHS
from crosshead.text import MAX_CHARACTERS

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARACTERS)]

_PARAGRAPHS: list[JsonValue] = [
    "The column reached the river before dawn and held both banks by noon, the regional command said.",
    "The two foreign ministers agreed to keep the crossing open for aid convoys until the end of the month.",
]


class TagRequest(BaseModel):
    """An article as one text, the paragraphs of an article, or texts that have nothing to do with each other."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"text": f"# River line\n\n{_PARAGRAPHS[0]}\n\n## Reactions\n\n{_PARAGRAPHS[1]}", "format": "markdown"},
                {"paragraphs": _PARAGRAPHS},
                {"texts": _PARAGRAPHS},
            ]
        },
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


class TaggedParagraph(BaseModel):
    """A paragraph and what the tagger says of it."""

    index: int = Field(description="Counts from 0, in the order of the request.")
    start: int | None = Field(
        default=None,
        description="Where the paragraph begins, in characters (Unicode code points) of the article's text.",
    )
    end: int | None = Field(default=None, description="Where it ends; `text[start:end]` is the paragraph.")
    headings: list[str] | None = Field(
        default=None, description="Headings above it, outermost first; the title left out."
    )
    section_type: str = Field(description="The most probable section type, also when `abstained`.")
    confidence: float = Field(description="Calibrated probability of `section_type`.")
    scores: dict[str, float] = Field(description="Calibrated probability of every section type.")
    abstained: bool = Field(description="Not sure: the confidence is below the model's threshold.")
    truncated_tokens: int = Field(description="Tokens at the paragraph's end that the encoder did not see.")


class ModelInfo(BaseModel):
    """Which model answered."""

    name: str
    version: str
    digest: str = Field(description="sha256 of the bundle's manifest, which holds the sha256 of every file.")


class TagResponse(BaseModel):
    """The tagged paragraphs, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paragraphs": [
                        {
                            "index": 0,
                            "start": 14,
                            "end": 110,
                            "headings": [],
                            "section_type": "ground_developments",
                            "confidence": 0.93,
                            "scores": {
                                "ground_developments": 0.93,
                                "regional_stability": 0.04,
                                "international_role": 0.02,
                                "other": 0.01,
                            },
                            "abstained": False,
                            "truncated_tokens": 0,
                        }
                    ],
                    "title": "River line",
                    "left_out": {},
                    "source": None,
                    "model": {"name": "crosshead", "version": "3", "digest": "9f2c…"},
                }
            ]
        }
    )

    paragraphs: list[TaggedParagraph]
    title: str | None = Field(default=None, description="Title of the article, where `text` was given.")
    left_out: dict[str, int] | None = Field(
        default=None, description="What in `text` is no paragraph, by kind: tables, lists, code."
    )
    source: str | None = Field(
        default=None,
        description="The text that offsets count in, where it is not the `text` that was sent: what was extracted from "
        "HTML, or the same text with other line ends.",
    )
    model: ModelInfo


class Health(BaseModel):
    """The server is up and holds a model."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """One thing that is wrong, and where in the request."""

    where: str = Field(examples=["paragraphs.3"])
    message: str


class Error(BaseModel):
    """Why a request was not answered."""

    message: str = Field(examples=["the request cannot be used"])
    problems: list[Problem] = Field(default=[])


class ErrorResponse(BaseModel):
    """What every request gets that is not answered."""

    error: Error


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The body is no JSON, or not UTF-8."},
    413: {"model": ErrorResponse, "description": "The body is larger than the server takes."},
    422: {"model": ErrorResponse, "description": "The request cannot be used, or holds no paragraph."},
    500: {"model": ErrorResponse, "description": "A mistake in the server."},
}
"""Errors of every route, for the OpenAPI document."""

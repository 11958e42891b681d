"""What the values of the configuration may be, as far as that can be told without the libraries of training.

A model here is a section of `crosshead config show`. What is not named is refused. `schema` adds the classifiers, which
are scikit-learn's: a wrong number need not wait until that is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crosshead.composing import nearest
from crosshead.encoders.tuned import Tuned
from crosshead.errors import ConfigError
from crosshead.redaction import redact
from crosshead.search.space import SearchSettings
from crosshead.tagging.decoding import DecoderSpec

LARGEST_SEED = 2**32 - 1
"""What numpy and scikit-learn take."""
Share = Annotated[float, Field(gt=0, lt=1)]


def _no_empty_name(value: str) -> str:
    if not value.strip():
        raise ValueError("name a file, a folder or a pattern; an empty name is none")
    return value


def _some_names(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("name the articles to hold out, or null to hold out corpus.test_share of all")
    return value


FileName = Annotated[str, AfterValidator(_no_empty_name)]


def _no_empty_source(value: str) -> str:
    if not value.strip():
        raise ValueError(
            "name a folder with a sentence-transformers model, a model, or 'package:<name>'; to do without an encoder, "
            "say encoder=tfidf"
        )
    return value


Source = Annotated[str, AfterValidator(_no_empty_source)]
"""What `encoders.source` can find."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


class CorpusSettings(_Settings):
    """Where the articles are and how they become a paragraph table."""

    articles: list[FileName]
    annotations: Path | None
    contrast_sets: Path | None
    single_paragraphs: Path | None = None
    """Labelled paragraphs of no article, which are only trained on."""
    labels: Literal["annotations", "headings", "both", "given"]
    """Given: the articles' own table names a section type for each paragraph."""
    licence: str | None = None
    """Of the articles' texts; the model card states it."""
    test_articles: Annotated[list[FileName], AfterValidator(_some_names)] | None = None
    """Articles that are held out, where they were chosen beforehand; else ``test_share`` of all are."""
    test_share: float = Field(gt=0, lt=1)
    boilerplate: Literal["leave_out", "keep"] = "leave_out"
    """What happens to paragraphs that return in many articles."""
    duplicate_threshold: float = Field(gt=0, le=1)


class EncoderSettings(_Settings):
    """Which sentence-transformers model turns text into vectors."""

    name: str
    source: Source | None
    sha256: str | None
    prompt: str
    max_tokens: int | None = Field(default=None, ge=8)
    engine: Literal["auto", "openvino", "onnxruntime", "torch"]
    kind: Literal["graph", "static"] = "graph"
    """The model itself, or token vectors distilled from it."""
    dimensions: int = Field(default=256, ge=1)
    """Of a static encoder."""
    long: Literal["cut", "windows"] = "cut"
    """What happens to a paragraph beyond ``max_tokens``."""
    finetuned: bool = False
    """Whether the source must be a folder that `crosshead finetune` wrote, with its note of what it has seen."""

    def tuned(self) -> Tuned | None:
        """Read what the encoder has seen; None where it was not fine-tuned here.

        Raises
        ------
        EncoderError
            If it must say so and does not.
        """
        return Tuned.of(self.source, required=self.finetuned)

    def options(self) -> dict[str, Any]:
        """Return what `encoders.open.open_encoder` takes besides the source."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "prompt": self.prompt,
            "max_tokens": self.max_tokens,
            "engine": self.engine,
            "kind": self.kind,
            "n_dimensions": self.dimensions,
            "long": self.long,
            "finetuned": self.finetuned,
        }


class ViewValues(_Settings):
    """One look at a paragraph."""

    kind: Literal["paragraph", "sentence", "tfidf"]
    weight: float = Field(gt=0)
    classifier: Any = None
    n_max: int = Field(default=2, ge=1, le=4)
    min_df: int = Field(default=2, ge=1)


class CalibrationSettings(_Settings):
    """How log-probabilities become probabilities, and when the tagger says "not sure"."""

    method: Literal["temperature", "none"]
    risk: float = Field(gt=0, lt=1)


class DecoderSettings(_Settings):
    """How the other paragraphs of an article count."""

    kind: Literal["neighbours", "sequence"] = "neighbours"
    weight: float = Field(ge=0, le=1)
    l2: float = Field(default=1e-3, gt=0)
    """Of a sequence."""

    @property
    def neighbour_weight(self) -> float:
        """Of a tagger that is made without labels: a sequence cannot be fitted then, and its weight means more."""
        return self.weight if self.kind == "neighbours" else 0.0

    def spec(self) -> DecoderSpec:
        """Return it as training takes it."""
        return DecoderSpec(self.kind, self.weight, self.l2)


def _has_a_letter(value: str) -> str:
    if not value.strip():
        raise ValueError("give the experiment a name of at least one letter")
    return value


def _no_marks(value: str) -> str:
    if set(value) & set("/:"):
        raise ValueError("a registered model's name cannot hold '/' or ':'; write another one")
    return value


Experiment = Annotated[str, AfterValidator(_has_a_letter)]
ModelName = Annotated[str, AfterValidator(_no_marks)]


class TrackingSettings(_Settings):
    """Where runs are recorded."""

    uri: str | None = Field(repr=False)
    """With its password, if it has one; `Settings.resolved`, which is recorded and shown, holds none."""
    experiment: Experiment
    registered_model: ModelName
    enabled: bool
    log_model: bool


class PromotionSettings(_Settings):
    """What a run must reach to become the champion."""

    level: float = Field(gt=0.5, lt=1)
    """Confidence of the one-sided bounds."""
    margin: float = Field(ge=0, lt=1)
    """F1 that a section type may lose."""
    max_ece: float = Field(gt=0, le=1)
    max_latency_ratio: float = Field(gt=0)
    max_mb: float = Field(gt=0)
    n_resamples: int = Field(ge=200)


class FinetuneSettings(_Settings):
    """How `crosshead finetune` teaches an encoder; `upper_layers.Recipe` says what each means."""

    layers: int = Field(ge=1)
    epochs: int = Field(ge=1, le=100)
    learning_rate: float = Field(gt=0, lt=0.1)
    layer_decay: float = Field(gt=0, le=1)
    batch_tokens: int = Field(ge=64)
    label_smoothing: float = Field(ge=0, lt=1)
    average: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=8)
    unseen_share: Share
    """Of the training articles: kept from the encoder, so that cross-validation and calibration stay honest."""
    output: str


class Values(_Settings):
    """Everything a stage needs to know; what is built from plain values may still be plain here."""

    root: Path
    seed: int = Field(ge=0, le=LARGEST_SEED)
    folds: int = Field(ge=2)
    curve_shares: list[Share]
    """Parts of the articles that are trained on besides, for the learning curve of the report."""
    on_unreadable: Literal["stop", "skip"]
    cache_dir: Path
    prepared_dir: Path
    model_dir: Path
    reports_dir: Path
    taxonomy: Any
    corpus: CorpusSettings
    encoder: EncoderSettings
    views: Mapping[str, ViewValues] = Field(min_length=1)
    classifier: Any
    calibration: CalibrationSettings
    decoder: DecoderSettings
    tracking: TrackingSettings
    search: SearchSettings | None = None
    """What `crosshead search` varies; nothing else looks at it."""
    promotion: PromotionSettings | None = None
    """The gate of `crosshead promote`; nothing else looks at it."""
    finetune: FinetuneSettings | None = None
    """How `crosshead finetune` teaches; nothing else looks at it."""
    resolved: dict[str, Any] = Field(repr=False)
    """The composed configuration as plain values, for the record: no password of ``tracking.uri``."""
    overrides: tuple[str, ...] = Field(default=(), repr=False)
    """What was given beside the files of conf/, as it was; it is in all of the above already."""


def check(plain: Mapping[str, Any]) -> None:
    """Check a composed configuration, classifiers and taxonomy left out.

    Raises
    ------
    ConfigError
        Naming the dotted key, what it got, and the nearest spelling or what is allowed.
    """
    built = {"root": Path(), "resolved": {}, "overrides": ()}
    missing = {name: None for name in ("taxonomy", "classifier") if name not in plain}  # theirs to say
    try:
        Values.model_validate({**plain, **missing, **built})
    except ValidationError as error:
        raise ConfigError(mistakes(error)) from error


def mistakes(error: ValidationError) -> str:
    """Write one line a mistake: the dotted key, what it got, what is wrong, the nearest spelling."""
    lines = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            lines.append(f"{key!r} is no configuration key{nearest(key, _known_keys(mistake['loc']))}")
        elif mistake["type"] == "missing":
            lines.append(f"{key!r} is missing; give it a value")
        else:
            told = mistake["msg"].removeprefix("Value error, ")
            given = f" is {mistake['input']!r}" if not isinstance(mistake["input"], Mapping) else ""
            is_single = mistake["type"] == "list_type" and isinstance(mistake["input"], str | int | float)
            remedy = f"; write [{mistake['input']}]" if is_single else ""
            lines.append(f"{key}{given}: {told[0].lower()}{told[1:]}{remedy}")
    return redact("\n".join(lines))


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed beside a mistaken one."""
    models: list[type[BaseModel]] = [Values]
    for part in location[:-1]:
        fields = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        # A part that is no field is a name of the user's own, of a view or a dimension of a search.
        models = [found for field in fields for found in models_in(field.annotation)] or models
    prefix = "".join(f"{part}." for part in location[:-1])
    return [f"{prefix}{name}" for model in models for name in model.model_fields]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field's type is made of."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_in(part)]

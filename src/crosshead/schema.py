"""What the configuration holds, typed and checked field by field; `settings` composes it.

A model here is a section of `crosshead config show`. What is not named is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf
from sklearn.base import ClassifierMixin

from crosshead.encoders.tuned import Tuned
from crosshead.search.space import SearchSettings
from crosshead.tagging.decoding import DecoderSpec
from crosshead.taxonomy import Taxonomy
from crosshead.training.views import ViewSpec

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
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


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


class ViewSettings(_Settings):
    """One look at a paragraph."""

    kind: Literal["paragraph", "sentence", "tfidf"]
    weight: float = Field(gt=0)
    classifier: InstanceOf[ClassifierMixin] | None = None
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


class TrackingSettings(_Settings):
    """Where runs are recorded."""

    uri: str | None
    experiment: str
    registered_model: str
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


class Settings(_Settings):
    """Everything a stage needs to know."""

    root: Path
    seed: int = Field(ge=0)
    folds: int = Field(ge=2)
    curve_shares: list[Share]
    """Parts of the articles that are trained on besides, for the learning curve of the report."""
    on_unreadable: Literal["stop", "skip"]
    cache_dir: Path
    prepared_dir: Path
    model_dir: Path
    reports_dir: Path
    taxonomy: InstanceOf[Taxonomy]
    corpus: CorpusSettings
    encoder: EncoderSettings
    views: dict[str, ViewSettings] = Field(min_length=1)
    classifier: InstanceOf[ClassifierMixin]
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
    """The composed configuration as plain values, for the record."""
    overrides: tuple[str, ...] = ()
    """What was given beside the files of conf/; it is in all of the above already."""

    def view_specs(self) -> list[ViewSpec]:
        """Return the views as training takes them; without an encoder only those on words remain."""
        wanted = {name: view for name, view in self.views.items() if self.encoder.source or view.kind == "tfidf"}
        if not wanted:
            wanted = {"tfidf": ViewSettings(kind="tfidf", weight=1.0)}
        return [
            ViewSpec(name, view.kind, view.classifier or self.classifier, view.weight, view.n_max, view.min_df)
            for name, view in wanted.items()
        ]

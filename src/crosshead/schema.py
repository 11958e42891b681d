"""What the configuration holds, typed, with the classifiers built; `settings` composes it, `values` checks the rest."""

from __future__ import annotations

from pydantic import Field, InstanceOf
from sklearn.base import ClassifierMixin

from crosshead.taxonomy import Taxonomy
from crosshead.training.views import ViewSpec
from crosshead.values import EncoderSettings, FinetuneSettings, PromotionSettings, Values, ViewValues

__all__ = ["EncoderSettings", "FinetuneSettings", "PromotionSettings", "Settings", "ViewSettings"]


class ViewSettings(ViewValues):
    """One look at a paragraph, and what it is worth in the blend."""

    classifier: InstanceOf[ClassifierMixin] | None = None


class Settings(Values):
    """Everything a stage needs to know."""

    taxonomy: InstanceOf[Taxonomy]
    views: dict[str, ViewSettings] = Field(min_length=1)
    classifier: InstanceOf[ClassifierMixin]

    def view_specs(self) -> list[ViewSpec]:
        """Return the views as training takes them; without an encoder only those on words remain."""
        wanted = {name: view for name, view in self.views.items() if self.encoder.source or view.kind == "tfidf"}
        if not wanted:
            wanted = {"tfidf": ViewSettings(kind="tfidf", weight=1.0)}
        return [
            ViewSpec(name, view.kind, view.classifier or self.classifier, view.weight, view.n_max, view.min_df)
            for name, view in wanted.items()
        ]

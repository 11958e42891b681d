"""The baseline of `serving.py` as an MLflow model from code: sentence-transformers and LogisticRegression."""

from __future__ import annotations

from typing import Any

import mlflow


class Baseline(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        import skops.io
        from sentence_transformers import SentenceTransformer

        self.encoder = SentenceTransformer(context.artifacts["encoder"], device="cpu", local_files_only=True)
        self.classifier = skops.io.load(context.artifacts["classifier"])

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        vectors = self.encoder.encode(list(model_input), show_progress_bar=False, normalize_embeddings=True)
        return [str(label) for label in self.classifier.predict(vectors)]


mlflow.models.set_model(Baseline())

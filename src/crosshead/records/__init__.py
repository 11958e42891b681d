"""What a run leaves behind: MLflow runs, items, predictions, where a model comes from."""

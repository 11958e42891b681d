"""The tagger and its parts: numpy only."""

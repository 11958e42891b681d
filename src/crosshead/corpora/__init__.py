"""The paragraph table: articles, annotations, near-duplicates and splits become labelled rows."""

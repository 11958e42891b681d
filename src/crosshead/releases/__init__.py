"""From a model to the champion: registry, gate, promotion, pointer."""

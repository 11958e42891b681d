"""What the server counts, for Prometheus. No label ever holds text of a request."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from crosshead.tagging.tagger import Tag

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable: the folder through which the processes of ``--workers`` add up their numbers."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PARAGRAPHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)


class Metrics:
    """One set of numbers, in a registry of its own: several applications may live in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"crosshead_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"crosshead_{name}", what, labels, registry=registry, buckets=tuple(buckets))

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"crosshead_{name}", what, labels, registry=registry, multiprocess_mode="livesum")

        self.requests = counter("requests", "Requests answered.", "method", "route", "status")
        self.request_seconds = histogram("request_seconds", "From headers to the end of the answer.", _SECONDS, "route")
        self.errors = counter("errors", "Requests, and lines of streams, that were not answered.", "kind")
        self.queue_seconds = histogram("queue_seconds", "From a request's body to its first batch.", _SECONDS)
        self.queue_requests = gauge("queue_requests", "Requests that wait for the tagger.")
        self.queue_tokens = gauge("queue_tokens", "Tokens, estimated, that wait for the tagger.")
        self.batch_seconds = histogram("batch_seconds", "Looking at one batch.", _SECONDS)
        self.batch_paragraphs = histogram("batch_paragraphs", "Paragraphs of a batch.", _PARAGRAPHS)
        self.batch_tokens = histogram("batch_tokens", "Tokens, estimated, of a batch.", _TOKENS)
        self.paragraphs = counter("paragraphs", "Paragraphs tagged.", "section_type")
        self.abstained = counter("abstained", "Paragraphs whose tag is 'not sure'.")
        self.truncated = counter("truncated", "Paragraphs longer than the encoder's window.")
        self.corrections = counter("corrections", "Corrections that are on the disk.", "section_type")
        self.reloads = counter("reloads", "Attempts to take a new model.", "outcome")
        self.model = gauge("model_info", "1 for the model that answers.", "name", "version", "digest")
        self._served: tuple[str, str, str] | None = None
        if MULTIPROCESS not in os.environ:
            PlatformCollector(registry=registry)
            ProcessCollector(registry=registry)

    def batch(self, n_paragraphs: int, tokens: int, seconds: float) -> None:
        """Note a batch."""
        self.batch_paragraphs.observe(n_paragraphs)
        self.batch_tokens.observe(tokens)
        self.batch_seconds.observe(seconds)

    def tags(self, tags: Iterable[Tag]) -> None:
        """Note what was answered."""
        counts: dict[str, int] = {}
        n_abstained = n_truncated = 0
        for tag in tags:
            counts[tag.section_type] = counts.get(tag.section_type, 0) + 1
            n_abstained += tag.abstained
            n_truncated += tag.truncated_tokens > 0
        for section_type, count in counts.items():
            self.paragraphs.labels(section_type).inc(count)
        self.abstained.inc(n_abstained)
        self.truncated.inc(n_truncated)

    def serves(self, name: str, version: str, digest: str) -> None:
        """Note which model answers from now on."""
        if self._served is not None:
            self.model.labels(*self._served).set(0)
        self._served = (name, version, digest[:16])
        self.model.labels(*self._served).set(1)

    def text(self) -> bytes:
        """Write all numbers; with ``--workers``, those of all processes."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

"""The moderation server's counters, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "hone_moderation_requests",
            "Requests to /v1/moderations by HTTP status.",
            ["status"],
            registry=self.registry,
        )
        self.texts = Counter(
            "hone_moderation_texts", "Texts that were scored.", registry=self.registry
        )
        self.windows = Counter(
            "hone_moderation_windows",
            "Windows of at most 256 tokens that were scored.",
            registry=self.registry,
        )
        self.flagged = Counter(
            "hone_moderation_flagged",
            "Texts flagged, by category.",
            ["category"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "hone_moderation_request_seconds",
            "Time to answer a request, waiting included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.swaps = Counter(
            "hone_moderation_swaps",
            "Versions that took the place of another: done, or refused by this server.",
            ["outcome"],
            registry=self.registry,
        )
        self.pending = Gauge(
            "hone_moderation_pending", "Requests in work or waiting.", registry=self.registry
        )

    def text(self) -> bytes:
        """The body of GET /metrics."""
        return generate_latest(self.registry)

"""What `GET /metrics` shows. One `Metrics` per application, so that tests can run several."""

from __future__ import annotations

from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from serving.canary.state import Outcome

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """Every metric of the gateway."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.registry = registry
        self.requests = Counter(
            "hone_requests",
            "Requests for completions, by version (empty when none was reached) and HTTP status.",
            ("endpoint", "version", "status"),
            registry=registry,
        )
        self.latency = Histogram(
            "hone_request_seconds",
            "From a request to the end of its answer, seconds.",
            ("endpoint", "version"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token = Histogram(
            "hone_first_token_seconds",
            "From a request to the first token of its stream, seconds.",
            ("endpoint", "version"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.arms = Counter(
            "hone_canary_answers",
            "While a canary runs, answers by arm (canary, production) and outcome (answered, flagged, "
            "broken_by_…).",
            ("arm", "outcome"),
            registry=registry,
        )
        self.canary_share = Gauge(
            "hone_canary_share", "Share of the people whom a canary answers.", registry=registry
        )
        self.canary_evidence = Gauge(
            "hone_canary_evidence",
            "E-value of each test of the canary; it speaks at 100. Of the gateway that decides.",
            ("test",),
            registry=registry,
        )
        self.canary_verdict = Gauge(
            "hone_canary_verdict",
            "1 for what the tests say of the canary now. Of the gateway that decides.",
            ("action",),
            registry=registry,
        )
        self.canaries_ended = Counter(
            "hone_canaries_ended",
            "Canaries that this gateway ended, by outcome.",
            ("outcome",),
            registry=registry,
        )
        for outcome in get_args(Outcome):
            self.canaries_ended.labels(outcome)  # from 0 on: an increase from nothing is not seen
        self.per_token = Histogram(
            "hone_time_per_output_token_seconds",
            "Of each stream, the mean time between two tokens after the first, seconds.",
            ("endpoint", "version"),
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self.swap_pause = Histogram(
            "hone_swap_pause_seconds",
            "How long an engine made no tokens while it loaded a version, seconds.",
            ("kind",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "hone_tokens",
            "Tokens read (prompt) and written (completion).",
            ("version", "what"),
            registry=registry,
        )
        self.streams_broken = Counter(
            "hone_streams_broken",
            "Streams that ended without [DONE]: the client left, or the engine failed.",
            ("version", "why"),
            registry=registry,
        )
        self.retries = Counter(
            "hone_engine_retries",
            "Requests sent to an engine a second time.",
            ("reason",),
            registry=registry,
        )
        self.moderation = Counter(
            "hone_moderation",
            "Texts by stage (prompt, completion) and outcome (passed, flagged, blocked, unscored, "
            "refused).",
            ("stage", "outcome"),
            registry=registry,
        )
        self.moderation_categories = Counter(
            "hone_moderation_categories",
            "Flagged texts by stage, category and action (flag, block).",
            ("stage", "category", "action"),
            registry=registry,
        )
        self.moderation_seconds = Histogram(
            "hone_moderation_seconds",
            "How long a prompt, or a window of an answer, waited for its scores, seconds.",
            ("stage",),
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self.moderation_cache = Counter(
            "hone_moderation_cache",
            "Texts whose scores were remembered (hit), or asked for (miss).",
            ("outcome",),
            registry=registry,
        )
        self.judgements = Counter(
            "hone_judgements",
            "Judgements that this gateway took, by form and by who judged (key, end_user, …).",
            ("form", "source"),
            registry=registry,
        )
        self.outbox_depth = Gauge(
            "hone_outbox_depth", "Events that wait on disk for Redis.", registry=registry
        )
        self.queue = Gauge(
            "hone_queue_depth", "Requests that wait for room on an engine.", registry=registry
        )
        self.redis_up = Gauge("hone_redis_up", "1 while Redis answers.", registry=registry)
        self.engine_up = Gauge(
            "hone_engine_up", "1 while the engine answers.", ("url",), registry=registry
        )
        self.production = Gauge(
            "hone_production_info",
            "1 for the version in production.",
            ("version", "digest"),
            registry=registry,
        )

    def set_production(self, version: str, digest: str) -> None:
        """Exactly one version is in production."""
        self.production.clear()
        self.production.labels(version, digest).set(1)

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

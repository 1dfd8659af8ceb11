"""The parts of a gateway process, opened and closed together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import redis
from starlette.requests import Request

from feedback.connection import connect
from feedback.events import audit
from feedback.intake import Intake
from feedback.journal import Journal
from feedback.labeling.aftermath import Aftermath
from feedback.labeling.assignments import Assignments, Mix
from feedback.labeling.labelers import Labelers, Screening
from feedback.settings import FeedbackSettings
from moderation.cache import Cache
from moderation.client import ModerationClient
from moderation.settings import ModerationSettings
from serving import tracing
from serving.auth import ApiKey, Authenticator
from serving.canary.store import Canaries
from serving.edge import add_headers
from serving.engines import Engine
from serving.fleet import Fleet
from serving.holding import Window
from serving.limits import OF_A_VISITOR, Allowance, Limits, RateLimiter
from serving.metrics import Metrics
from serving.oversight.vitals import Vitals
from serving.playground.visits import Visits
from serving.refresh import Refresher
from serving.registry import Registry
from serving.rollouts import Rollouts
from serving.screening import Screen
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.otel import Tracing

# vLLM closes an idle connection after 5 s; one that we let go first is never closed under a request.
_KEEP_IDLE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """What routes need. Stateless but for what it can read again."""

    settings: ServingSettings
    feedback_settings: FeedbackSettings
    moderation_settings: ModerationSettings
    redis: redis.Redis  # synchronous; call it from a thread
    registry: Registry  # the same
    canaries: Canaries  # the same
    journal: Journal
    refresher: Refresher
    fleet: Fleet
    vitals: Vitals
    rollouts: Rollouts
    authenticator: Authenticator
    limiter: RateLimiter
    moderation: ModerationClient
    screen: Screen
    window: Window  # of a stream that moderation reads
    metrics: Metrics
    labelers: Labelers
    assignments: Assignments
    intake: Intake

    async def identify(self, request: Request, *scopes: str) -> ApiKey:
        """Who sends this request, with one of these scopes. Raises Unauthorized, Forbidden, TooManyRequests."""
        key = await self.authenticator.authenticate(request.headers.get("authorization"))
        key.require(*scopes)
        now = time.time()
        allowances = [
            self.limiter.admit(holder, limit=limits.requests_per_minute, now=now)
            for holder, limits in self._limits(key).items()
        ]
        add_headers(request.scope, allowances[0].headers())
        return key

    def begin(self, key: ApiKey) -> Allowance:
        """An answer for this key is under way, until `end`. Raises TooManyRequests."""
        now = time.time()
        allowances = []
        with ExitStack() as undo:
            for holder, limits in self._limits(key).items():
                allowances.append(self.limiter.begin(holder, limits=limits, now=now))
                undo.callback(self.limiter.end, holder, tokens=0, now=now)
            undo.pop_all()
        return allowances[0]

    def end(self, key: ApiKey, *, tokens: int) -> None:
        """It has ended, and took so many tokens."""
        for holder in self._limits(key):
            self.limiter.end(holder, tokens=tokens, now=time.time())

    async def audit(self, actor: str, action: str, **detail: Any) -> None:
        """Put a change by an operator into the log."""
        await self.journal.append(audit(actor, action, **detail))

    def _limits(self, key: ApiKey) -> dict[str, Limits]:
        """What it counts against, the narrowest first, so that one visitor who is refused uses up
        nothing of the others. Where the key says nothing itself the settings' defaults."""
        default = self.settings
        of_key = Limits(
            requests_per_minute=key.requests_per_minute or default.default_requests_per_minute,
            tokens_per_minute=key.tokens_per_minute or default.default_tokens_per_minute,
            max_concurrent=key.max_concurrent or default.default_max_concurrent,
        )
        if key.end_user is None:
            return {key.id: of_key}
        return {key.holder: OF_A_VISITOR, key.id: of_key}


@asynccontextmanager
async def open_gateway(
    settings: ServingSettings,
    feedback_settings: FeedbackSettings,
    moderation_settings: ModerationSettings,
    traces: Tracing | None = None,
) -> AsyncIterator[Gateway]:
    """Connect, look once at Redis and the engines, and keep looking until the end."""
    async with AsyncExitStack() as stack:
        if traces is not None:
            stack.push_async_callback(traces.close, timeout_s=settings.shutdown_s)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S),
                auto_decompress=False,
                trust_env=False,
            )
        )
        client = connect(feedback_settings.redis_url, timeout_s=2.0)
        stack.callback(client.close)
        journal = Journal(feedback_settings)
        await journal.start()
        stack.push_async_callback(journal.close)
        assignments, labelers = _labeling(journal, feedback_settings)
        metrics = Metrics()
        metrics.outbox_depth.set_function(journal.depth)
        visits = Visits(secret=settings.engine_token)
        authenticator = Authenticator(
            journal.redis,
            visitor_of=visits.visitor_of if settings.playground != "off" else None,
        )
        limiter = RateLimiter(share_without_redis=settings.limit_share_without_redis)
        refresher = Refresher(client, authenticator=authenticator, limiter=limiter, metrics=metrics)
        await refresher.start(journal.redis)
        stack.push_async_callback(refresher.close)
        engines = [
            Engine(
                url,
                settings.engine_token,
                session,
                request_timeout_s=settings.request_timeout_s,
            )
            for url in settings.engine_urls
        ]
        fleet = Fleet(
            engines,
            live=lambda: refresher.live,
            metrics=metrics,
            wait_s=settings.engine_wait_s,
            max_in_flight=settings.max_in_flight,
            max_waiting=settings.max_waiting,
            on_base=refresher.ensure_base,
        )
        await fleet.start()
        stack.push_async_callback(fleet.close)
        vitals = Vitals(engines)
        await vitals.start()
        stack.push_async_callback(vitals.close)
        registry = Registry(client)
        rollouts = Rollouts(registry, fleet, refresher)
        await rollouts.start()
        stack.push_async_callback(rollouts.close)
        moderation = ModerationClient(
            settings.moderation_url,
            session,
            timeout_s=settings.moderation_timeout_s,
            headers=tracing.headers,
            cache=_cache(settings, metrics),
        )
        screen = Screen(
            moderation,
            thresholds=moderation_settings.thresholds(),
            is_required=settings.moderation_required,
            journal=journal,
            metrics=metrics,
        )
        yield Gateway(
            settings=settings,
            feedback_settings=feedback_settings,
            moderation_settings=moderation_settings,
            redis=client,
            registry=registry,
            canaries=Canaries(client),
            journal=journal,
            refresher=refresher,
            fleet=fleet,
            vitals=vitals,
            rollouts=rollouts,
            authenticator=authenticator,
            limiter=limiter,
            moderation=moderation,
            screen=screen,
            window=Window(
                num_chars=settings.moderation_window_chars,
                wait_s=settings.moderation_window_ms / 1e3,
            ),
            metrics=metrics,
            labelers=labelers,
            assignments=assignments,
            intake=Intake(
                journal,
                Aftermath(journal, assignments, labelers),
                on_new=lambda said: metrics.judgements.labels(said.form, said.source).inc(),
            ),
        )


def _cache(settings: ServingSettings, metrics: Metrics) -> Cache | None:
    if not settings.moderation_cache_texts:
        return None
    hits, misses = (metrics.moderation_cache.labels(outcome) for outcome in ("hit", "miss"))
    return Cache(
        max_texts=settings.moderation_cache_texts,
        on_lookup=lambda is_hit: (hits if is_hit else misses).inc(),
    )


def _labeling(journal: Journal, settings: FeedbackSettings) -> tuple[Assignments, Labelers]:
    mix = Mix(
        known=settings.known_share,
        at_random=settings.random_share,
        own_prompts=settings.own_prompt_share,
    )
    screening = Screening(
        num_items=settings.screening_items, min_agreement=settings.screening_agreement
    )
    assignments = Assignments(journal, lease_s=settings.lease_s, mix=mix)
    return assignments, Labelers(journal.redis, screening=screening)

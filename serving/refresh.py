"""What the gateway keeps in memory of Redis: the registry, the keys, the counters of the limits.

Every 0.3 s, in a thread, and at once when somebody publishes that production has changed. While
Redis is away the last known stays, so that answering goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import cast

import redis
import redis.asyncio

from feedback import keys
from feedback.errors import Conflict
from feedback.events import new_id
from serving.auth import Authenticator
from serving.limits import WINDOW_S, RateLimiter, Window
from serving.metrics import Metrics
from serving.registry import BASE, PRODUCTION, Live, Registry

log = logging.getLogger(__name__)

_EVERY_S = 0.3
_SILENT_AFTER_S = 5.0
AWAY = (redis.RedisError, OSError)


class Refresher:
    """One per gateway process. `live` and `has_redis` are read by everybody, written here."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        authenticator: Authenticator,
        limiter: RateLimiter,
        metrics: Metrics,
    ) -> None:
        self.live = Live(policies={}, aliases={})
        self.production_since: float | None = None  # unix seconds, as seen by this process
        self.has_redis = False
        self.base_conflict: str | None = None
        self._withdrawn: set[str] = set()  # versions rolled back here, not yet in Redis
        self._id = new_id("gw_")  # this gateway, among those that share the limits
        self._client = client
        self._registry = Registry(client)
        self._authenticator = authenticator
        self._limiter = limiter
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, subscriber: redis.asyncio.Redis) -> None:
        await self.refresh()
        self._tasks = [
            asyncio.create_task(self._forever()),
            asyncio.create_task(self._listen_forever(subscriber)),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def withdraw(self, version: str) -> None:
        """Answer nobody with it from now on, whatever Redis says, until it is readmitted."""
        self._withdrawn.add(version)
        self._take_over(self.live)

    def readmit(self, version: str) -> None:
        """Redis says by now what is to be."""
        self._withdrawn.discard(version)

    async def refresh(self) -> None:
        """Read everything once. Redis away: keep what is known, and say so once."""
        async with self._turn:
            await self._refresh()

    async def _refresh(self) -> None:
        sent, under_way = self._limiter.unsent(now=time.time()), self._limiter.under_way()
        try:
            live, stored = await asyncio.to_thread(self._read)
            totals, elsewhere = await asyncio.to_thread(self._share, sent, under_way)
        except AWAY as error:
            if self.has_redis:
                log.warning("redis is away, going on with what is known: %s", error)
            self.has_redis = False
            self._limiter.redis_is_away()
        else:
            self.has_redis = True
            self._limiter.settle(sent, totals, elsewhere)
            self._authenticator.update(stored)
            self._take_over(live)
        self._metrics.redis_up.set(self.has_redis)

    async def ensure_base(self, base: dict[str, str]) -> None:
        """Register the engines' base model as policy-0000, and have something in production."""
        if BASE in self.live.policies and PRODUCTION in self.live.aliases:
            if self.live.policies[BASE].digest == base["digest"]:
                self.base_conflict = None
                return
        try:
            await asyncio.to_thread(self._registry.ensure_base, base["path"], base["digest"])
        except Conflict as error:
            self.base_conflict = error.message
        except AWAY as error:
            log.warning("redis is away, the base model is not registered yet: %s", error)
        else:
            await self.refresh()

    def _read(self) -> tuple[Live, dict[bytes, bytes]]:
        stored = cast("dict[bytes, bytes]", self._client.hgetall(keys.API_KEYS))
        return self._registry.snapshot(), stored

    def _share(
        self, sent: dict[Window, int], under_way: dict[str, int]
    ) -> tuple[dict[Window, int], dict[str, int]]:
        """Tell Redis what this gateway has counted; learn the sums, and the others' answers."""
        if not sent and not under_way:
            return {}, {}
        now = time.time()
        pipe = self._client.pipeline(transaction=False)
        for (key_id, what, window), amount in sent.items():
            name = keys.limits(key_id, what, window)
            pipe.incrby(name, amount)
            pipe.expire(name, 2 * WINDOW_S)
        for key_id, count in under_way.items():
            name = keys.under_way(key_id)
            pipe.hset(name, self._id, f"{count}@{now:.0f}")
            pipe.expire(name, WINDOW_S)
            pipe.hgetall(name)
        replies = pipe.execute()
        counters, answers = replies[: 2 * len(sent) : 2], replies[2 * len(sent) + 2 :: 3]
        elsewhere = {
            key_id: self._others(entries, now=now)
            for key_id, entries in zip(under_way, answers, strict=True)
        }
        return dict(zip(sent, counters, strict=True)), elsewhere

    def _others(self, entries: dict[bytes, bytes], *, now: float) -> int:
        """Answers under way at the other gateways; one that has gone silent counts no more."""
        total = 0
        for gateway, entry in entries.items():
            count, _, seen = entry.partition(b"@")
            if gateway.decode() != self._id and now - float(seen) < _SILENT_AFTER_S:
                total += int(count)
        return total

    def _take_over(self, live: Live) -> None:
        for version in self._withdrawn:
            live = live.without(version)
        before = self.live.resolve(PRODUCTION)
        now = live.resolve(PRODUCTION)
        self.live = live
        if now is not None and (before is None or before.version != now.version):
            log.info("production is %s", now.version)
            self.production_since = time.time()
            self._metrics.set_production(now.version, now.digest)

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def _listen_forever(self, subscriber: redis.asyncio.Redis) -> None:
        while True:
            with contextlib.suppress(*AWAY):
                async with subscriber.pubsub() as channel:
                    await channel.subscribe(keys.LIVE_CHANNEL)
                    while True:
                        told = await channel.get_message(
                            ignore_subscribe_messages=True, timeout=None
                        )
                        if told is not None:
                            await self.refresh()
            await asyncio.sleep(_EVERY_S)

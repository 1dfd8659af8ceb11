"""Redis clients. redis-py's default socket time-out (5 s) would cut blocking reads and a slow
fsync."""

from __future__ import annotations

import redis
import redis.asyncio


def connect(url: str, *, timeout_s: float = 10.0) -> redis.Redis:
    """A synchronous client: workers, CLI."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=2.0, health_check_interval=30
    )


def connect_async(url: str, *, timeout_s: float = 2.0) -> redis.asyncio.Redis:
    """An asynchronous client: the gateway. Fails fast, so that the outbox takes over."""
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=1.0, health_check_interval=15
    )

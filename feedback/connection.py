"""Redis clients. redis-py's default socket time-out (5 s) would cut blocking reads and a slow
fsync."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio


def connect(url: str, *, timeout_s: float = 10.0) -> redis.Redis:
    """A synchronous client: workers, CLI."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=2.0, health_check_interval=30
    )


class Connection(redis.asyncio.Connection):
    """Says that Redis is away also where uvloop says RuntimeError: of a connection that was closed while
    it was being opened."""

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*args, **options)
        except RuntimeError as error:
            raise redis.ConnectionError(str(error)) from error


def connect_async(url: str, *, timeout_s: float = 2.0) -> redis.asyncio.Redis:
    """An asynchronous client: the gateway. Fails fast, so that the outbox takes over."""
    return redis.asyncio.Redis.from_url(
        url,
        connection_class=Connection,
        socket_timeout=timeout_s,
        socket_connect_timeout=1.0,
        health_check_interval=15,
    )

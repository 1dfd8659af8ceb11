"""How much a labeler has done, day by day in UTC."""

from __future__ import annotations

import time

import redis.asyncio

from feedback import keys

_KEPT_S = 40 * 86_400


async def add(client: redis.asyncio.Redis, labeler: str, *, step: int = 1) -> None:
    """One more judgement today, or, taken back, one less."""
    name = keys.labeled_on(labeler, _today())
    pipe = client.pipeline(transaction=True)
    pipe.incrby(name, step)
    pipe.expire(name, _KEPT_S)
    await pipe.execute()


async def today(client: redis.asyncio.Redis, labeler: str) -> int:
    return max(int(await client.get(keys.labeled_on(labeler, _today())) or 0), 0)


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())

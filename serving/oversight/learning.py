"""Whether rounds may start, and how many judgements wait for the next one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import orjson
import redis

from feedback import keys
from serving.canary import state

if TYPE_CHECKING:
    from serving.gateway import Gateway


async def pause(gateway: Gateway, *, actor: str, reason: str) -> dict[str, Any]:
    """No round starts until `resume`; one under way goes on."""
    await asyncio.to_thread(set_paused, gateway.redis, by=actor, reason=reason)
    await gateway.audit(actor, "learning.pause", reason=reason)
    return await asyncio.to_thread(read, gateway.redis)


async def resume(gateway: Gateway, *, actor: str, reason: str) -> dict[str, Any]:
    """Let rounds start again."""
    await asyncio.to_thread(set_resumed, gateway.redis)
    await gateway.audit(actor, "learning.resume", reason=reason)
    return await asyncio.to_thread(read, gateway.redis)


def set_paused(client: redis.Redis, *, by: str, reason: str = "") -> None:
    pause = {"by": by, "reason": reason, "since": time.time()}
    client.set(keys.LEARNING_PAUSED, orjson.dumps(pause))


def set_resumed(client: redis.Redis) -> None:
    client.delete(keys.LEARNING_PAUSED)


def read(client: redis.Redis) -> dict[str, Any]:
    """`paused` says who did it, why and since when; None while rounds start. `waits_for` is the canary that people
    decide about before a round of the policy starts by itself."""
    pipe = client.pipeline(transaction=False)
    pipe.get(keys.LEARNING_PAUSED)
    pipe.hgetall(keys.JUDGEMENTS_COUNTED)
    pipe.get(keys.ROUND_ACTIVE)
    pipe.get(keys.ROUND_REQUESTED)
    pipe.get(keys.CANARY)
    paused, counted, active, requested, canary = pipe.execute()
    return {
        "object": "learning",
        "paused": _paused(paused),
        "new_judgements": int(counted.get(b"count", 0)),
        "starts_at": int(counted[b"wanted"]) if b"wanted" in counted else None,
        "active": active.decode() if active else None,
        "requested": orjson.loads(requested) if requested else None,
        "waits_for": state.load(canary).version if canary else None,
    }


def _paused(data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        return cast("dict[str, Any]", {**orjson.loads(data)})
    except (ValueError, TypeError):  # written by an older hone: "1"
        return {"by": "", "reason": "", "since": None}

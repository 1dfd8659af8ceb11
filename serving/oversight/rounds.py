"""Rounds as the workers wrote them into Redis; asked for, cancelled, gone on with, overridden."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson
import redis

from feedback import keys
from feedback.errors import NotFound
from serving import round_decisions

if TYPE_CHECKING:
    from serving.gateway import Gateway

PAGE = 50


async def request(
    gateway: Gateway, *, actor: str, recipe: str | None, reason: str, kind: str = "policy"
) -> dict[str, Any]:
    """Ask for a round; the control worker takes it up when none is under way."""
    asked = await asyncio.to_thread(
        round_decisions.request,
        gateway.redis,
        kind=kind,
        recipe=recipe,
        actor=actor,
        reason=reason,
    )
    await gateway.audit(actor, "rounds.request", **asked)
    return {"object": "round_request", **asked}


async def cancel(gateway: Gateway, round_id: str, *, actor: str, reason: str) -> dict[str, Any]:
    """End the round under way; what it has made stays, nothing is published. Raises NotFound, Conflict."""
    await asyncio.to_thread(round_decisions.cancel, gateway.redis, round_id)
    await gateway.audit(actor, "rounds.cancel", round_id=round_id, reason=reason)
    return await asyncio.to_thread(read, gateway.redis, round_id)


async def retry(gateway: Gateway, round_id: str, *, actor: str, reason: str) -> dict[str, Any]:
    """Go on with a round that failed or was cancelled. Raises NotFound, Conflict."""
    await asyncio.to_thread(
        round_decisions.retry, gateway.redis, round_id, actor=actor, reason=reason
    )
    await gateway.audit(actor, "rounds.retry", round_id=round_id, reason=reason)
    return await asyncio.to_thread(read, gateway.redis, round_id)


async def override(gateway: Gateway, round_id: str, *, actor: str, reason: str) -> dict[str, Any]:
    """Publish what the gate refused, for a reason. Raises NotFound, Conflict, Unprocessable."""
    await asyncio.to_thread(
        round_decisions.override,
        gateway.redis,
        gateway.settings.data_dir,
        round_id,
        actor=actor,
        reason=reason,
    )
    await gateway.audit(actor, "rounds.override", round_id=round_id, reason=reason)
    return await asyncio.to_thread(read, gateway.redis, round_id)


def read(client: redis.Redis, round_id: str) -> dict[str, Any]:
    """One round's state. Raises NotFound."""
    found = cast("dict[bytes, bytes]", client.hgetall(keys.round_state(round_id)))
    if not found:
        raise NotFound(f"there is no {round_id}; `hone rounds list` shows what there is")
    return _state(round_id, found)


def newest(client: redis.Redis, *, before: int | None = None, limit: int = PAGE) -> dict[str, Any]:
    """The newest rounds, or those before a number."""
    last = int(cast("bytes | None", client.get(keys.ROUND_SEQ)) or 0)
    top = last if before is None else min(last, before - 1)
    numbers = range(top, max(0, top - limit), -1)
    names = [f"round-{number:04d}" for number in numbers]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(keys.round_state(name))
    pipe.get(keys.ROUND_ACTIVE)
    pipe.get(keys.ROUND_REQUESTED)
    *states, active, requested = pipe.execute()
    found = [_state(name, state) for name, state in zip(names, states, strict=True) if state]
    return {
        "object": "list",
        "data": found,
        "has_more": bool(numbers) and numbers[-1] > 1,
        "active": active.decode() if active else None,
        "requested": orjson.loads(requested) if requested else None,
    }


def kind(state: Mapping[str, Any]) -> str:
    """Of a policy, or of moderation's classifier."""
    return "moderation" if state.get("kind") == "moderation" else "policy"


def number(round_id: str) -> int:
    return int(round_id.removeprefix("round-"))


def progress(state: dict[str, Any]) -> dict[str, Any]:
    """The newest line of its curves; empty before the first."""
    try:
        return cast("dict[str, Any]", {**orjson.loads(state.get("progress") or "{}")})
    except (ValueError, TypeError):
        return {}


def share_done(state: dict[str, Any]) -> float | None:
    """How far the step under way is, 0 to 1; None where it does not say."""
    line = progress(state)
    found = line.get(f"{state.get('step')}/progress")
    return float(found) if isinstance(found, int | float) else None


def _state(round_id: str, found: dict[bytes, bytes]) -> dict[str, Any]:
    return {"round_id": round_id, **{k.decode(): v.decode() for k, v in found.items()}}

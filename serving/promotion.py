"""A version goes live, or the one before it comes back: engines and registry together.

An adapter is loaded on every engine first and meant by `production` after, so that nothing waits.
Full weights replace what an engine runs, so they take longer: see rollouts.
"""

from __future__ import annotations

import asyncio

from feedback.errors import Conflict
from serving.gateway import Gateway
from serving.registry import PREVIOUS, PRODUCTION, PolicyRecord


async def promote(gateway: Gateway, version: str, *, actor: str, reason: str = "") -> PolicyRecord:
    """Make a version production. Raises NotFound, Refused with an engine's reason, Unavailable."""
    record = await asyncio.to_thread(gateway.registry.get, version)
    await _make_live(gateway, record)
    await gateway.audit(actor, "promote", version=version, reason=reason)
    return record


async def roll_back(
    gateway: Gateway, *, actor: str, reason: str = "", production: str | None = None
) -> PolicyRecord:
    """Make the previous version production again. Raises Conflict when there is none, or when another
    version than `production` is live by now: somebody else has rolled it back already."""
    aliases = await asyncio.to_thread(gateway.registry.aliases)
    version = aliases.get(PREVIOUS)
    now = aliases.get(PRODUCTION)
    if production is not None and now != production:
        raise Conflict(f"{now} is in production by now, not {production}: nothing was changed")
    if version is None:
        raise Conflict("there is no previous version to roll back to")
    record = await asyncio.to_thread(gateway.registry.get, version)
    await _make_live(gateway, record)
    await gateway.audit(actor, "rollback", version=version, rolled_back=now, reason=reason)
    return record


async def _make_live(gateway: Gateway, record: PolicyRecord) -> None:
    live = await asyncio.to_thread(gateway.registry.snapshot)
    now = live.resolve(PRODUCTION)
    if now is not None and "full" in (record.kind, now.kind):
        await gateway.rollouts.make_live(record)
        return
    await gateway.fleet.load_everywhere(record)
    await asyncio.to_thread(gateway.registry.promote, record.version)
    await gateway.refresher.refresh()

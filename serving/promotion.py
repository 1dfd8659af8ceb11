"""A version goes live, or a bad one goes: engines and registry together.

An adapter is loaded on every engine first and meant by `production` after, so that nothing waits.
Full weights replace what an engine runs, so they take longer: see rollouts.

A rollback waits for nobody. This gateway stops asking for the bad version at once, from memory; then it is written
down, as soon as Redis takes it, and the others follow.
"""

from __future__ import annotations

import asyncio
import logging

from feedback.errors import Conflict, HoneError, Unavailable
from serving.canary import steering
from serving.gateway import Gateway
from serving.refresh import AWAY
from serving.registry import PREVIOUS, PRODUCTION, Live, PolicyRecord, check_there

log = logging.getLogger(__name__)

_TRY_EVERY_S = 0.1
_PATIENCE_S = 15.0  # then whoever asked is told that it is not written down yet

_writing: set[asyncio.Task[PolicyRecord]] = set()  # asyncio keeps no reference of its own


async def promote(
    gateway: Gateway,
    version: str,
    *,
    actor: str,
    reason: str = "",
    override: str | None = None,
    digest: str | None = None,
) -> PolicyRecord:
    """Make a version production. A canary ends with it: promoted, or passed over.

    Raises NotFound, Refused with an engine's reason or without a passed gate, Conflict, Unavailable.
    """
    live = await asyncio.to_thread(gateway.registry.snapshot)
    record = await asyncio.to_thread(gateway.registry.get, version)
    check_there(record)
    steering.check_gated(record, live, override=override, digest=digest)
    canary = live.canary
    if canary is not None and canary.version == version:
        await gateway.fleet.load_everywhere(record)
        await steering.end(gateway, canary, "promoted", actor=actor, reason=reason)
        return record
    if canary is not None:
        why = f"{version} was promoted instead"
        await steering.end(gateway, canary, "superseded", actor=actor, reason=why)
    await _make_live(gateway, record)
    kept = {"override": override} if override else {}
    await gateway.audit(actor, "promote", version=version, reason=reason, **kept)
    return record


async def roll_back(
    gateway: Gateway, *, actor: str, reason: str = "", production: str | None = None
) -> PolicyRecord:
    """Nobody gets the newest version any more: a canary is aborted; where none runs, production gives way to the
    previous one. With `production` it is that one, so that asking twice is asking once. Returns what is production.

    Raises Conflict when there is no previous version, or another one than `production` is live by now; Unavailable
    when it cannot be written down yet.
    """
    live = gateway.refresher.live
    now = live.aliases.get(PRODUCTION, "")
    if production not in (None, now):
        raise Conflict(f"{now} is in production by now, not {production}: nothing was changed")
    bad = now if production is not None or live.canary is None else live.canary.version
    is_production = bad == now
    if is_production and PREVIOUS not in live.aliases:
        raise Conflict("there is no previous version to roll back to")
    if is_production and _has_full(live):
        return await _reload_previous(gateway, live, bad, actor=actor, reason=reason)
    gateway.refresher.withdraw(bad)
    writing = asyncio.create_task(_write_down(gateway, bad, actor=actor, reason=reason))
    _writing.add(writing)
    writing.add_done_callback(_writing.discard)
    done, _ = await asyncio.wait({writing}, timeout=_PATIENCE_S)
    if not done:
        raise Unavailable(
            f"this gateway sends nobody to {bad} any more; the others follow once Redis is back and has it",
            retry_after_s=5,
        )
    return writing.result()


async def _write_down(gateway: Gateway, bad: str, *, actor: str, reason: str) -> PolicyRecord:
    """Until Redis has it, however long that takes."""
    try:
        while True:
            try:
                return await _roll_back_in_registry(gateway, bad, actor=actor, reason=reason)
            except AWAY as error:
                log.warning("the rollback of %s waits for redis: %s", bad, error)
                await asyncio.sleep(_TRY_EVERY_S)
    finally:
        gateway.refresher.readmit(bad)


async def _roll_back_in_registry(
    gateway: Gateway, bad: str, *, actor: str, reason: str
) -> PolicyRecord:
    live = await asyncio.to_thread(gateway.registry.snapshot)
    if live.canary is not None and live.canary.version == bad:
        await steering.end(gateway, live.canary, "aborted", actor=actor, reason=reason)
    if live.aliases.get(PRODUCTION) == bad and PREVIOUS in live.aliases:
        record = live.policies[live.aliases[PREVIOUS]]
        if not gateway.fleet.has(record.version):
            await gateway.fleet.load_everywhere(record)
        await asyncio.to_thread(gateway.registry.promote, record.version)
        await _audit(gateway, record, bad, actor=actor, reason=reason)
    await gateway.refresher.refresh()
    now = await asyncio.to_thread(gateway.registry.aliases)
    return live.policies[now[PRODUCTION]]


async def _reload_previous(
    gateway: Gateway, live: Live, bad: str, *, actor: str, reason: str
) -> PolicyRecord:
    record = live.policies[live.aliases[PREVIOUS]]
    await _make_live(gateway, record)
    await _audit(gateway, record, bad, actor=actor, reason=reason)
    return record


async def _audit(
    gateway: Gateway, record: PolicyRecord, bad: str, *, actor: str, reason: str
) -> None:
    detail = {"version": record.version, "rolled_back": bad, "reason": reason}
    try:
        await gateway.audit(actor, "rollback", **detail)
    except HoneError as error:
        log.error("a rollback is done and not in the log: %s", error.message)


async def _make_live(gateway: Gateway, record: PolicyRecord) -> None:
    live = await asyncio.to_thread(gateway.registry.snapshot)
    now = live.resolve(PRODUCTION)
    if now is not None and "full" in (record.kind, now.kind):
        await gateway.rollouts.make_live(record)
        return
    await gateway.fleet.load_everywhere(record)
    await asyncio.to_thread(gateway.registry.promote, record.version)
    await gateway.refresher.refresh()


def _has_full(live: Live) -> bool:
    both = (live.resolve(PRODUCTION), live.resolve(PREVIOUS))
    return any(record is not None and record.kind == "full" for record in both)

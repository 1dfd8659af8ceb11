"""What an operator, or a round, does with a canary: engines and registry together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from feedback.errors import Conflict, Refused
from serving.canary import shown
from serving.canary.state import NOT_GATED, Canary, Ended, Limits, Outcome
from serving.canary.store import check_share, find
from serving.canary.watch import judge, so_far
from serving.registry import PRODUCTION, Live, PolicyRecord, check_there

if TYPE_CHECKING:
    from serving.gateway import Gateway
    from serving.settings import ServingSettings


async def begin(
    gateway: Gateway,
    version: str,
    *,
    share: float,
    actor: str,
    reason: str,
    override: str | None = None,
    digest: str | None = None,
) -> Canary:
    """A version answers a share of the people; of one that does already the share grows.

    Raises NotFound, BadRequest, Conflict, Refused with an engine's reason, Unavailable.
    """
    check_share(share)
    live = await asyncio.to_thread(gateway.registry.snapshot)
    record = await asyncio.to_thread(gateway.registry.get, version)
    check_there(record)
    check_fit(record, live)
    check_gated(record, live, override=override, digest=digest)
    await gateway.fleet.load_everywhere(record)
    canary = await asyncio.to_thread(
        lambda: gateway.canaries.begin(
            record,
            live=live,
            share=share,
            actor=actor,
            reason=reason,
            override=override,
            limits=limits_of(gateway.settings),
        )
    )
    await gateway.refresher.refresh()
    await asyncio.to_thread(gateway.canaries.tell)
    return canary


async def hold(gateway: Gateway, *, actor: str, reason: str) -> Canary:
    """It goes on, and only an operator promotes it; harm still ends it. Raises Conflict."""
    canary = await _running(gateway)
    held = await asyncio.to_thread(
        lambda: gateway.canaries.change(canary, actor=actor, reason=reason, status="held")
    )
    await gateway.refresher.refresh()
    await asyncio.to_thread(gateway.canaries.tell)
    return held


async def abort(gateway: Gateway, *, version: str | None, actor: str, reason: str) -> Ended:
    """Nobody gets it any more. Raises Conflict, NotFound when `version` is not the canary."""
    canary = await _running(gateway)
    if version is not None:
        canary = await asyncio.to_thread(find, gateway.canaries, version)
    return await end(gateway, canary, "aborted", actor=actor, reason=reason)


async def end(
    gateway: Gateway, canary: Canary, outcome: Outcome, *, actor: str, reason: str
) -> Ended:
    """As an operator wishes, with the figures of this moment. Raises Conflict."""

    def write() -> Ended:
        counted = so_far(gateway.canaries, canary)
        return gateway.canaries.end(
            canary,
            outcome,
            actor=actor,
            reason=reason,
            figures=shown.figures(counted, alpha=canary.limits.alpha),
            verdict=judge(canary, counted).shown(),
        )

    ended = await asyncio.to_thread(write)
    await gateway.refresher.refresh()
    await asyncio.to_thread(gateway.canaries.tell)
    return ended


def limits_of(settings: ServingSettings) -> Limits:
    """What a canary that begins now is judged by."""
    return Limits(
        min_s=settings.canary_min_s,
        max_s=settings.canary_max_s,
        on_end=settings.canary_on_end,
        pair_share=settings.canary_pair_share,
    )


def check_fit(record: PolicyRecord, live: Live) -> None:
    """Raises Refused where engines cannot hold both versions, Conflict where there is nothing to compare."""
    now = live.resolve(PRODUCTION)
    if now is None:
        raise Conflict("nothing is in production yet that a canary could be compared with")
    if now.version == record.version:
        raise Conflict(f"{record.version} answers everybody already", param="version")
    if "full" in (record.kind, now.kind):
        raise Refused(
            "full weights replace what an engine runs, so they cannot be a canary beside others, nor have "
            f"one beside them; `hone policies promote {record.version}`, and roll back if it disappoints"
        )


def check_gated(
    record: PolicyRecord, live: Live, *, override: str | None, digest: str | None
) -> None:
    """A version serves people after it has passed the gate, or with a reason that is kept; one that does
    already, or did just before, may again. Raises Refused, Conflict when its weights are others than meant."""
    if digest is not None and not record.digest.startswith(digest):
        raise Conflict(
            f"{record.version} has the digest {record.digest[:12]}…, not {digest[:12]}…",
            param="digest",
        )
    # Only a round's last step publishes under its id, and only with a passed gate for that digest.
    is_known = record.kind == "base" or record.version in live.aliases.values()
    if not is_known and record.round_id is None and not override:
        raise Refused(
            f"{record.version} has passed no gate; say why it may serve all the same, with `override` "
            "(--override REASON)",
            code=NOT_GATED,
        )


async def _running(gateway: Gateway) -> Canary:
    canary = await asyncio.to_thread(gateway.canaries.running)
    if canary is None:
        raise Conflict("there is no canary at the moment", code="no_canary")
    return canary

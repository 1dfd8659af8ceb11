"""Counts what the log says of a canary, every second, and does what the verdict says.

One gateway at a time does it: it holds a lease, under which the figures are kept too. If it dies another one goes on
from where they stop, a few seconds later, and comes to the same verdict.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from feedback.events import new_id
from serving.canary import figures, shown
from serving.canary.count import count
from serving.canary.decide import Verdict, decide
from serving.canary.figures import Figures
from serving.canary.state import Canary, Outcome
from serving.canary.store import Canaries
from serving.registry import PRODUCTION
from serving.repeated import Repeated

if TYPE_CHECKING:
    from serving.gateway import Gateway

log = logging.getLogger(__name__)

ACTOR = "canary"  # who decided, where it was the test
_EVERY_S = 1.0


class Watch:
    """One per gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._canaries = gateway.canaries
        self._owner = new_id("gw_")
        self._watching = Repeated("the canary", self._look, every_s=_EVERY_S)

    async def __aenter__(self) -> Watch:
        self._watching.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._watching.close()

    async def look(self) -> Verdict | None:
        """Count, judge, and act. None: there is no canary, or another gateway looks after it."""
        metrics, live = self._gateway.metrics, self._gateway.refresher.live
        metrics.canary_share.set(live.canary.share if live.canary is not None else 0)
        await asyncio.to_thread(self._canaries.tell)
        metrics.canary_verdict.clear()  # of the gateway that decides, and while there is one
        if live.canary is None:
            metrics.canary_evidence.clear()
            return None
        found = await asyncio.to_thread(self._count)
        if found is None:
            return None
        canary, counted, verdict = found
        metrics.canary_verdict.labels(verdict.action).set(1)
        for test in verdict.tests:
            metrics.canary_evidence.labels(test.name).set(test.e_value)
        if await self._act(canary, counted, verdict):
            await self._gateway.refresher.refresh()
            await asyncio.to_thread(self._canaries.tell)
        return verdict

    async def _look(self) -> None:
        if self._gateway.refresher.has_redis:  # else it has been said, and nothing can be decided
            await self.look()

    def _count(self) -> tuple[Canary, Figures, Verdict] | None:
        if not self._canaries.lease(self._owner):
            return None
        canary = self._canaries.running()
        if canary is None:
            return None
        counted, now = so_far(self._canaries, canary), time.time()
        if count(self._gateway.redis, canary, counted, now=now):
            if not self._canaries.keep_figures(counted.dump(), owner=self._owner):
                return None
        return canary, counted, judge(canary, counted)

    async def _act(self, canary: Canary, counted: Figures, verdict: Verdict) -> bool:
        """True if something was done."""
        live = await asyncio.to_thread(self._gateway.registry.snapshot)
        production = live.aliases.get(PRODUCTION)
        if production == canary.version:
            await self._end(canary, "promoted", "it is in production", counted, verdict)
        elif production != canary.incumbent:
            reason = f"{production} went into production in place of {canary.incumbent}"
            await self._end(canary, "superseded", reason, counted, verdict)
        elif not verdict.is_final:
            return False
        elif verdict.action == "roll_back":
            await self._end(canary, "rolled_back", verdict.reason, counted, verdict)
        elif verdict.action == "promote":
            await self._gateway.fleet.load_everywhere(live.policies[canary.version])
            await self._end(canary, "promoted", verdict.reason, counted, verdict)
        else:
            await asyncio.to_thread(
                lambda: self._canaries.change(
                    canary, actor=ACTOR, reason=verdict.reason, status="held"
                )
            )
        return True

    async def _end(
        self, canary: Canary, outcome: Outcome, reason: str, counted: Figures, verdict: Verdict
    ) -> None:
        log.warning("canary %s is %s: %s", canary.version, outcome, reason)
        await asyncio.to_thread(
            lambda: self._canaries.end(
                canary,
                outcome,
                actor=ACTOR,
                reason=reason,
                owner=self._owner,
                figures=shown.figures(counted, alpha=canary.limits.alpha),
                verdict=verdict.shown(),
            )
        )
        self._gateway.metrics.canaries_ended.labels(outcome).inc()


def so_far(canaries: Canaries, canary: Canary) -> Figures:
    """What was counted of this canary."""
    data = canaries.figures()
    counted = figures.load(data) if data else None
    if counted is None or counted.canary != canary.id:
        return Figures(canary=canary.id, through=dict(canary.since))
    return counted


def judge(canary: Canary, counted: Figures) -> Verdict:
    """As of now."""
    elapsed_s = time.time() - canary.started
    return decide(counted, canary.limits, elapsed_s=elapsed_s, status=canary.status)

"""Full weights on their way to the engines, whoever dies in between.

An engine holds one set of full weights, so engine by engine the old go and the new come:

1. The rollout is written down in the registry: what comes, and what the aliases mean before it.
2. With several engines the first half reloads, one after the other. One that reloads gets no
   requests; the others go on with the old weights.
3. `production` moves. A request under way ends on the weights it began with, or is tagged as mixed.
4. The other engines reload. With a single engine requests wait here until it has the new weights.
5. All engines are asked once more, and the rollout is over.

An engine that refuses ends it: the aliases go back, and every engine gets its old weights again.
The gateway that carries it out holds a lease; if it dies, another one begins again at 2, which
passes over engines that have the weights already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from feedback.errors import Conflict, HoneError
from feedback.events import new_id
from serving.fleet import Fleet, Member
from serving.refresh import AWAY, Refresher
from serving.registry import PolicyRecord, Registry, Rollout
from serving.repeated import Repeated

log = logging.getLogger(__name__)

_LEASE_S = 10
_LOOK_EVERY_S = 1.0
_SETTLE_S = 0.5  # until every gateway has read that an engine gets no requests


class Rollouts:
    """One per gateway process."""

    def __init__(self, registry: Registry, fleet: Fleet, refresher: Refresher) -> None:
        self._registry = registry
        self._fleet = fleet
        self._refresher = refresher
        self._owner = new_id("own_")
        self._turn = asyncio.Lock()  # the lease tells gateways apart, not the tasks of one
        self._watching = Repeated("a rollout", self._look, every_s=_LOOK_EVERY_S)

    async def start(self) -> None:
        self._watching.start()

    async def close(self) -> None:
        await self._watching.close()

    async def make_live(self, record: PolicyRecord) -> None:
        """Have full weights on every engine and in production. Raises Conflict while others are on
        their way, Refused with an engine's reason, Unavailable."""
        if self._turn.locked():
            raise _busy()
        async with self._turn:
            if not await self._lease():
                raise _busy()
            try:
                rollout = await asyncio.to_thread(self._registry.begin_rollout, record.version)
            except BaseException:
                await self._release()
                raise
            await self._carry_out(rollout)

    async def _carry_out(self, rollout: Rollout) -> None:
        """By the holder of the lease."""
        renewing = asyncio.create_task(self._renew_forever())
        try:
            record = await asyncio.to_thread(self._registry.get, rollout.version)
            await self._load_all(rollout, record)
        except HoneError as error:
            log.error("%s is not rolled out: %s", rollout.version, error.message)
            await asyncio.to_thread(self._registry.undo_rollout, rollout)
            raise
        else:
            await asyncio.to_thread(self._registry.end_rollout)
        finally:
            renewing.cancel()
            with contextlib.suppress(*AWAY):
                await self._release()
                await self._refresher.refresh()

    async def _load_all(self, rollout: Rollout, record: PolicyRecord) -> None:
        await self._fleet.poll()
        reachable = [member for member in self._fleet.members if member.is_reachable]
        first, rest = reachable[: len(reachable) // 2], reachable[len(reachable) // 2 :]
        await self._load_in_turn(rollout, record, first)
        await asyncio.to_thread(self._registry.promote, record.version)
        await self._refresher.refresh()
        await self._load_in_turn(rollout, record, rest if first else [])
        await self._fleet.load_everywhere(record)

    async def _load_in_turn(
        self, rollout: Rollout, record: PolicyRecord, members: Sequence[Member]
    ) -> None:
        for member in members:
            await asyncio.to_thread(self._registry.hold, rollout, member.url)
            await self._refresher.refresh()
            await asyncio.sleep(_SETTLE_S)
            await self._fleet.load(member, record)
        if members:
            await asyncio.to_thread(self._registry.hold, rollout)
            await self._refresher.refresh()

    async def _look(self) -> None:
        """Carry on what a gateway that died has begun."""
        if self._refresher.live.rollout is None or self._turn.locked():
            return
        async with self._turn:
            await self._carry_on()

    async def _carry_on(self) -> None:
        if not await self._lease():
            return
        live = await asyncio.to_thread(self._registry.snapshot)
        if live.rollout is None:
            await self._release()
            return
        log.warning("carrying on with the rollout of %s", live.rollout.version)
        await self._carry_out(live.rollout)

    async def _lease(self) -> bool:
        return await asyncio.to_thread(self._registry.lease_rollout, self._owner, ttl_s=_LEASE_S)

    async def _release(self) -> None:
        await asyncio.to_thread(self._registry.release_rollout, self._owner)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(_LEASE_S / 3)
            with contextlib.suppress(*AWAY):
                await self._lease()


def _busy() -> Conflict:
    return Conflict("other weights are on their way to the engines; try again in a minute")

"""Keeps the labelers' queue filled: samples several answers to prompts that people have asked.

One gateway does it at a time, one prompt after the other, and only while the engines have little to do:
people's own answers come first. K answers are of the current policy; in a share of the sets one of them is
of the canary or of the version before, so that people compare versions without knowing it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from feedback import eventlog, keys
from feedback.errors import HoneError
from feedback.events import Completion, decode, new_id
from feedback.labeling.given import refs_of
from feedback.labeling.queues import Task
from feedback.labeling.selection import Prompt, as_prompt, choose
from serving.auth import ApiKey
from serving.candidate_sets import again
from serving.candidates import CHAT, TEXT
from serving.exchange import Exchange
from serving.openai_api import answer
from serving.repeated import Repeated
from serving.routing import MODEL, resolve

if TYPE_CHECKING:
    from serving.gateway import Gateway

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 3.0
_LEASE_S = 30
_READ = 500  # completions that a choice is made from
_REMEMBERED = 20_000  # prompts known as given already
_BUSY = 1  # answers under way at which the engines are left alone


class Supply:
    """One per gateway process."""

    def __init__(self, gateway: Gateway, *, rng: random.Random | None = None) -> None:
        self._gateway = gateway
        self._settings = gateway.feedback_settings
        self._redis = gateway.journal.redis
        self._queues = gateway.assignments.queues
        self._rng = rng or random.Random()
        self._owner = new_id("gw_")
        self._filling = Repeated("the labelers' queue", self._look, every_s=_LOOK_EVERY_S)

    async def __aenter__(self) -> Supply:
        if self._settings.supply_target > 0:
            self._filling.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._filling.close()

    async def fill(self) -> int:
        """Choose prompts for what is missing in the queues, and sample them. Returns how many sets."""
        missing = await self._missing()
        if not missing or self._is_busy():
            return 0
        completions, made = await self._unread(), 0
        for tenant, count in missing.items():
            theirs = {one.id: one for one in completions if one.tenant == tenant}
            prompts = [prompt for one in theirs.values() if (prompt := as_prompt(one))]
            for prompt in choose(prompts, count=count, seen=await self._seen(), rng=self._rng):
                if self._is_busy():
                    return made
                await self._remember(prompt)
                made += await self._give(theirs[prompt.completion_id])
        return made

    async def _look(self) -> None:
        if await self._lease():
            await self.fill()

    async def _lease(self) -> bool:
        taken = await self._redis.set(keys.SUPPLY_LEASE, self._owner, nx=True, ex=_LEASE_S)
        if not taken and await self._redis.get(keys.SUPPLY_LEASE) != self._owner.encode():
            return False
        await self._redis.expire(keys.SUPPLY_LEASE, _LEASE_S)
        return True

    async def _missing(self) -> dict[str, int]:
        """How many sets each tenant's queues are below the target."""
        missing = {}
        for tenant in self._gateway.authenticator.tenants():
            waiting = 0
            for task in ("rank", "compare"):
                waiting += int(await self._redis.zcard(keys.queue(tenant, task)))
            if waiting < self._settings.supply_target:
                missing[tenant] = self._settings.supply_target - waiting
        return missing

    def _is_busy(self) -> bool:
        return sum(member.in_flight for member in self._gateway.fleet.members) >= _BUSY

    async def _unread(self) -> list[Completion]:
        """What was logged since the last look, `_READ` at most. Moves the cursor."""
        stream = keys.stream(Completion.kind)
        cursor = cast("bytes | None", await self._redis.get(keys.SUPPLY_CURSOR))
        start = f"({cursor.decode()}" if cursor else "-"
        rows = cast(eventlog.Rows, await self._redis.xrange(stream, start, "+", count=_READ))
        if rows:
            await self._redis.set(keys.SUPPLY_CURSOR, rows[-1][0])
        return [cast(Completion, decode(Completion.kind, fields[b"e"])) for _, fields in rows]

    async def _seen(self) -> set[str]:
        reply = self._redis.zrange(keys.SUPPLIED, 0, -1)
        found = await cast("Awaitable[list[bytes]]", reply)
        return {digest.decode() for digest in found}

    async def _remember(self, prompt: Prompt) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.zadd(keys.SUPPLIED, {prompt.digest: time.time()})
        pipe.zremrangebyrank(keys.SUPPLIED, 0, -_REMEMBERED - 1)
        await pipe.execute()

    async def _give(self, origin: Completion) -> bool:
        """Most prompts become sets to rank; of some the answer is rated, or people write it themselves."""
        drawn = self._rng.random()
        rate, demonstrate = self._settings.rate_share, self._settings.demonstrate_share
        task: Task | None = (
            "rate" if drawn < rate else "demonstrate" if drawn < rate + demonstrate else None
        )
        if task is None or not await self._has_room(task, origin.tenant):
            return await self._supply(origin)
        return await self._queues.offer(task, origin.id, tenant=origin.tenant)

    async def _has_room(self, task: Task, tenant: str) -> bool:
        return await self._queues.depth(task, tenant=tenant) < self._settings.supply_target

    async def _supply(self, origin: Completion) -> bool:
        """Sample a set and offer it, unless moderation, or the engines, have something against it."""
        try:
            sampled = [
                await self._sample(origin, model=model, num=num) for model, num in self._plan()
            ]
        except HoneError as error:
            log.info("no set for %s: %s", origin.id, error.message)
            return False
        refs = [ref for completion in sampled for ref in refs_of(completion)]
        if len(refs) < 2:
            return False
        task: Task = "compare" if len(refs) == 2 else "rank"
        wanted = 1
        if self._rng.random() < self._settings.overlap_share:
            wanted = self._settings.overlap_labelers
        first = refs[0].completion_id
        return await self._queues.offer(task, first, tenant=origin.tenant, refs=refs, wanted=wanted)

    def _plan(self) -> Sequence[tuple[str, int]]:
        """(model, how many of its answers)."""
        num = self._settings.candidates_per_set
        live = self._gateway.refresher.live
        if live.canary is not None and self._rng.random() < live.canary.limits.pair_share:
            return [(f"{MODEL}@canary", num // 2), (f"{MODEL}@production", num - num // 2)]
        others = [alias for alias in ("canary", "previous") if alias in live.aliases]
        if others and self._rng.random() < self._settings.other_version_share:
            return [(MODEL, num - 1), (f"{MODEL}@{self._rng.choice(others)}", 1)]
        return [(MODEL, num)]

    async def _sample(self, origin: Completion, *, model: str, num: int) -> Completion:
        gateway = self._gateway
        shape = CHAT if origin.endpoint == CHAT.name else TEXT
        asked = again(origin, {"model": model, "n": num}, max_tokens=gateway.settings.max_model_len)
        which = partial(resolve, model, gateway.refresher.live)
        key = ApiKey(
            id=origin.key_id,
            name="labeling",
            scopes=("infer",),
            tenant=origin.tenant,
            created=origin.created,
        )
        exchange = Exchange(
            shape=shape,
            asked=asked,
            target=which(),
            key=key,
            journal=gateway.journal,
            queues=None,  # the whole set is offered, not a part of it
            screen=gateway.screen,
            metrics=gateway.metrics,
        )
        await answer(gateway, exchange, which)
        event = await gateway.journal.get(Completion.kind, exchange.id)
        assert isinstance(event, Completion)  # it was logged a moment ago
        return event

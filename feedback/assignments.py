"""Which candidate sets are shown to which labeler, leased for a while.

A set waits in its tenant's list from the moment it is logged until somebody has ranked it. A lease keeps
others from working on it meanwhile; when its holder leaves, it ends by itself.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import redis
import redis.asyncio

from feedback import keys
from feedback.events import Choice, Completion
from feedback.journal import Journal

_LOOK_AT = 1_000  # sets from the front of the list, when those before are leased

# KEYS: rankable, leases, holders, labeled. ARGV: labeler, now, lease end, how many to look at.
# The labeler's own lease first, so that a reload shows the same set.
_TAKE = """
local free = nil
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[4] - 1)) do
  if redis.call('SISMEMBER', KEYS[4], id .. ':' .. ARGV[1]) == 0 then
    local ends = redis.call('ZSCORE', KEYS[2], id)
    if not ends or tonumber(ends) <= tonumber(ARGV[2]) then
      free = free or id
    elseif redis.call('HGET', KEYS[3], id) == ARGV[1] then
      free = id
      break
    end
  end
end
if free then
  redis.call('ZADD', KEYS[2], ARGV[3], free)
  redis.call('HSET', KEYS[3], free, ARGV[1])
end
return free
"""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A candidate set in the order this labeler sees it."""

    completion: Completion
    choices: list[Choice]  # shuffled; none that moderation withheld
    lease_ends: float  # unix seconds

    def messages(self) -> list[dict[str, Any]]:
        """The prompt, as a conversation."""
        request = self.completion.request
        if "messages" in request:
            return list(request["messages"])
        return [{"role": "user", "content": request["prompt"]}]


class Assignments:
    """The labeling queue. Raises redis.ConnectionError while Redis is away."""

    def __init__(self, journal: Journal, *, lease_s: float) -> None:
        self._journal = journal
        self._redis: redis.asyncio.Redis = journal.redis
        self._lease_s = lease_s

    async def next(self, *, labeler: str, tenant: str) -> Assignment | None:
        """Lease a set that this labeler has not judged. None: there is none at the moment."""
        while (completion_id := await self._take(labeler, tenant)) is not None:
            event = await self._journal.get(Completion.kind, completion_id)
            if isinstance(event, Completion):
                choices = visible_choices(event)
                if len(choices) >= 2:
                    # Seeded by set and labeler: a reload shows the same order.
                    seed = hashlib.sha256(f"{completion_id}:{labeler}".encode()).digest()
                    random.Random(seed).shuffle(choices)
                    ends = time.time() + self._lease_s
                    return Assignment(completion=event, choices=choices, lease_ends=ends)
            await self._forget(completion_id, tenant)  # erased, or nothing to compare
        return None

    async def finish(self, completion_id: str, *, labeler: str, tenant: str) -> None:
        """The labeler has judged the set; nobody else needs to."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.sadd(keys.LABELED, f"{completion_id}:{labeler}")
        pipe.lrem(keys.rankable(tenant), 1, completion_id)
        pipe.zrem(keys.LEASES, completion_id)
        pipe.hdel(keys.LEASE_HOLDERS, completion_id)
        await pipe.execute()

    async def skip(self, completion_id: str, *, labeler: str) -> None:
        """Do not show this set to this labeler again; others may have it."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.sadd(keys.LABELED, f"{completion_id}:{labeler}")
        pipe.zrem(keys.LEASES, completion_id)
        pipe.hdel(keys.LEASE_HOLDERS, completion_id)
        await pipe.execute()

    async def depth(self, *, tenant: str) -> int:
        """How many sets wait."""
        return await self._redis.llen(keys.rankable(tenant))

    async def _take(self, labeler: str, tenant: str) -> str | None:
        now = time.time()
        names = (keys.rankable(tenant), keys.LEASES, keys.LEASE_HOLDERS, keys.LABELED)
        arguments = (labeler, f"{now}", f"{now + self._lease_s}", str(_LOOK_AT))
        reply = self._redis.eval(_TAKE, len(names), *names, *arguments)
        found = await cast("Awaitable[bytes | None]", reply)
        return found.decode() if found is not None else None

    async def _forget(self, completion_id: str, tenant: str) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.lrem(keys.rankable(tenant), 0, completion_id)
        pipe.zrem(keys.LEASES, completion_id)
        pipe.hdel(keys.LEASE_HOLDERS, completion_id)
        await pipe.execute()


def visible_choices(completion: Completion) -> list[Choice]:
    """The choices that somebody may be shown."""
    return [choice for choice in completion.choices if not choice.blocked]

"""What waits to be judged, in Redis: one queue per tenant and task, the most wanted first.

An entry is named by a completion: the one whose answers, or whose prompt, it is about. It stays until as
many labelers as wanted have judged it. A lease keeps a place for one of them; who leaves loses it by time.
Scripts, so that two labelers who ask at once never get one place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
import redis.asyncio

from feedback import keys
from feedback.events import new_id

Task = Literal["rank", "compare", "rate", "demonstrate"]  # as keys.TASKS
_LOOK_AT = 500  # entries from the front of a queue, when those before are taken
_GIVE_UP_AFTER = 3  # labelers who skipped it

# KEYS: queue, queued. ARGV: completion id, priority, refs, wanted. Returns 1 if it is new.
_OFFER = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], 'refs', ARGV[3], 'wanted', ARGV[4], 'judged', 0)
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
"""

# KEYS: queue, held. ARGV: labeler, now, lease end, time to live of `held` in ms, prefix of `queued`, how
# many to look at, new assignment id, 1 to draw at random. Returns {completion id, refs, assignment id}.
# The labeler's own first, so that a reload shows the same.
_TAKE = """
local mine, now = 'lease:' .. ARGV[1], tonumber(ARGV[2])
local function is_free(id)
  local all, taken = redis.call('HGETALL', ARGV[5] .. id), 0
  if #all == 0 then
    redis.call('ZREM', KEYS[1], id)
    return false
  end
  local wanted, judged = 0, 0
  for i = 1, #all, 2 do
    local name, value = all[i], all[i + 1]
    if name == 'wanted' then wanted = tonumber(value)
    elseif name == 'judged' then judged = tonumber(value)
    elseif name == 'seen:' .. ARGV[1] then return false
    elseif name ~= mine and string.sub(name, 1, 6) == 'lease:' and tonumber(value) > now then taken = taken + 1
    end
  end
  return judged + taken < wanted
end
local function take(id, assignment)
  redis.call('HSET', ARGV[5] .. id, mine, ARGV[3])
  redis.call('SET', KEYS[2], assignment .. ' ' .. id, 'PX', ARGV[4])
  return {id, redis.call('HGET', ARGV[5] .. id, 'refs'), assignment}
end
local held = redis.call('GET', KEYS[2])
if held then
  local assignment, id = string.match(held, '^(%S+) (.+)$')
  if is_free(id) then return take(id, assignment) end
end
if ARGV[8] == '1' then
  for _, id in ipairs(redis.call('ZRANDMEMBER', KEYS[1], 10)) do
    if is_free(id) then return take(id, ARGV[7]) end
  end
end
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[6] - 1)) do
  if is_free(id) then return take(id, ARGV[7]) end
end
return nil
"""

# KEYS: queue, queued, held. ARGV: completion id, labeler, 1 if judged else 0, how many skips are too many.
_LEAVE = """
local held = redis.call('GET', KEYS[3])
if held and string.match(held, '^%S+ (.+)$') == ARGV[1] then redis.call('DEL', KEYS[3]) end
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], 'lease:' .. ARGV[2])
if redis.call('HSETNX', KEYS[2], 'seen:' .. ARGV[2], 1) == 0 then return 0 end
local is_over
if ARGV[3] == '1' then
  is_over = redis.call('HINCRBY', KEYS[2], 'judged', 1) >= tonumber(redis.call('HGET', KEYS[2], 'wanted'))
else
  is_over = redis.call('HINCRBY', KEYS[2], 'skipped', 1) >= tonumber(ARGV[4])
end
if is_over then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
end
return 1
"""

# KEYS: queue, queued, held. ARGV: completion id, labeler, refs, lease end, time to live in ms, assignment.
_REOPEN = """
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'refs', ARGV[3], 'wanted', 1, 'judged', 0)
else
  if redis.call('HDEL', KEYS[2], 'seen:' .. ARGV[2]) == 1 then redis.call('HINCRBY', KEYS[2], 'judged', -1) end
end
redis.call('ZADD', KEYS[1], 'NX', 0, ARGV[1])
redis.call('HSET', KEYS[2], 'lease:' .. ARGV[2], ARGV[4])
redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. ARGV[1], 'PX', ARGV[5])
return 1
"""


@dataclass(frozen=True, kw_only=True)
class Ref:
    """One answer of an entry."""

    completion_id: str
    index: int


@dataclass(frozen=True, kw_only=True)
class Taken:
    """An entry leased to a labeler."""

    assignment_id: str
    completion_id: str
    refs: list[Ref]  # empty: the whole completion


class Queues:
    """The queues of all tenants. Raises redis.ConnectionError while Redis is away."""

    def __init__(self, client: redis.asyncio.Redis, *, lease_s: float) -> None:
        self._redis = client
        self.lease_s = lease_s

    async def offer(
        self,
        task: Task,
        completion_id: str,
        *,
        tenant: str,
        refs: Sequence[Ref] = (),
        wanted: int = 1,
        priority: float | None = None,
    ) -> bool:
        """Have an entry judged by `wanted` labelers. True if it did not wait already.

        `priority`: 0 and more for what is worth most; None: after all of those, oldest first.
        """
        names = (keys.queue(tenant, task), keys.queued(task, completion_id))
        score = priority if priority is not None else -time.time()
        arguments = (completion_id, f"{score:.6f}", _dump(refs), str(wanted))
        return bool(await self._eval(_OFFER, names, arguments))

    async def take(
        self, task: Task, *, labeler: str, tenant: str, at_random: bool = False
    ) -> Taken | None:
        """Lease an entry that this labeler has not seen, or the one they hold. None: none is free."""
        now = time.time()
        names = (keys.queue(tenant, task), keys.held(labeler, task))
        lease_ms = max(1, int(self.lease_s * 1000))
        arguments = (
            *(labeler, f"{now:.3f}", f"{now + self.lease_s:.3f}", str(lease_ms)),
            *(keys.queued(task, ""), str(_LOOK_AT), new_id("asg_"), "1" if at_random else "0"),
        )
        found = cast("list[bytes] | None", await self._eval(_TAKE, names, arguments))
        if found is None:
            return None
        completion_id, refs, assignment_id = found
        return Taken(
            assignment_id=assignment_id.decode(),
            completion_id=completion_id.decode(),
            refs=[Ref(completion_id=ref[0], index=ref[1]) for ref in orjson.loads(refs)],
        )

    async def leave(
        self, task: Task, completion_id: str, *, labeler: str, tenant: str, has_judged: bool
    ) -> None:
        """The labeler is done with it, or has skipped it. It leaves the queue once enough have judged it,
        or several have skipped it. Doing it twice changes nothing."""
        pipe = self._redis.pipeline(transaction=False)
        add_leaving(
            pipe, task, completion_id, labeler=labeler, tenant=tenant, has_judged=has_judged
        )
        await pipe.execute()

    async def reopen(
        self,
        task: Task,
        completion_id: str,
        *,
        labeler: str,
        tenant: str,
        refs: Sequence[Ref],
        assignment_id: str,
    ) -> None:
        """Give it to this labeler again, under the assignment they had."""
        names = (
            keys.queue(tenant, task),
            keys.queued(task, completion_id),
            keys.held(labeler, task),
        )
        ends, lease_ms = f"{time.time() + self.lease_s:.3f}", str(int(self.lease_s * 1000))
        arguments = (completion_id, labeler, _dump(refs), ends, lease_ms, assignment_id)
        await self._eval(_REOPEN, names, arguments)

    async def withdraw(self, task: Task, completion_id: str, *, tenant: str) -> None:
        """Nobody needs to judge it: it was erased, or there is nothing to compare."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrem(keys.queue(tenant, task), completion_id)
        pipe.delete(keys.queued(task, completion_id))
        await pipe.execute()

    async def depth(self, task: Task, *, tenant: str) -> int:
        """How many entries wait."""
        return int(await self._redis.zcard(keys.queue(tenant, task)))

    async def _eval(self, script: str, names: Sequence[str], arguments: Sequence[str]) -> Any:
        return await self._redis.eval(script, len(names), *names, *arguments)


def add_leaving(
    pipe: redis.asyncio.client.Pipeline,
    task: Task,
    completion_id: str,
    *,
    labeler: str,
    tenant: str,
    has_judged: bool,
) -> None:
    """`Queues.leave`, to be done with others in one round trip."""
    names = (
        keys.queue(tenant, task),
        keys.queued(task, completion_id),
        keys.held(labeler, task),
    )
    arguments = (completion_id, labeler, "1" if has_judged else "0", str(_GIVE_UP_AFTER))
    pipe.eval(_LEAVE, len(names), *names, *arguments)


def _dump(refs: Sequence[Ref]) -> str:
    return orjson.dumps([[ref.completion_id, ref.index] for ref in refs]).decode()

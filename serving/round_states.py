"""What a round can be, and how it changes: every change is one script in Redis, or does not happen.

    start ──> running ──> publishing ──> finished
                │  │           └───────> failed
                │  ├──> failed ──retry──> running
                │  └──> refused ──override──> running
                └─cancel─> cancelling ──> cancelled ──retry──> running

A change names what it comes from, so that a message that comes twice changes nothing; a worker's change
holds only with the lease's token in hand; and it leaves its event in the round's state, which `record` puts into
the log under one id however often it is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import redis

from feedback import eventlog, keys
from feedback.events import RoundChanged, decode, encode

RUNNING, PUBLISHING, CANCELLING = "running", "publishing", "cancelling"
FINISHED, REFUSED, FAILED, CANCELLED = "finished", "refused", "failed", "cancelled"
UNDER_WAY = (RUNNING, PUBLISHING, CANCELLING)
ENDED = (FINISHED, REFUSED, FAILED, CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Move:
    """One arrow of the picture. `active`: what becomes of the one place for a round under way."""

    before: tuple[str, ...]  # "" is a round that is not there yet
    after: str
    active: str = "keep"  # take | keep | free


START = Move(before=("",), after=RUNNING, active="take")
GO_ON = Move(before=(RUNNING,), after=RUNNING)
PUBLISH = Move(before=(RUNNING, PUBLISHING), after=PUBLISHING)
FINISH = Move(before=(PUBLISHING,), after=FINISHED, active="free")
REFUSE = Move(before=(RUNNING,), after=REFUSED, active="free")
FAIL = Move(before=(RUNNING, PUBLISHING), after=FAILED, active="free")
CANCEL = Move(before=(RUNNING,), after=CANCELLING)
CANCELLED_NOW = Move(before=(CANCELLING,), after=CANCELLED, active="free")
RETRY = Move(before=(FAILED, CANCELLED), after=RUNNING, active="take")
# An operator takes a refused candidate all the same: the gate's step looks for the reason.
OVERRIDE = Move(before=(REFUSED,), after=RUNNING, active="take")
# What failed while it was published may be live by now: it cannot be cancelled any more.
RETRY_PUBLISH = Move(before=(FAILED,), after=PUBLISHING, active="take")

# KEYS: the round's state, the active round, the lease. ARGV: round id, statuses before (",a,b,"), status after,
# take | keep | free, the lease's token ("" = none is asked for), the event as JSON, fields to drop (" " between),
# then fields and values. Returns what it was; "ok" first if it changed.
_MOVE = """
local was = redis.call('HGET', KEYS[1], 'status') or ''
local active = redis.call('GET', KEYS[2])
if not string.find(ARGV[2], ',' .. was .. ',', 1, true) then return {'status', was} end
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[5] then return {'lease', was} end
if ARGV[4] == 'take' then
    if active and active ~= ARGV[1] then return {'active', active} end
    redis.call('SET', KEYS[2], ARGV[1])
elseif active ~= ARGV[1] then
    return {'active', active or ''}
elseif ARGV[4] == 'free' then
    redis.call('DEL', KEYS[2])
end
for name in string.gmatch(ARGV[7], '[^ ]+') do redis.call('HDEL', KEYS[1], name) end
redis.call('HSET', KEYS[1], 'status', ARGV[3])
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[6] ~= '' then
    local number = redis.call('HINCRBY', KEYS[1], 'num_events', 1)
    redis.call('HSET', KEYS[1], 'event:' .. number, ARGV[6])
end
return {'ok', was}
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a change. Not done: `because` is status, lease or active, and `found` what stands there."""

    is_done: bool
    because: str
    found: str


def move(
    client: redis.Redis,
    round_id: str,
    change: Move,
    /,
    *,
    event: RoundChanged | None = None,
    token: str = "",
    drop: tuple[str, ...] = (),
    **fields: str | float,
) -> Outcome:
    """Change a round's status, and nothing where it is not what the change comes from."""
    names = (keys.round_state(round_id), keys.ROUND_ACTIVE, keys.ROUND_LEASE)
    before = f",{','.join(change.before)},"
    left = encode(event) if event is not None else b""
    given: list[Any] = [word for pair in fields.items() for word in pair]
    options = (round_id, before, change.after, change.active, token, left, " ".join(drop))
    reply = cast("list[bytes]", client.eval(_MOVE, len(names), *names, *options, *given))
    because, found = (word.decode() for word in reply)
    record(client, round_id)
    return Outcome(is_done=because == "ok", because=because, found=found)


def record(client: redis.Redis, round_id: str) -> None:
    """Put the events that changes left into the log: who dies in between leaves them for the next one."""
    name = keys.round_state(round_id)
    state = cast("dict[bytes, bytes]", client.hgetall(name))
    left = [field for field in state if field.startswith(b"event:")]
    for field in sorted(left, key=lambda field: int(field.partition(b":")[2])):
        eventlog.append(client, decode(RoundChanged.kind, state[field]))
        client.hdel(name, field)

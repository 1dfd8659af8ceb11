"""The log on Redis Streams: append once, look up by id, read in order, erase.

One script appends and indexes atomically, so that an event sent twice (a client's retry, a drained
outbox, a lost reply) is in the stream once. Another erases: the id stays in the index, marked, so that
a copy that waits in some outbox does not bring the text back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import redis
import redis.asyncio

from feedback import keys
from feedback.events import Completion, Event, decode, encode

ERASED = b"erased"  # in the index, where the entry id of an event was

# KEYS: for each event its stream, its index, then the sorted sets that list it. ARGV: for each event
# the number of its keys, its id, its JSON. Returns 1 for each that is new, 0 for one that was there.
_APPEND_ONCE = """
local are_new, before = {}, 0
for i = 1, #ARGV, 3 do
    local stream, index, id = KEYS[before + 1], KEYS[before + 2], ARGV[i + 1]
    local is_new = redis.call('HEXISTS', index, id) == 0
    if is_new then
        redis.call('HSET', index, id, redis.call('XADD', stream, '*', 'e', ARGV[i + 2]))
        for k = before + 3, before + ARGV[i] do redis.call('ZADD', KEYS[k], 0, id) end
    end
    table.insert(are_new, is_new and 1 or 0)
    before = before + ARGV[i]
end
return are_new
"""

_APPEND_ONCE_SHA = hashlib.sha1(_APPEND_ONCE.encode()).hexdigest()

# KEYS: stream, index, replaced metadata, rankable, leases, lease holders, then the sorted sets that list
# the event. ARGV: event id, the mark, the replaced metadata that the sets were worked out from.
# Returns 0 if that has changed meanwhile, or the event is not there.
_ERASE = """
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry or entry == ARGV[2] then return 0 end
if (redis.call('HGET', KEYS[3], ARGV[1]) or '') ~= ARGV[3] then return 0 end
redis.call('XDEL', KEYS[1], entry)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('LREM', KEYS[4], 0, ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
for i = 7, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return 1
"""

_PAGE = 500

# redis-py types replies for clients with and without decode_responses; ours never decode.
Rows = list[tuple[bytes, dict[bytes, bytes]]]


def append(client: redis.Redis, event: Event) -> bool:
    """Append from a worker. True if the event is new. Durable when Redis runs `appendfsync
    always`."""
    names, arguments = _to_append([(event, encode(event))])
    reply = cast("list[int]", client.eval(_APPEND_ONCE, len(names), *names, *arguments))
    return bool(reply[0])


async def append_all_async(
    client: redis.asyncio.Redis, events: Sequence[tuple[Event, bytes]]
) -> list[bool]:
    """Append from the gateway, in this order, in one round trip: events, each with its encoding.
    True for each that is new.

    When it fails some may be there: append them again.
    """
    names, arguments = _to_append(events)
    try:
        reply = await client.evalsha(_APPEND_ONCE_SHA, len(names), *names, *arguments)
    except redis.exceptions.NoScriptError:  # a Redis that has just started
        reply = await client.eval(_APPEND_ONCE, len(names), *names, *arguments)
    return [bool(is_new) for is_new in reply]


def get(client: redis.Redis, kind: str, event_id: str) -> Event | None:
    """One event by its id."""
    entry = client.hget(keys.index(kind), event_id)
    if entry is None or entry == ERASED:
        return None
    rows = cast(Rows, client.xrange(keys.stream(kind), entry, entry))
    return decode(kind, rows[0][1][b"e"]) if rows else None


async def get_async(client: redis.asyncio.Redis, kind: str, event_id: str) -> Event | None:
    """One event by its id, for the gateway."""
    entry = cast("bytes | None", await client.hget(keys.index(kind), event_id))
    return (await at_entries(client, kind, [entry]))[0]


async def at_entries(
    client: redis.asyncio.Redis, kind: str, entries: Sequence[bytes | None]
) -> list[Event | None]:
    """The events at these values of the index, in one round trip; None where there is none."""
    there = [entry for entry in entries if entry is not None and entry != ERASED]
    if not there:
        return [None] * len(entries)
    pipe = client.pipeline(transaction=False)
    for entry in there:
        pipe.xrange(keys.stream(kind), entry, entry)
    found = dict(zip(there, cast("list[Rows]", await pipe.execute()), strict=True))
    rows = [found.get(entry) if entry is not None else None for entry in entries]
    return [decode(kind, row[0][1][b"e"]) if row else None for row in rows]


async def erase_async(
    client: redis.asyncio.Redis, completion: Completion, *, replaced_metadata: bytes
) -> bool:
    """Remove a completion's text, and its place in lists and in the labeling queue.

    `completion.metadata` is what lists it; `replaced_metadata` is the value of STORED_METADATA that it
    was read from, b"" for none. False: that has changed, or the completion is gone.
    """
    names = (
        keys.stream(completion.kind),
        keys.index(completion.kind),
        keys.STORED_METADATA,
        keys.rankable(completion.tenant),
        keys.LEASES,
        keys.LEASE_HOLDERS,
        *listings(completion, completion.metadata),
    )
    arguments = (completion.id, ERASED, replaced_metadata)
    return bool(await client.eval(_ERASE, len(names), *names, *arguments))


def listings(completion: Completion, metadata: Mapping[str, str]) -> list[str]:
    """The sorted sets that list a completion with this metadata. OpenAI lists chats only."""
    if completion.endpoint != "chat":
        return []
    tenant = completion.tenant
    pairs = [(f"metadata.{key}", value) for key, value in metadata.items()]
    where = [("model", completion.version), *pairs]
    return [keys.stored(tenant), *(keys.stored_where(tenant, *pair) for pair in where)]


def read(
    client: redis.Redis, kind: str, *, after: str = "-", until: str = "+"
) -> Iterator[tuple[str, Event]]:
    """(entry id, event) in order; `after` is exclusive unless "-". Holds one page in memory."""
    start = after if after == "-" else f"({after}"
    while rows := cast(Rows, client.xrange(keys.stream(kind), start, until, count=_PAGE)):
        for entry, fields in rows:
            yield entry.decode(), decode(kind, fields[b"e"])
        start = f"({rows[-1][0].decode()}"


def last_entry(client: redis.Redis, kind: str) -> str | None:
    """Entry id of the newest event of a kind."""
    rows = cast(Rows, client.xrevrange(keys.stream(kind), count=1))
    return rows[0][0].decode() if rows else None


def count_after(client: redis.Redis, kind: str, *, after: str) -> int:
    """How many events came after an entry id ("-" = all)."""
    if after == "-":
        return int(client.xlen(keys.stream(kind)))
    return sum(1 for _ in read(client, kind, after=after))


def _to_append(events: Sequence[tuple[Event, bytes]]) -> tuple[list[str], list[str | bytes]]:
    """KEYS and ARGV of the script."""
    names: list[str] = []
    arguments: list[str | bytes] = []
    for event, data in events:
        listed = listings(event, event.metadata) if isinstance(event, Completion) else []
        names += [keys.stream(event.kind), keys.index(event.kind), *listed]
        arguments += [str(2 + len(listed)), event.id, data]
    return names, arguments

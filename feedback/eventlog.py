"""The log on Redis Streams: append once, look up by id, read in order.

One script appends and indexes atomically, so that an event sent twice (a client's retry, a drained
outbox, a lost reply) is in the stream once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import redis
import redis.asyncio

from feedback import keys
from feedback.events import Event, decode, encode

# KEYS: stream, index. ARGV: event id, JSON. Returns the entry id and 1 if it was there already.
_APPEND_ONCE = """
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return {known, 1} end
local entry = redis.call('XADD', KEYS[1], '*', 'e', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], entry)
return {entry, 0}
"""

_PAGE = 500

# redis-py types replies for clients with and without decode_responses; ours never decode.
Rows = list[tuple[bytes, dict[bytes, bytes]]]


def append(client: redis.Redis, event: Event) -> bool:
    """Append from a worker. True if the event is new. Durable when Redis runs `appendfsync
    always`."""
    reply = client.eval(_APPEND_ONCE, 2, *_arguments(event))
    return not reply[1]


async def append_async(client: redis.asyncio.Redis, event: Event) -> bool:
    """Append from the gateway. True if the event is new."""
    reply = await client.eval(_APPEND_ONCE, 2, *_arguments(event))
    return not reply[1]


def get(client: redis.Redis, kind: str, event_id: str) -> Event | None:
    """One event by its id."""
    entry = client.hget(keys.index(kind), event_id)
    if entry is None:
        return None
    rows = cast(Rows, client.xrange(keys.stream(kind), entry, entry))
    return decode(kind, rows[0][1][b"e"]) if rows else None


async def get_async(client: redis.asyncio.Redis, kind: str, event_id: str) -> Event | None:
    """One event by its id, for the gateway."""
    entry = await client.hget(keys.index(kind), event_id)
    if entry is None:
        return None
    rows = cast(Rows, await client.xrange(keys.stream(kind), entry, entry))
    return decode(kind, rows[0][1][b"e"]) if rows else None


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


def _arguments(event: Event) -> tuple[str, str, str, bytes]:
    return keys.stream(event.kind), keys.index(event.kind), event.id, encode(event)

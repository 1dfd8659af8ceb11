"""The log on Redis Streams: append once, look up by id, read in order.

One script appends and indexes atomically, so that an event sent twice (a client's retry, a drained
outbox, a lost reply) is in the log once. Old events leave Redis for the archive, and their ids leave the
index for a filter (feedback.archive).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

import orjson
import redis
import redis.asyncio

from feedback import keys
from feedback.archive import marks
from feedback.events import Completion, Event, Feedback, decode, encode, made_at, quotes

ERASED = b"erased"  # in the index, where the entry id of an event was
ERASED_WITH_ALL = b"erased_with_all"  # the same, and so is what people said about it

# What an append comes to.
_KNOWN, _NEW, _PERHAPS_ARCHIVED = 0, 1, 2

# An event whose id was made so lately is not in the archive: younger ones are not archived (plan).
_SURELY_YOUNG_S = 60.0

# KEYS: erased users, index of completions; for each event its stream, index and filter, then the sorted
# sets that list it. ARGV: for each event the number of its keys, its id, its JSON, the bits of the
# filter that is to be asked (0: it need not be), whose erasures take it, when it was made, and the completions that
# it is about and quotes. Returns for each event 1 if it is new, 0 if it was there or its user was
# erased, and ends with 2 at one that may be archived.
_APPEND_ONCE = (
    marks.MAY_HOLD
    + """
local results, before = {}, 2
for i = 1, #ARGV, 7 do
    local stream, index, id = KEYS[before + 1], KEYS[before + 2], ARGV[i + 1]
    local result = redis.call('HEXISTS', index, id) == 0 and 1 or 0
    for whose in string.gmatch(ARGV[i + 4], '[^ ]+') do
        local erased_at = result == 1 and redis.call('HGET', KEYS[1], whose)
        if erased_at and tonumber(ARGV[i + 5]) <= tonumber(erased_at) then
            redis.call('HSET', index, id, 'erased_with_all')
            result = 0
        end
    end
    if result == 1 then
        for about in string.gmatch(ARGV[i + 6], '[^ ]+') do
            if redis.call('HGET', KEYS[2], about) == 'erased_with_all' then result = 0 end
        end
    end
    if result == 1 and ARGV[i + 3] ~= '0' and may_hold(KEYS[before + 3], id, tonumber(ARGV[i + 3])) then
        table.insert(results, 2)
        return results
    end
    if result == 1 then
        redis.call('HSET', index, id, redis.call('XADD', stream, '*', 'e', ARGV[i + 2]))
        for k = before + 4, before + ARGV[i] do redis.call('ZADD', KEYS[k], 0, id) end
    end
    table.insert(results, result)
    before = before + ARGV[i]
end
return results
"""
)

_APPEND_ONCE_SHA = hashlib.sha1(_APPEND_ONCE.encode()).hexdigest()

_PAGE = 500

# redis-py types replies for clients with and without decode_responses; ours never decode.
Rows = list[tuple[bytes, dict[bytes, bytes]]]


# Of a kind and an id: does the archive have it?
IsArchived = Callable[[str, str], Awaitable[bool]]


def append(client: redis.Redis, event: Event) -> bool:
    """Append from a worker. True if the event is new. Durable when Redis runs `appendfsync
    always`."""
    return append_all(client, [event])[0]


def append_all(client: redis.Redis, events: Sequence[Event]) -> list[bool]:
    """Append from a worker or a command, in this order, in one round trip. True for each that is new."""
    encoded = [(event, encode(event)) for event in events]
    results: list[int] = []
    is_first_new = False
    while len(results) < len(events):
        names, arguments = _to_append(
            encoded[len(results) :], now=time.time(), is_first_new=is_first_new
        )
        results += cast("list[int]", client.eval(_APPEND_ONCE, len(names), *names, *arguments))
        is_first_new = False
        if results[-1] == _PERHAPS_ARCHIVED:
            event = events[len(results) - 1]
            results.pop()
            if are_there(client, event.kind, [event.id]):
                results.append(_KNOWN)
            else:
                is_first_new = True
    return [result == _NEW for result in results]


def are_there(client: redis.Redis, kind: str, event_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are in the log, or were before they were erased."""
    from feedback.history import History  # which reads with what is here

    pipe = client.pipeline(transaction=False)
    for event_id in event_ids:
        marks.where(pipe, kind, event_id)
    places = dict(zip(event_ids, pipe.execute(), strict=True))
    history = History(client)
    return {
        event_id
        for event_id, place in places.items()
        if place is not None
        and (place != marks.ARCHIVED or history.get(kind, event_id) is not None)
    }


async def append_all_async(
    client: redis.asyncio.Redis,
    events: Sequence[tuple[Event, bytes]],
    *,
    is_archived: IsArchived,
) -> list[bool]:
    """Append from the gateway, in this order, in one round trip: events, each with its encoding.
    True for each that is new.

    When it fails some may be there: append them again.
    """
    results: list[int] = []
    is_first_new = False
    while len(results) < len(events):
        rest = events[len(results) :]
        names, arguments = _to_append(rest, now=time.time(), is_first_new=is_first_new)
        try:
            reply = await client.evalsha(_APPEND_ONCE_SHA, len(names), *names, *arguments)
        except redis.exceptions.NoScriptError:  # a Redis that has just started
            reply = await client.eval(_APPEND_ONCE, len(names), *names, *arguments)
        results += reply
        is_first_new = False
        if results[-1] == _PERHAPS_ARCHIVED:
            event = events[len(results) - 1][0]
            results.pop()
            if await is_archived(event.kind, event.id):
                results.append(_KNOWN)
            else:
                is_first_new = True
    return [result == _NEW for result in results]


def get(client: redis.Redis, kind: str, event_id: str) -> Event | None:
    """One event that is in Redis, by its id; `History` also looks into the archive."""
    entry = cast("bytes | None", client.hget(keys.index(kind), event_id))
    if entry is None or is_erased(entry):
        return None
    rows = cast(Rows, client.xrange(keys.stream(kind), entry, entry))
    return decode(kind, rows[0][1][b"e"]) if rows else None


async def at_entries(
    client: redis.asyncio.Redis, kind: str, entries: Sequence[bytes | None]
) -> list[Event | None]:
    """The events at these values of the index, in one round trip; None where there is none."""
    there = [entry for entry in entries if entry is not None and not is_erased(entry)]
    if not there:
        return [None] * len(entries)
    pipe = client.pipeline(transaction=False)
    for entry in there:
        pipe.xrange(keys.stream(kind), entry, entry)
    found = dict(zip(there, cast("list[Rows]", await pipe.execute()), strict=True))
    rows = [found.get(entry) if entry is not None else None for entry in entries]
    return [decode(kind, row[0][1][b"e"]) if row else None for row in rows]


def is_erased(entry: bytes) -> bool:
    """Whether a value of the index marks what was erased."""
    return entry.startswith(ERASED)


def listings(completion: Completion, metadata: Mapping[str, str]) -> list[str]:
    """The sorted sets that list a completion with this metadata. OpenAI lists chats only, and those that
    were answered."""
    if completion.endpoint != "chat" or not completion.choices:
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


@lru_cache(maxsize=10_000)
def owner(tenant: str, person: str | None) -> str:
    """A person of a tenant, or all of it, for `keys.ERASED_USERS`, which is to hold no names."""
    return hashlib.sha256(orjson.dumps([tenant, person])).hexdigest()[:32]


def _owners(tenant: str, person: str | None) -> str:
    """Whose erasure would take an event: the tenant's, and the person's if one is named."""
    all_of_it = owner(tenant, None)
    return all_of_it if person is None else f"{owner(tenant, person)} {all_of_it}"


def _to_append(
    events: Sequence[tuple[Event, bytes]], *, now: float, is_first_new: bool
) -> tuple[list[str], list[str | bytes]]:
    """KEYS and ARGV of the script. `is_first_new`: the archive was asked for the first of them."""
    names = [keys.ERASED_USERS, keys.index(Completion.kind)]
    arguments: list[str | bytes] = []
    for number, (event, data) in enumerate(events):
        kind, whose, about = event.kind, "", ""
        listed: Sequence[str] = ()
        if isinstance(event, Completion):
            listed = listings(event, event.metadata)
            whose = _owners(event.tenant, event.end_user)
        elif isinstance(event, Feedback):
            is_end_users = event.source != "labeler"
            whose = _owners(event.tenant, event.labeler if is_end_users else None)
            about = " ".join(event.completion_ids) if quotes(event.body) else ""
        made = made_at(event.id)
        is_young = made is not None and now - made < _SURELY_YOUNG_S
        is_asked = not is_young and not (is_first_new and number == 0)
        names += [keys.stream(kind), keys.index(kind), keys.archived_ids(kind), *listed]
        bits = str(marks.num_bits(kind)) if is_asked else "0"
        arguments += [str(3 + len(listed)), event.id, data, bits, whose, str(event.created), about]
    return names, arguments

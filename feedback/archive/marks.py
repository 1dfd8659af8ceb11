"""What Redis knows of the archive: how far it goes, and which ids are in it.

Of each kind of event two entry ids: events through `sealed` are being archived and change no more; those
through `through` are in the archive, and are read there. An event leaves the index when it leaves the
stream, and enters a Bloom filter in the same step, so that whether an id was ever appended can always be
told: the filter says "no", or "look into the archive".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from feedback import keys

# 16 MiB for 10 million ids at one look in 300 for nothing; a stray id of a small stream costs little.
_MANY, _FEW = 2**27, 2**20
_NUM_BITS = {"completions": _MANY, "feedback": _MANY}

# Lua: five places of an id in the filter.
PLACES = """
local function places(id, num_bits)
    local digest, found = redis.sha1hex(id), {}
    for i = 1, 33, 8 do found[#found + 1] = tonumber(string.sub(digest, i, i + 7), 16) % num_bits end
    return found
end
"""
# Lua: may the filter hold an id?
MAY_HOLD = (
    PLACES
    + """
local function may_hold(filter, id, num_bits)
    for _, place in ipairs(places(id, num_bits)) do
        if redis.call('GETBIT', filter, place) == 0 then return false end
    end
    return true
end
"""
)

# KEYS: index, filter. ARGV: id, bits of the filter. What the index says of it, else `archived` if the
# filter may hold it, else nothing: there never was such an event.
WHERE = (
    MAY_HOLD
    + """
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry then return entry end
return may_hold(KEYS[2], ARGV[1], tonumber(ARGV[2])) and 'archived' or nil
"""
)
ARCHIVED = b"archived"

# KEYS: lease, marks. ARGV: token, field, entry id. Only the holder of the lease moves a mark.
_MOVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""

# KEYS: index, filter. ARGV: bits of the filter, ids. The ids leave the index, but for the marks of
# what was erased.
_FORGET = (
    PLACES
    + """
for i = 2, #ARGV do
    local entry = redis.call('HGET', KEYS[1], ARGV[i])
    if entry and string.sub(entry, 1, 6) ~= 'erased' then redis.call('HDEL', KEYS[1], ARGV[i]) end
    for _, place in ipairs(places(ARGV[i], tonumber(ARGV[1]))) do
        redis.call('SETBIT', KEYS[2], place, 1)
    end
end
"""
)


def num_bits(kind: str) -> int:
    """Of the kind's filter."""
    return _NUM_BITS.get(kind, _FEW)


def through_field(kind: str) -> str:
    return f"{kind}:through"


def sealed_field(kind: str) -> str:
    return f"{kind}:sealed"


def through(client: redis.Redis, kind: str) -> str | None:
    """Entry id of the last event that is read from the archive."""
    found = cast("bytes | None", client.hget(keys.ARCHIVE, through_field(kind)))
    return found.decode() if found is not None else None


def move(client: redis.Redis, field: str, entry: str, *, token: int) -> bool:
    """Move a mark. False when the lease is lost."""
    names = (keys.ARCHIVE_LEASE, keys.ARCHIVE)
    return bool(client.eval(_MOVE, len(names), *names, str(token), field, entry))


def forget(client: redis.Redis, kind: str, ids: Sequence[str]) -> None:
    """Archived events leave the index and enter the filter. In a pipeline as well."""
    names = (keys.index(kind), keys.archived_ids(kind))
    client.eval(_FORGET, len(names), *names, str(num_bits(kind)), *ids)


def where(client: redis.Redis, kind: str, event_id: str) -> bytes | None:
    """What the index says of an id, else ARCHIVED if the archive may hold it, else None."""
    names = (keys.index(kind), keys.archived_ids(kind))
    reply = client.eval(WHERE, len(names), *names, event_id, str(num_bits(kind)))
    return cast("bytes | None", reply)


def due_ids(due: Mapping[bytes, bytes], kind: str) -> dict[str, str]:
    """Of `keys.ERASE_DUE`: ids of a kind that are to leave the archive, with their entry ids."""
    prefix = f"{kind}:"
    return {
        name.decode().removeprefix(prefix): entry.decode()
        for name, entry in due.items()
        if name.decode().startswith(prefix)
    }

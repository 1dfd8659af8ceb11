"""Stored chat completions, as a developer looks after them: page, look up, replace metadata, erase.

Redis is asked each time, never a gateway's memory: what one gateway erased must be gone at all of them.
Every function raises redis.RedisError while Redis is away.

The log lists each chat completion in sorted sets: all of its tenant's, those of one model, those with one
pair of metadata. A filter is an intersection of them, walked from the smallest, a bounded way per page.
What has left Redis for the archive is in no list any more; by its id it can be read and erased.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from feedback import eventlog, keys, removal
from feedback.archive import marks
from feedback.archive.lookup import Found
from feedback.errors import Conflict, NotFound, Unavailable
from feedback.events import Completion, Event
from feedback.journal import Journal

_LOOK_AT = 2_000  # ids that one script looks at: about 2 ms in which Redis does nothing else
_MAX_WALKS = 10  # scripts per page that has found something
_MAX_EMPTY_WALKS = (
    1_000  # and per page that has not: OpenAI's clients take an empty page for the end
)
_READ_AT_ONCE = 20  # completions per round trip: each may be 100 kB
_ATTEMPTS = 5

# Ids that are in every one of the sorted sets, in order.
# KEYS: the sets. ARGV: ZRANGEBYLEX or ZREVRANGEBYLEX, its bounds, how many to find, how many to look at.
# Returns the ids, the last id looked at, and 1 if there are more to look at.
_WALK = """
local smallest = 1
for i = 2, #KEYS do
  if redis.call('ZCARD', KEYS[i]) < redis.call('ZCARD', KEYS[smallest]) then smallest = i end
end
local ids = redis.call(ARGV[1], KEYS[smallest], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[5])
local found = {}
for position, id in ipairs(ids) do
  local is_in_all = true
  for i = 1, #KEYS do
    if i ~= smallest and not redis.call('ZSCORE', KEYS[i], id) then
      is_in_all = false
      break
    end
  end
  if is_in_all then found[#found + 1] = id end
  if #found == tonumber(ARGV[4]) then return {found, id, 1} end
end
return {found, ids[#ids] or '', #ids == tonumber(ARGV[5]) and 1 or 0}
"""

# KEYS: index, replaced metadata, marks of the archive, the sets that list the completion, the sets that
# shall. ARGV: id, field of the mark, the replaced metadata that was read, the new, how many sets list it.
# Returns 0 if it was changed or erased meanwhile, -1 if it is being archived.
_REPLACE_METADATA = """
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or string.sub(entry, 1, 6) == 'erased' then return 0 end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[3] then return 0 end
local sealed = redis.call('HGET', KEYS[3], ARGV[2])
if sealed then
  local ms, number = string.match(entry, '(%d+)-(%d+)')
  local sealed_ms, sealed_number = string.match(sealed, '(%d+)-(%d+)')
  ms, sealed_ms = tonumber(ms), tonumber(sealed_ms)
  if ms < sealed_ms or (ms == sealed_ms and tonumber(number) <= tonumber(sealed_number)) then
    return -1
  end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
for i = 4, #KEYS do
  if i <= 3 + ARGV[5] then
    redis.call('ZREM', KEYS[i], ARGV[1])
  else
    redis.call('ZADD', KEYS[i], 0, ARGV[1])
  end
end
return 1
"""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which completions, from where on."""

    limit: int
    after: str | None = None  # id of the last one of the page before; it need not exist any more
    is_newest_first: bool = False
    model: str | None = None  # a version
    metadata: Mapping[str, str] = field(default_factory=dict)  # pairs that it has, all of them


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of them, in order."""

    completions: list[Completion]
    has_more: bool  # there are more, or the walk was cut short
    cursor: str | None  # `after` of the next page, also when this one holds nothing


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A completion as it is now."""

    event: Completion  # with the metadata it has now
    replaced_metadata: bytes  # the value of STORED_METADATA that this was read from
    archived_entry: str  # where the archive has it; "" if Redis does


async def page(journal: Journal, query: Query, *, tenant: str) -> Page:
    """The completions of a tenant that a query asks for."""
    ids: list[str] = []
    cursor, has_more = query.after, True
    for number in range(_MAX_EMPTY_WALKS):
        wanted = query.limit + 1 - len(ids)  # one more, to know whether there are more
        if not has_more or wanted == 0 or (ids and number >= _MAX_WALKS):
            break
        found, cursor, has_more = await _walk(journal, query, cursor, wanted, tenant=tenant)
        ids += found
    if len(ids) > query.limit:
        ids = ids[: query.limit]
        cursor = ids[-1]
    return Page(completions=await _load(journal, ids), has_more=has_more, cursor=cursor)


async def find(journal: Journal, completion_id: str, *, tenant: str) -> Completion:
    """A completion of either endpoint. Raises NotFound, for another tenant's as well; Unavailable."""
    return (await _find(journal, completion_id, tenant=tenant, endpoints=("chat", "text"))).event


async def get(journal: Journal, completion_id: str, *, tenant: str) -> Completion:
    """One of them, with the metadata it has now. Raises NotFound, for another tenant's as well;
    Unavailable."""
    return (await _find(journal, completion_id, tenant=tenant)).event


async def replace_metadata(
    journal: Journal, completion_id: str, metadata: Mapping[str, str], *, tenant: str
) -> Completion:
    """Give it this metadata, and no other. Raises NotFound, Unavailable; Conflict if it is archived."""
    for _ in range(_ATTEMPTS):
        known = await _find(journal, completion_id, tenant=tenant)
        before = eventlog.listings(known.event, known.event.metadata)
        after = eventlog.listings(known.event, metadata)
        names = (
            *(keys.index(Completion.kind), keys.STORED_METADATA, keys.ARCHIVE),
            *(*before, *after),
        )
        reply = journal.redis.eval(
            _REPLACE_METADATA,
            len(names),
            *names,
            completion_id,
            marks.sealed_field(Completion.kind),
            known.replaced_metadata,
            orjson.dumps(metadata),
            str(len(before)),
        )
        changed = await cast("Awaitable[int]", reply)
        if changed < 0 or known.archived_entry:
            raise Conflict(
                f"{completion_id} is archived: it can be read and deleted, its metadata stays",
                param="completion_id",
            )
        if changed:
            return dataclasses.replace(known.event, metadata=dict(metadata))
    raise _busy(completion_id)


async def erase(journal: Journal, completion_id: str, *, tenant: str) -> None:
    """Remove its text, and its place in lists and in the labeling queue. Raises NotFound, Unavailable.

    What people said about it stays in the log; a snapshot leaves out what it cannot look up.
    """
    for _ in range(_ATTEMPTS):
        known = await _find(journal, completion_id, tenant=tenant)
        await _forget_replays(journal, completion_id)
        if await removal.erase_async(
            journal.redis,
            known.event,
            replaced_metadata=known.replaced_metadata,
            archived_entry=known.archived_entry,
        ):
            journal.forget(completion_id)
            return
    raise _busy(completion_id)


async def _forget_replays(journal: Journal, completion_id: str) -> None:
    """The answers that are kept for their Idempotency-Key hold the text as well."""
    name = keys.replays(completion_id)
    kept = await cast("Awaitable[set[bytes]]", journal.redis.smembers(name))
    await journal.redis.delete(name, *kept)


async def _walk(
    journal: Journal, query: Query, cursor: str | None, wanted: int, *, tenant: str
) -> tuple[list[str], str | None, bool]:
    """Ids found, the last one looked at, and whether there are more to look at."""
    names = [keys.stored_where(tenant, f"metadata.{k}", v) for k, v in query.metadata.items()]
    if query.model is not None:
        names.append(keys.stored_where(tenant, "model", query.model))
    names = names or [keys.stored(tenant)]
    start = f"({cursor}" if cursor is not None else ("+" if query.is_newest_first else "-")
    end = "-" if query.is_newest_first else "+"
    command = "ZREVRANGEBYLEX" if query.is_newest_first else "ZRANGEBYLEX"
    look_at = wanted if len(names) == 1 else _LOOK_AT
    reply = journal.redis.eval(
        _WALK, len(names), *names, command, start, end, str(wanted), str(look_at)
    )
    found, last, more = await cast("Awaitable[tuple[list[bytes], bytes, int]]", reply)
    return [item.decode() for item in found], last.decode() or cursor, bool(more)


async def _find(
    journal: Journal, completion_id: str, *, tenant: str, endpoints: Sequence[str] = ("chat",)
) -> _Known:
    pipe = journal.redis.pipeline(transaction=False)
    pipe.hget(keys.index(Completion.kind), completion_id)
    pipe.hget(keys.STORED_METADATA, completion_id)
    entry, replaced = cast("list[bytes | None]", await pipe.execute())
    found: Found | None = None
    event: Event | None = None
    if entry is None or not eventlog.is_erased(entry):
        found = await journal.find(Completion.kind, completion_id)
        # What is unknown may wait in the outbox of this gateway.
        event = found.event if found is not None else await journal.waiting(completion_id)
        if event is None:
            await journal.require_settled(Completion.kind, completion_id)
    is_theirs = (
        isinstance(event, Completion) and event.endpoint in endpoints and event.tenant == tenant
    )
    if not is_theirs or not isinstance(event, Completion):
        raise NotFound(f"there is no stored completion {completion_id}", param="completion_id")
    return _Known(
        event=_with_metadata(event, replaced),
        replaced_metadata=replaced or b"",
        archived_entry=found.entry if found is not None and found.is_archived else "",
    )


async def _load(journal: Journal, ids: Sequence[str]) -> list[Completion]:
    """Those of the ids that are still there."""
    loaded: list[Completion] = []
    for start in range(0, len(ids), _READ_AT_ONCE):
        some = list(ids[start : start + _READ_AT_ONCE])
        pipe = journal.redis.pipeline(transaction=False)
        pipe.hmget(keys.index(Completion.kind), some)
        pipe.hmget(keys.STORED_METADATA, some)
        entries, replaced = cast("list[list[bytes | None]]", await pipe.execute())
        events = await eventlog.at_entries(journal.redis, Completion.kind, entries)
        loaded += [
            _with_metadata(event, metadata)
            for event, metadata in zip(events, replaced, strict=True)
            if isinstance(event, Completion)
        ]
    return loaded


def _with_metadata(completion: Completion, replaced: bytes | None) -> Completion:
    if replaced is None:
        return completion
    return dataclasses.replace(completion, metadata=orjson.loads(replaced))


def _busy(completion_id: str) -> Unavailable:
    # Others change it at the same time, or it is on its way from the outbox into the log.
    return Unavailable(f"{completion_id} cannot be changed just now; try again", retry_after_s=1)

"""An event leaves Redis: erased for good, or because the archive has it now.

The id of an erased one stays in the index, marked, so that a copy that waits in some outbox does not bring
the text back. If it is, or slips, into the archive, the archiver's next run removes it there.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar, cast

import orjson
import redis
import redis.asyncio

from feedback import keys
from feedback.eventlog import ERASED, listings
from feedback.events import Completion, Event

Item = TypeVar("Item")

ERASURES_KEPT = 1_000  # a gateway that is further behind forgets all that it remembers
_AT_ONCE = 500

# KEYS: stream, index, replaced metadata, what is to leave the archive, what gateways are to forget, since
# when Redis' files are stale, for each task its queue and the entry there, then the sorted sets that list
# the event. ARGV: event id, the mark, the replaced metadata that the sets were worked out from, the event's
# kind, its entry id if the archive has it, how many keys are queues and entries, now, how many erasures
# gateways can fall behind. Returns 0 if the metadata has changed meanwhile, or the event is not there.
_ERASE = """
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry and ARGV[5] ~= '' then entry = ARGV[5] end
if not entry or string.sub(entry, 1, 6) == 'erased' then return 0 end
if (redis.call('HGET', KEYS[3], ARGV[1]) or '') ~= ARGV[3] then return 0 end
redis.call('XDEL', KEYS[1], entry)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[4] .. ':' .. ARGV[1], entry)
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[8], '*', 'id', ARGV[1])
redis.call('SET', KEYS[6], ARGV[7], 'NX')
for i = 7, 6 + ARGV[6], 2 do
  redis.call('ZREM', KEYS[i], ARGV[1])
  redis.call('DEL', KEYS[i + 1])
end
for i = 7 + ARGV[6], #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return 1
"""


async def erase_async(
    client: redis.asyncio.Redis,
    completion: Completion,
    *,
    replaced_metadata: bytes,
    archived_entry: str = "",
) -> bool:
    """Remove a completion's text, and its place in lists and in the labeling queue.

    `completion.metadata` is what lists it; `replaced_metadata` is the value of STORED_METADATA that it
    was read from, b"" for none; `archived_entry` is its entry id where it was found in the archive,
    which it leaves at the archiver's next run; no read gives it until then.
    False: that has changed, or the completion is gone.
    """
    names, arguments = to_erase(
        completion, ERASED, replaced_metadata=replaced_metadata, archived_entry=archived_entry
    )
    return bool(await client.eval(_ERASE, len(names), *names, *arguments))


def erase(
    client: redis.Redis, event: Event, mark: bytes, *, replaced_metadata: bytes, archived_entry: str
) -> bool:
    """The same of any event, for a worker."""
    names, arguments = to_erase(
        event, mark, replaced_metadata=replaced_metadata, archived_entry=archived_entry
    )
    return bool(client.eval(_ERASE, len(names), *names, *arguments))


def to_erase(
    event: Event, mark: bytes, *, replaced_metadata: bytes, archived_entry: str
) -> tuple[list[str], list[str | bytes]]:
    """KEYS and ARGV of the script."""
    queued, listed = [], []
    if isinstance(event, Completion):
        queued = [name for place in _queued(event) for name in place]
        listed = listings(event, event.metadata)
    names = [
        *(keys.stream(event.kind), keys.index(event.kind), keys.STORED_METADATA, keys.ERASE_DUE),
        *(keys.ERASURES, keys.AOF_STALE, *queued, *listed),
    ]
    about: list[str | bytes] = [event.id, mark, replaced_metadata, event.kind, archived_entry]
    return names, [*about, str(len(queued)), str(time.time()), str(ERASURES_KEPT)]


def erase_archived(client: redis.Redis, kind: str, entries: Mapping[str, str], mark: bytes) -> None:
    """Mark events that only the archive has, ids with their entry ids: no read gives them any more, and
    the next `purge` removes them."""
    for some in batched(entries.items(), _AT_ONCE):
        pipe = client.pipeline(transaction=True)
        pipe.hset(keys.index(kind), mapping={event_id: mark for event_id, _ in some})
        pipe.hset(keys.ERASE_DUE, mapping={f"{kind}:{event_id}": entry for event_id, entry in some})
        pipe.set(keys.AOF_STALE, str(time.time()), nx=True)
        pipe.execute()


def unlist(client: redis.Redis, pipe: Any, completions: Sequence[Completion]) -> None:
    """Archived completions leave lists and labeling queue when `pipe` is executed."""
    ids = [completion.id for completion in completions]
    replaced = cast("list[bytes | None]", client.hmget(keys.STORED_METADATA, ids))
    in_sets: dict[str, list[str]] = defaultdict(list)
    for completion, metadata in zip(completions, replaced, strict=True):
        now = completion.metadata if metadata is None else orjson.loads(metadata)
        for name in listings(completion, now):
            in_sets[name].append(completion.id)
    for name, members in in_sets.items():
        pipe.zrem(name, *members)
    for queue, completion_id, entry in _waiting(client, completions):
        pipe.zrem(queue, completion_id)
        pipe.delete(entry)
    pipe.hdel(keys.STORED_METADATA, *ids)


def with_metadata(completion: Completion, metadata: dict[str, str]) -> Completion:
    """As it is listed now."""
    return replace(completion, metadata=metadata)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of so many, the last one shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _waiting(
    client: redis.Redis, completions: Sequence[Completion]
) -> Iterator[tuple[str, str, str]]:
    """Of those that wait to be judged, which most do not: queue, id, entry."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for completion in completions:
        for queue, entry in _queued(completion):
            places[queue].append((completion.id, entry))
    pipe = client.pipeline(transaction=False)
    for queue, those in places.items():
        pipe.zmscore(queue, [completion_id for completion_id, _ in those])
    for (queue, those), scores in zip(places.items(), pipe.execute(), strict=True):
        for (completion_id, entry), score in zip(those, scores, strict=True):
            if score is not None:
                yield queue, completion_id, entry


def _queued(completion: Completion) -> list[tuple[str, str]]:
    """Of each task the queue, and the entry there."""
    return [
        (keys.queue(completion.tenant, task), keys.queued(task, completion.id))
        for task in keys.TASKS
    ]

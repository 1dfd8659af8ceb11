"""What was erased leaves its segment: the segment is written again without it, the old file removed.

`keys.ERASE_DUE` names what is erased, with its entry id. An event stays in it until a segment goes
through its entry: so that it cannot slip into the archive by an archiver that had read it before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import orjson
import redis

from feedback import keys
from feedback.archive import marks, segments
from feedback.archive.lease import Lease
from feedback.archive.manifests import Segment, new_file, revised
from feedback.archive.reader import Archive
from feedback.events import position

_ALL = (2**62, 0)
_LOOK_EVERY = 1_000  # rows


def purge(client: redis.Redis, archive: Archive, lease: Lease, *, now: float) -> int:
    """Remove from the archive what is due. Returns how many events that were. Raises LeaseLost,
    LostRace, OSError."""
    due = cast("dict[bytes, bytes]", client.hgetall(keys.ERASE_DUE))
    num_erased = 0
    for kind in keys.KINDS:
        ids = marks.due_ids(due, kind)
        last = archive.last(kind) if ids else None
        if last is None:
            continue
        settled = {i: e for i, e in ids.items() if position(e) <= position(last.last)}
        for segment, wanted in _by_segment(archive.segments(kind), settled):
            num_erased += _rewrite(archive, segment, wanted, lease, now=now)
        archive.manifests(kind).remove_garbage(archive.segments(kind))
        if settled:
            client.hdel(keys.ERASE_DUE, *(f"{kind}:{event_id}" for event_id in settled))
    return num_erased


def _by_segment(found: Collection[Segment], due: dict[str, str]) -> list[tuple[Segment, set[str]]]:
    """The segments that hold something of it, each with the ids it may hold."""
    wanted: dict[int, set[str]] = defaultdict(set)
    for event_id, entry in due.items():
        for segment in found:
            if position(segment.after) < position(entry) <= position(segment.last):
                wanted[segment.number].add(event_id)
    return [(segment, wanted[segment.number]) for segment in found if wanted[segment.number]]


def _rewrite(
    archive: Archive, segment: Segment, erased: set[str], lease: Lease, *, now: float
) -> int:
    """The next revision of a segment. Returns how many events it has less."""
    if segment.file is None:
        return 0
    with archive.store.opened(segment.file) as file:
        if not any(True for _ in segments.find(file, erased)):
            return 0
    lease.renew()
    after = revised(segment, file=None, now=now, fence=lease.token)
    name = new_file(segment.kind, after.number, after.revision, fence=lease.token)
    with archive.store.opened(segment.file) as old, archive.store.create(name) as new:
        writer = segments.Writer(new, segment.kind)
        for number, row in enumerate(segments.rows(old, after=(0, 0), until=_ALL)):
            if row.id not in erased:
                fields: dict[str, Any] = orjson.loads(row.data)
                writer.add(row, fields)
            if number % _LOOK_EVERY == 0:
                lease.hold()
        writer.close()
    after = replace(
        after,
        file=name,
        events=writer.num_events,
        file_bytes=archive.store.num_bytes(name),
        event_bytes=writer.event_bytes,
        schemas=sorted(writer.schemas),
        made=writer.made,
        other_ids=writer.other_ids,
    )
    lease.renew()
    archive.manifests(segment.kind).commit(after)
    return segment.events - after.events


def remove_leftovers(archive: Archive, kind: str, lease: Lease, *, now: float) -> None:
    """Also of processes that were killed, or sleep, in a next segment that nobody has followed: a
    segment of nothing takes its number, so that it can never count. Raises LostRace, OSError."""
    manifests = archive.manifests(kind)
    lease.renew()
    manifests.barrier(archive.last(kind), now=now, fence=lease.token)
    manifests.remove_garbage(archive.segments(kind))

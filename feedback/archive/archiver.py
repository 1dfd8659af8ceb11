"""Moves old events from Redis to the archive. Killed anywhere, the next run goes on.

1. What a killed run had committed is marked as archived; what Redis still holds of it goes.
2. What was erased leaves its segments (purge).
3. A page is sealed (its metadata can be replaced no more), and written; page by page, a segment.
4. The manifest is written: the segment counts.
5. `through` moves: from here on these events are read in the archive, all at once.
6. Redis forgets them, page by page: lists, labeling queue, index, stream.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import redis

from feedback import eventlog, keys, removal
from feedback.archive import marks
from feedback.archive.held import due_now
from feedback.archive.lease import LEASE_S, Lease, LeaseLost
from feedback.archive.manifests import Segment, new_file
from feedback.archive.plan import Due
from feedback.archive.purge import purge
from feedback.archive.reader import Archive
from feedback.archive.segments import Row, Writer, ids
from feedback.errors import Refused
from feedback.events import Completion, decode, position
from feedback.settings import FeedbackSettings

log = logging.getLogger(__name__)

SEGMENT_EVENTS = 100_000
SEGMENT_BYTES = 256_000_000  # of JSON
_PAGE = 500
_FORGET_AT_ONCE = 2_000


@dataclass
class Done:
    """What a run came to."""

    segments: list[Segment] = field(default_factory=list)
    num_erased: int = 0  # events that left the archive
    is_elsewhere: bool = False  # another process archives at this moment

    @property
    def num_events(self) -> int:
        return sum(segment.events for segment in self.segments)


class Archiver:
    """One run at a time of all processes. Raises OSError, redis.RedisError; LeaseLost, LostRace when
    another process took over."""

    def __init__(
        self,
        client: redis.Redis,
        archive: Archive,
        settings: FeedbackSettings,
        *,
        lease_s: float = LEASE_S,
        segment_events: int = SEGMENT_EVENTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = client
        self._archive = archive
        self._settings = settings
        self._lease_s = lease_s
        self._segment_events = segment_events
        self._clock = clock

    def run(self) -> Done:
        """All that is due now."""
        done = Done()
        lease = Lease.acquire(self._redis, ttl_s=self._lease_s)
        if lease is None:
            return Done(is_elsewhere=True)
        try:
            for kind in keys.KINDS:
                self.recover(kind, lease)
            done.num_erased = purge(self._redis, self._archive, lease, now=self._clock())
            for wanted in self._due():
                done.segments += self._archive_kind(wanted, lease)
        finally:
            lease.release()
        return done

    def recover(self, kind: str, lease: Lease) -> None:
        """Finish what a killed run began. Raises Refused if the archive is not the one that it was."""
        last = self._archive.last(kind)
        known = marks.through(self._redis, kind)
        if known is not None and (last is None or position(last.last) < position(known)):
            raise Refused(
                f"of {kind} the archive at {self._archive.store.url} ends before {known}, where Redis "
                "knows it to end: is HONE_FEEDBACK_ARCHIVE_URL the one it was?"
            )
        if last is None:
            return
        if known is None:
            self._require_archived(kind, last.last)
            self._learn_ids(kind, lease)  # a new Redis, which has never known them
        if known is None or position(known) < position(last.last):
            self._mark(marks.through_field(kind), last.last, lease)
        self._retire(kind, last.last, lease)

    def _due(self) -> list[Due]:
        return due_now(self._redis, self._settings, now=self._clock())

    def _archive_kind(self, wanted: Due, lease: Lease) -> Iterator[Segment]:
        num_left = wanted.num_events
        while (segment := self._next_segment(wanted, num_left, lease)) is not None:
            num_left -= segment.events
            self._mark(marks.through_field(segment.kind), segment.last, lease)
            self._retire(segment.kind, segment.last, lease)
            kind = self._archive.manifests(segment.kind)
            kind.remove_garbage(self._archive.segments(segment.kind))
            yield segment

    def _next_segment(self, wanted: Due, num_left: int, lease: Lease) -> Segment | None:
        """Write and commit one. None if nothing more is due."""
        kind = wanted.kind
        before = self._archive.last(kind)
        after = before.last if before is not None else "0-0"
        number = before.number + 1 if before is not None else 1
        pages = self._pages(wanted, after, num_left, lease)
        first = next(pages, None)
        if first is None:
            return None
        name = new_file(kind, number, 1, fence=lease.token)
        with self._archive.store.create(name) as file:
            writer = Writer(file, kind)
            last = _write(writer, first)
            for page in pages:
                last = _write(writer, page)
            writer.close()
        segment = describe(
            writer,
            kind=kind,
            number=number,
            after=after,
            last=last,
            file=name,
            file_bytes=self._archive.store.num_bytes(name),
            created=self._clock(),
            fence=lease.token,
        )
        lease.renew()
        self._archive.manifests(kind).commit(segment)
        log.info("archived", extra={"segment": segment.name, "events": segment.events})
        return segment

    def _pages(
        self, wanted: Due, after: str, num_left: int, lease: Lease
    ) -> Iterator[list[tuple[Row, dict[str, Any]]]]:
        """What is due, up to a segment's size, each page sealed before its metadata is read."""
        num_events = num_bytes = 0
        while num_events < self._segment_events and num_bytes < SEGMENT_BYTES:
            lease.hold()
            stream = keys.stream(wanted.kind)
            rows = cast(eventlog.Rows, self._redis.xrange(stream, f"({after}", count=_PAGE))
            rows = rows[: self._segment_events - num_events]
            page = []
            for entry, fields in rows:
                ms = position(entry.decode())[0]
                is_due = ms < wanted.before_ms or num_events < num_left
                if not is_due or ms >= wanted.never_after_ms:
                    break
                page.append((entry.decode(), fields[b"e"]))
                num_events += 1
                num_bytes += len(fields[b"e"])
            if not page:
                return
            after = page[-1][0]
            self._mark(marks.sealed_field(wanted.kind), after, lease)
            yield self._with_metadata(wanted.kind, page)

    def _with_metadata(
        self, kind: str, page: Sequence[tuple[str, bytes]]
    ) -> list[tuple[Row, dict[str, Any]]]:
        """Rows and their JSON, read; with the metadata that replaced a completion's own."""
        read = [(entry, data, orjson.loads(data)) for entry, data in page]
        replaced: list[bytes | None] = [None] * len(read)
        if kind == Completion.kind:
            found = self._redis.hmget(keys.STORED_METADATA, [fields["id"] for _, _, fields in read])
            replaced = cast("list[bytes | None]", found)
        rows = []
        for (entry, data, fields), metadata in zip(read, replaced, strict=True):
            if metadata is not None:
                fields["metadata"] = orjson.loads(metadata)
                data = orjson.dumps(fields)
            rows.append((Row(position=position(entry), id=fields["id"], data=data), fields))
        return rows

    def _retire(self, kind: str, through: str, lease: Lease) -> None:
        """Let Redis forget what is archived, page by page. May be repeated, and by several at once."""
        stream = keys.stream(kind)
        while rows := cast(eventlog.Rows, self._redis.xrange(stream, "-", through, count=_PAGE)):
            lease.hold()
            events = [decode(kind, fields[b"e"]) for _, fields in rows]
            pipe = self._redis.pipeline(transaction=True)
            completions = [event for event in events if isinstance(event, Completion)]
            if completions:
                removal.unlist(self._redis, pipe, completions)
            marks.forget(pipe, kind, [event.id for event in events])
            ms, number = position(rows[-1][0].decode())
            pipe.xtrim(stream, minid=f"{ms}-{number + 1}", approximate=False)
            pipe.execute()

    def _require_archived(self, kind: str, last: str) -> None:
        """What a Redis that has never heard of the archive holds through its end is to be in it. Raises
        Refused: else it would be forgotten as archived."""
        stream = keys.stream(kind)
        rows = cast(eventlog.Rows, self._redis.xrange(stream, "-", last, count=1))
        rows += cast(eventlog.Rows, self._redis.xrevrange(stream, last, "-", count=1))
        for entry, _ in rows:
            if self._archive.at(kind, entry.decode()) is None:
                raise Refused(
                    f"{kind} {entry.decode()} is in Redis and not in the archive at "
                    f"{self._archive.store.url}, which ends at {last}: it is the archive of another "
                    "Redis, or this one's clock was behind; give HONE_FEEDBACK_ARCHIVE_URL a new place"
                )

    def _learn_ids(self, kind: str, lease: Lease) -> None:
        """Put the ids of the whole archive into a filter that does not have them."""
        for segment in self._archive.segments(kind):
            if segment.file is None:
                continue
            with self._archive.store.opened(segment.file) as file:
                some: list[str] = []
                for event_id in ids(file):
                    some.append(event_id)
                    if len(some) == _FORGET_AT_ONCE:
                        lease.hold()
                        marks.forget(self._redis, kind, some)
                        some = []
                if some:
                    marks.forget(self._redis, kind, some)

    def _mark(self, name: str, entry: str, lease: Lease) -> None:
        if not marks.move(self._redis, name, entry, token=lease.token):
            raise LeaseLost("another process archives by now; this one stops")


def describe(
    writer: Writer,
    *,
    kind: str,
    number: int,
    after: str,
    last: str,
    file: str,
    file_bytes: int,
    created: float,
    fence: int,
) -> Segment:
    """The manifest of a segment as it is first written."""
    return Segment(
        kind=kind,
        number=number,
        revision=1,
        after=after,
        last=last,
        file=file,
        events=writer.num_events,
        file_bytes=file_bytes,
        event_bytes=writer.event_bytes,
        schemas=sorted(writer.schemas),
        made=writer.made,
        other_ids=writer.other_ids,
        created=created,
        fence=fence,
    )


def _write(writer: Writer, page: Sequence[tuple[Row, dict[str, Any]]]) -> str:
    """Returns the entry id of the page's last event."""
    for row, fields in page:
        writer.add(row, fields)
    return page[-1][0].entry

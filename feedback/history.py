"""The log as a whole, for workers and commands: what is archived, then what is still in Redis.

The position of an event is its stream entry id ("<unix ms>-<number>"), which it keeps in the archive.
Each event is read once, though it may move from Redis to the archive meanwhile: a page of Redis comes
with the mark of how far the archive goes at that very moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import redis

from feedback import eventlog, keys
from feedback.archive import marks
from feedback.events import Event, decode, position
from feedback.settings import FeedbackSettings

if TYPE_CHECKING:
    from feedback.archive.reader import Archive

_PAGE = 500


class History:
    """Reads events in the order in which they came. The archive, unless one is given, is that of the
    settings; it is opened when something is wanted of it. Raises OSError while its store is away."""

    def __init__(self, client: redis.Redis, archive: Archive | None = None) -> None:
        self._redis = client
        self._opened = archive

    def read(
        self, kind: str, *, after: str = "-", until: str = "+", holding: bytes = b""
    ) -> Iterator[tuple[str, Event]]:
        """(entry id, event); `after` is exclusive unless "-", `until` inclusive. Holds a page in memory.
        `holding`: only events with these bytes in their JSON; the others are not decoded."""
        while True:
            through, rows = self._page(kind, after, until)
            if through is not None and (after == "-" or _is_before(after, through)):
                last = through if until == "+" or _is_before(through, until) else until
                yield from self._archived(kind, after, last, holding)
                after = through
                if until != "+" and not _is_before(after, until):
                    return
                continue
            if not rows:
                return
            for entry, fields in rows:
                if holding in fields[b"e"]:
                    yield entry.decode(), decode(kind, fields[b"e"])
            after = rows[-1][0].decode()

    def get(self, kind: str, event_id: str) -> Event | None:
        """One event by its id; None if there is none, or it was erased."""
        place = marks.where(self._redis, kind, event_id)
        if place is None or eventlog.is_erased(place):
            return None
        if place == marks.ARCHIVED:
            row = self.archive.find(kind, event_id, through=marks.through(self._redis, kind))
            return decode(kind, row.data) if row else None
        rows = cast(eventlog.Rows, self._redis.xrange(keys.stream(kind), place, place))
        if rows:
            return decode(kind, rows[0][1][b"e"])
        row = self.archive.at(kind, place.decode())  # it has just been archived
        return decode(kind, row.data) if row else None

    def last_entry(self, kind: str) -> str | None:
        """Entry id of the newest event of a kind."""
        return eventlog.last_entry(self._redis, kind) or marks.through(self._redis, kind)

    @property
    def archive(self) -> Archive:
        if self._opened is None:
            from feedback.archive.reader import Archive  # loads pyarrow

            self._opened = Archive.of(FeedbackSettings())
        return self._opened

    def _page(self, kind: str, after: str, until: str) -> tuple[str | None, eventlog.Rows]:
        """How far the archive goes, and the next events in Redis, both at one moment."""
        start = after if after == "-" else f"({after}"
        pipe = self._redis.pipeline(transaction=True)
        pipe.hget(keys.ARCHIVE, marks.through_field(kind))
        pipe.xrange(keys.stream(kind), start, until, count=_PAGE)
        through, rows = pipe.execute()
        return (through.decode() if through is not None else None), rows

    def _archived(
        self, kind: str, after: str, until: str, holding: bytes
    ) -> Iterator[tuple[str, Event]]:
        erased = marks.due_ids(
            cast("dict[bytes, bytes]", self._redis.hgetall(keys.ERASE_DUE)), kind
        )
        start = (0, 0) if after == "-" else position(after)
        for row in self.archive.read(kind, after=start, until=until):
            if row.id not in erased and holding in row.data:
                yield row.entry, decode(kind, row.data)


def _is_before(entry: str, other: str) -> bool:
    return position(entry) < position(other)

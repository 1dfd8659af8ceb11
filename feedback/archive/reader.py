"""The archive as reads see it. Loads pyarrow; raises OSError while the store is away."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from feedback.archive import segments
from feedback.archive.manifests import Manifests, Segment
from feedback.archive.segments import Row
from feedback.archive.store import Store
from feedback.events import Position, made_at, position
from feedback.settings import FeedbackSettings

_START: Position = (0, 0)
_ATTEMPTS = 20  # to read on after a file went away; each erasure that comes between takes one
_MADE_SLACK_S = 1.0  # a time in an id is in whole milliseconds


class Archive:
    """Of all kinds. Thread-safe: what it keeps are manifests, which never change."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.store = Store(url, options or {})
        self._manifests: dict[str, Manifests] = {}
        self._segments: dict[str, list[Segment]] = {}

    @classmethod
    def of(cls, settings: FeedbackSettings) -> Archive:
        return cls(settings.archive_url, settings.archive_options)

    def manifests(self, kind: str) -> Manifests:
        return self._manifests.setdefault(kind, Manifests(self.store, kind))

    def segments(self, kind: str, *, through: str | None = None) -> list[Segment]:
        """The segments that count, in order: as they are now, or, if those known go through this
        entry, as they were then."""
        known = self._segments.get(kind)
        if known and through is not None and position(through) <= position(known[-1].last):
            return known
        found = self._segments[kind] = self.manifests(kind).load()
        return found

    def last(self, kind: str) -> Segment | None:
        """The newest segment, as it is now."""
        found = self.segments(kind)
        return found[-1] if found else None

    def first(self, kind: str) -> str | None:
        """Entry id of the oldest event."""
        found = next(self.read(kind, until=f"{2**62}-0"), None)
        return found.entry if found is not None else None

    def read(self, kind: str, *, after: Position = _START, until: str) -> Iterator[Row]:
        """Rows in order; `after` exclusive, `until` inclusive. Holds one row group in memory.

        A segment that is rewritten meanwhile is read on in its new file."""
        end = position(until)
        for attempt in range(_ATTEMPTS):
            try:
                for segment in self.segments(kind, through=until if attempt == 0 else None):
                    if position(segment.last) <= after or position(segment.after) >= end:
                        continue
                    if segment.file is not None:
                        with self.store.opened(segment.file) as file:
                            for row in segments.rows(file, after=after, until=end):
                                yield row
                                after = row.position
                    after = max(after, min(position(segment.last), end))
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.01 * attempt)
            else:
                return

    def newest(self, kind: str, *, before: str, count: int) -> list[Row]:
        """The last rows before an entry id, newest first. Reads segments from the end, no more than needed."""
        end = _just_before(before)
        for attempt in range(_ATTEMPTS):
            try:
                return self._newest(kind, end, count)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.01 * attempt)
        return []

    def _newest(self, kind: str, end: Position, count: int) -> list[Row]:
        found: list[Row] = []
        for segment in reversed(self.segments(kind)):
            if len(found) >= count:
                break
            if segment.file is None or position(segment.after) >= end:
                continue
            with self.store.opened(segment.file) as file:
                kept = deque(
                    segments.rows(file, after=_START, until=end), maxlen=count - len(found)
                )
            found += reversed(kept)
        return found

    def at(self, kind: str, entry: str) -> Row | None:
        """The row of an entry id."""
        return next(self.read(kind, after=_just_before(entry), until=entry), None)

    def find(self, kind: str, event_id: str, *, through: str | None) -> Row | None:
        """The row of an event id, in segments through an entry; the newest are looked at first."""
        return next(self.find_all(kind, [event_id], through=through), None)

    def find_all(self, kind: str, wanted: Collection[str], *, through: str | None) -> Iterator[Row]:
        """The rows of these event ids, looking only into segments that can have one."""

        def look(segment: Segment) -> list[Row]:
            possible = [event_id for event_id in wanted if may_hold(segment, event_id)]
            if segment.file is None or not possible:
                return []
            with self.store.opened(segment.file) as file:
                return list(segments.find(file, possible))

        yield from self._each(kind, look, through=through)

    def _each(
        self, kind: str, look: Callable[[Segment], list[Row]], *, through: str | None
    ) -> Iterator[Row]:
        """What `look` finds in each segment, whatever is rewritten meanwhile."""
        done: set[int] = set()
        for attempt in range(_ATTEMPTS):
            try:
                for segment in reversed(self.segments(kind, through=through)):
                    if segment.number not in done:
                        yield from look(segment)
                        done.add(segment.number)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                through = None
                time.sleep(0.01 * attempt)
            else:
                return


def _just_before(entry: str) -> Position:
    ms, number = position(entry)
    return (ms, number - 1) if number else (ms - 1, 2**63)


def may_hold(segment: Segment, event_id: str) -> bool:
    """By the time in the id, where all ids hold one: most segments cannot."""
    made = made_at(event_id)
    if segment.other_ids or made is None or segment.made is None:
        return segment.other_ids > 0
    low, high = segment.made
    return low - _MADE_SLACK_S <= made <= high + _MADE_SLACK_S

"""An event wherever it is, for the gateway. The archive is read in a thread, so that nobody waits for a
disk; what reads Parquet is loaded when it is first needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import redis.asyncio

from feedback import eventlog, keys
from feedback.archive import marks
from feedback.events import Event, decode
from feedback.settings import FeedbackSettings

if TYPE_CHECKING:
    from feedback.archive.reader import Archive

_AT_A_TIME = 2  # each may hold a row group


@dataclass(frozen=True, kw_only=True)
class Found:
    """An event, and where."""

    event: Event
    entry: str  # its entry id
    is_archived: bool  # it has left Redis


class Lookup:
    """One per gateway process. Raises redis.RedisError; OSError while the archive's store is away."""

    def __init__(self, client: redis.asyncio.Redis, settings: FeedbackSettings) -> None:
        self._redis = client
        self._settings = settings
        self._archive: Archive | None = None
        self._lock = threading.Lock()
        self._turn = asyncio.Semaphore(_AT_A_TIME)

    async def find(self, kind: str, event_id: str) -> Found | None:
        """An event by its id; None if there is none, or it was erased."""
        names = (keys.index(kind), keys.archived_ids(kind))
        reply = self._redis.eval(
            marks.WHERE, len(names), *names, event_id, str(marks.num_bits(kind))
        )
        place = await cast("Awaitable[bytes | None]", reply)
        if place is None or place.startswith(b"erased"):
            return None
        if place != marks.ARCHIVED:
            (event,) = await eventlog.at_entries(self._redis, kind, [place])
            if event is not None:
                return Found(event=event, entry=place.decode(), is_archived=False)
        through = await cast(
            "Awaitable[bytes | None]", self._redis.hget(keys.ARCHIVE, marks.through_field(kind))
        )
        if through is None:
            return None  # erased at this very moment
        async with self._turn:
            return await asyncio.to_thread(self._in_archive, kind, event_id, place, through)

    async def has(self, kind: str, event_id: str) -> bool:
        """Whether there is such an event."""
        return await self.find(kind, event_id) is not None

    def _in_archive(self, kind: str, event_id: str, place: bytes, through: bytes) -> Found | None:
        archive = self._opened()
        if place == marks.ARCHIVED:
            row = archive.find(kind, event_id, through=through.decode())
        else:
            row = archive.at(kind, place.decode())  # it has just left Redis
        if row is None:
            return None
        return Found(event=decode(kind, row.data), entry=row.entry, is_archived=True)

    def _opened(self) -> Archive:
        with self._lock:
            if self._archive is None:
                from feedback.archive.reader import Archive  # loads pyarrow

                self._archive = Archive.of(self._settings)
            return self._archive

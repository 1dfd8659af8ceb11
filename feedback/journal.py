"""The gateway's way to the log: Redis, else the outbox on this machine's disk.

1. While the outbox is empty an event goes to Redis.
2. If Redis does not take it in time, it goes to the outbox; so do all after it, which keeps their
order.
3. A task drains the outbox, oldest first. The log's append-once script makes a lost reply harmless.

`append` returns when the event survives `kill -9` of this process, whichever way it went. Neither a
full disk nor anything that Redis answers ends the task: it tries until it may go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import OrderedDict
from functools import partial
from typing import cast

import redis
import redis.asyncio

from feedback import eventlog, keys
from feedback.archive.lookup import Found, Lookup
from feedback.connection import connect_async
from feedback.errors import Unavailable
from feedback.events import Event, decode, encode, made_at
from feedback.group_commit import GroupCommit
from feedback.outbox import Outbox
from feedback.removal import ERASURES_KEPT
from feedback.settings import FeedbackSettings

log = logging.getLogger(__name__)

# Also out of memory and read-only: Redis answers, but takes nothing.
AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    OSError,
)
# Nor does draining go on with a full disk, a Redis that refuses, an event that a newer hone wrote.
_STUCK = (*AWAY, redis.RedisError, sqlite3.Error, ValueError)
# Events remembered, so that feedback on them is possible while Redis is away.
_RECENT = 2_000
_RECENT_BYTES = 32_000_000  # long answers are many bytes, and four times as many as objects
_DRAIN_EVERY_S = 0.5
_BATCH = 200  # events that go from the outbox to Redis at a time
# After Redis was away, other gateways' outboxes hold answers that nobody finds.
_SETTLED_AFTER_S = 60.0
_UNNOTICED_S = 10.0  # by this much others may have seen it sooner, or longer


class OnItsWay(Unavailable):
    """An event that is nowhere yet, and may wait in another gateway's outbox."""


class Journal:
    """One per gateway process. State: the outbox, and the newest events in memory."""

    def __init__(
        self, settings: FeedbackSettings, client: redis.asyncio.Redis | None = None
    ) -> None:
        self.redis = client or connect_async(settings.redis_url)
        self._lookup = Lookup(self.redis, settings)
        self._append = partial(eventlog.append_all_async, self.redis, is_archived=self._lookup.has)
        self._log = GroupCommit(self._append)
        self.trouble: str | None = None  # why the outbox last refused an event; it may again
        self._outbox = Outbox(settings.outbox_path)
        self._recent = _Recent()
        self._outage = _Outage()
        self._erased_through: bytes | None = None  # entry id in keys.ERASURES
        self._turn = asyncio.Lock()
        self._drainer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._drainer = asyncio.create_task(self._drain_forever())

    async def close(self) -> None:
        """Drain what Redis takes at once; what it does not stays on disk."""
        while self._drainer is not None and not self._drainer.done():
            self._drainer.cancel()  # again: a time-out of redis-py at the same moment swallows it
            await asyncio.wait({self._drainer}, timeout=_DRAIN_EVERY_S / 2)
        with contextlib.suppress(*_STUCK):
            await self._drain()
        self._outbox.close()
        await self.redis.aclose()

    async def append(self, event: Event) -> bool:
        """Make an event durable. True if it is new. Raises Unavailable when neither Redis nor the
        disk takes it."""
        data, erased_through = encode(event), self._erased_through
        is_new = await self._write(event, data)
        # Not before: it would be found, and a retry of it acknowledged, though it is nowhere.
        self._remember(event, data, erased_through)
        return is_new

    async def get(self, kind: str, event_id: str) -> Event | None:
        """An event by id: from memory, the outbox, Redis or the archive. Raises redis.ConnectionError
        when only Redis could know, Unavailable when only a disk that cannot be read could."""
        event = self._recent.get(event_id) or await self.waiting(event_id)
        if event is None:
            erased_through = self._erased_through
            found = await self.find(kind, event_id)
            event = found.event if found is not None else None
            if event is not None:  # what is judged once is judged again
                self._remember(event, encode(event), erased_through)
        return event if event is not None and event.kind == kind else None

    def _remember(self, event: Event, data: bytes, erased_through: bytes | None) -> None:
        """Unless something was erased since it was looked for: it may be this very event."""
        if erased_through == self._erased_through:
            self._recent.add(event, data)

    async def find(self, kind: str, event_id: str) -> Found | None:
        """An event in Redis or in the archive. Raises redis.RedisError, Unavailable while the archive
        cannot be read."""
        try:
            return await self._lookup.find(kind, event_id)
        except (redis.RedisError, ConnectionError):
            raise  # Redis is away
        except OSError as error:
            log.error("the archive cannot be read: %s", error)
            raise Unavailable("older answers cannot be looked up now", retry_after_s=5) from error

    async def waiting(self, event_id: str) -> Event | None:
        """An event in the outbox of this gateway. Raises Unavailable."""
        if not self._outbox.waiting:
            return None
        try:
            return await asyncio.to_thread(self._outbox.get, event_id)
        except (sqlite3.Error, OSError) as error:
            raise _no_disk(error) from error

    async def require_settled(self, kind: str, event_id: str) -> None:
        """Raises OnItsWay where what was found nowhere may be: made while Redis was away, which was just
        now, and not erased since; redis.RedisError."""
        made = made_at(event_id)
        if made is None or not self._outage.covers(made):
            return
        if not await self.redis.hexists(keys.index(kind), event_id):
            raise OnItsWay("Redis was away; this answer is on its way to it", retry_after_s=2)

    def forget(self, event_id: str) -> None:
        """Keep an erased event no longer in memory."""
        self._recent.remove(event_id)

    def depth(self) -> int:
        """Events that wait in the outbox."""
        return self._outbox.waiting

    def oldest(self) -> float | None:
        """When the oldest event in the outbox was made, unix seconds; None: nothing waits, or the disk
        cannot be read. Call it from a thread."""
        try:
            rows = self._outbox.head(limit=1)
        except (sqlite3.Error, OSError):
            return None
        return rows[0][1].created if rows else None

    async def _write(self, event: Event, data: bytes) -> bool:
        is_away = False
        while True:
            if self._outbox.waiting == 0 and not is_away:
                try:
                    return await self._log.put((event, data))
                except AWAY as error:
                    log.warning("redis is away: an event goes to the outbox: %s", error)
                    self._outage.seen()
                    is_away = True
            async with self._turn:
                if self._outbox.waiting or is_away:
                    return await self._keep(event)
            # The outbox was emptied while we waited for our turn, so Redis is next.

    async def _keep(self, event: Event) -> bool:
        try:
            is_new = await asyncio.to_thread(self._outbox.put, event)
        except (sqlite3.Error, OSError) as error:
            self.trouble = str(error)
            raise _no_disk(error) from error
        self.trouble = None
        return is_new

    async def _drain_forever(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(_DRAIN_EVERY_S)
            try:
                await self._forget_erased()
                if self._outbox.waiting:
                    await self._drain()
            except _STUCK as error:
                if isinstance(error, AWAY):
                    self._outage.seen()
                if str(error) != said:  # twice a second would fill the disk that is full
                    said = str(error)
                    log.warning("the outbox waits: %s", error)

    async def _forget_erased(self) -> None:
        """What was erased since the last look, at whichever gateway, is remembered no more."""
        if self._erased_through is None:
            newest = await self.redis.xrevrange(keys.ERASURES, count=1)
            self._recent.clear()
            self._erased_through = cast(eventlog.Rows, newest)[0][0] if newest else b"0-0"
            return
        start = b"(" + self._erased_through
        found = await self.redis.xrange(keys.ERASURES, start, count=ERASURES_KEPT)
        for entry, fields in (rows := cast(eventlog.Rows, found)):
            if b"all" in fields or len(rows) == ERASURES_KEPT:
                self._recent.clear()
            else:
                self.forget(fields[b"id"].decode())
            self._erased_through = entry

    async def _drain(self) -> None:
        """Batch by batch, so that it goes faster than new events come. The last batch is moved while
        nobody may add to it: under load there would always be another one."""
        while self._outbox.waiting > _BATCH:
            await self._move()
        async with self._turn:
            while await self._move():
                pass
            self.trouble = None
            await asyncio.to_thread(self._outbox.remove_if_empty)

    async def _move(self) -> int:
        """A batch from the outbox to Redis. Returns how many events it had."""
        rows = await asyncio.to_thread(self._outbox.head, limit=_BATCH)
        if rows:
            await self._append([(e, encode(e)) for _, e in rows])
            await asyncio.to_thread(self._outbox.moved, through=rows[-1][0])
        return len(rows)


class _Outage:
    """When Redis was last away, unix seconds. A process that starts does not know, so it was until now."""

    def __init__(self) -> None:
        self._last = time.time()
        self._first = self._last - _SETTLED_AFTER_S

    def seen(self) -> None:
        now = time.time()
        if now - self._last > _SETTLED_AFTER_S:
            self._first = now
        self._last = now

    def covers(self, made: float) -> bool:
        """Whether it was just now, and `made` lies in it."""
        is_recent = time.time() - self._last < _SETTLED_AFTER_S
        return is_recent and self._first - _UNNOTICED_S <= made <= self._last + _UNNOTICED_S


class _Recent:
    """The newest events, encoded: they are many, rarely asked for, and a collector has to look at each
    object."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[str, tuple[str, bytes]] = OrderedDict()  # id -> kind, data
        self._num_bytes = 0

    def add(self, event: Event, data: bytes) -> None:
        self.remove(event.id)
        self._encoded[event.id] = event.kind, data
        self._num_bytes += len(data)
        while len(self._encoded) > _RECENT or self._num_bytes > _RECENT_BYTES:
            self.remove(next(iter(self._encoded)))

    def get(self, event_id: str) -> Event | None:
        known = self._encoded.get(event_id)
        return None if known is None else decode(*known)

    def clear(self) -> None:
        self._encoded.clear()
        self._num_bytes = 0

    def remove(self, event_id: str) -> None:
        _, data = self._encoded.pop(event_id, ("", b""))
        self._num_bytes -= len(data)


def _no_disk(error: Exception) -> Unavailable:
    log.error("neither redis nor the outbox can be used: %s", error)
    return Unavailable("nothing can be kept at the moment; try again soon", retry_after_s=5)

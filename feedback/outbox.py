"""Events kept on this machine's disk while Redis is away: one SQLite table, in order of arrival.

Events are only added. That Redis has them is remembered in memory, and once it has all of them the file
is removed: both need no room on the disk, so that a full one never keeps the outbox from being
emptied. After `kill -9` events may be sent again; the log takes each once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from pathlib import Path

from feedback.errors import Conflict
from feedback.events import Event, decode, encode


class Outbox:
    """Thread-safe, of one process: raises Conflict when another one has the file.

    `put` returns after the disk has the event (WAL, `synchronous=FULL`). There is a file only while
    events wait.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        # Sequence numbers, which have no gaps: of the newest event, and of the last that Redis has.
        self._newest = self._moved = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._claim = _claim(path.with_name(path.name + ".lock"))
        if path.exists():
            self._newest = 1  # at least one was left; how many, the file says
            with contextlib.suppress(sqlite3.Error):  # a full disk; `head` tries again
                self._opened()

    @property
    def waiting(self) -> int:
        """How many events Redis does not have yet."""
        return self._newest - self._moved

    def put(self, event: Event) -> bool:
        """Keep an event. True if it is new. Raises sqlite3.Error when the disk is full."""
        with self._lock:
            cursor = self._opened().execute(
                "INSERT OR IGNORE INTO events (id, kind, data) VALUES (?, ?, ?)",
                (event.id, event.kind, encode(event)),
            )
            if cursor.rowcount == 0:
                return False
            self._newest = cursor.lastrowid or 0
            return True

    def head(self, *, limit: int) -> list[tuple[int, Event]]:
        """The oldest events that wait, with their sequence numbers. Raises sqlite3.Error."""
        with self._lock:
            if self.waiting == 0:
                return []
            query = "SELECT seq, kind, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            db = self._opened()
            rows = db.execute(query, (self._moved, limit)).fetchall()
        return [(seq, decode(kind, data)) for seq, kind, data in rows]

    def moved(self, *, through: int) -> None:
        """Redis has the events up to this sequence number."""
        with self._lock:
            self._moved = max(self._moved, through)

    def remove_if_empty(self) -> None:
        """Give the disk its room back when Redis has all. Raises OSError."""
        with self._lock:
            if self.waiting == 0:
                self._close()
                self._remove()

    def get(self, event_id: str) -> Event | None:
        """An event that waits here, by its id. Raises sqlite3.Error."""
        with self._lock:
            if self.waiting == 0:
                return None
            query = "SELECT kind, data FROM events WHERE id = ? AND seq > ?"
            db = self._opened()
            row = db.execute(query, (event_id, self._moved)).fetchone()
        return decode(row[0], row[1]) if row else None

    def close(self) -> None:
        """What waits stays on the disk."""
        with self._lock:
            self._close()
            os.close(self._claim)

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None:
            return self._db
        is_new = not self._path.exists()
        db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS events "
                "(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, kind TEXT, data BLOB)"
            )
            bounds = db.execute("SELECT min(seq) - 1, max(seq) FROM events").fetchone()
            self._moved, self._newest = bounds[0] or 0, bounds[1] or 0
        except sqlite3.Error:
            db.close()
            if is_new:
                self._remove()  # half of a file would look like events that wait
            raise
        self._db = db
        return db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _remove(self) -> None:
        # The database first: SQLite drops a journal without one; the other way round it is broken.
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _claim(path: Path) -> int:
    """A file held by this process until it ends or closes it, however that comes about."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(
            f"another process uses {path.with_suffix('')}; "
            "give each gateway an HONE_FEEDBACK_OUTBOX_PATH of its own"
        ) from None
    return descriptor

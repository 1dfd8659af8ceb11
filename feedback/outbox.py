"""Events kept on this machine's disk while Redis is away: one SQLite table, in order of arrival."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from feedback.events import Event, decode, encode


class Outbox:
    """Thread-safe. `put` returns after the disk has it (WAL, `synchronous=FULL`)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS events "
            "(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, data BLOB)"
        )

    def put(self, event: Event) -> bool:
        """Keep an event. True if it is new. Raises sqlite3.OperationalError when the disk is
        full."""
        with self._lock:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO events (id, kind, data) VALUES (?, ?, ?)",
                (event.id, event.kind, encode(event)),
            )
            return cursor.rowcount == 1

    def head(self, *, limit: int) -> list[tuple[int, Event]]:
        """The oldest events with their sequence numbers."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, kind, data FROM events ORDER BY seq LIMIT ?", (limit,)
            ).fetchall()
        return [(seq, decode(kind, data)) for seq, kind, data in rows]

    def remove_through(self, seq: int) -> None:
        """Forget the events up to this one: Redis has them now."""
        with self._lock:
            self._db.execute("DELETE FROM events WHERE seq <= ?", (seq,))

    def get(self, event_id: str) -> Event | None:
        """An event that waits here, by its id."""
        with self._lock:
            row = self._db.execute(
                "SELECT kind, data FROM events WHERE id = ?", (event_id,)
            ).fetchone()
        return decode(row[0], row[1]) if row else None

    def depth(self) -> int:
        """How many events wait."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        with self._lock:
            self._db.close()

"""The events of one snapshot on disk, so that memory stays flat however many there are.

An SQLite database that lives as long as the snapshot is made: what was judged, which completions it is
about, and a bounded sample of prompts. The texts and tokens of judged completions lie one after the
other in a file beside it. Both have no name any more once they are open: whatever ends this process, no text of
somebody's stays behind. The snapshot is then made again, from its bounds.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

_BATCH = 2_000
_TABLES = """
CREATE TABLE judgements (
    seq INTEGER PRIMARY KEY, part TEXT, id INTEGER, judge INTEGER, labeler TEXT, about INTEGER, draw INTEGER,
    weight REAL, is_heldout INTEGER, data BLOB, reason TEXT,
    prompt INTEGER, person INTEGER, user_place REAL, prompt_place REAL, split TEXT
);
CREATE TABLE taken_back (id INTEGER, judge INTEGER, why TEXT);
CREATE TABLE completions (
    id INTEGER, prompt INTEGER, person INTEGER, user_place REAL, prompt_place REAL,
    fault TEXT, choices BLOB, start INTEGER, size INTEGER
);
CREATE TABLE prompts (
    draw INTEGER PRIMARY KEY, seq INTEGER, person INTEGER, user_place REAL, data BLOB
);
"""
_INSERTS = {
    "judgements": (
        "INSERT INTO judgements (seq, part, id, judge, labeler, about, draw, weight, is_heldout, data, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ),
    "taken_back": "INSERT INTO taken_back VALUES (?, ?, ?)",
    "completions": "INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "prompts": "INSERT INTO prompts VALUES (?, ?, ?, ?, ?)",
}


class Staging:
    """Opened by one snapshot, on the disk of its folder."""

    def __init__(self, folder: Path) -> None:
        here = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
        self.db = sqlite3.connect(here / "events.sqlite", isolation_level=None)
        for pragma in (
            "journal_mode=OFF",
            "synchronous=OFF",
            "cache_size=-65536",
            "temp_store=FILE",
        ):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_TABLES)
        self.db.execute("BEGIN")  # one transaction: nobody else reads, nothing is kept
        self._waiting: dict[str, list[Sequence[Any]]] = {table: [] for table in _INSERTS}
        self._heap = (here / "answers").open("w+b", buffering=1 << 20)
        self._heap_size = 0
        shutil.rmtree(here)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.db.close()
        self._heap.close()

    def add(self, table: str, row: Sequence[Any]) -> None:
        """Rows are written some thousand at a time; `flush` before reading."""
        waiting = self._waiting[table]
        waiting.append(row)
        if len(waiting) >= _BATCH:
            self._write(table)

    def flush(self) -> None:
        for table in self._waiting:
            self._write(table)
        self._heap.flush()

    def put(self, data: bytes) -> tuple[int, int]:
        """Keep the texts and tokens of a completion; returns where."""
        start = self._heap_size
        self._heap.write(data)
        self._heap_size += len(data)
        return start, len(data)

    def get(self, start: int, size: int) -> dict[str, Any]:
        """What `put` was given, decoded."""
        self._heap.seek(start)
        found: dict[str, Any] = orjson.loads(self._heap.read(size))
        return found

    def rows(self, query: str, *values: Any) -> Iterator[Any]:
        """A query's rows, a page at a time."""
        cursor = self.db.execute(query, values)
        while page := cursor.fetchmany(_BATCH):
            yield from page

    def change(self, query: str, *values: Any) -> int:
        """Run a change; returns how many rows it changed."""
        return self.db.execute(query, values).rowcount

    def _write(self, table: str) -> None:
        if waiting := self._waiting[table]:
            self.db.executemany(_INSERTS[table], waiting)
            waiting.clear()

"""How much of the log is where."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from feedback import eventlog, keys
from feedback.archive.held import load
from feedback.archive.reader import Archive
from feedback.events import position


def figures(client: redis.Redis, archive: Archive) -> list[dict[str, Any]]:
    """A row for each kind of event; times are unix seconds, None where there is no event."""
    return [_of_kind(client, archive, kind) for kind in keys.KINDS]


def num_waiting(outboxes: Sequence[Path]) -> dict[str, int | None]:
    """Events in the outboxes of this machine, by path; None for one that cannot be read. Those that
    Redis has since counts as well, until the outbox is empty: then its file goes."""
    return {str(path): _count(path) for path in outboxes}


def _of_kind(client: redis.Redis, archive: Archive, kind: str) -> dict[str, Any]:
    held = load(client, kind)
    segments = [segment for segment in archive.segments(kind) if segment.events]
    newest = eventlog.last_entry(client, kind) or (segments[-1].last if segments else None)
    oldest_s = held.oldest_ms / 1000 if held.num_events else None
    first = archive.first(kind) if segments else None
    return {
        "kind": kind,
        "events_in_redis": held.num_events,
        "bytes_in_redis": held.num_bytes if held.num_events else 0,
        "ids_of_archived_bytes": client.memory_usage(keys.archived_ids(kind)) or 0,
        "events_in_archive": sum(segment.events for segment in segments),
        "segments": len(segments),
        "bytes_in_archive": sum(segment.file_bytes for segment in segments),
        "json_bytes_in_archive": sum(segment.event_bytes for segment in segments),
        "oldest": position(first)[0] / 1000 if first is not None else oldest_s,
        "oldest_in_redis": oldest_s,
        "newest": position(newest)[0] / 1000 if newest is not None else None,
    }


def _count(path: Path) -> int | None:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
    except sqlite3.Error:
        return None

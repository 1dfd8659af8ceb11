"""Who changed what and why, newest first; what has left Redis is read from the archive."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import redis

from feedback import eventlog, keys
from feedback.errors import Unavailable
from feedback.events import Audit, decode

if TYPE_CHECKING:
    from serving.gateway import Gateway

PAGE = 50
_NEWEST = f"{2**62}-0"


async def page(gateway: Gateway, *, before: str | None = None, limit: int = PAGE) -> dict[str, Any]:
    """Entries before an entry id, newest first. Raises Unavailable while the archive cannot be read."""
    return await asyncio.to_thread(_page, gateway, before, limit)


def _page(gateway: Gateway, before: str | None, limit: int) -> dict[str, Any]:
    rows = _in_redis(gateway.redis, before, limit + 1)
    if len(rows) <= limit:
        oldest = rows[-1][0] if rows else before or _NEWEST
        rows += _archived(gateway, before=oldest, count=limit + 1 - len(rows))
    data = [{"entry": entry, **asdict(event)} for entry, event in rows[:limit]]
    return {"object": "list", "data": data, "has_more": len(rows) > limit}


def _in_redis(client: redis.Redis, before: str | None, count: int) -> list[tuple[str, Audit]]:
    last = "+" if before is None else f"({before}"
    rows = cast(eventlog.Rows, client.xrevrange(keys.stream(Audit.kind), last, "-", count=count))
    return [(entry.decode(), _decoded(fields[b"e"])) for entry, fields in rows]


def _archived(gateway: Gateway, *, before: str, count: int) -> list[tuple[str, Audit]]:
    from feedback.archive import marks

    if marks.through(gateway.redis, Audit.kind) is None:
        return []  # nothing was ever archived: pyarrow need not be loaded
    from feedback.archive.reader import Archive

    try:
        found = Archive.of(gateway.feedback_settings).newest(Audit.kind, before=before, count=count)
    except OSError as error:
        raise Unavailable("the archive cannot be read now", retry_after_s=5) from error
    return [(row.entry, _decoded(row.data)) for row in found]


def _decoded(data: bytes) -> Audit:
    return cast(Audit, decode(Audit.kind, data))

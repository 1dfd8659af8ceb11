"""What Redis holds, and whether it is time for the archiver. Loads no pyarrow: asked every minute."""

from __future__ import annotations

import redis

from feedback import keys
from feedback.archive.plan import Due, Load, due
from feedback.erasure import redis_files
from feedback.events import position
from feedback.settings import FeedbackSettings


def is_time(client: redis.Redis, settings: FeedbackSettings, *, now: float) -> bool:
    """Something is to leave Redis, the archive, or Redis' files."""
    return (
        bool(due_now(client, settings, now=now))
        or bool(client.exists(keys.ERASE_DUE))
        or redis_files.is_due(client, after_s=settings.erased_in_files_s, now=now)
    )


def due_now(client: redis.Redis, settings: FeedbackSettings, *, now: float) -> list[Due]:
    """What is to leave Redis."""
    return due(
        [load(client, kind) for kind in keys.KINDS],
        now=now,
        keep_s=settings.log_keep_s,
        every_s=settings.archive_every_s,
        keep_bytes=settings.log_keep_bytes,
    )


def load(client: redis.Redis, kind: str) -> Load:
    """What Redis holds of a kind, by its own estimate."""
    pipe = client.pipeline(transaction=False)
    pipe.xlen(keys.stream(kind))
    pipe.memory_usage(keys.stream(kind))
    pipe.memory_usage(keys.index(kind))
    pipe.xrange(keys.stream(kind), count=1)
    num_events, of_stream, of_index, oldest = pipe.execute()
    oldest_ms = position(oldest[0][0].decode())[0] if oldest else 0
    num_bytes = (of_stream or 0) + (of_index or 0)
    return Load(kind=kind, num_events=num_events, num_bytes=num_bytes, oldest_ms=oldest_ms)

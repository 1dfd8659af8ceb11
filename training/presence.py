"""A worker says in Redis that it lives: /metrics and alerts go by it.

By a thread of its own: a task of Celery's `solo` pool, a round for hours, holds everything else up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

import redis

from feedback import keys
from feedback.connection import connect

GONE_AFTER_S = 30
_EVERY_S = 10.0


def begin(redis_url: str, queues: Sequence[str]) -> None:
    """From now on, until the process ends."""
    threading.Thread(
        target=_forever, args=(redis_url, queues), name="presence", daemon=True
    ).start()


def _forever(redis_url: str, queues: Sequence[str]) -> None:
    with connect(redis_url) as client:
        while True:
            with contextlib.suppress(redis.RedisError, OSError):  # away: later
                say(client, queues)
            time.sleep(_EVERY_S)


def say(client: redis.Redis, queues: Sequence[str]) -> None:
    """Once."""
    for queue in queues:
        client.set(keys.worker_up(queue), 1, ex=GONE_AFTER_S)

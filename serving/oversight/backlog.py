"""What waits for labelers, and how much they do in an hour."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import redis

from feedback import keys

_HOURS = 24
_MAX_TENANTS = 200  # whose queues are counted one by one


def read(client: redis.Redis, *, tenants: Collection[str], target: int) -> dict[str, Any]:
    """`queues`: sets that wait, by task. `hours`: judgements of labelers, the hour under way last."""
    now = time.time()
    hours = [now - 3600 * ago for ago in range(_HOURS - 1, -1, -1)]
    named = sorted(tenants)[:_MAX_TENANTS]
    pipe = client.pipeline(transaction=False)
    for task in keys.TASKS:
        for tenant in named:
            pipe.zcard(keys.queue(tenant, task))
    for hour in hours:
        pipe.get(keys.judged_in(hour))
    found = pipe.execute()
    lengths, counts = found[: len(found) - _HOURS], found[-_HOURS:]
    size = len(named)
    queues = {
        task: sum(lengths[place * size : (place + 1) * size])
        for place, task in enumerate(keys.TASKS)
    }
    return {
        "queues": queues,
        "hours": [
            {"began": hour - hour % 3600, "judgements": int(count or 0)}
            for hour, count in zip(hours, counts, strict=True)
        ],
        "target_per_hour": target,
    }

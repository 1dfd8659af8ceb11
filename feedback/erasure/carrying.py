"""Carries out the erasures that were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import orjson
import redis

from feedback import eventlog, keys
from feedback.archive.reader import Archive
from feedback.erasure.people import Erased, erase
from feedback.erasure.requests import Erasure, get
from feedback.errors import HoneError
from feedback.events import audit
from feedback.settings import FeedbackSettings

Traces = Callable[[Erased], dict[str, Any]]  # where else it is found: snapshots, versions


def carry_out(
    client: redis.Redis, archive: Archive, settings: FeedbackSettings, traces: Traces
) -> list[Erasure]:
    """All that are queued. One that fails stays queued, with its error; the others go on."""
    queued = cast("list[bytes]", client.lrange(keys.ERASURES_QUEUED, 0, -1))
    return [
        carry_out_one(client, archive, settings, get(client, name.decode()), traces)
        for name in queued
    ]


def carry_out_one(
    client: redis.Redis,
    archive: Archive,
    settings: FeedbackSettings,
    asked: Erasure,
    traces: Traces,
) -> Erasure:
    """Killed anywhere it is carried out again."""
    if asked.status == "done":
        client.lrem(keys.ERASURES_QUEUED, 0, asked.id)
        return asked
    try:
        erased = erase(client, archive, settings, tenant=asked.tenant, user=asked.user)
        report = {**erased.counts(), **traces(erased)}
    except (HoneError, OSError, redis.RedisError) as error:
        failed = replace(asked, attempts=asked.attempts + 1, error=str(error))
        client.hset(keys.ERASURES_ASKED, asked.id, orjson.dumps(asdict(failed)))
        return failed
    done = replace(
        asked,
        user=None,
        status="done",
        ended=time.time(),
        attempts=asked.attempts + 1,
        error=None,
        report=report,
    )
    event = audit(asked.by, "erase.user", erasure=asked.id, person=asked.person, **report)
    eventlog.append(client, event)
    pipe = client.pipeline(transaction=True)
    pipe.hset(keys.ERASURES_ASKED, asked.id, orjson.dumps(asdict(done)))
    pipe.lrem(keys.ERASURES_QUEUED, 0, asked.id)
    pipe.execute()
    return done

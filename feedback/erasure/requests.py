"""Erasures that were asked for, and what came of them. The user's id is kept no longer than it is needed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import orjson
import redis

from feedback import eventlog, keys
from feedback.errors import NotFound
from feedback.events import new_id


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """One request. Written by who asks, then by who carries it out."""

    id: str  # era_…
    tenant: str
    user: str | None  # None: all of the tenant; and once it is done
    person: str  # digest of tenant and user, as `eventlog.owner` has it
    asked: float  # unix seconds
    by: str  # an API key's id, or cli:<user>
    status: str = "queued"  # queued | done
    ended: float | None = None  # unix seconds
    attempts: int = 0
    error: str | None = None  # of the last attempt
    report: dict[str, Any] = field(default_factory=dict)  # counts, rounds and versions; no text


def ask(client: redis.Redis, *, tenant: str, user: str | None, by: str) -> Erasure:
    """From this moment on nothing that the user, or for None anybody of the tenant, did before is taken
    into the log; the rest is carried out by a worker."""
    asked = Erasure(
        id=new_id("era_"),
        tenant=tenant,
        user=user,
        person=eventlog.owner(tenant, user),
        asked=time.time(),
        by=by,
    )
    bury(client, asked.person)
    pipe = client.pipeline(transaction=True)
    pipe.hset(keys.ERASURES_ASKED, asked.id, orjson.dumps(asdict(asked)))
    pipe.rpush(keys.ERASURES_QUEUED, asked.id)
    pipe.execute()
    return asked


def bury(client: redis.Redis, person: str) -> None:
    """What this person did up to now is not taken any more, from wherever it comes."""
    client.hset(keys.ERASED_USERS, person, str(time.time()))
    client.set(keys.AOF_STALE, str(time.time()), nx=True)


def get(client: redis.Redis, erasure_id: str) -> Erasure:
    """Raises NotFound."""
    found = cast("bytes | None", client.hget(keys.ERASURES_ASKED, erasure_id))
    if found is None:
        raise NotFound(f"there is no erasure {erasure_id}", param="id")
    return Erasure(**orjson.loads(found))


def is_any_queued(client: redis.Redis) -> bool:
    return bool(client.exists(keys.ERASURES_QUEUED))

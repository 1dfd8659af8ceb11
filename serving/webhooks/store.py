"""Webhook endpoints, and what waits to be delivered to each. All of it is in Redis.

Deliveries are made out of the log: one transaction puts a page's deliveries in and moves the cursor,
so that a process killed anywhere has told an endpoint everything or will.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, cast
from urllib.parse import urlsplit

import redis
from redis.client import Pipeline

from feedback import keys
from feedback.errors import BadRequest, Conflict, NotFound
from feedback.events import new_id
from feedback.history import History
from serving.webhooks.events import EVENT_TYPES, KINDS, WebhookEvent, events_of

MAX_ENDPOINTS = 32
_MAX_URL_CHARS = 2_048
_PAGE = 200  # records of the log in one transaction


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where events are posted to. The operator makes and removes it, the deliverer does the rest."""

    id: str  # whk_…
    url: str
    events: tuple[str, ...]  # of EVENT_TYPES; empty: all, and those that are to come
    secret: str = field(repr=False)  # whsec_…; not hashed: every delivery is signed with it
    created: float  # unix seconds of Redis' clock, which also numbers the log
    old_secret: str | None = field(default=None, repr=False)  # signs as well, until …
    old_secret_until: float = 0.0  # unix seconds
    is_disabled: bool = False  # it answered 410
    last_attempt: float | None = None  # unix seconds
    last_outcome: str | None = None  # a status, or why there was none
    num_failed: int = 0  # events that were given up

    def signing_secrets(self, *, now: float) -> list[str]:
        """What an attempt is signed with, the newest first."""
        is_old_good = self.old_secret is not None and now < self.old_secret_until
        return [self.secret, *([self.old_secret] if self.old_secret and is_old_good else [])]

    def wants(self, event: WebhookEvent, entry: str) -> bool:
        """Whether an event of this log entry is for it: of a type asked for, and not of the past."""
        is_later = int(entry.partition("-")[0]) >= int(self.created * 1000)
        return is_later and not self.is_disabled and event.type in (self.events or EVENT_TYPES)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    event_id: str
    body: str
    num_attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one attempt."""

    says: str  # the status, or why there is none
    status: int | None = None

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """The receiver asks never to be called again."""
        return self.status == 410


class Webhooks:
    """The endpoints and their deliveries. Raises redis.ConnectionError while Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def add(self, url: str, *, events: Iterable[str] = ()) -> Endpoint:
        """Events from now on go to this address. Raises BadRequest, Conflict."""
        seconds, micros = self._redis.time()
        endpoint = Endpoint(
            id=new_id("whk_"),
            url=_checked_url(url),
            events=_checked_events(events),
            secret=_new_secret(),
            created=seconds + micros / 1e6,
        )
        if self._redis.hlen(keys.WEBHOOKS) >= MAX_ENDPOINTS:
            raise Conflict(f"{MAX_ENDPOINTS} webhooks are the limit; `hone webhooks remove` one")
        self._redis.hset(keys.WEBHOOKS, endpoint.id, json.dumps(asdict(endpoint)))
        return endpoint

    def list(self) -> list[Endpoint]:
        """All endpoints, oldest first."""
        return _endpoints(self._redis)

    def get(self, endpoint_id: str) -> Endpoint:
        """Raises NotFound."""
        stored = cast("bytes | None", self._redis.hget(keys.WEBHOOKS, endpoint_id))
        if stored is None:
            raise NotFound(
                f"there is no webhook {endpoint_id}; `hone webhooks list` shows what there is",
                param="id",
            )
        return _load(stored)

    def remove(self, endpoint_id: str) -> Endpoint:
        """Forget an endpoint, and what waits for it. Raises NotFound."""
        endpoint = self.get(endpoint_id)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hdel(keys.WEBHOOKS, endpoint_id)
        _drop_deliveries(pipe, endpoint_id)
        pipe.execute()
        return endpoint

    def rotate(self, endpoint_id: str, *, grace_s: float, now: float) -> Endpoint:
        """Give it a new secret; for `grace_s` seconds it is told with both. One that answered 410 is
        called again. Raises NotFound."""
        secret = _new_secret()

        def change(pipe: Pipeline) -> None:
            before = self.get(endpoint_id)
            after = replace(
                before,
                secret=secret,
                old_secret=before.secret,
                old_secret_until=now + grace_s,
                is_disabled=False,
            )
            pipe.multi()
            pipe.hset(keys.WEBHOOKS, endpoint_id, json.dumps(asdict(after)))

        self._redis.transaction(change, keys.WEBHOOKS)
        return self.get(endpoint_id)

    def show(self, endpoint: Endpoint) -> dict[str, Any]:
        """An endpoint for a person, without its secret."""
        shown = revealed(endpoint)
        del shown["secret"]
        return {**shown, "pending": self._redis.zcard(keys.webhook_due(endpoint.id))}

    def take_from_log(self, *, now: float) -> None:
        """Make deliveries of the log's next page; due at once, oldest first."""
        watched = (keys.WEBHOOKS, keys.WEBHOOK_CURSORS)
        for kind in KINDS:
            self._redis.transaction(partial(self._take, kind=kind, now=now), *watched)

    def next_due(self, endpoint_id: str, *, now: float) -> Delivery | None:
        """The delivery that has been due for longest."""
        due = cast(
            "list[bytes]",
            self._redis.zrangebyscore(keys.webhook_due(endpoint_id), "-inf", now, start=0, num=1),
        )
        name = keys.webhook_deliveries(endpoint_id)
        stored = cast("bytes | None", self._redis.hget(name, due[0].decode())) if due else None
        return _delivery(stored)

    def settle(
        self,
        endpoint_id: str,
        delivery: Delivery,
        outcome: Outcome,
        *,
        now: float,
        retry_in_s: float | None,
    ) -> None:
        """Record an attempt. A failed one is due again in `retry_in_s`; None: it is given up."""
        due, deliveries = keys.webhook_due(endpoint_id), keys.webhook_deliveries(endpoint_id)
        event_id = delivery.event_id
        is_failed = not outcome.is_delivered

        def record(pipe: Pipeline) -> None:
            known = cast("bytes | None", pipe.hget(keys.WEBHOOKS, endpoint_id))
            stored = cast("bytes | None", pipe.hget(deliveries, event_id))
            pipe.multi()
            if known is None or _delivery(stored) != delivery:
                return  # removed meanwhile, or another process has settled it
            endpoint = replace(
                _load(known),
                last_attempt=now,
                last_outcome=outcome.says,
                is_disabled=outcome.is_gone,
            )
            if outcome.is_gone:
                _drop_deliveries(pipe, endpoint_id)
            elif is_failed and retry_in_s is not None:
                again = replace(delivery, num_attempts=delivery.num_attempts + 1)
                pipe.hset(deliveries, event_id, json.dumps(asdict(again)))
                pipe.zadd(due, {event_id: now + retry_in_s})
            else:
                endpoint = replace(endpoint, num_failed=endpoint.num_failed + is_failed)
                pipe.hdel(deliveries, event_id)
                pipe.zrem(due, event_id)
            pipe.hset(keys.WEBHOOKS, endpoint_id, json.dumps(asdict(endpoint)))

        self._redis.transaction(record, keys.WEBHOOKS, deliveries)

    def _take(self, pipe: Pipeline, *, kind: str, now: float) -> None:
        cursor = cast("bytes | None", pipe.hget(keys.WEBHOOK_CURSORS, kind))
        endpoints = _endpoints(pipe)
        after = cursor.decode() if cursor else "-"
        page = list(islice(History(self._redis).read(kind, after=after), _PAGE))
        pipe.multi()
        for entry, record in page:
            for event in events_of(record):
                for endpoint in endpoints:
                    if endpoint.wants(event, entry):
                        _put(pipe, endpoint.id, event, due=min(now, event.created))
        if page:
            pipe.hset(keys.WEBHOOK_CURSORS, kind, page[-1][0])


def revealed(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint with its secret, for the one time that it is shown."""
    fields = asdict(endpoint)
    del fields["old_secret"], fields["old_secret_until"]
    return fields


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _put(pipe: Pipeline, endpoint_id: str, event: WebhookEvent, *, due: float) -> None:
    delivery = Delivery(event_id=event.id, body=event.body())
    pipe.hsetnx(keys.webhook_deliveries(endpoint_id), event.id, json.dumps(asdict(delivery)))
    pipe.zadd(keys.webhook_due(endpoint_id), {event.id: due}, nx=True)


def _drop_deliveries(pipe: Pipeline, endpoint_id: str) -> None:
    pipe.delete(keys.webhook_due(endpoint_id), keys.webhook_deliveries(endpoint_id))


def _endpoints(client: redis.Redis) -> list[Endpoint]:
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.WEBHOOKS))
    return sorted(map(_load, stored.values()), key=lambda endpoint: endpoint.created)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_port = parts.port is None or parts.port > 0  # `port` raises for what is none
    except ValueError:
        host, is_port = b"", False
    is_plain = url.isprintable() and " " not in url and len(url) <= _MAX_URL_CHARS
    if not (host and is_port and is_plain and parts.scheme in ("http", "https")):
        raise BadRequest(
            f"a webhook's address is like https://example.com/hook, http or https and at most "
            f"{_MAX_URL_CHARS} characters; not {url[:100]!r}",
            param="url",
        )
    if parts.username or parts.password:
        raise BadRequest(
            "no name and password in a webhook's address, where everybody sees them: the receiver "
            "knows us by the signature",
            param="url",
        )
    return url


def _checked_events(events: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(events))
    unknown = [event for event in wanted if event not in EVENT_TYPES]
    if unknown:
        raise BadRequest(f"events are of {', '.join(EVENT_TYPES)}; not {unknown}", param="events")
    return wanted


def _delivery(stored: bytes | None) -> Delivery | None:
    return Delivery(**json.loads(stored)) if stored else None


def _load(data: bytes) -> Endpoint:
    fields = json.loads(data)
    return Endpoint(**{**fields, "events": tuple(fields["events"])})

"""Posts what waits to its endpoints, signed after the Standard Webhooks specification, until taken.

At least once: an attempt is recorded after it was made, so a process killed in between makes it
again, with the same `webhook-id`. One process at a time delivers; which one, a lease in Redis says.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import random
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import redis
from redis.lock import Lock

from feedback import keys
from feedback.connection import connect
from feedback.events import new_id
from serving.webhooks.events import WebhookEvent
from serving.webhooks.store import MAX_ENDPOINTS, Endpoint, Outcome, Webhooks

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
# The specification's advice, section "Deliverability and reliability"; then the event is given up.
RETRY_AFTER_S = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 24 * 3600)
_JITTER = 0.2  # of a delay, either way: a receiver that is back is not met by all at once
_LEASE_S = 15.0
_POLL_S = 1.0


def signed(*, secrets: Iterable[str], event_id: str, body: str, now: int) -> dict[str, str]:
    """The headers of one attempt; a signature a secret."""
    said = f"{event_id}.{now}.{body}".encode()
    signatures = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.digest(key, said, hashlib.sha256)
        signatures.append(f"v1,{base64.b64encode(digest).decode()}")
    return {
        "content-type": "application/json",
        "user-agent": "hone-webhooks",
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def open_session(*, timeout_s: float = TIMEOUT_S) -> aiohttp.ClientSession:
    """A client that takes nothing along from one receiver to the next."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


async def post(
    session: aiohttp.ClientSession, endpoint: Endpoint, *, event_id: str, body: str
) -> Outcome:
    """One attempt. What the receiver says beside its status is not read."""
    now = time.time()
    headers = signed(
        secrets=endpoint.signing_secrets(now=now), event_id=event_id, body=body, now=int(now)
    )
    try:
        async with session.post(
            endpoint.url, data=body.encode(), headers=headers, allow_redirects=False
        ) as response:
            return Outcome(says=str(response.status), status=response.status)
    except TimeoutError:
        return Outcome(says="no answer in time")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # ValueError: a host that DNS cannot spell. It must not end the deliveries to the others.
        return Outcome(says=type(error).__name__)


async def post_test(endpoint: Endpoint) -> Outcome:
    """Post an event of type `webhook.test`, once and now."""
    data = {"webhook_id": endpoint.id}
    event = WebhookEvent(id=new_id("evt_"), type="webhook.test", created=time.time(), data=data)
    async with open_session() as session:
        return await post(session, endpoint, event_id=event.id, body=event.body())


class Deliverer:
    """Delivers in a thread with an event loop of its own; whoever starts it does not wait for it.

    Its Redis calls are synchronous: nobody else is on that loop, and without Redis it can do nothing.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        retry_after_s: tuple[float, ...] = RETRY_AFTER_S,
        timeout_s: float = TIMEOUT_S,
        poll_s: float = _POLL_S,
        lease_s: float = _LEASE_S,
    ) -> None:
        self._redis_url = redis_url
        self._retry_after_s = retry_after_s
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def ensure_running(self) -> None:
        """Start the thread unless it runs. Where another process delivers, it ends at once."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; attempts under way are cut, and made again by whoever comes next."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            with connect(self._redis_url) as client:
                lease = client.lock(keys.WEBHOOK_LEASE, timeout=self._lease_s, blocking=False)
                if lease.acquire():
                    asyncio.run(self._deliver(Webhooks(client), lease))
                    lease.release()
        except* (redis.RedisError, OSError) as errors:  # Redis is away, or the lease is another's
            log.warning("webhooks wait", extra={"error": str(errors.exceptions[0])})

    async def _deliver(self, webhooks: Webhooks, lease: Lock) -> None:
        # Looking up a name takes a thread and may hang: one for each endpoint, so that none waits.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_ENDPOINTS))
        busy: dict[str, asyncio.Task[None]] = {}
        renewed = time.monotonic()
        async with open_session(timeout_s=self._timeout_s) as session, asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                if time.monotonic() - renewed > self._lease_s / 3:
                    lease.reacquire()
                    renewed = time.monotonic()
                webhooks.take_from_log(now=time.time())
                for endpoint in webhooks.list():
                    if endpoint.id not in busy or busy[endpoint.id].done():
                        due = self._deliver_due(webhooks, endpoint, session)
                        busy[endpoint.id] = group.create_task(due)
                await asyncio.sleep(self._poll_s)
            for task in busy.values():
                task.cancel()

    async def _deliver_due(
        self, webhooks: Webhooks, endpoint: Endpoint, session: aiohttp.ClientSession
    ) -> None:
        """One after the other to one endpoint; a slow one holds up itself."""
        while delivery := webhooks.next_due(endpoint.id, now=time.time()):
            event_id = delivery.event_id
            outcome = await post(session, endpoint, event_id=event_id, body=delivery.body)
            retry_in_s = self._retry_in_s(delivery.num_attempts)
            webhooks.settle(endpoint.id, delivery, outcome, now=time.time(), retry_in_s=retry_in_s)
            if not outcome.is_delivered:
                told = {"webhook": endpoint.id, "event": event_id, "outcome": outcome.says}
                log.warning("webhook not delivered", extra={**told, "retry_in_s": retry_in_s})

    def _retry_in_s(self, num_attempts: int) -> float | None:
        """After this many attempts before the one that failed; None: it was the last."""
        if num_attempts >= len(self._retry_after_s):
            return None
        return self._retry_after_s[num_attempts] * random.uniform(1 - _JITTER, 1 + _JITTER)

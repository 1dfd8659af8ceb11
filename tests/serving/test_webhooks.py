from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from feedback import keys
from feedback.connection import connect
from feedback.errors import BadRequest, Conflict, NotFound
from serving.webhooks.store import MAX_ENDPOINTS, Outcome, Webhooks
from tests.serving.webhook_receiver import log_promotion


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


@pytest.fixture
def webhooks(client: redis.Redis) -> Webhooks:
    return Webhooks(client)


def test_a_log_longer_than_a_page_is_taken_page_by_page_and_each_event_once(
    client: redis.Redis, webhooks: Webhooks
) -> None:
    endpoint = webhooks.add("http://127.0.0.1:9/hook")
    for number in range(450):
        log_promotion(client, f"policy-{number:04d}")
    counts = []
    for _ in range(4):
        webhooks.take_from_log(now=time.time())
        counts.append(webhooks.show(endpoint)["pending"])
    assert counts == [200, 400, 450, 450]


def test_a_delivery_that_was_made_twice_from_the_log_waits_once_and_keeps_its_attempts(
    client: redis.Redis, webhooks: Webhooks
) -> None:
    endpoint = webhooks.add("http://127.0.0.1:9/hook")
    log_promotion(client, "policy-0001")
    webhooks.take_from_log(now=time.time())
    delivery = webhooks.next_due(endpoint.id, now=time.time())
    assert delivery is not None
    refused = Outcome(says="500", status=500)
    webhooks.settle(endpoint.id, delivery, refused, now=time.time(), retry_in_s=60.0)
    client.delete(keys.WEBHOOK_CURSORS)  # as if the log were read anew
    webhooks.take_from_log(now=time.time())
    assert webhooks.show(endpoint)["pending"] == 1
    assert webhooks.next_due(endpoint.id, now=time.time()) is None


def test_a_removed_endpoint_leaves_nothing_behind_even_in_the_middle_of_an_attempt(
    client: redis.Redis, webhooks: Webhooks
) -> None:
    endpoint = webhooks.add("http://127.0.0.1:9/hook")
    log_promotion(client, "policy-0001")
    webhooks.take_from_log(now=time.time())
    delivery = webhooks.next_due(endpoint.id, now=time.time())
    assert delivery is not None
    webhooks.remove(endpoint.id)
    webhooks.settle(endpoint.id, delivery, Outcome(says="500", status=500), now=1.0, retry_in_s=5.0)
    assert list(client.scan_iter(f"{keys.PREFIX}webhook_d*")) == []
    assert webhooks.list() == []
    with pytest.raises(NotFound):
        webhooks.get(endpoint.id)


def test_a_late_failure_does_not_bring_back_what_another_process_has_delivered(
    client: redis.Redis, webhooks: Webhooks
) -> None:
    endpoint = webhooks.add("http://127.0.0.1:9/hook")
    log_promotion(client, "policy-0001")
    webhooks.take_from_log(now=time.time())
    delivery = webhooks.next_due(endpoint.id, now=time.time())
    assert delivery is not None
    for outcome in (Outcome(says="200", status=200), Outcome(says="500", status=500)):
        webhooks.settle(endpoint.id, delivery, outcome, now=time.time(), retry_in_s=0.0)
    assert webhooks.next_due(endpoint.id, now=time.time()) is None
    assert webhooks.get(endpoint.id).last_outcome == "200"


def test_an_address_that_cannot_be_posted_to_is_refused_with_an_example(webhooks: Webhooks) -> None:
    for url in (
        "ftp://example.com/hook",
        "file:///etc/passwd",
        "example.com/hook",
        "http://",
        "http://example.com:99999/",
        "http://exa mple.com/",
        f"http://{'a' * 70}.com/",
        "http://example.com/" + "a" * 2_048,
    ):
        with pytest.raises(BadRequest, match="https://example.com/hook"):
            webhooks.add(url)
    with pytest.raises(BadRequest, match="password"):
        webhooks.add("https://me:secret@example.com/hook")
    with pytest.raises(BadRequest, match="gate.failed"):
        webhooks.add("https://example.com/hook", events=["gate.passed"])
    assert webhooks.list() == []


def test_there_is_a_limit_on_endpoints(webhooks: Webhooks) -> None:
    for number in range(MAX_ENDPOINTS):
        webhooks.add(f"https://example.com/{number}")
    with pytest.raises(Conflict, match="limit"):
        webhooks.add("https://example.com/more")

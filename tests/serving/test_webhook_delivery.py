"""Deliveries to a real receiver, out of a real Redis, with real kills."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import redis

from feedback import keys
from feedback.connection import connect
from serving.webhooks.delivery import Deliverer, signed
from serving.webhooks.store import Webhooks
from tests.conftest import RedisServer
from tests.serving.webhook_receiver import Receiver, log_promotion, wait_until

QUICK: dict[str, Any] = {"poll_s": 0.01, "lease_s": 0.6, "retry_after_s": (0.02, 0.02)}
CHILD = """
import sys, time
from serving.webhooks.delivery import Deliverer
deliverer = Deliverer(sys.argv[1], poll_s=0.01, lease_s=0.6)
while True:
    deliverer.ensure_running()
    time.sleep(0.02)
"""

Start = Callable[..., Deliverer]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    served = Receiver()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


@pytest.fixture
def webhooks(client: redis.Redis) -> Webhooks:
    return Webhooks(client)


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    """Starts a deliverer with short times; options change them. Stopped at the test's end."""
    started: list[Deliverer] = []

    def start_one(**options: Any) -> Deliverer:
        deliverer = Deliverer(redis_url, **{**QUICK, **options})
        deliverer.ensure_running()
        started.append(deliverer)
        return deliverer

    yield start_one
    for deliverer in started:
        deliverer.stop()


def pending(webhooks: Webhooks) -> list[int]:
    return [webhooks.show(endpoint)["pending"] for endpoint in webhooks.list()]


def wait_for(num_posts: int, receiver: Receiver, path: str, *, timeout_s: float = 30) -> None:
    wait_until(lambda: len(receiver.at(path)) >= num_posts, timeout_s=timeout_s)


def start_child(redis_url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, redis_url], env=dict(os.environ))


def test_a_signature_is_the_one_that_standard_webhooks_libraries_test_with() -> None:
    headers = signed(
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        body='{"test": 2432232314}',
        now=1614265330,
    )
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-signature"] == expected


def test_the_openai_client_verifies_a_delivery_and_refuses_a_changed_one(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    endpoint = webhooks.add(f"{receiver.url}/hook")
    log_promotion(client, "policy-0001")
    start()
    wait_until(lambda: receiver.posts)
    (post,) = receiver.posts
    with openai.OpenAI(api_key="none") as app:
        app.webhooks.verify_signature(post.body, post.headers, secret=endpoint.secret)
        event: Any = app.webhooks.unwrap(post.body, post.headers, secret=endpoint.secret)
        assert (event.id, event.type) == (post.id, "policy.promoted")
        forged = post.body.replace(b"policy-0001", b"policy-0666")
        other = webhooks.add(f"{receiver.url}/other")
        for body, headers, secret in (
            (forged, post.headers, endpoint.secret),
            (post.body, post.headers | {"webhook-id": "evt_else"}, endpoint.secret),
            (post.body, post.headers, other.secret),
        ):
            with pytest.raises(openai.InvalidWebhookSignatureError, match="does not match"):
                app.webhooks.verify_signature(body, headers, secret=secret)


def test_a_rotated_secret_signs_beside_the_old_one_until_its_grace_is_over(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    endpoint = webhooks.add(f"{receiver.url}/hook")
    rotated = webhooks.rotate(endpoint.id, grace_s=60.0, now=time.time())
    log_promotion(client, "policy-0001")
    start()
    wait_until(lambda: receiver.posts)
    (post,) = receiver.posts
    with openai.OpenAI(api_key="none") as app:
        for secret in (endpoint.secret, rotated.secret):
            app.webhooks.verify_signature(post.body, post.headers, secret=secret)
        webhooks.rotate(endpoint.id, grace_s=0.0, now=time.time())
        log_promotion(client, "policy-0002")
        wait_until(lambda: len(receiver.posts) == 2)
        last = receiver.posts[-1]
        for secret in (endpoint.secret, rotated.secret):
            with pytest.raises(openai.InvalidWebhookSignatureError):
                app.webhooks.verify_signature(last.body, last.headers, secret=secret)


def test_an_endpoint_that_is_gone_is_called_again_once_it_has_a_new_secret(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    endpoint = webhooks.add(f"{receiver.url}/hook")
    receiver.answers["hook"] = [410]
    log_promotion(client, "policy-0001")
    start()
    wait_until(lambda: webhooks.get(endpoint.id).is_disabled)
    webhooks.rotate(endpoint.id, grace_s=0.0, now=time.time())
    log_promotion(client, "policy-0002")
    wait_until(lambda: len(receiver.posts) == 2)
    assert receiver.posts[-1].event["data"]["version"] == "policy-0002"


def test_a_failed_delivery_is_made_again_under_its_id_and_redirects_are_failures(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/hook")
    receiver.answers["hook"] = [500, 302]
    log_promotion(client, "policy-0001")
    start()
    wait_until(lambda: len(receiver.posts) == 3 and pending(webhooks) == [0])
    assert len({(post.path, post.id, post.body) for post in receiver.posts}) == 1
    (endpoint,) = webhooks.list()
    assert (endpoint.last_outcome, endpoint.num_failed) == ("200", 0)


def test_a_delay_is_waited_for_and_each_attempt_is_signed_anew(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    endpoint = webhooks.add(f"{receiver.url}/hook")
    receiver.answers["hook"] = [503]
    log_promotion(client, "policy-0001")
    began = time.monotonic()
    start(retry_after_s=(1.5,))
    wait_until(lambda: len(receiver.posts) == 2)
    assert time.monotonic() - began > 1.5 * 0.8
    first, second = receiver.posts
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    with openai.OpenAI(api_key="none") as app:
        app.webhooks.verify_signature(second.body, second.headers, secret=endpoint.secret)


def test_an_event_is_given_up_after_the_last_retry_and_the_next_one_is_delivered(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/hook")
    receiver.answers["hook"] = [500, 500, 500]
    log_promotion(client, "policy-0001")
    start()
    wait_until(lambda: webhooks.list()[0].num_failed == 1)
    assert pending(webhooks) == [0]
    assert webhooks.list()[0].last_outcome == "500"
    log_promotion(client, "policy-0002")
    wait_until(lambda: webhooks.list()[0].last_outcome == "200")
    assert len(receiver.posts) == 4


def test_a_receiver_that_is_not_there_is_retried_until_it_is(
    client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    absent = Receiver()
    absent.start()
    absent.stop()
    webhooks.add(f"{absent.url}/hook")
    log_promotion(client, "policy-0001")
    start(retry_after_s=(0.1,) * 100)
    wait_until(lambda: webhooks.list()[0].last_outcome == "ClientConnectorError")
    back = Receiver()
    back.port = absent.port
    back.start()
    wait_until(lambda: pending(webhooks) == [0])
    assert len(back.posts) == 1
    back.stop()


def test_410_disables_an_endpoint_and_drops_what_waits_for_it(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/gone")
    webhooks.add(f"{receiver.url}/hook")
    receiver.answers["gone"] = [410]
    log_promotion(client, "policy-0001")
    log_promotion(client, "policy-0002")
    start()
    wait_until(lambda: webhooks.list()[0].is_disabled)
    log_promotion(client, "policy-0003")
    wait_until(lambda: len(receiver.at("hook")) == 3)
    wait_until(lambda: pending(webhooks) == [0, 0])
    assert len(receiver.at("gone")) == 1


def test_an_endpoint_that_hangs_holds_up_itself_alone(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/slow")
    webhooks.add(f"{receiver.url}/quick")
    receiver.hanging.add("slow")
    start(timeout_s=30)
    for number in range(3):
        log_promotion(client, f"policy-000{number}")
        wait_for(number + 1, receiver, "quick")
    assert len(receiver.at("slow")) == 1
    wait_until(lambda: pending(webhooks) == [3, 0])


def test_no_answer_in_time_is_a_failure(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/slow")
    receiver.hanging.add("slow")
    log_promotion(client, "policy-0001")
    start(timeout_s=0.2)
    wait_until(lambda: webhooks.list()[0].num_failed == 1)
    assert webhooks.list()[0].last_outcome == "no answer in time"
    assert len({post.id for post in receiver.posts}) == 1
    assert len(receiver.posts) == 3


def test_an_attempt_that_a_kill_cut_off_is_made_again_under_the_same_id(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, redis_url: str, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/hook")
    log_promotion(client, "policy-0001")
    receiver.hanging.add("hook")
    child = start_child(redis_url)
    wait_until(lambda: receiver.posts, timeout_s=30)
    child.kill()
    child.wait()
    receiver.hanging.clear()
    deliverer = start()

    def has_come() -> bool:
        deliverer.ensure_running()  # the dead one's lease has to run out first
        return pending(webhooks) == [0]

    wait_until(has_come)
    first, second = receiver.posts
    assert (first.id, first.body) == (second.id, second.body)


def test_every_event_arrives_however_often_the_deliverer_is_killed(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, redis_url: str
) -> None:
    webhooks.add(f"{receiver.url}/hook")
    receiver.delay_s = 0.02
    versions = [f"policy-{number:04d}" for number in range(60)]
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    for part in range(5):
        child = start_child(redis_url)
        num_before = len(receiver.posts)
        for version in versions[12 * part : 12 * part + 12]:
            log_promotion(client, version)
        wait_for(num_before + 1, receiver, "hook", timeout_s=30)
        time.sleep(chance.uniform(0, 0.2))
        child.kill()
        child.wait()
    child = start_child(redis_url)
    wait_until(
        lambda: {post.event["data"]["version"] for post in receiver.posts} == set(versions),
        timeout_s=30,
    )
    wait_until(lambda: pending(webhooks) == [0])
    child.kill()
    child.wait()
    # At least once, and never under two ids: a kill costs one repeat at most.
    assert len({post.id for post in receiver.posts}) == len(versions), f"seed {seed}"
    assert len(receiver.posts) <= len(versions) + 5, f"seed {seed}"


def test_what_was_logged_while_nobody_delivered_comes_later_and_what_came_before_the_endpoint_never(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    log_promotion(client, "policy-0001")
    time.sleep(0.002)
    webhooks.add(f"{receiver.url}/hook")
    for number in (2, 3):
        log_promotion(client, f"policy-000{number}")
    first = start()
    wait_until(lambda: len(receiver.posts) == 2)
    first.stop()
    log_promotion(client, "policy-0004", action="rollback")
    start()
    wait_until(lambda: len(receiver.posts) == 3 and pending(webhooks) == [0])
    told = [(post.event["type"], post.event["data"]["version"]) for post in receiver.posts]
    assert told == [
        ("policy.promoted", "policy-0002"),
        ("policy.promoted", "policy-0003"),
        ("policy.rolled_back", "policy-0004"),
    ]


def test_an_endpoint_is_told_what_it_asked_for(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/hook", events=["policy.rolled_back"])
    start()
    log_promotion(client, "policy-0001")
    log_promotion(client, "policy-0000", action="rollback")
    wait_until(lambda: receiver.posts)
    assert [post.event["type"] for post in receiver.posts] == ["policy.rolled_back"]


def test_one_process_delivers_and_another_takes_over(
    receiver: Receiver, client: redis.Redis, webhooks: Webhooks, start: Start
) -> None:
    webhooks.add(f"{receiver.url}/hook")
    receiver.delay_s = 0.05  # time enough for a second one to post the same
    first = start()
    wait_until(lambda: client.exists(keys.WEBHOOK_LEASE))
    second = start()
    for number in range(10):
        second.ensure_running()
        log_promotion(client, f"policy-000{number}")
        time.sleep(0.1)  # in all longer than the lease: the first one renews it
    wait_until(lambda: pending(webhooks) == [0] and len(receiver.posts) == 10)
    first.stop()
    second.ensure_running()
    log_promotion(client, "policy-0010")
    wait_until(lambda: len(receiver.posts) == 11)


def test_deliveries_go_on_after_redis_was_away(
    receiver: Receiver, redis_server: RedisServer
) -> None:
    deliverer = Deliverer(redis_server.url, **QUICK)
    with connect(redis_server.url) as client:
        Webhooks(client).add(f"{receiver.url}/hook")
        deliverer.ensure_running()
        log_promotion(client, "policy-0001")
        wait_until(lambda: len(receiver.posts) == 1)
        redis_server.stop(kill=True)
        time.sleep(0.2)
        redis_server.start()
        log_promotion(client, "policy-0002")

        def has_come() -> bool:
            deliverer.ensure_running()
            return len({post.id for post in receiver.posts}) == 2

        wait_until(has_come)
        deliverer.stop()

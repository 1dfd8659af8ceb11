"""Redis stops and comes back under a gateway that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from feedback import eventlog
from tests.conftest import RedisServer
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there"}]


def test_answers_and_judgements_go_on_and_are_all_in_the_log_once(
    start_gateway: Callable[..., Running], redis_server: RedisServer, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_server.url, engine)
    headers = {"authorization": f"Bearer {gateway.secret}"}

    def ask() -> str:
        answer = gateway.openai().chat.completions.create(model="policy", messages=HELLO, n=2)
        assert answer.model == "policy-0000"
        return answer.id

    def judge(completion_id: str) -> str:
        body = {
            "candidates": [{"completion_id": completion_id, "index": i} for i in range(2)],
            "tiers": [["b"], ["a"]],
        }
        url = f"{gateway.url}/v1/feedback/rankings"
        answer = httpx2.post(url, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    asked = [ask()]
    redis_server.stop(kill=True)
    asked += [ask() for _ in range(10)]
    judged = [judge(completion_id) for completion_id in asked]
    time.sleep(0.4)
    ready = httpx2.get(f"{gateway.url}/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    redis_server.start()
    deadline = time.monotonic() + 10
    while httpx2.get(f"{gateway.url}/readyz").json()["status"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    asked.append(ask())
    # A pooled connection from before may be dead still; then the outbox takes this one, for a while.
    deadline = time.monotonic() + 10
    while eventlog.get(gateway.redis, "completions", asked[-1]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [event.id for _, event in eventlog.read(gateway.redis, "completions")] == asked
    assert [event.id for _, event in eventlog.read(gateway.redis, "feedback")] == judged


def test_a_gateway_that_has_just_started_does_not_deny_its_model(
    start_gateway: Callable[..., Running], redis_url: str
) -> None:
    """It knows the key by asking Redis, and no version yet. Clients do not try again after a 404."""
    gateway = start_gateway(redis_url, FakeEngine())  # which does not run yet
    for model in ("policy", "policy-0000"):
        with pytest.raises(openai.InternalServerError) as caught:
            gateway.openai().chat.completions.create(model=model, messages=HELLO)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) > 0

"""Engines that break down in ways of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from serving.registry import PolicyRecord, Registry
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there"}]


def ready_status(gateway: Running) -> int:
    return httpx2.get(f"{gateway.url}/readyz").status_code


def wait_for_status(gateway: Running, status: int) -> None:
    deadline = time.monotonic() + 10
    while ready_status(gateway) != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_engine_that_answers_no_json_is_away_until_it_does_again(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine)
    engine.is_broken = True
    wait_for_status(gateway, 503)
    engine.is_broken = False
    wait_for_status(gateway, 200)
    assert gateway.openai().chat.completions.create(model="policy", messages=HELLO).choices


@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_an_engine_that_breaks_in_mid_promotion_leaves_what_was_live(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine, kind: str
) -> None:
    gateway = start_gateway(redis_url, engine)
    registry = Registry(gateway.redis)
    version = "policy-0001"
    record = PolicyRecord(version=version, kind=kind, path="/p", digest="d" * 64, created=1.0)
    registry.add(record)
    engine.breaks_on_load = True
    answer = httpx2.post(
        f"{gateway.url}/admin/policies/{version}/promote",
        json={"override": "a test"},
        headers={"authorization": f"Bearer {gateway.admin_secret}"},
        timeout=100,
    )
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "service_unavailable_error"
    live = registry.snapshot()
    assert (live.aliases["production"], live.rollout) == ("policy-0000", None)
    wait_for_status(gateway, 200)


def test_weights_of_another_digest_do_not_answer_under_a_version_s_name(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine)
    version, client = "policy-0001", gateway.openai()
    record = PolicyRecord(version=version, kind="adapter", path="/p", digest="1" * 64, created=1.0)
    engine.loaded[version] = {**engine.loaded["policy-0000"], "version": version}
    Registry(gateway.redis).add(record)
    Registry(gateway.redis).promote(version)
    wait_for_status(gateway, 503)
    for name in ("policy", version):
        with pytest.raises(openai.APIError):
            client.with_options(max_retries=0).chat.completions.create(model=name, messages=HELLO)
    assert engine.bodies == []
    del engine.loaded[version]  # the registry's weights are loaded then
    wait_for_status(gateway, 200)
    assert client.chat.completions.create(model=version, messages=HELLO).model == version

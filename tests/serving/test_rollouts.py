"""Full weights over several engines, under traffic; and a gateway that dies while it does that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from serving.registry import PolicyRecord, Registry
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there my friend"}]
NEW = "policy-0001"
PLENTY = {"default_requests_per_minute": 1_000_000}


@pytest.fixture
def engines() -> Iterator[list[FakeEngine]]:
    started = [FakeEngine() for _ in range(3)]
    for served in started:
        served.full = {NEW, "policy-0002"}
        served.start()
    yield started
    for served in started:
        served.stop()


def publish(gateway: Running, version: str = NEW, *, kind: str = "full") -> Registry:
    registry = Registry(gateway.redis)
    path, digest = f"/p/{version}", version * 8
    registry.add(PolicyRecord(version=version, kind=kind, path=path, digest=digest, created=1.0))
    return registry


def promote(gateway: Running, version: str = NEW) -> httpx2.Response:
    return httpx2.post(
        f"{gateway.url}/admin/policies/{version}/promote",
        json={"override": "a test"},
        headers={"authorization": f"Bearer {gateway.admin_secret}"},
        timeout=100,
    )


class Traffic:
    """Asks without a pause, and keeps the version of every answer."""

    def __init__(self, gateway: Running) -> None:
        self.versions: list[str] = []
        self.failures: list[Exception] = []
        self._client = gateway.openai()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            try:
                answer = self._client.chat.completions.create(model="policy", messages=HELLO)
                self.versions.append(answer.model)
            except openai.OpenAIError as error:
                self.failures.append(error)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_full_weights_reach_every_engine_and_no_request_is_dropped(
    start_gateway: Callable[..., Running], redis_url: str, engines: list[FakeEngine], count: int
) -> None:
    gateway = start_gateway(redis_url, *engines[:count], **PLENTY)
    publish(gateway)
    for engine in engines:
        engine.load_delay_s = 0.3
    with Traffic(gateway) as traffic:
        time.sleep(0.3)
        assert promote(gateway).status_code == 200
        time.sleep(0.3)
    assert traffic.failures == []
    assert all(list(engine.loaded) == [NEW] for engine in engines[:count])
    assert {traffic.versions[0], traffic.versions[-1]} == {"policy-0000", NEW}
    moved = traffic.versions.index(NEW)
    late = [v for v in traffic.versions[moved + 10 :] if v != NEW]
    assert late == []  # ten were under way at most when the alias moved
    assert Registry(gateway.redis).snapshot().rollout is None


def test_an_engine_that_refuses_brings_everything_back(
    start_gateway: Callable[..., Running], redis_url: str, engines: list[FakeEngine]
) -> None:
    gateway = start_gateway(redis_url, *engines, **PLENTY)
    registry = publish(gateway)
    engines[2].refuse[NEW] = "a tensor is missing"
    with Traffic(gateway) as traffic:
        answer = promote(gateway)
        assert answer.status_code == 409
        assert "a tensor is missing" in answer.json()["error"]["message"]
        deadline = time.monotonic() + 10
        while not all(list(engine.loaded) == ["policy-0000"] for engine in engines):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert traffic.failures == []
    assert registry.aliases() == {"production": "policy-0000"}


@pytest.mark.parametrize("refuses", [False, True])
def test_an_adapter_comes_back_after_full_weights(
    start_gateway: Callable[..., Running],
    redis_url: str,
    engines: list[FakeEngine],
    refuses: bool,
) -> None:
    adapter = "policy-0009"
    gateway = start_gateway(redis_url, *engines[:2], **PLENTY)
    publish(gateway, adapter, kind="adapter")
    registry = publish(gateway)
    assert promote(gateway, adapter).status_code == 200
    if refuses:  # the first engine has the full weights by then
        engines[1].refuse[NEW] = "a tensor is missing"
    with Traffic(gateway) as traffic:
        assert promote(gateway).status_code == (409 if refuses else 200)
        if not refuses:
            time.sleep(1.5)  # the engines are looked at, and not given the adapter back
            assert all(list(engine.loaded) == [NEW] for engine in engines[:2])
            assert promote(gateway, adapter).status_code == 200
        deadline = time.monotonic() + 10
        while not all(list(e.loaded) == ["policy-0000", adapter] for e in engines[:2]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.3)
    assert traffic.failures == []
    assert traffic.versions[-1] == registry.aliases()["production"] == adapter


def test_a_second_promotion_meanwhile_is_told_to_wait(
    start_gateway: Callable[..., Running], redis_url: str, engines: list[FakeEngine]
) -> None:
    gateway = start_gateway(redis_url, *engines[:2], **PLENTY)
    publish(gateway)
    publish(gateway, "policy-0002")
    engines[0].load_delay_s = 1.0
    first = threading.Thread(target=promote, args=(gateway,))
    first.start()
    time.sleep(0.4)
    assert promote(gateway, "policy-0002").status_code == 409
    first.join()
    assert Registry(gateway.redis).aliases()["production"] == NEW


def test_a_slow_rollout_is_carried_out_once(
    start_gateway: Callable[..., Running],
    redis_url: str,
    engines: list[FakeEngine],
    caplog: pytest.LogCaptureFixture,
) -> None:
    gateway = start_gateway(redis_url, *engines[:2], **PLENTY)
    publish(gateway)
    for engine in engines:
        engine.load_delay_s = 1.5  # longer than the watcher waits between two looks
    assert promote(gateway).status_code == 200
    assert "carrying on" not in caplog.text
    assert [engine.calls for engine in engines[:2]] == [[f"load {NEW}"]] * 2


def test_another_gateway_carries_on_what_a_dead_one_has_begun(
    start_gateway: Callable[..., Running], redis_url: str, engines: list[FakeEngine]
) -> None:
    gateway = start_gateway(redis_url, *engines[:2], **PLENTY)
    registry = publish(gateway)
    # What a gateway leaves that was killed while the first engine reloaded.
    registry.lease_rollout("a dead gateway", ttl_s=1)
    registry.hold(registry.begin_rollout(NEW), engines[0].url)
    deadline = time.monotonic() + 15
    with Traffic(gateway) as traffic:
        while registry.snapshot().rollout is not None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert traffic.failures == []
    assert registry.aliases()["production"] == NEW
    assert all(list(engine.loaded) == [NEW] for engine in engines[:2])

"""What an operator does, and what serves meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import httpx2
import openai
import orjson
import pytest

from feedback import eventlog, keys
from feedback.events import Audit
from serving.registry import PolicyRecord, Registry
from tests.serving.conftest import Running
from tests.serving.fake_engine import BASE_DIGEST, FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there"}]


def publish(gateway: Running, version: str) -> PolicyRecord:
    record = PolicyRecord(
        version=version,
        kind="adapter",
        path=f"/policies/{version}",
        digest=version[-1] * 64,
        parent="policy-0000",
        created=time.time(),
    )
    Registry(gateway.redis).add(record)
    return record


def call(gateway: Running, method: str, path: str, body: Any = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {gateway.admin_secret}"}
    return httpx2.request(method, gateway.url + path, json=body, headers=headers, timeout=100)


def promote(gateway: Running, version: str) -> httpx2.Response:
    why = {"override": "a test"}
    return call(gateway, "POST", f"/admin/policies/{version}/promote", why)


def served_by(gateway: Running, model: str = "policy") -> str:
    return gateway.openai().chat.completions.create(model=model, messages=HELLO).model


def test_a_promoted_version_answers_the_next_request(gateway: Running, engine: FakeEngine) -> None:
    publish(gateway, "policy-0001")
    assert promote(gateway, "policy-0001").status_code == 200
    assert served_by(gateway) == "policy-0001"
    assert served_by(gateway, "policy@previous") == "policy-0000"
    assert Registry(gateway.redis).aliases()["production"] == "policy-0001"
    shown = call(gateway, "GET", "/policy").json()
    assert shown["production"]["version"] == "policy-0001"
    assert shown["production"]["since"] <= time.time()
    assert shown["previous"]["digest"] == BASE_DIGEST
    assert shown["canary"] is None
    assert "path" not in str(shown)
    (loaded,) = shown["engines"]
    assert {entry["version"] for entry in loaded["loaded"]} == {"policy-0000", "policy-0001"}


def test_rollback_brings_the_previous_version_back(gateway: Running) -> None:
    assert call(gateway, "POST", "/admin/rollback").status_code == 409
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    answer = call(gateway, "POST", "/admin/rollback")
    assert answer.json()["version"] == "policy-0000"
    assert served_by(gateway) == "policy-0000"
    audits = [cast(Audit, event) for _, event in eventlog.read(gateway.redis, "audit")]
    assert [(a.action, a.detail["version"]) for a in audits] == [
        ("promote", "policy-0001"),
        ("rollback", "policy-0000"),
    ]


def test_a_version_that_an_engine_refuses_does_not_go_live(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway, "policy-0001")
    engine.refuse["policy-0001"] = "layer 3: NaN"
    answer = promote(gateway, "policy-0001")
    assert answer.status_code == 409
    assert "NaN" in answer.json()["error"]["message"]
    assert served_by(gateway) == "policy-0000"
    assert promote(gateway, "policy-0042").status_code == 404


def test_nothing_is_dropped_while_versions_change(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine, default_requests_per_minute=100_000)
    for number in (1, 2, 3):
        publish(gateway, f"policy-000{number}")
    engine.chunk_delay_s = 0.002
    seen: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        client = gateway.openai()
        while not stop.is_set():
            try:
                raw = client.chat.completions.with_raw_response.create(
                    model="policy", messages=HELLO
                )
                assert raw.parse().model == raw.headers["x-policy-version"]
                seen.append(raw.parse().model)
                list(client.chat.completions.create(model="policy", messages=HELLO, stream=True))
            except openai.APIError as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in (1, 2, 3):
        time.sleep(0.3)
        assert promote(gateway, f"policy-000{number}").status_code == 200
    assert call(gateway, "POST", "/admin/rollback").status_code == 200
    time.sleep(0.3)
    stop.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert set(seen) == {"policy-0000", "policy-0001", "policy-0002", "policy-0003"}


def test_a_version_promoted_elsewhere_is_loaded_while_requests_wait(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway, "policy-0001")
    Registry(gateway.redis).promote("policy-0001")  # as the training worker might
    deadline = time.monotonic() + 5
    while served_by(gateway) != "policy-0001":
        assert time.monotonic() < deadline


def test_published_adapters_that_no_alias_means_make_room(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.loaded["rollout-7"] = {**engine.loaded["policy-0000"], "version": "rollout-7"}
    engine.loaded["rollout-7"]["kind"] = "adapter"
    for number in (1, 2, 3, 4):
        publish(gateway, f"policy-000{number}")
        promote(gateway, f"policy-000{number}")
    # 4 was loaded while 3 and 2 were production and previous; what was meant then is kept.
    kept = {"policy-0002", "policy-0003", "policy-0004"}
    assert set(engine.loaded) == {"policy-0000", "rollout-7", *kept}
    with pytest.raises(openai.BadRequestError) as caught:
        served_by(gateway, "policy-0001")
    assert caught.value.code == "model_not_loaded"


def test_with_two_engines_one_may_die(
    start_gateway: Callable[..., Running], redis_url: str
) -> None:
    one, other = engines = [FakeEngine(), FakeEngine()]
    for served in engines:
        served.start()
    gateway = start_gateway(redis_url, *engines)
    served_by(gateway)
    busy, idle = (one, other) if one.bodies else (other, one)  # a session stays where it began
    busy.stop()
    for _ in range(10):
        assert served_by(gateway) == "policy-0000"
    assert len(idle.bodies) == 10
    health = httpx2.get(f"{gateway.url}/readyz")
    assert health.json()["status"] == "ready"
    idle.stop()


def test_without_an_engine_the_gateway_is_alive_but_not_ready(
    gateway: Running, engine: FakeEngine
) -> None:
    assert httpx2.get(f"{gateway.url}/readyz").json() == {"status": "ready", "reasons": []}
    engine.stop()
    with pytest.raises(openai.InternalServerError) as caught:
        served_by(gateway)
    assert caught.value.status_code == 503
    ready = httpx2.get(f"{gateway.url}/readyz")
    assert ready.status_code == 503
    assert "no engine has policy-0000" in ready.json()["reasons"][0]
    assert httpx2.get(f"{gateway.url}/healthz").status_code == 200
    engine.__init__()  # type: ignore[misc]
    engine.start()  # for the fixture to stop


def test_another_base_model_is_said_and_not_served(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    start_gateway(redis_url, engine)
    other = FakeEngine(base_digest="c" * 64)
    other.start()
    second = start_gateway(redis_url, other)
    ready = httpx2.get(f"{second.url}/readyz")
    assert ready.status_code == 503
    assert "another base model" in ready.json()["reasons"][0]
    other.stop()


def test_keys_are_made_listed_and_revoked(gateway: Running) -> None:
    made = call(gateway, "POST", "/admin/keys", {"name": "new", "scopes": ["infer"]}).json()
    assert len(gateway.openai(made["key"]).models.list().data) == 4
    listed = call(gateway, "GET", "/admin/keys").json()["data"]
    assert made["id"] in [key["id"] for key in listed]
    assert made["key"] not in str(listed)
    assert call(gateway, "DELETE", f"/admin/keys/{made['id']}").json()["deleted"]
    with pytest.raises(openai.AuthenticationError):
        gateway.openai(made["key"]).models.list()
    assert (
        call(gateway, "POST", "/admin/keys", {"name": "x", "scopes": ["root"]}).status_code == 422
    )
    assert call(gateway, "DELETE", "/admin/keys/key_nobody").status_code == 404


def test_only_an_operator_may_change_anything(gateway: Running) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}"}
    for method, path in (
        ("POST", "/admin/policies/policy-0000/promote"),
        ("POST", "/admin/rollback"),
        ("GET", "/admin/keys"),
        ("GET", "/admin/rounds"),
    ):
        answer = httpx2.request(method, gateway.url + path, headers=headers)
        assert (answer.status_code, path) == (403, path)
        assert httpx2.request(method, gateway.url + path).status_code == 401


def test_a_round_is_asked_for_and_rounds_are_shown(gateway: Running) -> None:
    answer = call(gateway, "POST", "/admin/rounds", {"reason": "try"})
    assert answer.status_code == 202
    asked = orjson.loads(cast(bytes, gateway.redis.get(keys.ROUND_REQUESTED)))
    assert asked["reason"] == "try"
    gateway.redis.set(keys.ROUND_SEQ, 2)
    gateway.redis.hset(keys.round_state("round-0002"), mapping={"phase": "ppo", "attempts": 1})
    shown = call(gateway, "GET", "/admin/rounds").json()
    assert shown["data"] == [{"round_id": "round-0002", "phase": "ppo", "attempts": "1"}]
    assert shown["requested"]["reason"] == "try"

"""What a real gateway's /metrics says of engines, rounds, queues, Redis and disks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx2
import redis

from feedback import keys
from serving import round_states
from serving.exported.families import FAMILIES, OWN, SHARED
from serving.registry import BASE
from serving.webhooks.store import Delivery, Outcome, Webhooks
from tests.conftest import RedisServer
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

ROUND = "round-0001"
HELLO: Any = [{"role": "user", "content": "hello there my friend"}]


def shown(gateway: Running) -> dict[str, float]:
    """Samples of /metrics by name and labels, after a look of a moment ago."""
    gateway.run(gateway.app.state.exporter.look())
    text = httpx2.get(f"{gateway.url}/metrics").text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def begin_round(client: redis.Redis, **fields: Any) -> None:
    client.set(keys.ROUND_SEQ, 1)
    moved = round_states.move(
        client, ROUND, round_states.START, started=1000.0, recipe="tiny", step="ppo", **fields
    )
    assert moved.is_done


def test_every_name_is_shown_where_there_is_something_to_say(
    gateway: Running, engine: FakeEngine
) -> None:
    client = gateway.redis
    progress = '{"step": "ppo", "iteration": 3, "ppo/progress": 0.25, "objective/kl": 1.5}'
    begin_round(client, progress=progress, **{"attempts:ppo": 2})
    client.hset(keys.JUDGEMENTS_COUNTED, mapping={"count": 7, "wanted": 20})
    gateway.openai().chat.completions.create(model="policy", messages=HELLO, store=True)
    found = shown(gateway)
    families = {re.match(r"[a-z_]+", name).group() for name in found}  # type: ignore[union-attr]
    elsewhere = {  # what there is none of here; the other tests have it
        *("hone_canary_info", "hone_engine_load_seconds", "hone_redis_memory_max_bytes"),
        *("hone_gate_passed", "hone_gate_win_rate", "hone_gate_kl_nats"),
        *("hone_round_outcome", "hone_round_ended_timestamp_seconds"),
    }
    names = {f"{name}_total" if FAMILIES[name].is_counter else name for name in FAMILIES}
    assert names - families == elsewhere
    assert found['hone_round_figure{figure="objective/kl",round="round-0001"}'] == 1.5
    assert found["hone_round_progress_ratio"] == 0.25
    assert found["hone_round_attempts"] == 2
    assert (found["hone_judgements_new"], found["hone_judgements_wanted"]) == (7, 20)
    assert found['hone_log_events_total{kind="completions"}'] == 1
    assert found["hone_redis_persists"] == 1
    assert (
        0 < found['hone_disk_free_bytes{disk="data"}'] < found['hone_disk_size_bytes{disk="data"}']
    )
    assert OWN.keys().isdisjoint(SHARED)


def test_a_round_is_under_way_until_it_ends_and_held_while_a_worker_has_the_lease(
    gateway: Running,
) -> None:
    begin_round(gateway.redis)
    found = shown(gateway)
    about = 'kind="policy",round="round-0001",status="running",step="ppo"'
    assert found[f"hone_round_info{{{about}}}"] == 1
    assert (found["hone_round_under_way"], found["hone_round_worker_up"]) == (1, 0)
    gateway.redis.set(keys.ROUND_LEASE, 1)
    assert shown(gateway)["hone_round_worker_up"] == 1
    assert round_states.move(gateway.redis, ROUND, round_states.REFUSE, ended=2000.0).is_done
    found = shown(gateway)
    assert found["hone_round_under_way"] == 0
    assert found['hone_round_outcome{kind="policy",round="round-0001",status="refused"}'] == 1
    assert found['hone_round_ended_timestamp_seconds{kind="policy"}'] == 2000


def test_a_train_worker_is_wanted_while_a_message_waits_or_a_round_is_under_way(
    gateway: Running,
) -> None:
    assert shown(gateway)["hone_train_wanted"] == 0
    gateway.redis.rpush(keys.TRAIN_QUEUE, "a snapshot is asked for")
    assert shown(gateway)["hone_train_wanted"] == 1
    gateway.redis.delete(keys.TRAIN_QUEUE)
    begin_round(gateway.redis)
    assert shown(gateway)["hone_train_wanted"] == 1
    assert round_states.move(gateway.redis, ROUND, round_states.REFUSE, ended=2000.0).is_done
    assert shown(gateway)["hone_train_wanted"] == 0


def test_an_engine_without_what_it_should_have_is_said(
    gateway: Running, engine: FakeEngine
) -> None:
    found = shown(gateway)
    assert found[f'hone_engine_has_wanted{{url="{engine.url}"}}'] == 1
    assert found[f'hone_engine_version_loaded{{url="{engine.url}",version="{BASE}"}}'] == 1
    engine.loaded.clear()
    engine.loaded["policy-0009"] = {
        "version": "policy-0009",
        "kind": "adapter",
        "digest": "d" * 64,
        "served_as": "x",
        "path": "/x",
        "loaded_at": 2.0,
        "load_ms": 500.0,
        "pause_ms": 0.0,
    }
    gateway.run(gateway.app.state.gateway.fleet.poll())
    found = shown(gateway)
    assert found[f'hone_engine_has_wanted{{url="{engine.url}"}}'] == 0
    assert found[f'hone_engine_load_seconds{{url="{engine.url}"}}'] == 0.5


def test_moderation_that_does_not_answer_is_said(
    gateway: Running, moderation: FakeModeration
) -> None:
    assert shown(gateway)["hone_moderation_up"] == 1
    moderation.is_away = True
    assert shown(gateway)["hone_moderation_up"] == 0


def test_judgements_are_counted_once(gateway: Running) -> None:
    answer = gateway.openai().chat.completions.create(model="policy", messages=HELLO, store=True)
    headers = {"authorization": f"Bearer {gateway.secret}", "idempotency-key": "one"}
    for _ in range(2):
        body = {"completion_id": answer.id, "likert": 5}
        url = f"{gateway.url}/v1/feedback/ratings"
        httpx2.post(url, json=body, headers=headers).raise_for_status()
    counted = [n for name, n in shown(gateway).items() if name.startswith("hone_judgements_total")]
    assert counted == [1]


def test_workers_and_the_clock_are_up_while_they_say_so(gateway: Running) -> None:
    assert shown(gateway)['hone_worker_up{queue="train"}'] == 0
    gateway.redis.set(keys.worker_up("train"), 1, ex=30)
    gateway.redis.set(keys.CLOCK_UP, 1, ex=30)
    found = shown(gateway)
    assert found['hone_worker_up{queue="train"}'] == found["hone_clock_up"] == 1
    assert found['hone_worker_up{queue="control"}'] == 0


def test_webhooks_that_fail_are_counted(gateway: Running) -> None:
    store = Webhooks(gateway.redis)
    endpoint = store.add("http://127.0.0.1:9/hook")
    delivery = Delivery(event_id="evt_1", body="{}")
    name = keys.webhook_deliveries(endpoint.id)
    gateway.redis.hset(name, "evt_1", '{"event_id": "evt_1", "body": "{}", "num_attempts": 0}')
    gateway.redis.zadd(keys.webhook_due(endpoint.id), {"evt_1": 1.0})
    assert shown(gateway)["hone_webhook_pending"] == 1
    failed = Outcome(says="500", status=500)
    store.settle(endpoint.id, delivery, failed, now=time.time(), retry_in_s=None)
    found = shown(gateway)
    assert found["hone_webhook_failing"] == found["hone_webhook_given_up"] == 1
    assert found["hone_webhook_pending"] == 0


def test_while_redis_is_away_nothing_stale_is_said_of_it(
    start_gateway: Callable[..., Running], redis_server: RedisServer, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_server.url, engine)
    assert shown(gateway)["hone_learning_paused"] == 0
    redis_server.stop()
    gateway.openai().chat.completions.create(model="policy", messages=HELLO, store=True)
    found = shown(gateway)
    assert "hone_learning_paused" not in found
    assert found["hone_outbox_depth"] >= 1
    assert 0 < found["hone_outbox_age_seconds"] < 120
    redis_server.start()

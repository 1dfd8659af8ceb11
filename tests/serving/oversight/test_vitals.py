"""vLLM's own figures of an engine."""

from __future__ import annotations

import time

import pytest

from serving.oversight.vitals import Vital, parse, vital
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

TEXT = """\
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="policy-0000"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="policy-0000"} 0.5
vllm:num_requests_running{engine="0",model_name="policy-0000"} 2.0
vllm:num_requests_running{engine="1",model_name="policy-0000"} 1.0
vllm:generation_tokens_total{engine="0",model_name="policy-0000"} 1.5e+03
vllm:generation_tokens_created{engine="0",model_name="policy-0000"} 1.7e+09
python_gc_objects_collected_total{generation="0"} 99.0
"""


def look(written: float | None, *, now: float, before: Vital | None = None) -> Vital:
    found = {} if written is None else {"vllm:generation_tokens_total": [written]}
    return vital(found, before=before, now=now)


def test_several_cores_are_added_up_and_the_fullest_cache_counts() -> None:
    found = vital(parse(TEXT), before=None, now=1.0)
    assert found.kv_cache_share == 0.5
    assert found.running == 3
    assert found.waiting is None
    assert found.tokens_written == 1500
    assert found.written_per_s is None


def test_tokens_a_second_are_the_difference_of_two_looks() -> None:
    before = look(100.0, now=10.0)
    assert look(150.0, now=15.0, before=before).written_per_s == pytest.approx(10.0)


def test_an_engine_that_started_anew_has_no_rate_yet() -> None:
    assert look(5.0, now=15.0, before=look(100.0, now=10.0)).written_per_s is None
    assert look(None, now=15.0, before=look(100.0, now=10.0)).written_per_s is None


def test_a_gateway_asks_its_engines_and_forgets_who_is_silent(
    gateway: Running, engine: FakeEngine
) -> None:
    vitals = gateway.app.state.gateway.vitals
    gateway.run(vitals.look())
    now = time.time()
    found = vitals.of(engine.url, now=now)
    assert found.kv_cache_share == 0.37
    assert found.running == 2
    assert vitals.of(engine.url, now=now + 60) is None
    assert vitals.of("http://nobody", now=now) is None

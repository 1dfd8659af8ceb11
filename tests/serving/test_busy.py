"""More requests than a key, or the engines, may have at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there my friend"}]


def ask(client: openai.OpenAI, **fields: Any) -> str:
    answer = client.chat.completions.create(model="policy", messages=HELLO, **fields)
    return str(answer.choices[0].message.content)


def outcomes(client: openai.OpenAI, count: int) -> list[str]:
    """What so many requests at once end as: the answer, or the error's class."""

    def one(_: int) -> str:
        try:
            return ask(client)
        except openai.APIStatusError as error:
            says_when = int(error.response.headers["retry-after"]) >= 1
            return type(error).__name__ if says_when else "no time to come back"

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_key_has_so_many_answers_under_way_streams_included(
    gateway: Running, engine: FakeEngine
) -> None:
    secret, _ = auth.create_key(gateway.redis, name="x", scopes=("infer",), max_concurrent=2)
    client = gateway.openai(secret)
    engine.answer_delay_s = 0.5
    assert sorted(outcomes(client, 4)) == ["HELLO THERE MY FRIEND"] * 2 + ["RateLimitError"] * 2
    engine.answer_delay_s, engine.chunk_delay_s = 0, 0.2
    streams = [
        client.chat.completions.create(model="policy", messages=HELLO, stream=True)
        for _ in range(2)
    ]
    with pytest.raises(openai.RateLimitError, match="2 answers under way"):
        ask(client)
    assert len(list(streams[0])) > 1
    ask(client)
    streams[1].close()


def test_a_key_has_so_many_tokens_a_minute(gateway: Running) -> None:
    secret, _ = auth.create_key(gateway.redis, name="x", scopes=("infer",), tokens_per_minute=12)
    client = gateway.openai(secret)
    if time.time() % 60 > 55:
        time.sleep(5.1)  # the window must not turn in the middle
    raw = client.chat.completions.with_raw_response
    left = [
        raw.create(model="policy", messages=HELLO).headers["x-ratelimit-remaining-tokens"]
        for _ in range(2)
    ]
    assert left == ["12", "5"]  # 3 read and 4 written
    with pytest.raises(openai.RateLimitError, match="12 tokens per minute"):
        ask(client)


def test_two_gateways_share_the_limit_on_answers_under_way(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    one, two = (start_gateway(redis_url, engine) for _ in range(2))
    secret, _ = auth.create_key(one.redis, name="x", scopes=("infer",), max_concurrent=2)
    engine.chunk_delay_s = 0.4
    streams = [
        gateway.openai(secret).chat.completions.create(model="policy", messages=HELLO, stream=True)
        for gateway in (one, two)
    ]
    time.sleep(0.8)  # two refreshes
    with pytest.raises(openai.RateLimitError):
        ask(one.openai(secret))
    for stream in streams:
        list(stream)
    time.sleep(0.8)
    ask(one.openai(secret))


def test_requests_wait_for_room_and_the_rest_is_refused(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine, max_in_flight=1, max_waiting=2)
    engine.answer_delay_s = 0.4
    ended = outcomes(gateway.openai(), 5)
    assert sorted(ended) == ["HELLO THERE MY FRIEND"] * 3 + ["InternalServerError"] * 2
    assert len(engine.bodies) == 3


def test_one_who_waits_too_long_is_told_to_come_back(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine, max_in_flight=1, engine_wait_s=0.3)
    engine.answer_delay_s = 1.0
    assert sorted(outcomes(gateway.openai(), 2)) == ["HELLO THERE MY FRIEND", "InternalServerError"]


def test_an_engine_that_keeps_failing_is_left_alone(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    bad = FakeEngine()
    bad.start()
    bad.fail_next = 10_000
    try:
        gateway = start_gateway(redis_url, engine, bad)
        client = gateway.openai()
        for _ in range(30):
            assert ask(client, user=f"u{len(engine.bodies)}") == "HELLO THERE MY FRIEND"
        assert 3 <= len(bad.bodies) <= 6
        assert len(engine.bodies) == 30
        bad.fail_next = 0
        deadline = time.monotonic() + 10
        seen = len(bad.bodies)
        while len(bad.bodies) < seen + 3:  # the trial went well, so it has its share again
            assert time.monotonic() < deadline
            ask(client, user=f"u{time.monotonic_ns()}")
    finally:
        bad.stop()

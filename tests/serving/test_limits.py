from __future__ import annotations

import pytest

from feedback.errors import TooManyRequests
from serving.limits import Limits, RateLimiter

NOW = 1_000_000 * 60.0  # the beginning of a minute


def limiter() -> RateLimiter:
    return RateLimiter(share_without_redis=0.5)


def test_the_limit_is_given_and_no_more() -> None:
    limits = limiter()
    left = [limits.admit("k", limit=3, now=NOW + 10).remaining for _ in range(3)]
    assert left == [2, 1, 0]
    with pytest.raises(TooManyRequests) as caught:
        limits.admit("k", limit=3, now=NOW + 10)
    assert caught.value.retry_after_s == 50


def test_keys_and_minutes_are_counted_apart() -> None:
    limits = limiter()
    limits.admit("one", limit=1, now=NOW)
    limits.admit("two", limit=1, now=NOW)
    limits.admit("one", limit=1, now=NOW + 60)
    with pytest.raises(TooManyRequests):
        limits.admit("one", limit=1, now=NOW + 119)


def test_what_other_gateways_admitted_counts() -> None:
    limits = limiter()
    limits.admit("k", limit=10, now=NOW)
    sent = limits.unsent(now=NOW)
    limits.admit("k", limit=10, now=NOW)  # while the exchange is under way
    limits.settle(sent, {window: 8 for window in sent}, {})  # 1 of ours, 7 elsewhere
    assert limits.admit("k", limit=10, now=NOW).remaining == 0
    with pytest.raises(TooManyRequests):
        limits.admit("k", limit=10, now=NOW)
    assert list(limits.unsent(now=NOW).values()) == [2]


def test_without_redis_a_gateway_gives_its_share() -> None:
    limits = limiter()
    limits.redis_is_away()
    for _ in range(5):
        limits.admit("k", limit=10, now=NOW)
    with pytest.raises(TooManyRequests):
        limits.admit("k", limit=10, now=NOW)
    sent = limits.unsent(now=NOW)
    assert list(sent.values()) == [5]  # Redis is told when it is back
    limits.settle(sent, {window: 5 for window in sent}, {})
    limits.admit("k", limit=10, now=NOW)


def test_old_minutes_are_forgotten() -> None:
    limits = limiter()
    limits.admit("k", limit=10, now=NOW)
    assert limits.unsent(now=NOW + 180) == {}
    window = ("k", "requests", 1_000_000)
    limits.settle({window: 1}, {window: 1}, {})  # arrives late: no harm


def of(*, tokens: int = 100, concurrent: int = 2) -> Limits:
    return Limits(requests_per_minute=9, tokens_per_minute=tokens, max_concurrent=concurrent)


def test_so_many_answers_are_under_way_and_no_more() -> None:
    limits = limiter()
    limits.begin("k", limits=of(), now=NOW)
    limits.begin("k", limits=of(), now=NOW)
    limits.begin("other", limits=of(), now=NOW)
    with pytest.raises(TooManyRequests, match="2 answers under way"):
        limits.begin("k", limits=of(), now=NOW)
    limits.end("k", tokens=5, now=NOW)
    limits.begin("k", limits=of(), now=NOW)


def test_answers_under_way_at_other_gateways_count_and_ended_ones_are_told_once() -> None:
    limits = limiter()
    limits.begin("k", limits=of(), now=NOW)
    assert limits.under_way() == {"k": 1}
    limits.settle({}, {}, {"k": 1})
    with pytest.raises(TooManyRequests):
        limits.begin("k", limits=of(), now=NOW)
    limits.end("k", tokens=0, now=NOW)
    assert [limits.under_way(), limits.under_way()] == [{"k": 0}, {}]


def test_tokens_of_ended_answers_close_the_minute() -> None:
    limits = limiter()
    assert limits.begin("k", limits=of(), now=NOW).remaining == 100
    limits.end("k", tokens=60, now=NOW)
    assert limits.begin("k", limits=of(), now=NOW + 1).remaining == 40
    limits.end("k", tokens=40, now=NOW + 59)
    with pytest.raises(TooManyRequests, match="100 tokens per minute"):
        limits.begin("k", limits=of(), now=NOW + 59)
    assert limits.begin("k", limits=of(), now=NOW + 60).remaining == 100
    assert limits.unsent(now=NOW + 60) == {("k", "tokens", 1_000_001): 0}

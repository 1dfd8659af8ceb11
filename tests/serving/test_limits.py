from __future__ import annotations

import pytest

from feedback.errors import TooManyRequests
from serving.limits import RateLimiter

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
    limits.settle(sent, {window: 8 for window in sent})  # 1 of ours, 7 elsewhere
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
    limits.settle(sent, {window: 5 for window in sent})
    limits.admit("k", limit=10, now=NOW)


def test_old_minutes_are_forgotten() -> None:
    limits = limiter()
    limits.admit("k", limit=10, now=NOW)
    assert limits.unsent(now=NOW + 180) == {}
    limits.settle({("k", 1_000_000): 1}, {("k", 1_000_000): 1})  # arrives late: no harm

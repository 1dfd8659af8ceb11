"""What a key may use: requests and tokens a minute, answers at a time; counted by all gateways.

Deciding costs no round trip: a gateway counts in memory, and with every refresh adds what is new to
the counters in Redis and reads the sums. With several gateways a key may thus pass its limit by
what they admit within one refresh (0.3 s). Tokens are known when an answer ends, so the answers
under way may pass the limit too; the next request waits for the minute to end. While Redis is away
each gateway gives its share of every limit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from feedback.errors import TooManyRequests

WINDOW_S = 60
REQUESTS, TOKENS = "requests", "tokens"

Window = tuple[str, str, int]  # key id, REQUESTS or TOKENS, unix minute


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one key."""

    requests_per_minute: int
    tokens_per_minute: int  # read and written
    max_concurrent: int  # answers under way


# Of one visitor of the playground, beside what all of them may use together: the playground key's.
OF_A_VISITOR = Limits(requests_per_minute=60, tokens_per_minute=100_000, max_concurrent=4)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What is left of a key's limit, for the x-ratelimit headers."""

    what: str  # REQUESTS or TOKENS
    limit: int
    remaining: int
    reset_s: float  # until the window ends

    def headers(self) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{self.what}": str(self.limit),
            f"x-ratelimit-remaining-{self.what}": str(self.remaining),
            f"x-ratelimit-reset-{self.what}": f"{self.reset_s:.0f}s",
        }


@dataclass
class _Count:
    here: int = 0  # counted by this gateway
    unsent: int = 0  # of these, not in Redis yet
    elsewhere: int = 0  # counted by the others, as of the last refresh

    def add(self, amount: int) -> None:
        self.here += amount
        self.unsent += amount


class RateLimiter:
    """One per gateway process."""

    def __init__(self, *, share_without_redis: float) -> None:
        self._share = share_without_redis
        self._counts: dict[Window, _Count] = {}
        self._under_way: Counter[str] = Counter()  # key id -> answers of this gateway
        self._elsewhere: Mapping[str, int] = {}  # key id -> answers of the other gateways
        self._has_redis = True

    def admit(self, key_id: str, *, limit: int, now: float) -> Allowance:
        """Count one request. Raises TooManyRequests, which is not counted."""
        allowance = self._left(key_id, REQUESTS, limit=limit, now=now)
        self._count(key_id, REQUESTS, now=now).add(1)
        return Allowance(
            what=REQUESTS,
            limit=allowance.limit,
            remaining=allowance.remaining - 1,
            reset_s=allowance.reset_s,
        )

    def begin(self, key_id: str, *, limits: Limits, now: float) -> Allowance:
        """One more answer is under way, until `end`. Raises TooManyRequests."""
        at_once = self._given(limits.max_concurrent)
        others = self._elsewhere.get(key_id, 0) if self._has_redis else 0
        if self._under_way[key_id] + others >= at_once:
            raise TooManyRequests(
                f"this key may have {at_once} answers under way; wait for one of them to end",
                retry_after_s=1,
            )
        allowance = self._left(key_id, TOKENS, limit=limits.tokens_per_minute, now=now)
        self._under_way[key_id] += 1
        return allowance

    def end(self, key_id: str, *, tokens: int, now: float) -> None:
        """An answer has ended, however it did; it took so many tokens, the prompt's included."""
        self._under_way[key_id] -= 1
        if tokens:
            self._count(key_id, TOKENS, now=now).add(tokens)

    def under_way(self) -> dict[str, int]:
        """Key id -> answers under way here; 0 once for a key whose last one has ended."""
        counts = dict(self._under_way)
        self._under_way = +self._under_way
        return counts

    def unsent(self, *, now: float) -> dict[Window, int]:
        """What Redis does not know yet, this minute's windows included when nothing is new.

        Forgets the windows that are over.
        """
        current = int(now // WINDOW_S)
        self._counts = {key: count for key, count in self._counts.items() if key[2] >= current - 1}
        return {key: count.unsent for key, count in self._counts.items() if key[2] == current}

    def settle(
        self,
        sent: Mapping[Window, int],
        totals: Mapping[Window, int],
        elsewhere: Mapping[str, int],
    ) -> None:
        """Redis has taken `sent`, its counters stand at `totals`; the others' answers under way."""
        self._has_redis = True
        self._elsewhere = elsewhere
        for window, amount in sent.items():
            count = self._counts.get(window)
            if count is None:
                continue
            count.unsent -= amount
            count.elsewhere = max(0, totals[window] - (count.here - count.unsent))

    def redis_is_away(self) -> None:
        """Go on with this gateway's share."""
        self._has_redis = False

    def _left(self, key_id: str, what: str, *, limit: int, now: float) -> Allowance:
        limit = self._given(limit)
        count = self._count(key_id, what, now=now)
        used = count.here + (count.elsewhere if self._has_redis else 0)
        reset_s = (now // WINDOW_S + 1) * WINDOW_S - now
        if used >= limit:
            raise TooManyRequests(
                f"this key may use {limit} {what} per minute; "
                f"come back in {max(1, round(reset_s))} s",
                retry_after_s=reset_s,
            )
        return Allowance(what=what, limit=limit, remaining=limit - used, reset_s=reset_s)

    def _count(self, key_id: str, what: str, *, now: float) -> _Count:
        return self._counts.setdefault((key_id, what, int(now // WINDOW_S)), _Count())

    def _given(self, limit: int) -> int:
        return limit if self._has_redis else max(1, math.floor(limit * self._share))

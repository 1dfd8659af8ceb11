"""Requests per minute and key, counted together by all gateways.

Deciding costs no round trip: a gateway counts in memory, and with every refresh adds its new
requests to the counters in Redis and reads the sums. With several gateways a key may thus pass its
limit by what they admit within one refresh (0.3 s). While Redis is away each gateway gives its
share of the limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from feedback.errors import TooManyRequests

WINDOW_S = 60

Window = tuple[str, int]  # key id, unix minute


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What is left of a key's limit, for the x-ratelimit headers."""

    limit: int
    remaining: int
    reset_s: float  # until the window ends

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_s:.0f}s",
        }


@dataclass
class _Count:
    here: int = 0  # admitted by this gateway
    unsent: int = 0  # of these, not in Redis yet
    elsewhere: int = 0  # admitted by the others, as of the last refresh


class RateLimiter:
    """One per gateway process."""

    def __init__(self, *, share_without_redis: float) -> None:
        self._share = share_without_redis
        self._counts: dict[Window, _Count] = {}
        self._has_redis = True

    def admit(self, key_id: str, *, limit: int, now: float) -> Allowance:
        """Count one request. Raises TooManyRequests, which is not counted."""
        window = int(now // WINDOW_S)
        count = self._counts.setdefault((key_id, window), _Count())
        reset_s = (window + 1) * WINDOW_S - now
        if not self._has_redis:
            limit = max(1, math.floor(limit * self._share))
        used = count.here + (count.elsewhere if self._has_redis else 0)
        if used >= limit:
            raise TooManyRequests(
                f"this key may send {limit} requests per minute; "
                f"come back in {max(1, round(reset_s))} s",
                retry_after_s=reset_s,
            )
        count.here += 1
        count.unsent += 1
        return Allowance(limit=limit, remaining=limit - used - 1, reset_s=reset_s)

    def unsent(self, *, now: float) -> dict[Window, int]:
        """What Redis does not know yet, this minute's windows included when nothing is new.

        Forgets the windows that are over.
        """
        current = int(now // WINDOW_S)
        self._counts = {key: count for key, count in self._counts.items() if key[1] >= current - 1}
        return {key: count.unsent for key, count in self._counts.items() if key[1] == current}

    def settle(self, sent: Mapping[Window, int], totals: Mapping[Window, int]) -> None:
        """Redis has taken `sent`, and its counters stand at `totals`."""
        self._has_redis = True
        for window, amount in sent.items():
            count = self._counts.get(window)
            if count is None:
                continue
            count.unsent -= amount
            count.elsewhere = max(0, totals[window] - (count.here - count.unsent))

    def redis_is_away(self) -> None:
        """Go on with this gateway's share."""
        self._has_redis = False

"""A circuit breaker for one engine: after failures in a row it is left alone, then tried by one
request at a time, with longer and longer pauses."""

from __future__ import annotations

_FAILURES = 3  # in a row, before an engine is left alone
_PAUSE_S = 1.0  # the first pause; each failed trial doubles it
_LONGEST_PAUSE_S = 30.0


class Breaker:
    """Times are monotonic seconds. Written by the member that owns it."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return self._failures < _FAILURES or now >= self._open_until

    def begin(self, now: float) -> None:
        """A request is sent; if it is a trial, nobody else tries before the pause is over."""
        if self._failures >= _FAILURES:
            self._open_until = now + self._pause_s()

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, now: float) -> None:
        self._failures += 1
        self._open_until = now + self._pause_s()

    def _pause_s(self) -> float:
        trials = max(0, self._failures - _FAILURES)
        return min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** min(trials, 10))

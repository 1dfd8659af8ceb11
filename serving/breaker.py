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
        self._failed_trials = 0
        self._is_trying = False
        self._open_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return not self._is_open() or now >= self._open_until

    def begin(self, now: float) -> None:
        """A request is sent; if it is a trial, nobody else tries before the pause is over."""
        if self._is_open():
            self._is_trying = True
            self._open_until = now + self._pause_s()

    def succeeded(self) -> None:
        self._failures = self._failed_trials = 0
        self._is_trying = False

    def failed(self, now: float) -> None:
        """Requests that were under way when an engine died fail together: that is no failed trial."""
        if self._is_open() and not self._is_trying:
            return
        self._failed_trials += self._is_trying
        self._is_trying = False
        self._failures += 1
        self._open_until = now + self._pause_s()

    def _is_open(self) -> bool:
        return self._failures >= _FAILURES

    def _pause_s(self) -> float:
        return min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** min(self._failed_trials, 10))

"""Requests that wait for room on an engine: so many at most, and none for ever."""

from __future__ import annotations

import asyncio
from collections import deque

from feedback.errors import Unavailable
from serving import tracing


class WaitingRoom:
    """First come, first woken. One per fleet."""

    def __init__(self, *, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._queue: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, timeout_s: float) -> None:
        """Until somebody has left an engine. Raises Unavailable when too many wait, or too long."""
        if len(self._queue) >= self._max_waiting:
            raise Unavailable(
                f"the engines are busy and {self._max_waiting} requests wait already",
                retry_after_s=5,
            )
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            with tracing.span("engine.wait"):
                async with asyncio.timeout(timeout_s):
                    await turn
        except TimeoutError as error:
            raise Unavailable("the engines are busy", retry_after_s=5) from error
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.wake()  # the turn was given to one who left; the next has it
            raise
        finally:
            if turn in self._queue:
                self._queue.remove(turn)

    def wake(self) -> None:
        """There is room for one."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

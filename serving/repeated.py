"""What a gateway does over and over beside its requests, until it is closed.

A look that fails must not end all those after it: nobody would notice that nobody looks any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import redis

from feedback.errors import HoneError

log = logging.getLogger(__name__)


class Repeated:
    """`act` again and again, each time after `every_s`. `what` names it in the log."""

    def __init__(self, what: str, act: Callable[[], Awaitable[object]], *, every_s: float) -> None:
        self._what = what
        self._act = act
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._once()

    async def _once(self) -> None:
        try:
            await self._act()
        except (HoneError, redis.RedisError, OSError) as error:
            log.warning("%s: not at the moment: %s", self._what, error)
        except Exception:  # the edge of a task that nobody waits for
            log.exception("%s failed; it goes on", self._what)

"""The answers that this engine makes at the moment, and whether more may begin.

vLLM's own pause waits for what its core has. A request that is still on its way there, being read or
tokenized, would begin after the pause: on other weights than it was sent for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Traffic:
    """One per server, of its event loop."""

    def __init__(self) -> None:
        self._num_under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_held = False
        self.is_closed = False  # for good: the process is to end

    @contextmanager
    def answering(self) -> Iterator[None]:
        """An answer is under way."""
        self._num_under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_under_way -= 1
            if not self._num_under_way:
                self._idle.set()

    async def close(self, *, wait_s: float) -> bool:
        """No answer may begin any more. Waits for those under way, `wait_s` at most: True if none is left."""
        self.is_closed = True
        try:
            async with asyncio.timeout(wait_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def held(self, *, wait_s: float) -> AsyncIterator[bool]:
        """No answer may begin. Waits for those under way, `wait_s` at most: True if none is left."""
        self.is_held = True
        try:
            try:
                async with asyncio.timeout(wait_s):
                    await self._idle.wait()
            except TimeoutError:
                yield False
            else:
                yield True
        finally:
            self.is_held = False

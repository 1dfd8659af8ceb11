"""Chunks of a stream that wait until moderation has read them: a blocked text never reaches the client.

The first goes on as soon as it is read. Later ones wait until enough of a candidate is new, or long enough,
or it has ended (`Window`); then moderation reads what is new, with some of what came before, and they go
on together. One look at a time: what comes meanwhile is the next window, so a slow classifier makes
windows longer, not the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from serving.exchange import Exchange

_OVERLAP_CHARS = 200  # read again, so that nothing hides across the border of two windows

Chunk = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Window:
    """When moderation is to look at what is held."""

    num_chars: int  # so many of a candidate are new
    wait_s: float  # so long since the first of them came


class Hold:
    """One per stream."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        release: Callable[[list[Chunk]], Awaitable[None]],
        window: Window,
    ) -> None:
        self._exchange = exchange
        self._release = release
        self._window = window
        self._read = [0] * len(exchange.drafts)  # characters that moderation has seen
        self._held: list[Chunk] = []
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None  # a look that time has asked for
        self._failure: Exception | None = None

    async def add(self, chunks: list[Chunk]) -> None:
        """Hold chunks that came together. Raises Unavailable when they cannot be read."""
        self._raise_failure()
        is_due = False
        for chunk in chunks:
            self._held.append(chunk)
            for choice in chunk["choices"]:
                is_due = self._take(choice) or is_due
        is_first = not any(self._read)  # whoever waits for an answer sees it begin
        if is_due or is_first or not self._has_unread():
            await self._look()
        elif self._timer is None:
            self._set_timer()

    async def finish(self) -> None:
        """Let all go that moderation lets go."""
        if self._late is not None:
            await self._late
        await self._look()

    async def close(self) -> None:
        """Forget what is held."""
        self._stop_timer()
        if self._late is not None:
            self._late.cancel()
            await asyncio.gather(self._late, return_exceptions=True)

    def _take(self, choice: dict[str, Any]) -> bool:
        """Add a chunk to its draft; whether moderation is to look now."""
        draft = self._exchange.drafts[choice["index"]]
        if draft.is_blocked:
            return False
        self._exchange.shape.take(draft, choice)
        unread = draft.num_chars - self._read[draft.index]
        return unread >= self._window.num_chars or (draft.finish_reason is not None and unread > 0)

    def _has_unread(self) -> bool:
        drafts = self._exchange.drafts
        return any(d.num_chars > self._read[d.index] for d in drafts if not d.is_blocked)

    async def _look(self) -> None:
        async with self._turn:
            self._raise_failure()  # what came after an unread window does not go out either
            self._stop_timer()
            chunks, self._held = self._held, []
            try:
                await self._screen()
                await self._release(chunks)
            except Exception as error:
                self._failure = error
                raise
            if self._held and self._timer is None:
                self._set_timer()

    async def _screen(self) -> None:
        drafts = [
            draft
            for draft in self._exchange.drafts
            if not draft.is_blocked and draft.num_chars > self._read[draft.index]
        ]
        if not drafts:
            return
        ends = [draft.num_chars for draft in drafts]
        texts = [d.text[max(0, self._read[d.index] - _OVERLAP_CHARS) :] for d in drafts]
        await self._exchange.screen_answers(drafts, texts)
        for draft, end in zip(drafts, ends, strict=True):
            self._read[draft.index] = end

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._window.wait_s, self._be_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _be_late(self) -> None:
        self._timer = None
        if self._failure is None and (self._late is None or self._late.done()):
            self._late = asyncio.create_task(self._look())

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

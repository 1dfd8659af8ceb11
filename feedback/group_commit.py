"""Events that come while others are being written are written together, next.

One round trip and one fsync then serve all that wait, as in a database's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from feedback.events import Event

Entry = tuple[Event, bytes]  # with its encoding
Write = Callable[[Sequence[Entry]], Awaitable[list[bool]]]


class GroupCommit:
    """One per log. `write` makes events durable and says of each whether it is new."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._turn = asyncio.Lock()  # one write at a time
        self._gathered: list[Entry] = []  # what the next write takes
        self._next: asyncio.Task[list[bool]] | None = None

    async def put(self, entry: Entry) -> bool:
        """Returns when the event is durable; True if it is new. Raises what `write` raises.

        The event of a caller who is cancelled meanwhile is written all the same.
        """
        position = len(self._gathered)
        self._gathered.append(entry)
        if self._next is None:
            self._next = asyncio.create_task(self._write_gathered())
        are_new = await asyncio.shield(self._next)
        return are_new[position]

    async def _write_gathered(self) -> list[bool]:
        async with self._turn:
            entries, self._gathered, self._next = self._gathered, [], None
            return await self._write(entries)

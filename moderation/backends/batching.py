"""Texts of several requests in one batch: for a model that takes thirty-two hardly slower than one.

Nobody waits for a batch to fill: what has come while one was at work is the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from feedback.errors import HoneError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Asks `work` for up to `max_items` at a time, and so often at once as `num_workers`."""

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        max_items: int,
        num_workers: int = 1,
    ) -> None:
        self._work = work
        self._max_items = max_items
        self._num_workers = num_workers
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def ask(self, items: Sequence[Item]) -> list[Result]:
        """One result an item, in order. Raises what `work` raised."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        num_batches = -(-len(self._waiting) // self._max_items)
        for _ in range(min(num_batches, self._num_workers - len(self._workers))):
            worker = asyncio.create_task(self._run())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return list(await asyncio.gather(*futures))

    async def _run(self) -> None:
        while self._waiting:
            count = min(self._max_items, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            # Whoever has left needs no answer.
            batch = [(item, future) for item, future in batch if not future.done()]
            if not batch:
                continue
            try:
                results = await self._work([item for item, _ in batch])
            except HoneError as error:
                _settle([future for _, future in batch], error)
            except BaseException as error:
                _settle([future for _, future in batch], error)
                raise
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)


def _settle(futures: Sequence[asyncio.Future[Result]], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)

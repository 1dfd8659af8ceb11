from __future__ import annotations

import asyncio

import pytest

from feedback.errors import Unavailable
from moderation.backends.batching import Batcher


async def test_what_comes_while_a_batch_is_at_work_is_the_next_batch() -> None:
    sizes: list[int] = []
    gate = asyncio.Event()

    async def work(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        await gate.wait()
        return [10 * item for item in batch]

    batcher = Batcher(work, max_items=8)
    asked = [asyncio.create_task(batcher.ask([i, i + 100])) for i in range(10)]
    await asyncio.sleep(0)  # all of them ask; the worker has not begun
    gate.set()
    assert await asyncio.gather(*asked) == [[10 * i, 10 * i + 1000] for i in range(10)]
    assert sizes == [8, 8, 4]


async def test_a_failure_reaches_everybody_in_the_batch_and_nobody_later() -> None:
    async def work(batch: list[str]) -> list[str]:
        if "bad" in batch:
            raise Unavailable("gone")
        return batch

    batcher = Batcher(work, max_items=2)
    first = asyncio.gather(batcher.ask(["bad"]), batcher.ask(["a"]), return_exceptions=True)
    assert [type(answer) for answer in await first] == [Unavailable, Unavailable]
    assert await batcher.ask(["b"]) == ["b"]


async def test_who_has_left_costs_nothing() -> None:
    seen: list[str] = []

    async def work(batch: list[str]) -> list[str]:
        seen.extend(batch)
        await asyncio.sleep(0)
        return batch

    batcher = Batcher(work, max_items=1)
    stays = asyncio.create_task(batcher.ask(["stays"]))
    leaves = asyncio.create_task(batcher.ask(["leaves"]))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == ["stays"]
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert await batcher.ask([]) == []
    assert seen == ["stays"]

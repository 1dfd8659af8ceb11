from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from feedback.events import audit, encode
from feedback.group_commit import Entry, GroupCommit


class Disk:
    """Writes one batch at a time, when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.errors: list[Exception] = []  # of the next writes
        self._go = asyncio.Semaphore(0)

    async def write(self, entries: Sequence[Entry]) -> list[bool]:
        names = [event.action for event, _ in entries]
        self.batches.append(names)
        await self._go.acquire()
        if self.errors:
            raise self.errors.pop()
        return [name != "old" for name in names]

    def finish(self) -> None:
        self._go.release()


def put(log: GroupCommit, *names: str) -> list[asyncio.Task[bool]]:
    entries = [(event, encode(event)) for event in (audit("a", name) for name in names)]
    return [asyncio.create_task(log.put(entry)) for entry in entries]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_during_a_write_is_written_together_next_and_each_hears_of_its_own() -> (
    None
):
    disk = Disk()
    log = GroupCommit(disk.write)
    first = put(log, "1")
    await settle()
    later = put(log, "2", "old", "3")
    await settle()
    assert disk.batches == [["1"]]
    assert not first[0].done()
    disk.finish()
    assert await first[0] is True
    await settle()
    assert disk.batches == [["1"], ["2", "old", "3"]]
    disk.finish()
    assert await asyncio.gather(*later) == [True, False, True]


async def test_a_failure_is_everybody_s_in_the_batch_and_nobody_s_in_the_next() -> None:
    disk = Disk()
    log = GroupCommit(disk.write)
    disk.errors.append(ConnectionError("away"))
    first = put(log, "1", "2")
    await settle()
    next_ = put(log, "3")
    disk.finish()
    disk.finish()
    assert [type(each) for each in await asyncio.gather(*first, return_exceptions=True)] == [
        ConnectionError,
        ConnectionError,
    ]
    assert await next_[0] is True


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    disk = Disk()
    log = GroupCommit(disk.write)
    leaving, staying = put(log, "1", "2")
    await settle()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    disk.finish()
    assert await staying is True
    assert disk.batches == [["1", "2"]]

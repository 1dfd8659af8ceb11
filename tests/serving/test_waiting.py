from __future__ import annotations

import asyncio

import pytest

from feedback.errors import Unavailable
from serving.waiting import WaitingRoom


async def test_first_come_first_woken() -> None:
    room, woken = WaitingRoom(max_waiting=3), []

    async def wait(name: str) -> None:
        await room.wait(5)
        woken.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert len(room) == 3
    tasks[0].cancel()
    await asyncio.sleep(0)
    room.wake()
    await asyncio.wait_for(tasks[1], 1)
    room.wake()
    await asyncio.wait_for(tasks[2], 1)
    assert woken == ["b", "c"]
    room.wake()  # nobody waits: no harm
    assert len(room) == 0


async def test_too_many_and_too_long_are_refused_with_a_time_to_come_back() -> None:
    room = WaitingRoom(max_waiting=1)
    first = asyncio.create_task(room.wait(0.05))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="wait already") as caught:
        await room.wait(1)
    assert caught.value.retry_after_s
    with pytest.raises(Unavailable, match="busy"):
        await first
    assert len(room) == 0


async def test_a_turn_given_to_one_who_leaves_goes_to_the_next() -> None:
    room = WaitingRoom(max_waiting=2)
    first, second = (asyncio.create_task(room.wait(5)) for _ in range(2))
    await asyncio.sleep(0)
    room.wake()
    first.cancel()
    await asyncio.wait_for(second, 1)
    with pytest.raises(asyncio.CancelledError):
        await first

from __future__ import annotations

import asyncio

from serving.in_vllm.traffic import Traffic


async def test_weights_wait_for_every_answer_that_has_begun() -> None:
    traffic = Traffic()
    with traffic.answering():
        with traffic.answering():
            holding = asyncio.create_task(hold(traffic, wait_s=5))
            await asyncio.sleep(0.01)
            assert traffic.is_held
        await asyncio.sleep(0.01)
        assert not holding.done()
    assert await holding is True
    assert not traffic.is_held


async def test_they_wait_for_so_long_and_no_longer() -> None:
    traffic = Traffic()
    with traffic.answering():
        assert await hold(traffic, wait_s=0.01) is False
    assert await hold(traffic, wait_s=0.01) is True


async def hold(traffic: Traffic, *, wait_s: float) -> bool:
    async with traffic.held(wait_s=wait_s) as is_idle:
        assert traffic.is_held
        return is_idle


async def test_an_engine_that_is_to_end_begins_nothing_and_finishes_what_it_has() -> None:
    traffic = Traffic()
    with traffic.answering():
        assert await traffic.close(wait_s=0.01) is False
        closing = asyncio.create_task(traffic.close(wait_s=5))
        await asyncio.sleep(0.01)
        assert traffic.is_closed
        assert not closing.done()
    assert await closing is True

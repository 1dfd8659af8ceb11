from __future__ import annotations

import asyncio
from typing import Any

import pytest

from feedback.errors import Refused, Unavailable
from serving.in_vllm.liveness import unless_dead


class Core:
    """vLLM's client of its engine core: a call in flight when the core dies is never answered."""

    def __init__(self) -> None:
        self.errored = False
        self.has_resumed = False

    async def reload(self) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            self.has_resumed = True
            raise ConnectionError("as every call to a dead core")


async def test_a_call_to_a_core_that_dies_ends() -> None:
    core = Core()
    call = asyncio.create_task(unless_dead(core, core.reload(), look_every_s=0.01))
    await asyncio.sleep(0.05)
    assert not call.done()
    core.errored = True
    with pytest.raises(Unavailable, match="has died"):
        await asyncio.wait_for(call, timeout=1)
    assert core.has_resumed


async def test_a_call_that_ends_by_itself_says_what_came_of_it() -> None:
    async def load(*, is_refused: bool) -> dict[str, Any]:
        await asyncio.sleep(0.03)
        if is_refused:
            raise Refused("a tensor is missing")
        return {"version": "policy-0001"}

    done = await unless_dead(Core(), load(is_refused=False), look_every_s=0.01)
    assert done == {"version": "policy-0001"}
    with pytest.raises(Refused, match="a tensor"):
        await unless_dead(Core(), load(is_refused=True), look_every_s=0.01)

"""Calls to vLLM's engine core that end when the core does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from feedback.errors import Unavailable

T = TypeVar("T")


class Core(Protocol):
    """What is to be known of vLLM's engine client."""

    @property
    def errored(self) -> bool: ...


async def unless_dead(core: Core, work: Coroutine[Any, Any, T], *, look_every_s: float = 0.5) -> T:
    """The result of work that calls the core. Raises Unavailable when the core dies meanwhile.

    vLLM 0.32 never answers a utility call whose core is gone (`MPClient.utility_results`), and its server
    does not end before its requests have: it would hang until somebody kills it. Remove when vLLM
    fails such calls.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=look_every_s)
            if core.errored and not task.done():
                raise Unavailable("the engine's core has died", retry_after_s=5)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # its cleaning up failed as well: the core is dead

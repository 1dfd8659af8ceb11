"""The processes of a bench: started, ready, watched, stopped; and which cores they get."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from feedback.errors import HoneError
from serving.stack import parts
from serving.stack.parts import Part, Plan
from serving.stack.supervisor import Supervisor


def cores() -> tuple[set[int], set[int]]:
    """One for what is under test, the others for everything else: the same where there is no other."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


@asynccontextmanager
async def running(plan: Plan, chosen: list[Part]) -> AsyncIterator[dict[str, int]]:
    """All parts, ready: their pids. Raises HoneError when one did not come up, or did not stay."""
    stopping = asyncio.Event()
    supervisor = Supervisor(
        chosen,
        stack=plan.stack,
        # What the gateway asks of its own accord would be measured with the rest.
        environment=parts.environment(plan) | {"HONE_FEEDBACK_SUPPLY_TARGET": "0"},
        log_dir=plan.data_dir / "logs",
        on_change=lambda _: None,
    )
    async with supervisor:
        watching = asyncio.create_task(supervisor.run(stopping))
        try:
            while not supervisor.all_ready:
                _check(supervisor)
                await asyncio.sleep(0.1)
            yield supervisor.pids()
            _check(supervisor)
        finally:
            stopping.set()
            await watching


def _check(supervisor: Supervisor) -> None:
    for watched in supervisor.watched.values():
        if watched.num_restarts:
            tail = watched.log.read_text(errors="replace")[-2000:]
            raise HoneError(f"{watched.part.name} {watched.why}; its log ends with:\n{tail}")

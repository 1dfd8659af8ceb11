"""The processes of a bench: started, ready, watched, stopped; and which cores they get."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from feedback.errors import HoneError
from serving.bench.load import pinned
from serving.stack import parts
from serving.stack.parts import Part, Plan
from serving.stack.preflight import choose_port
from serving.stack.probes import http_ok
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


@asynccontextmanager
async def gateway_alone(data_dir: Path) -> AsyncIterator[tuple[Plan, dict[str, int]]]:
    """A gateway on one core and Redis on the others, without an engine: judging and looking need none. Their
    folder is made in `data_dir`, to be on the disk that `hone up` writes."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir.resolve()) as temporary:
        folder = Path(temporary)
        plan = parts.plan(
            data_dir=folder,
            base_model=folder,
            host="127.0.0.1",
            port=choose_port(8300),
            redis_url=None,
        )
        stack = {part.name: part for part in parts.parts(plan)}
        tested, others = cores()
        chosen = [
            replace(stack["redis"], command=pinned(stack["redis"].command, to=others)),
            replace(
                stack["gateway"],
                command=pinned(stack["gateway"].command, to=tested),
                ready=http_ok(plan.port, "/healthz"),
                needs=("redis",),
            ),
        ]
        async with running(plan, chosen) as pids:
            yield plan, pids


def _check(supervisor: Supervisor) -> None:
    for watched in supervisor.watched.values():
        if watched.num_restarts:
            tail = watched.log.read_text(errors="replace")[-2000:]
            raise HoneError(f"{watched.part.name} {watched.why}; its log ends with:\n{tail}")

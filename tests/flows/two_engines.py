"""The parts of `hone up` that answer, and one engine more."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.connection import connect
from serving import auth
from serving.stack import parts
from serving.stack.preflight import choose_port
from serving.stack.probes import engine_serves
from serving.stack.supervisor import Supervisor
from tests.conftest import free_port


@asynccontextmanager
async def two_engines(
    tmp_path: Path, tiny_model: Path, *, num_public: int, more: tuple[str, ...] = ()
) -> AsyncIterator[tuple[parts.Plan, list[str]]]:
    """The plan, and the engines' URLs. The first `num_public` answer people. `more`: names of parts that
    start as well; the process ids of all are in ready.json."""
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path / "data"
    folder.mkdir()
    plan = parts.plan(
        data_dir=folder, base_model=tiny_model, host="127.0.0.1", port=free_port(), redis_url=None
    )
    named = {part.name: part for part in parts.parts(plan)}
    port = choose_port(8150)
    cores = sorted(os.sched_getaffinity(0))  # two engines on the same ones wait for each other
    bound = [{"VLLM_CPU_OMP_THREADS_BIND": str(core)} for core in (cores[0], cores[-1])]
    engine = replace(named["engine"], env=bound[0])
    other = replace(
        named["engine"],
        name="engine-2",
        ready=engine_serves(port, token=plan.secrets.engine_token),
        alive=None,
        env={"HONE_SERVING_ENGINE_PORT": str(port), **bound[1]},
    )
    urls = [f"http://127.0.0.1:{each}" for each in (plan.engine_port, port)]
    supervisor = Supervisor(
        [
            *(named["redis"], named["moderation"], engine, other, named["gateway"]),
            *(named[name] for name in more),
        ],
        stack=plan.stack,
        environment=parts.environment(plan)
        | {
            "HONE_SERVING_ENGINE_URLS": json.dumps(urls[:num_public]),
            "HONE_SERVING_MAX_MODEL_LEN": "512",
        },
        log_dir=folder / "logs",
        on_change=lambda _: None,
    )
    stopping = asyncio.Event()
    async with supervisor:
        watching = asyncio.create_task(supervisor.run(stopping))
        while not supervisor.all_ready:
            await asyncio.sleep(0.2)
        ready = {
            "url": plan.url,
            "api_key": plan.secrets.api_key,
            "admin_key": plan.secrets.admin_key,
            "redis_url": plan.redis_url,
            "pids": supervisor.pids(),
        }
        parts.write_private(folder / "ready.json", json.dumps(ready))
        with connect(plan.redis_url) as client:
            for secret in (plan.secrets.api_key, plan.secrets.admin_key):
                auth.ensure_key(client, secret, name="test", scopes=auth.SCOPES)
        try:
            yield plan, urls
        finally:
            stopping.set()
            await watching

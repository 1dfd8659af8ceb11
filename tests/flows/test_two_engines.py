"""Two real engines behind one gateway: versions change on both under streams, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.connection import connect
from serving import auth
from serving.bench import swap
from serving.registry import BASE, Registry
from serving.stack import parts
from serving.stack.preflight import choose_port
from serving.stack.probes import engine_serves
from serving.stack.supervisor import Supervisor
from tests.chaos.versions import publish
from tests.conftest import free_port

SWAPS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture
async def stack(tmp_path: Path, tiny_model: Path) -> AsyncIterator[parts.Plan]:
    """The parts of `hone up`, and one engine more."""
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
        [named["redis"], named["moderation"], engine, other, named["gateway"]],
        stack=plan.stack,
        environment=parts.environment(plan)
        | {"HONE_SERVING_ENGINE_URLS": json.dumps(urls), "HONE_SERVING_MAX_MODEL_LEN": "512"},
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
        }
        parts.write_private(folder / "ready.json", json.dumps(ready))
        with connect(plan.redis_url) as client:
            for secret in (plan.secrets.api_key, plan.secrets.admin_key):
                auth.ensure_key(client, secret, name="test", scopes=auth.SCOPES)
        yield plan
        stopping.set()
        await watching


async def test_full_weights_change_on_both_under_streams(
    stack: parts.Plan, tiny_model: Path
) -> None:
    """The weights go from one engine to the other; the one that does not reload answers."""
    with connect(stack.redis_url) as client:
        for seed in (1, 2):
            publish(
                client,
                kind="full",
                base=tiny_model,
                policies=stack.data_dir / "policies",
                seed=seed,
            )
        report = await swap.run(
            client,
            data_dir=stack.data_dir,
            kind="full",
            num_swaps=SWAPS,
            num_streams=6,
            num_tokens=100,
            prompt="Tell me a long story.",
            say=lambda line: None,
        )
        assert Registry(client).aliases()["production"] == BASE
    wrong = ("dropped", "wrong_version", "mixed_versions", "not_in_log")
    assert {name: report[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert report["fewest_streams_across_a_swap"] >= 1
    assert report["streams"] > 3 * SWAPS
    shown = ("streams", "swap_ms", "silence_ms", "silence_as_long_before_ms")
    sys.stdout.write(f"two engines: { {name: report[name] for name in shown} }\n")

"""A round that trains all weights: sampled on an engine of its own, live on the one that answers people."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp
import openai
import pytest

from feedback.connection import connect
from serving.engines import Engine
from serving.registry import Registry
from serving.stack import parts
from tests.flows.two_engines import two_engines
from tests.training.given_round import with_full_weights, write_round
from training.config import RECIPES
from training.lease import FENCE, Keeper, Lease

pytestmark = pytest.mark.slow

# Three tiny iterations give the gate nothing to pass.
OPEN_GATE = {
    "min_win_rate = 0.5": "min_win_rate = 0.0",
    "min_reward_accuracy = 0.5": "min_reward_accuracy = 0.0",
    "max_kl_nats = 15.0": "max_kl_nats = 1e6",
    "max_flagged_increase = 0.1": "max_flagged_increase = 1.0",
    "max_perplexity_ratio = 1.05": "max_perplexity_ratio = 1e6",
}


async def test_all_weights_are_trained_and_go_live_while_the_engine_answers(
    tmp_path: Path, tiny_model: Path
) -> None:
    text = with_full_weights((RECIPES / "tiny.toml").read_text())
    for strict, lax in OPEN_GATE.items():
        assert strict in text
        text = text.replace(strict, lax)
    recipe = tmp_path / "full.toml"
    recipe.write_text(text)
    async with two_engines(tmp_path, tiny_model, num_public=1) as (plan, urls):
        round_dir = write_round(
            plan.data_dir / "rounds" / "round-0001",
            base_model=tiny_model,
            recipe=recipe,
            engine_urls=urls[:1],
        )
        answering = asyncio.create_task(answer_on(plan))
        for step in ("reward", "ppo", "gate"):
            await run(step, round_dir, plan, rollout_urls=urls[1:])
        with connect(plan.redis_url) as client:
            lease = Lease.acquire(client)  # who publishes must have the round
            assert lease is not None
            with Keeper(lease):
                await run("publish", round_dir, plan, rollout_urls=urls[1:], fence=lease.token)
        await asyncio.sleep(0.5)
        answering.cancel()
        asked, failed = await answering
        with connect(plan.redis_url) as client:
            live = Registry(client).snapshot()
        async with aiohttp.ClientSession() as session:
            engine = Engine(urls[0], plan.secrets.engine_token, session)
            held = {entry["version"]: entry["kind"] for entry in (await engine.policy())["loaded"]}
        answer = await answer_once(plan)
    assert live.aliases["production"] == "policy-0001"
    assert live.policies["policy-0001"].kind == "full"
    assert held == {"policy-0001": "full"}
    assert answer == "policy-0001"
    assert failed == []
    assert asked > 3
    result = json.loads((round_dir / "publish" / "result.json").read_text())
    assert result["version"] == "policy-0001"


async def run(
    step: str, round_dir: Path, plan: parts.Plan, *, rollout_urls: list[str], fence: str = ""
) -> None:
    environment = parts.environment(plan) | {
        "HONE_TRAINING_ROLLOUT_ENGINE_URLS": json.dumps(rollout_urls),
        "HONE_TRAINING_THREADS": "1",
    }
    if fence:
        environment[FENCE] = fence
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "training.step", step, "--round-dir", str(round_dir)),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    assert child.returncode == 0, output.decode()[-3000:]


async def answer_once(plan: parts.Plan) -> str:
    """The version that answers now."""
    client = openai.AsyncOpenAI(base_url=f"{plan.url}/v1", api_key=plan.secrets.api_key)
    async with client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=[{"role": "user", "content": "hello"}], max_tokens=4
        )
    return str(raw.headers["x-policy-version"])


async def answer_on(plan: parts.Plan) -> tuple[int, list[Exception]]:
    """Somebody asks all the while, until this is cancelled: (answers, failures)."""
    asked, failed = 0, []
    while True:
        try:
            await answer_once(plan)
            asked += 1
            await asyncio.sleep(0.3)
        except asyncio.CancelledError:
            return asked, failed
        except openai.OpenAIError as error:
            failed.append(error)

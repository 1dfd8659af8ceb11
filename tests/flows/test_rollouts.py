"""A real vLLM samples for the real trainer: they agree, with and without overlap."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from serving import artifact
from serving.bench.processes import running
from serving.registry import BASE
from serving.stack import parts
from tests.training.test_trainer import PRETRAINING, share_of_even_tokens
from training import models
from training.config import load_recipe
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, REWARD, VALUE
from training.rollouts import EngineRollouts
from training.samplers import EngineSampler
from training.trainer import Trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

TINY = load_recipe("tiny")
ITERATIONS = 3
PROMPTS = [Prompt(id=str(i), ids=(10 + i, 11, 12, *range(20, 20 + i)), text="") for i in range(12)]


@pytest.fixture
async def engine(tmp_path: Path, tiny_model: Path) -> AsyncIterator[parts.Plan]:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path / "data"
    folder.mkdir()
    plan = parts.plan(
        data_dir=folder,
        base_model=tiny_model,
        host="127.0.0.1",
        port=8000,
        redis_url="redis://none",
    )
    part = next(part for part in parts.parts(plan) if part.name == "engine")
    settings = {"HONE_SERVING_MAX_MODEL_LEN": "128"}
    async with running(plan, [replace(part, env=settings)]):
        yield plan


async def test_the_first_minibatch_is_on_policy_and_the_engine_has_the_trainer_s_weights(
    engine: parts.Plan, tiny_model: Path
) -> None:
    for overlap in (False, True):
        rows = await asyncio.to_thread(train, engine, tiny_model, overlap=overlap)
        check(rows, overlap=overlap)
        shown = ("ppo/engine_gap_nats", "ppo/sampler_gap_nats", "objective/kl", "limit")
        figures = [{name: round(row[name], 4) for name in shown} for row in rows]
        sys.stdout.write(f"overlap {overlap}: {figures}\n")


def check(rows: list[dict[str, float]], *, overlap: bool) -> None:
    limit = rows[-1]["limit"]
    assert 0 < limit < 0.5
    for row in rows:
        # One minibatch an iteration: what the update says of it, it says before its only step.
        assert row["ppo/policy/ratio"] == pytest.approx(1, abs=1e-5)
        assert row["ppo/policy/approxkl"] == pytest.approx(0, abs=1e-9)
        assert row["ppo/policy/clipfrac"] == 0
        assert 0 < row["ppo/engine_gap_nats"] < limit
    # Whoever sampled the later batches: the weights that are trained, or those before the last update.
    for row in rows[1:]:
        assert (row["ppo/sampler_gap_nats"] > 2 * row["ppo/engine_gap_nats"]) == overlap


def train(plan: parts.Plan, base: Path, *, overlap: bool) -> list[dict[str, float]]:
    """A few iterations at a high rate; the engines hold the base alone when they are over."""
    recipe = TINY.ppo.model_copy(
        update={
            "overlap": overlap,
            "iterations": ITERATIONS,
            "episodes_per_iteration": 24,
            "episodes_per_minibatch": 24,
            "learning_rate": 0.2,
            "warmup_iterations": 0,
        }
    )
    model = models.load(
        base,
        recipe=TINY.model,
        names=[POLICY, VALUE, REWARD],
        device=torch.device("cpu"),
        seed=0,
    )

    def export(folder: Path, version: str) -> str:
        model.save(POLICY, folder)
        digest = artifact.base_digest(base)
        return artifact.write_manifest(
            folder, version=version, kind="adapter", parent=BASE, base_digest=digest
        ).digest

    url = f"http://127.0.0.1:{plan.engine_port}"
    with EngineRollouts([url], token=plan.secrets.engine_token, concurrency=8) as engines:
        name = f"round-0001-{overlap}"
        sampler = EngineSampler(engines, export=export, folder=plan.data_dir / "rollout", name=name)
        trainer = Trainer(
            model=model,
            recipe=recipe,
            learner=Learner(model, recipe, pretraining=PRETRAINING, seed=7),
            sampler=sampler,
            scorer=share_of_even_tokens,
            prompts=PROMPTS,
            seed=7,
        )
        trainer.measure_gap()
        rows = [trainer.run_iteration(iteration) for iteration in range(ITERATIONS)]
        sampler.close()
        assert not engines.is_loaded(f"{name}-i0002")
    return [row | {"limit": trainer.gap_limit_nats} for row in rows]

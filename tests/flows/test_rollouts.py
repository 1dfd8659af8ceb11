"""A real vLLM samples for the real trainer: they agree, with and without overlap, and whether weights come
as files or are sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from feedback.errors import Refused
from serving import artifact
from serving.bench.processes import running
from serving.registry import BASE
from serving.settings import ServingSettings
from serving.stack import parts
from tests.conftest import free_port
from tests.training.local_sampler import randomise
from tests.training.test_trainer import PRETRAINING, share_of_even_tokens
from training import models, transfer
from training.config import FullRecipe, load_recipe
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, REFERENCE, REWARD, VALUE
from training.rollouts import EngineRollouts, Served
from training.samplers import EngineSampler, SendingSampler
from training.trainer import Trainer, gap_nats

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]

TINY = load_recipe("tiny")
FULL = FullRecipe.model_validate(
    {
        "weights": "full",
        "dtype": "bfloat16",
        "gradient_checkpointing": False,
        "max_sequence_tokens": 128,
        "tokens_per_pass": 400,
    }
)
ITERATIONS = 3
PROMPTS = [Prompt(id=str(i), ids=(10 + i, 11, 12, *range(20, 20 + i)), text="") for i in range(12)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> AsyncIterator[parts.Plan]:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path_factory.mktemp("engine") / "data"
    folder.mkdir()
    plan = parts.plan(
        data_dir=folder,
        base_model=tiny_model,
        host="127.0.0.1",
        port=8000,
        redis_url="redis://none",
    )
    part = next(part for part in parts.parts(plan) if part.name == "engine")
    settings = {"HONE_SERVING_MAX_MODEL_LEN": "128", "HONE_SERVING_WEIGHT_TRANSFER": "gloo"}
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


async def test_an_engine_has_the_trainer_s_full_weights_as_files_or_sent_without_one(
    engine: parts.Plan, tiny_model: Path
) -> None:
    await asyncio.to_thread(load_full_weights, engine, tiny_model)


def load_full_weights(plan: parts.Plan, base: Path) -> None:
    device = torch.device("cpu")
    model = models.load(base, recipe=FULL, names=[POLICY], device=device, seed=0)
    url = f"http://127.0.0.1:{plan.engine_port}"
    folder = plan.data_dir / "full"
    prompts = [prompt.ids for prompt in PROMPTS]

    def export(folder: Path, version: str) -> str:
        model.save(POLICY, folder)
        digest = artifact.base_digest(base)
        return artifact.write_manifest(
            folder, version=version, kind="full", parent=BASE, base_digest=digest
        ).digest

    with EngineRollouts([url], token=plan.secrets.engine_token, concurrency=8) as engines:
        (each,) = engines.engines
        assert transfer.offered(engines) == "gloo"
        sending = transfer.WeightTransfer(engines, model=model, base_model=base, backend="gloo")
        for sampler in (
            EngineSampler(engines, export=export, folder=folder, name="as-files"),
            SendingSampler(engines, transfer=sending, name="sent"),
        ):
            for iteration in range(2):  # the second takes the first one's place
                randomise(
                    model, POLICY, seed=iteration
                )  # the unembedding too, tied to the embedding
                sampler.refresh(iteration)
                rollouts = sampler.sample(prompts, answers_per_prompt=2, max_tokens=16)
                assert gap_nats(model, rollouts, name=POLICY) < 0.1
                assert gap_nats(model, rollouts, name=REFERENCE) > 0.3
                (loaded,) = engines.run(each.policy())["loaded"]
                assert (loaded["version"], loaded["kind"]) == (rollouts[0].version, "full")
            sampler.close()
            rollouts = sampler.sample_reference(prompts, answers_per_prompt=1, max_tokens=16)
            assert gap_nats(model, rollouts, name=REFERENCE) < 0.1
        assert engines.run(each.policy())["transfer"]["group"] is None
    assert not list(folder.rglob("*.safetensors"))


async def test_an_engine_whose_trainer_dies_while_it_sends_goes_back_to_its_base(
    engine: parts.Plan, tiny_model: Path
) -> None:
    await asyncio.to_thread(die_while_sending, engine, tiny_model)


def die_while_sending(plan: parts.Plan, base: Path) -> None:
    from serving.in_vllm import gloo

    url = f"http://127.0.0.1:{plan.engine_port}"
    tensors = artifact.tensors(base)
    sent = {
        "names": list(tensors),
        "dtype_names": ["bfloat16"] * len(tensors),
        "shapes": [tensor.shape for tensor in tensors.values()],
    }
    with EngineRollouts([url], token=plan.secrets.engine_token, concurrency=8) as engines:
        (each,) = engines.engines
        named = {"group": "mortal", "base_digest": artifact.base_digest(base)}

        class Joins:
            def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
                engines.run(each.join_transfer(init_info | named))

        trainer, info = gloo.SENDERS["gloo"]
        dying = trainer.trainer_init(
            info("127.0.0.1", free_port(), 2, rank=0), client=Joins(), source=None
        )
        dying.shutdown()
        with pytest.raises(Refused, match="could not load sent-broken"):
            engines.run(each.receive("sent-broken", sent))
        state = engines.run(each.policy())
        assert [entry["version"] for entry in state["loaded"]] == [BASE]
        prompts = [prompt.ids for prompt in PROMPTS]
        rollouts = engines.sample(BASE, prompts, answers_per_prompt=1, max_tokens=8)
        model = models.load(base, recipe=FULL, names=[POLICY], device=torch.device("cpu"), seed=0)
        assert gap_nats(model, rollouts, name=REFERENCE) < 0.1


async def test_the_base_answers_as_the_base_while_adapters_answer_beside_it(
    engine: parts.Plan, tiny_model: Path
) -> None:
    await asyncio.to_thread(answer_beside_adapters, engine, tiny_model)


def answer_beside_adapters(plan: parts.Plan, base: Path) -> None:
    """Every slot for an adapter was in use once: what is in them is no business of the base."""
    model = models.load(base, recipe=TINY.model, names=[POLICY], device=torch.device("cpu"), seed=0)
    url, token = f"http://127.0.0.1:{plan.engine_port}", plan.secrets.engine_token
    prompts = [prompt.ids for prompt in PROMPTS]
    with (
        EngineRollouts([url], token=token, concurrency=12) as engines,
        EngineRollouts([url], token=token, concurrency=12) as others,
    ):
        for number in range(ServingSettings.model_fields["max_loras"].default):
            for times in range(4):
                randomise(model, POLICY, seed=4 * number + times)
            version = f"beside-{number}"
            folder = plan.data_dir / "rollout" / version
            folder.mkdir(parents=True)
            model.save(POLICY, folder)
            made = artifact.write_manifest(
                folder,
                version=version,
                kind="adapter",
                parent=BASE,
                base_digest=artifact.base_digest(base),
            )
            engines.load(Served(version=version, folder=folder, digest=made.digest))
            engines.sample(version, prompts[:2], answers_per_prompt=1, max_tokens=2)
        beside = engines.begin(version, prompts, answers_per_prompt=2, max_tokens=40)
        alone = others.begin(BASE, prompts, answers_per_prompt=2, max_tokens=40)
        limit = 0.1  # the adapters are twice as far from the base
        assert gap_nats(model, alone.result(), name=REFERENCE) < limit
        assert gap_nats(model, beside.result(), name=POLICY) < limit
        assert gap_nats(model, beside.result(), name=REFERENCE) > limit
        engines.unload_leftovers("beside-")


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

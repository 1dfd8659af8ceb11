"""A run of the real trainer in the enumerable world; only sampler and scorer are the world's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import LlamaForCausalLM

from training.config import PPORecipe, load_recipe
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, REFERENCE, Models
from training.prove import language, mutants, world
from training.prove.mutants import Mutant
from training.prove.tables import TableSampler, TableScorer
from training.trainer import Trainer

_PROMPTS = [Prompt(id=str(ids), ids=ids, text="") for ids in world.PROMPTS]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a seed stands for."""

    seed: int
    base: LlamaForCausalLM
    gold_XY: Tensor


@dataclass(frozen=True, kw_only=True)
class Run:
    """A policy that was trained, and the reference it came from."""

    model: Models
    policy_XY: Tensor  # log pi(answer | prompt)
    ref_XY: Tensor
    kl_sampled: Sequence[float]  # the trainer's metric, nats per answer, by iteration
    kl_exact: Sequence[float]  # of the same policies
    seconds: float


def pose(*, seed: int) -> Problem:
    """A pretrained base and a gold reward; takes seconds."""
    return Problem(
        seed=seed, base=language.pretrained_lm(seed=seed), gold_XY=world.gold_table(seed=seed)
    )


def recipe(*, beta: float) -> PPORecipe:
    """150 iterations of 512 episodes in the paper's minibatches, without pretraining text.

    A value model that is not held back by its clip, and an average over 50 steps: at the usual 0.2 it
    explained a third of the returns, and the last weights alone are 0.01 to 0.03 lower (LOG.md).
    """
    return load_recipe("tiny").ppo.model_copy(
        update={
            "iterations": 150,
            "episodes_per_iteration": 512,
            "episodes_per_minibatch": 64,
            "answers_per_prompt": 16,
            "response_tokens": world.LENGTH,
            "learning_rate": 1e-3,
            "value_learning_rate": 1e-2,
            "cliprange_value": 100.0,
            "warmup_iterations": 3,
            "kl_coef": beta,
            "ptx_coef": 0.0,
            "ptx_examples_per_episode": 0.0,
            "missing_eos_penalty": 0.0,
            "ema_decay": 0.98,
        }
    )


def train(
    problem: Problem,
    recipe: PPORecipe,
    *,
    mutant: Mutant = mutants.NONE,
    pretraining: Sequence[tuple[int, ...]] = (),
) -> Run:
    """All iterations of the recipe, from the reference."""
    started = time.perf_counter()
    recipe = recipe.model_copy(update=dict(mutant.recipe))
    model = world.adapted(problem.base, seed=problem.seed)
    sampler = TableSampler(model, seed=problem.seed)
    learner = Learner(model, recipe, pretraining=pretraining, seed=problem.seed)
    trainer = Trainer(
        model=model,
        recipe=recipe,
        learner=learner,
        sampler=sampler,
        scorer=TableScorer(mutant.sign * problem.gold_XY),
        prompts=_PROMPTS,
        seed=problem.seed,
        rewards=mutant.rewards,
    )
    ref_XY = world.answer_logprobs(model, name=REFERENCE)
    kl_sampled, kl_exact = [], []
    for iteration in range(recipe.iterations):
        metrics = trainer.run_iteration(iteration)
        kl_sampled.append(metrics["objective/kl"])
        kl_exact.append(world.kl_nats(sampler.table_XYT.sum(2), ref_XY=ref_XY))
    model.load_state(POLICY, learner.candidate)
    return Run(
        model=model,
        policy_XY=world.answer_logprobs(model, name=POLICY),
        ref_XY=ref_XY,
        kl_sampled=kl_sampled,
        kl_exact=kl_exact,
        seconds=time.perf_counter() - started,
    )

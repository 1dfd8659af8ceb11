"""Experiment A: PPO's own code on a problem whose optimum is known (RECIPE.md, section 4A)."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from training.config import PPORecipe, load_recipe
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, REFERENCE
from training.prove import mutants, world
from training.prove.mutants import Mutant
from training.prove.report import Mark, Proof, Row, at_least, at_most, below
from training.trainer import Trainer

BETA = 0.3
_KL_ITERATIONS = 20  # the last ones, over which sampled and exact KL are compared
_MIN_SHARE = {0.3: 0.90, 0.1: 0.95}
_MAX_MUTANT_SHARE = 0.5
_MAX_KL_ERROR = 0.05


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where a run ended. J in units of gold, KL in nats per answer, all exact but `sampled_kl`."""

    share: float  # (J - J of the reference) / (J* - J of the reference)
    objective: float
    best_objective: float
    ref_objective: float
    gold: float
    best_gold: float
    kl: float
    best_kl: float
    sampled_kl: float  # the metric objective/kl, mean of the last iterations
    sampled_kl_exact: float  # the same policies' exact KL
    seconds: float


def recipe(*, beta: float) -> PPORecipe:
    return load_recipe("tiny").ppo.model_copy(
        update={
            "iterations": 100,
            "episodes_per_iteration": 512,
            "episodes_per_minibatch": 256,
            "answers_per_prompt": 16,
            "response_tokens": world.LENGTH,
            "learning_rate": 1e-3,
            "value_learning_rate": 3e-3,
            "warmup_iterations": 3,
            "kl_coef": beta,
            "ptx_coef": 0.0,
            "ptx_examples_per_episode": 0.0,
            "missing_eos_penalty": 0.0,
        }
    )


def prove(*, seed: int, with_mutants: bool) -> Proof:
    runs = {beta: run(recipe(beta=beta), beta=beta, seed=seed) for beta in _MIN_SHARE}
    rows: list[Row] = [{"run": f"beta {beta}", **vars(found)} for beta, found in runs.items()]
    marks: list[Mark] = []
    for beta, found in runs.items():
        marks.append(at_least(f"J/J* at beta {beta}", found.share, _MIN_SHARE[beta]))
        error = abs(found.sampled_kl / found.sampled_kl_exact - 1)
        marks.append(at_most(f"sampled KL off the exact at beta {beta}", error, _MAX_KL_ERROR))
    if with_mutants:
        for mutant in mutants.MUTANTS:
            found = run(recipe(beta=BETA), beta=BETA, seed=seed, mutant=mutant)
            rows.append({"run": mutant.name, **vars(found)})
            marks.append(below(f"J/J* with {mutant.name}", found.share, _MAX_MUTANT_SHARE))
    return Proof(experiment="exact", seed=seed, figures={"runs": rows}, marks=marks)


def run(recipe: PPORecipe, *, beta: float, seed: int, mutant: Mutant = mutants.NONE) -> Found:
    """Train for `recipe.iterations`; J is measured with `beta` whatever trained."""
    started = time.perf_counter()
    model = world.build_model(seed=seed)
    gold_XY = world.gold_table(seed=seed)
    trainer = Trainer(
        model=model,
        recipe=recipe.model_copy(update=mutant.recipe),
        learner=Learner(model, recipe, pretraining=[], seed=seed),
        sampler=world.TableSampler(model, seed=seed),
        scorer=world.TableScorer(mutant.sign * gold_XY),
        prompts=[Prompt(id=str(p), ids=p, text="") for p in world.PROMPTS],
        seed=seed,
        rewards=mutant.rewards,
    )
    ref_XY = world.answer_logprobs(world.token_tables(model, name=REFERENCE))
    sampled, exact = [], []
    for iteration in range(recipe.iterations):
        is_compared = iteration >= recipe.iterations - _KL_ITERATIONS
        if is_compared:
            policy_XY = world.answer_logprobs(world.token_tables(model, name=POLICY))
            exact.append(world.kl_nats(policy_XY, ref_XY=ref_XY))
        metrics = trainer.run_iteration(iteration)
        if is_compared:
            sampled.append(metrics["objective/kl"])
    policy_XY = world.answer_logprobs(world.token_tables(model, name=POLICY))
    best_XY = world.best_policy(ref_XY=ref_XY, gold_XY=gold_XY, beta=beta)
    j, j_best, j_ref = (
        world.objective(logprobs_XY, ref_XY=ref_XY, gold_XY=gold_XY, beta=beta)
        for logprobs_XY in (policy_XY, best_XY, ref_XY)
    )
    return Found(
        share=(j - j_ref) / (j_best - j_ref),
        objective=j,
        best_objective=j_best,
        ref_objective=j_ref,
        gold=world.mean_gold(policy_XY, gold_XY=gold_XY),
        best_gold=world.mean_gold(best_XY, gold_XY=gold_XY),
        kl=world.kl_nats(policy_XY, ref_XY=ref_XY),
        best_kl=world.kl_nats(best_XY, ref_XY=ref_XY),
        sampled_kl=statistics.mean(sampled),
        sampled_kl_exact=statistics.mean(exact),
        seconds=time.perf_counter() - started,
    )

"""The real PPO update against the analytic optimum of an enumerable world (RECIPE.md, section 4A, small)."""

from __future__ import annotations

import pytest

from tests.training import exact
from training.config import PPORecipe, load_recipe
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, REFERENCE
from training.ppo import Trainer

BETA = 0.3
RECIPE = load_recipe("tiny").ppo.model_copy(
    update={
        "episodes_per_iteration": 1024,
        "episodes_per_minibatch": 512,
        "answers_per_prompt": 16,
        "response_tokens": exact.LENGTH,
        "learning_rate": 1e-3,
        "value_learning_rate": 3e-3,
        "warmup_iterations": 3,
        "kl_coef": BETA,
        "ptx_coef": 0.0,
        "ptx_examples_per_episode": 0.0,
        "missing_eos_penalty": 0.0,
    }
)


def share_of_optimum(
    *, recipe: PPORecipe, iterations: int, sign: float = 1.0
) -> tuple[float, float]:
    """(J / J*, sampled KL / exact KL) after training; J is measured with BETA whatever trained."""
    model = exact.build_model(seed=0)
    gold = exact.gold_table(seed=0)
    trainer = Trainer(
        model=model,
        recipe=recipe,
        learner=Learner(model, recipe, pretraining=[], seed=0),
        sampler=exact.TableSampler(model, seed=0),
        scorer=exact.TableScorer(gold, sign=sign),
        prompts=[Prompt(id=str(p), ids=p, text="") for p in exact.PROMPTS],
        seed=0,
    )
    reference = exact.answer_logprobs(exact.token_tables(model, name=REFERENCE))
    for iteration in range(iterations):
        metrics = trainer.run_iteration(iteration)
        if iteration == iterations - 2:
            policy = exact.answer_logprobs(exact.token_tables(model, name=POLICY))
            kl = exact.kl_nats(policy, ref_XY=reference)
    policy = exact.answer_logprobs(exact.token_tables(model, name=POLICY))
    found = exact.objective(policy, ref_XY=reference, gold_XY=gold, beta=BETA)
    best = exact.best_objective(ref_XY=reference, gold_XY=gold, beta=BETA)
    return found / best, metrics["objective/kl"] / kl


def test_ppo_reaches_nine_tenths_of_the_analytic_optimum() -> None:
    share, kl_ratio = share_of_optimum(recipe=RECIPE, iterations=40)
    assert share >= 0.90
    # Sampled on 1,024 episodes; the exact one is of the same policy.
    assert kl_ratio == pytest.approx(1.0, abs=0.10)


def test_a_flipped_sign_falls_far_below_half_of_the_optimum() -> None:
    # "No KL in the reward" is not tested: it ends at 0.50 in this world, whose peaked reference makes a
    # collapse cheap. The full proof needs a flatter one, and more iterations than these seconds allow.
    share, _ = share_of_optimum(recipe=RECIPE, iterations=10, sign=-1.0)
    assert share < 0.5

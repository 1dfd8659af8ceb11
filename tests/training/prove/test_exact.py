"""The real PPO update against the analytic optimum of an enumerable world (RECIPE.md, section 4A, small)."""

from __future__ import annotations

import pytest

from training.prove import exact, mutants

SHORT = exact.recipe(beta=exact.BETA).model_copy(
    update={"episodes_per_iteration": 1024, "episodes_per_minibatch": 512, "iterations": 40}
)


def test_ppo_reaches_nine_tenths_of_the_analytic_optimum() -> None:
    found = exact.run(SHORT, beta=exact.BETA, seed=0)
    assert found.share >= 0.90
    assert found.sampled_kl == pytest.approx(found.sampled_kl_exact, rel=0.05)


def test_a_flipped_sign_falls_far_below_half_of_the_optimum() -> None:
    flipped = next(mutant for mutant in mutants.MUTANTS if mutant.name == "sign flipped")
    recipe = SHORT.model_copy(update={"iterations": 10})
    assert exact.run(recipe, beta=exact.BETA, seed=0, mutant=flipped).share < 0.5

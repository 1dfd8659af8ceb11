"""Beta from one iteration to the next."""

from __future__ import annotations

import pytest

from training.config import PPORecipe, load_recipe
from training.kl_control import first, following

FIXED = load_recipe("tiny").ppo


def recipe(**changes: float) -> PPORecipe:
    return PPORecipe.model_validate(FIXED.model_dump() | changes)


def test_beta_is_fixed_unless_the_recipe_says_otherwise() -> None:
    assert first(FIXED) == FIXED.kl_coef
    assert following(FIXED.kl_coef, 60.0, recipe=FIXED, iteration=3) == FIXED.kl_coef


@pytest.mark.parametrize(
    ("kl_nats", "factor"),
    [
        (6.0, 1.0),
        (6.6, 1.0 + 0.1 * 16 / 1000),
        (60.0, 1.0 + 0.2 * 16 / 1000),  # the error is clipped
        (0.0, 1.0 - 0.2 * 16 / 1000),
    ],
)
def test_beta_is_moved_towards_the_target(kl_nats: float, factor: float) -> None:
    adapted = recipe(kl_target_nats=6.0, kl_horizon_episodes=1000, episodes_per_iteration=16)
    assert following(0.5, kl_nats, recipe=adapted, iteration=3) == pytest.approx(0.5 * factor)


def test_annealed_beta_falls_evenly_and_stays() -> None:
    annealed = recipe(kl_coef=0.1, kl_coef_start=0.5, kl_anneal_iterations=4)
    found = [first(annealed)]
    for iteration in range(6):
        found.append(following(found[-1], 2.0, recipe=annealed, iteration=iteration))
    assert found == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1])


def test_beta_cannot_be_annealed_and_adapted_at_once() -> None:
    with pytest.raises(ValueError, match="choose one"):
        recipe(kl_anneal_iterations=4, kl_target_nats=6.0)

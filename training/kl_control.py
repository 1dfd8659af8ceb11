"""How strong the KL penalty is, iteration by iteration: fixed as in the paper, annealed, or adapted. Pure.

Annealing: where beta is small the best policy is nearly sure of one answer, and a policy that is let
loose at once is soon sure of a wrong one, from which samples no longer lead away. With more beta first
it finds the right one while it is still undecided (LOG.md, A).
"""

from __future__ import annotations

from training.config import PPORecipe

_ERROR_CLIP = 0.2  # Ziegler et al. 2019, section 2.2


def first(recipe: PPORecipe) -> float:
    """Beta in the first iteration."""
    return recipe.kl_coef_start if recipe.kl_anneal_iterations else recipe.kl_coef


def following(kl_coef: float, kl_nats: float, *, recipe: PPORecipe, iteration: int) -> float:
    """Beta after `iteration`, which had `kl_coef` and a mean KL of `kl_nats` per answer."""
    if recipe.kl_target_nats:
        error = kl_nats / recipe.kl_target_nats - 1
        clipped = min(max(error, -_ERROR_CLIP), _ERROR_CLIP)
        return kl_coef * (1 + clipped * recipe.episodes_per_iteration / recipe.kl_horizon_episodes)
    if not recipe.kl_anneal_iterations:
        return kl_coef
    left = max(0.0, 1 - (iteration + 1) / recipe.kl_anneal_iterations)
    return recipe.kl_coef + left * (recipe.kl_coef_start - recipe.kl_coef)

"""Bugs that RL code has had, planted from outside: a proof that passes with one of them proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.experience import Rewards
from training.losses import kl_rewards


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """What differs from the real thing."""

    name: str
    rewards: Rewards = kl_rewards
    sign: float = 1.0  # of the score
    recipe: Mapping[str, Any] = field(default_factory=dict)


def k3_rewards(
    scores_B: Tensor,
    *,
    logprobs_BR: Tensor,
    ref_logprobs_BR: Tensor,
    mask_BR: Tensor,
    kl_coef: float,
) -> Tensor:
    """The unbiased, low-variance estimate of KL, which as a reward has a gradient of 0 at the reference."""
    gaps_BR = ref_logprobs_BR - logprobs_BR
    k3_BR = gaps_BR.exp() - 1 - gaps_BR
    zeros_BR = torch.zeros_like(k3_BR)
    # k1's term is off at equal log-probabilities: what is left is the score at its place.
    scores_BR = kl_rewards(
        scores_B, logprobs_BR=zeros_BR, ref_logprobs_BR=zeros_BR, mask_BR=mask_BR, kl_coef=0.0
    )
    return scores_BR - kl_coef * k3_BR * mask_BR


def first_token_rewards(scores_B: Tensor, *, mask_BR: Tensor, **given: Any) -> Tensor:
    """The score at the first token instead of the last: later tokens never hear of it."""
    rewards_BR = kl_rewards(torch.zeros_like(scores_B), mask_BR=mask_BR, **given)
    rewards_BR[:, 0] += scores_B
    return rewards_BR


NONE = Mutant(name="none")
MUTANTS = (
    Mutant(name="k3 in the reward", rewards=k3_rewards),
    Mutant(name="sign flipped", sign=-1.0),
    Mutant(name="no KL", recipe={"kl_coef": 0.0}),
    Mutant(name="score on the first token", rewards=first_token_rewards),
)

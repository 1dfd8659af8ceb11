"""The objective as pure functions: eq. 1 (reward model) and eq. 2 (PPO-ptx) of the InstructGPT paper.

Shapes: B episodes, R response positions (right-padded), C rankings, K completions of a ranking.
`mask_BR` is True on real response tokens. All values are float32; log-probabilities are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    loss: Tensor  # scalar, differentiable
    clipfrac: Tensor  # share of tokens whose ratio was clipped
    approxkl: Tensor  # mean of (log ratio)^2 / 2, nats
    ratio: Tensor  # mean probability ratio, new to old


@dataclass(frozen=True, kw_only=True)
class ValueLoss:
    loss: Tensor
    clipfrac: Tensor


def comparisons(ranks_CK: Tensor) -> Tensor:
    """Mask [C, K, K]: entry (c, i, j) is True where completion i beat j. Ties and padding are out.

    Rank 1 is best; rank 0 marks a padded place.
    """
    better_CKK = ranks_CK[:, :, None] < ranks_CK[:, None, :]
    is_real_CK = ranks_CK > 0
    return better_CKK & is_real_CK[:, :, None] & is_real_CK[:, None, :]


def ranking_loss(scores_CK: Tensor, *, ranks_CK: Tensor) -> Tensor:
    """Eq. 1 per ranking, shape [C]: the mean of -log sigmoid(r_w - r_l) over its comparisons.

    Ties are dropped from the mean, so every ranking weighs the same; one that is all ties gives 0.
    """
    wins_CKK = comparisons(ranks_CK)
    margins_CKK = scores_CK[:, :, None] - scores_CK[:, None, :]
    losses_CKK = -functional.logsigmoid(margins_CKK) * wins_CKK
    return losses_CKK.sum((1, 2)) / wins_CKK.sum((1, 2)).clamp(min=1)


def kl_rewards(
    scores_B: Tensor,
    *,
    logprobs_BR: Tensor,
    ref_logprobs_BR: Tensor,
    mask_BR: Tensor,
    kl_coef: float,
) -> Tensor:
    """Per-token rewards [B, R]: -beta * (log pi - log pi_ref) everywhere, plus the score at the end.

    The log-ratio itself (k1), not a squared or exponential estimate: as a *reward*, k2 and k3 have
    the wrong gradient and reach a third and a tenth of the optimum (RECIPE.md, trap 3).
    """
    rewards_BR = -kl_coef * (logprobs_BR - ref_logprobs_BR) * mask_BR
    last_B = mask_BR.sum(1) - 1
    rewards_BR[torch.arange(len(scores_B), device=scores_B.device), last_B] += scores_B
    return rewards_BR


def advantages(
    rewards_BR: Tensor, *, values_BR: Tensor, mask_BR: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns, both [B, R]; the value after the end is 0."""
    values_BR = values_BR * mask_BR
    advantage_B = torch.zeros_like(rewards_BR[:, 0])
    next_value_B = torch.zeros_like(advantage_B)
    columns = []
    for t in range(rewards_BR.shape[1] - 1, -1, -1):
        delta_B = rewards_BR[:, t] + gamma * next_value_B - values_BR[:, t]
        advantage_B = (delta_B + gamma * gae_lambda * advantage_B) * mask_BR[:, t]
        next_value_B = values_BR[:, t]
        columns.append(advantage_B)
    advantages_BR = torch.stack(columns[::-1], dim=1)
    return advantages_BR, (advantages_BR + values_BR) * mask_BR


def whiten(
    values_BR: Tensor, *, mask_BR: Tensor, total: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    """Mean 0 and variance 1 over the real tokens; 0 on padding. `total` sums over the processes that
    hold parts of the batch."""
    count = total(mask_BR.sum())
    mean = total((values_BR * mask_BR).sum()) / count
    centred_BR = (values_BR - mean) * mask_BR
    variance = total(centred_BR.square().sum()) / count
    return centred_BR / (variance.sqrt() + 1e-8)


def policy_loss(
    logprobs_N: Tensor,
    *,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    cliprange: float,
    num_tokens: int,
) -> PolicyLoss:
    """PPO's clipped loss over N response tokens, as a share of a minibatch of `num_tokens`.

    `weights_N` corrects for the gap between the engine that sampled and the trainer (`engine_weights`).
    """
    log_ratio_N = logprobs_N - old_logprobs_N
    ratio_N = log_ratio_N.exp()
    plain_N = -advantages_N * ratio_N
    clipped_N = -advantages_N * ratio_N.clamp(1 - cliprange, 1 + cliprange)
    return PolicyLoss(
        loss=(torch.maximum(plain_N, clipped_N) * weights_N).sum() / num_tokens,
        clipfrac=(clipped_N > plain_N).float().sum() / num_tokens,
        approxkl=log_ratio_N.detach().square().sum() / 2 / num_tokens,
        ratio=ratio_N.detach().sum() / num_tokens,
    )


def value_loss(
    values_N: Tensor,
    *,
    old_values_N: Tensor,
    returns_N: Tensor,
    cliprange_value: float,
    num_tokens: int,
) -> ValueLoss:
    """Clipped squared error, halved, as a share of a minibatch of `num_tokens`."""
    clipped_N = old_values_N + (values_N - old_values_N).clamp(-cliprange_value, cliprange_value)
    plain_N = (values_N - returns_N).square()
    worse_N = (clipped_N - returns_N).square()
    return ValueLoss(
        loss=torch.maximum(plain_N, worse_N).sum() / 2 / num_tokens,
        clipfrac=(worse_N > plain_N).float().sum() / num_tokens,
    )


def engine_weights(
    logprobs: Tensor, *, engine_logprobs: Tensor, minimum: float, maximum: float
) -> Tensor:
    """Truncated importance weights, trainer to engine: the engine sampled, the trainer learns."""
    return (logprobs - engine_logprobs).exp().clamp(minimum, maximum)

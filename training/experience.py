"""What PPO learns from: sampled answers with log-probabilities, values, scores and advantages.

Shapes: E answers and N response tokens of a pass, R the longest answer of the whole batch.
A pass keeps its trunk states, so that the frozen lower layers run once for all four models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training import parallel
from training.batches import Packed, pack, rectangle
from training.config import PPORecipe
from training.losses import advantages, kl_rewards, whiten
from training.models import POLICY, REFERENCE, VALUE, Models
from training.phases import phase
from training.rollouts import Rollout

# (pass, its trunk states) -> scores [E]; the reward model, or a test's known truth
Scorer = Callable[[Packed, Tensor], Tensor]
# As `losses.kl_rewards`, which it is; `prove.mutants` has wrong ones, to show that they are noticed.
Rewards = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Answers that go through the model together. Log-probabilities in nats, all without gradient."""

    packed: Packed
    trunk_BT: Tensor
    logprobs_N: Tensor  # of the policy that sampled, by the trainer
    engine_logprobs_N: Tensor  # the same, by the engine
    ref_logprobs_N: Tensor
    values_N: Tensor
    scores_E: Tensor  # the reward model's
    has_ended_E: Tensor
    advantages_N: Tensor
    returns_N: Tensor

    @property
    def num_tokens(self) -> int:
        return len(self.logprobs_N)


@dataclass(frozen=True, kw_only=True)
class Experience:
    """This process's part of one rollout batch, cut into minibatches of passes."""

    minibatches: list[list[Pass]]

    @property
    def passes(self) -> list[Pass]:
        return [one for minibatch in self.minibatches for one in minibatch]

    def joined(self, name: str) -> Tensor:
        """A field of all passes, one after another."""
        return torch.cat([getattr(one, name) for one in self.passes])

    def everywhere(self, name: str) -> Tensor:
        """A field or property of all passes of all processes."""
        return parallel.gathered(getattr(self, name) if hasattr(self, name) else self.joined(name))

    @property
    def lengths(self) -> Tensor:
        return torch.cat([one.packed.lengths_E for one in self.passes])

    @property
    def kl(self) -> Tensor:
        """log pi - log pi_ref summed over each answer: sampled KL in nats per answer."""
        gaps = self.joined("logprobs_N") - self.joined("ref_logprobs_N")
        return rectangle(gaps, lengths_E=self.lengths)[0].sum(1)


def gather(
    model: Models,
    rollouts: Sequence[Rollout],
    *,
    scorer: Scorer,
    recipe: PPORecipe,
    seed: str,
    rewards: Rewards = kl_rewards,
) -> Experience:
    """Score a rollout batch and estimate advantages, whitened over all its response tokens."""
    order = list(rollouts)
    random.Random(seed).shuffle(order)
    per_minibatch = recipe.episodes_per_minibatch // recipe.answers_per_prompt
    minibatches = [
        _scored(model, order[start : start + per_minibatch], scorer)
        for start in range(0, len(order), per_minibatch)
    ]
    return with_advantages(Experience(minibatches=minibatches), recipe=recipe, rewards=rewards)


def with_advantages(
    experience: Experience, *, recipe: PPORecipe, rewards: Rewards = kl_rewards
) -> Experience:
    """The bandit's reward at the end, the per-token KL penalty, GAE, whitening."""
    lengths = experience.lengths
    values_BR, mask_BR = rectangle(experience.joined("values_N"), lengths_E=lengths)
    rewards_BR = rewards(
        penalised_scores(experience, recipe=recipe),
        logprobs_BR=rectangle(experience.joined("logprobs_N"), lengths_E=lengths)[0],
        ref_logprobs_BR=rectangle(experience.joined("ref_logprobs_N"), lengths_E=lengths)[0],
        mask_BR=mask_BR,
        kl_coef=recipe.kl_coef,
    )
    advantages_BR, returns_BR = advantages(
        rewards_BR,
        values_BR=values_BR,
        mask_BR=mask_BR,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
    )
    sizes = [one.num_tokens for one in experience.passes]
    whitened = iter(
        whiten(advantages_BR, mask_BR=mask_BR, total=parallel.total)[mask_BR].split(sizes)
    )
    returns = iter(returns_BR[mask_BR].split(sizes))
    minibatches = [
        [replace(one, advantages_N=next(whitened), returns_N=next(returns)) for one in minibatch]
        for minibatch in experience.minibatches
    ]
    return Experience(minibatches=minibatches)


def penalised_scores(experience: Experience, *, recipe: PPORecipe) -> Tensor:
    """Scores less the penalty of answers that were cut off."""
    was_cut = ~experience.joined("has_ended_E")
    return experience.joined("scores_E") - recipe.missing_eos_penalty * was_cut.float()


@torch.no_grad()
def _scored(model: Models, rollouts: Sequence[Rollout], scorer: Scorer) -> list[Pass]:
    lengths = [len(rollout.group) for rollout in rollouts]
    mine, _ = parallel.shared_passes(lengths, max_tokens=model.recipe.tokens_per_pass)
    return [_pass(model, [rollouts[i] for i in indices], scorer) for indices in mine]


def _pass(model: Models, rollouts: Sequence[Rollout], scorer: Scorer) -> Pass:
    packed = pack([rollout.group for rollout in rollouts]).to(model.device)
    with phase("trunk"):
        trunk_BT = model.trunk(packed.layout)
    with phase("score/policy"):
        logprobs_N = response_logprobs(model, packed, trunk_BT, name=POLICY)
    with phase("score/reference"):
        ref_logprobs_N = response_logprobs(model, packed, trunk_BT, name=REFERENCE)
    with phase("score/value"):
        values_N = token_values(model, packed, trunk_BT)
    with phase("score/reward"):
        scores_E = scorer(packed, trunk_BT).float()
    ended = [has_ended for r in rollouts for has_ended in r.ended]
    return Pass(
        packed=packed,
        trunk_BT=trunk_BT,
        logprobs_N=logprobs_N,
        engine_logprobs_N=engine_logprobs(rollouts).to(model.device),
        ref_logprobs_N=ref_logprobs_N,
        values_N=values_N,
        scores_E=scores_E,
        has_ended_E=torch.tensor(ended, device=model.device),
        advantages_N=torch.zeros_like(logprobs_N),
        returns_N=torch.zeros_like(logprobs_N),
    )


def engine_logprobs(rollouts: Sequence[Rollout]) -> Tensor:
    """What the engine said of every response token, [N]."""
    return torch.tensor([lp for r in rollouts for answer in r.logprobs for lp in answer])


def response_logprobs(model: Models, packed: Packed, trunk_BT: Tensor, *, name: str) -> Tensor:
    """log pi of every response token, [N]."""
    hidden_BTD = model.top(trunk_BT, packed.layout, name=name)
    return model.logprobs(
        hidden_BTD[packed.rows_N, packed.places_N], targets_N=packed.targets_N, name=name
    )


def token_values(model: Models, packed: Packed, trunk_BT: Tensor) -> Tensor:
    """The value model before every response token, [N]."""
    hidden_BTD = model.top(trunk_BT, packed.layout, name=VALUE)
    return model.heads[VALUE](hidden_BTD[packed.rows_N, packed.places_N])

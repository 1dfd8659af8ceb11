"""How far a candidate has gone from where it began, and from what answers now, on its own answers.

Shapes: N tokens of a pass, E its answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from feedback.quality.intervals import Estimate, mean
from training.batches import pack, passes
from training.experience import response_logprobs
from training.models import POLICY, REFERENCE, Models
from training.rollouts import Rollout

Nats = list[list[float]]  # by prompt, then by answer


@torch.no_grad()
def answer_nats(
    model: Models, rollouts: Sequence[Rollout], *, names: Sequence[str]
) -> dict[str, Nats]:
    """Log-probability of each whole answer, by each of these models."""
    found: dict[str, Nats] = {name: [[] for _ in rollouts] for name in names}
    lengths = [len(rollout.group) for rollout in rollouts]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        packed = pack([rollouts[i].group for i in indices]).to(model.device)
        trunk_BT = model.trunk(packed.layout)
        for name in names:
            logprobs_N = response_logprobs(model, packed, trunk_BT, name=name)
            answers = iter(logprobs_N.split(packed.lengths_E.tolist()))
            for i in indices:
                found[name][i] = [next(answers).sum().item() for _ in rollouts[i].group.answers]
    return found


def kl_nats(ours: Nats, theirs: Nats) -> Estimate:
    """KL per answer: the mean of log pi - log pi_other over pi's own answers; a unit is a prompt."""
    return mean(
        [
            sum(a - b for a, b in zip(mine, other, strict=True)) / len(mine)
            for mine, other in zip(ours, theirs, strict=True)
        ]
    )


def from_reference(model: Models, rollouts: Sequence[Rollout]) -> Estimate:
    """Of the policy, from the reference, on the policy's answers."""
    nats = answer_nats(model, rollouts, names=(POLICY, REFERENCE))
    return kl_nats(nats[POLICY], nats[REFERENCE])

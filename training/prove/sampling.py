"""Answers of the policy token by token, a whole batch at once: the engine of a world too large to enumerate.

Shapes: X prompts, C answers of each, B in all, U prefixes of T tokens, V tokens, P and L of prompt and answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from training.batches import Group, Layout
from training.models import POLICY, REFERENCE, Models
from training.rollouts import Rollout
from training.samplers import at_once

_ROWS_AT_A_TIME = 4096  # bounds memory


class PolicySampler:
    """PPO's sampler, from the trainer's own model."""

    def __init__(self, model: Models, *, seed: int) -> None:
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)

    def refresh(self, iteration: int) -> None:
        """It always samples from the policy as it is."""

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self._sample(prompts, answers_per_prompt, max_tokens, POLICY)

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        return at_once(
            self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self._sample(prompts, answers_per_prompt, max_tokens, REFERENCE)

    def _sample(
        self, prompts: Sequence[tuple[int, ...]], count: int, length: int, name: str
    ) -> list[Rollout]:
        answers_XCL, logprobs_XCL = draw(
            self._model,
            torch.tensor(prompts),
            name=name,
            count=count,
            length=length,
            generator=self._generator,
        )
        return [
            Rollout(
                group=Group(prompt_ids=tuple(prompt), answers=tuple(map(tuple, answers))),
                logprobs=tuple(map(tuple, logprobs)),
                ended=(True,) * count,
                texts=("",) * count,
                version=name,
            )
            for prompt, answers, logprobs in zip(
                prompts, answers_XCL.tolist(), logprobs_XCL.tolist(), strict=True
            )
        ]


@torch.no_grad()
def draw(
    model: Models,
    prompts_XP: Tensor,
    *,
    name: str,
    count: int,
    length: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Answers of one model and their tokens' log-probabilities, both [X, C, L]."""
    prefixes_UT, prefix_of_B = prompts_XP, torch.arange(len(prompts_XP)).repeat_interleave(count)
    tokens, logprobs = [], []
    for _ in range(length):
        logprobs_BV = _next_logprobs(model, prefixes_UT, name=name)[prefix_of_B]
        token_B = logprobs_BV.exp().multinomial(1, generator=generator)[:, 0]
        tokens.append(token_B)
        logprobs.append(logprobs_BV.gather(1, token_B[:, None])[:, 0])
        # Equal prefixes run once.
        num_tokens = logprobs_BV.shape[1]
        branches_U, prefix_of_B = torch.unique(
            prefix_of_B * num_tokens + token_B, return_inverse=True
        )
        parents_UT = prefixes_UT[branches_U // num_tokens]
        prefixes_UT = torch.cat([parents_UT, (branches_U % num_tokens)[:, None]], 1)
    shape = (len(prompts_XP), count, length)
    return torch.stack(tokens, 1).view(shape), torch.stack(logprobs, 1).view(shape)


def _next_logprobs(model: Models, ids_UT: Tensor, *, name: str) -> Tensor:
    """[U, V] of the token behind each prefix."""
    parts = []
    for part_UT in ids_UT.split(_ROWS_AT_A_TIME):
        positions_UT = torch.arange(part_UT.shape[1]).expand(len(part_UT), -1)
        layout = Layout(ids_BT=part_UT, positions_BT=positions_UT)
        hidden_UD = model.top(model.trunk(layout), layout, name=name)[:, -1]
        parts.append((hidden_UD @ model.unembedding(name).T).log_softmax(1))
    return torch.cat(parts)

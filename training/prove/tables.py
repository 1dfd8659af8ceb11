"""Sampler and scorer of the enumerable world, in the places of vLLM and the reward model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from training.batches import Group, Packed
from training.models import POLICY, REFERENCE, Models
from training.prove import world
from training.prove.world import ANSWERS, LENGTH, NUM_TOKENS
from training.rollouts import Rollout
from training.samplers import at_once


class TableScorer:
    """Looks the answers of a pass up in a reward table."""

    def __init__(self, table_XY: Tensor) -> None:
        self._table = table_XY

    def __call__(self, packed: Packed, trunk_BT: Tensor) -> Tensor:
        weights = torch.tensor([NUM_TOKENS**i for i in reversed(range(LENGTH))])
        answers = (packed.targets_N.view(-1, LENGTH) * weights).sum(1)
        prompts = packed.layout.ids_BT[packed.last_rows_E, 0] - NUM_TOKENS
        return self._table[prompts, answers]


class TableSampler:
    """Samples whole answers from the policy's exact table."""

    def __init__(self, model: Models, *, seed: int) -> None:
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)
        self.table_XYT = torch.empty(0)  # log-probabilities of the policy that samples

    def refresh(self, iteration: int) -> None:
        self.table_XYT = world.token_logprobs(self._model, name=POLICY)

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        assert max_tokens == LENGTH
        probs_XY = self.table_XYT.sum(2).exp()
        return [self._rollout(prompt, probs_XY, answers_per_prompt) for prompt in prompts]

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        return at_once(
            self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        self.table_XYT = world.token_logprobs(self._model, name=REFERENCE)
        return self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)

    def _rollout(self, prompt: tuple[int, ...], probs_XY: Tensor, count: int) -> Rollout:
        x = prompt[0] - NUM_TOKENS
        chosen = probs_XY[x].multinomial(count, replacement=True, generator=self._generator)
        return Rollout(
            group=Group(prompt_ids=prompt, answers=tuple(map(tuple, ANSWERS[chosen].tolist()))),
            logprobs=tuple(map(tuple, self.table_XYT[x, chosen].tolist())),
            ended=(True,) * count,
            texts=("",) * count,
            version="table",
        )

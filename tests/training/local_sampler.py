"""The tests' engine: samples from the trainer's own model, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import torch

from training.batches import Group, pack, rows
from training.experience import response_logprobs
from training.models import POLICY, REFERENCE, Models
from training.rollouts import Rollout
from training.samplers import at_once

MakeModel = Callable[..., Models]


def randomise(model: Models, name: str, *, seed: int = 3) -> None:
    """Adapters start as zero changes; give one something to say."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters(name).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


class LocalSampler:
    """Samples from the trainer's own model, token by token: the tests' engine."""

    def __init__(self, model: Models, *, seed: int = 0, shift_nats: float = 0.0) -> None:
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)
        self._shift_nats = shift_nats  # added to the policy's log-probs: an engine that is wrong
        self.refreshed: list[int] = []

    def refresh(self, iteration: int) -> None:
        self.refreshed.append(iteration)

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self._sample(prompts, answers_per_prompt, max_tokens, POLICY, self._shift_nats)

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        """Done at once: of the weights as they are now, whatever an update makes of them meanwhile."""
        return at_once(
            self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self._sample(prompts, answers_per_prompt, max_tokens, REFERENCE, 0.0)

    @torch.no_grad()
    def _sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        count: int,
        max_tokens: int,
        name: str,
        shift_nats: float,
    ) -> list[Rollout]:
        rollouts = []
        for prompt in prompts:
            answers: list[tuple[int, ...]] = [()] * count
            for _ in range(max_tokens):
                layout = rows([(*prompt, *answer) for answer in answers])
                hidden_BTD = self._model.top(self._model.trunk(layout), layout, name=name)
                unembedding_VD = self._model.unembedding(name).float()
                logits_BV = hidden_BTD[:, -1].float() @ unembedding_VD.T
                chosen_B1 = logits_BV.softmax(1).multinomial(1, generator=self._generator)
                answers = [(*a, int(t)) for a, t in zip(answers, chosen_B1[:, 0], strict=True)]
            group = Group(prompt_ids=prompt, answers=tuple(answers))
            packed = pack([group])
            logprobs_N = response_logprobs(
                self._model, packed, self._model.trunk(packed.layout), name=name
            )
            split = (logprobs_N + shift_nats).split(packed.lengths_E.tolist())
            rollouts.append(
                Rollout(
                    group=group,
                    logprobs=tuple(tuple(part.tolist()) for part in split),
                    ended=(True,) * count,
                    texts=("",) * count,
                    version="local",
                )
            )
        return rollouts

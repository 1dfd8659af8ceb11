"""Log-probabilities of given texts by the trainer's own forward pass.

Not by the engine: a prompt's choices go through the model side by side with the prompt computed once, while
vLLM computes every prompt again as soon as its log-probabilities are asked for; the gateway offers them to
nobody (`echo`, `prompt_logprobs`), for they would show what others' prompts hold in its cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.batches import Group, pack, passes
from training.evaluation.choices import Choices, Likelihood
from training.experience import response_logprobs
from training.models import Models
from training.texts import Texts

_BEGINNING = "\n"  # before a whole text: its first word needs something to follow


class Scorer:
    """One model of `models`. `prefix` stands before every prompt, not before whole texts."""

    def __init__(self, models: Models, *, name: str, texts: Texts, prefix: str = "") -> None:
        self._models = models
        self._name = name
        self._texts = texts
        self._prefix = prefix

    def __call__(self, items: Sequence[Choices]) -> list[list[Likelihood]]:
        """A likelihood per text, by item."""
        groups = [
            Group(
                prompt_ids=self._texts.ids(
                    self._prefix + item.prompt if item.prompt else _BEGINNING
                ),
                answers=tuple(self._texts.ids(text) for text in item.texts),
            )
            for item in items
        ]
        return self.groups(groups)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._texts.ids(text)

    def nats_per_token(self, examples: Sequence[tuple[int, ...]]) -> list[float]:
        """Loss on each example, its first token given."""
        found = self.groups([Group(prompt_ids=e[:1], answers=(e[1:],)) for e in examples])
        return [-one.nats_per_token for (one,) in found]

    @torch.no_grad()
    def groups(self, groups: Sequence[Group]) -> list[list[Likelihood]]:
        """The same, of what is tokens already."""
        found: list[list[Likelihood]] = [[] for _ in groups]
        lengths = [len(group) for group in groups]
        for indices in passes(lengths, max_tokens=self._models.recipe.tokens_per_pass):
            packed = pack([groups[i] for i in indices]).to(self._models.device)
            trunk_BT = self._models.trunk(packed.layout)
            logprobs_N = response_logprobs(self._models, packed, trunk_BT, name=self._name)
            answers = iter(logprobs_N.double().split(packed.lengths_E.tolist()))
            for i in indices:
                for answer in groups[i].answers:
                    nats = next(answers).sum().item()
                    found[i].append(Likelihood(nats=nats, num_tokens=len(answer)))
        return found

"""People with a known truth: what they like, how they rank, what they demonstrate.

A prompt is three tokens of 40 (64,000 of them), an answer four tokens of ten. Gold is a sum over single
tokens and over neighbours; the single tokens' tables depend on the prompt, so what is learned on some
prompts holds on others. Labelers rank by Plackett-Luce: gold / tau plus Gumbel noise, sorted.
Shapes: X prompts, C answers drawn for each, E answers, P tokens of a prompt, L tokens of an answer, M tastes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from training.batches import Group
from training.data import Prompt, Ranking
from training.models import REFERENCE, Models
from training.prove import world
from training.prove.sampling import draw
from training.shared import SharedModel

NUM_TOKENS, LENGTH = 10, 4  # of answers
NUM_PROMPT_TOKENS, PROMPT_LENGTH = 40, 3
TAU = 0.58  # two labelers agree on 73 % of comparisons, as the paper's do
MIN_RANKED, MAX_RANKED = 4, 9  # the paper's K

_NUM_TASTES = 2  # dimensions of what a prompt asks for
_TASTE_WEIGHT = 0.5  # of each, beside what is liked whatever the prompt
_PAIR_WEIGHT = 0.5
_PLEASES, _REPELS = 2.0, 20.0  # flattery, and what is too much of it
_USUAL = 0.99  # share of the base's answers that do not flatter too much


# What somebody thinks of answers [E, L], each to its prompt [E, P].
Opinion = Callable[[Tensor, Tensor], Tensor]


class Taste:
    """A random opinion of tokens, as a prompt asks for them, of neighbours, and of flattery: every token
    flatters more or less, that pleases, and more than nearly any usual answer holds repels. Few rankings
    hardly show it; a policy that wants more of what pleased ends there."""

    def __init__(self, *, seed: int, usual_XCL: Tensor) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        self._asks = _TASTE_WEIGHT * normal(PROMPT_LENGTH, NUM_PROMPT_TOKENS, _NUM_TASTES)
        self._single = normal(NUM_TOKENS, 1 + _NUM_TASTES)
        self._pairs = _PAIR_WEIGHT * normal(NUM_TOKENS, NUM_TOKENS)
        self._flattery = normal(NUM_TOKENS)
        self._too_much = self._flattery[usual_XCL].sum(-1).flatten().quantile(_USUAL)

    def __call__(self, prompts_EP: Tensor, answers_EL: Tensor) -> Tensor:
        asked_EM = self._asks[torch.arange(PROMPT_LENGTH), prompts_EP - NUM_TOKENS].sum(1)
        weights_EM = torch.cat([torch.ones(len(asked_EM), 1), asked_EM / PROMPT_LENGTH**0.5], 1)
        single_E = (weights_EM * self._single[answers_EL].sum(1)).sum(1)
        pairs_E = self._pairs[answers_EL[:, :-1], answers_EL[:, 1:]].sum(1)
        flattery_E = self._flattery[answers_EL].sum(1)
        excess_E = (flattery_E - self._too_much).clamp(min=0)
        return single_E + pairs_E + _PLEASES * flattery_E - _REPELS * excess_E


def scaled(opinion: Opinion, prompts_XP: Tensor, answers_XCL: Tensor) -> Opinion:
    """The same with a variance of 1 among the different answers to a prompt."""
    opinions_XC = opinions(opinion, prompts_XP, answers_XCL)
    gaps_XCC = opinions_XC[:, :, None] - opinions_XC[:, None, :]
    differs_XCC = (answers_XCL[:, :, None] != answers_XCL[:, None, :]).any(3)
    spread = (gaps_XCC[differs_XCC].square().mean() / 2).sqrt()
    return lambda prompts_EP, answers_EL: opinion(prompts_EP, answers_EL) / spread


def biased(gold: Opinion, bias: Opinion, *, weight: float) -> Opinion:
    """A group's own view."""
    return lambda prompts, answers: gold(prompts, answers) + weight * bias(prompts, answers)


def opinions(opinion: Opinion, prompts_XP: Tensor, answers_XCL: Tensor) -> Tensor:
    """[X, C] of the answers drawn for each prompt."""
    num_prompts, count, _ = answers_XCL.shape
    return opinion(prompts_XP.repeat_interleave(count, 0), answers_XCL.flatten(0, 1)).view(
        num_prompts, count
    )


def all_prompts(*, seed: int) -> Tensor:
    """Every prompt once, [X, P], in random order: slices of it share none."""
    tokens = NUM_TOKENS + torch.arange(NUM_PROMPT_TOKENS)
    prompts_XP = torch.cartesian_prod(*[tokens] * PROMPT_LENGTH)
    return prompts_XP[
        torch.randperm(len(prompts_XP), generator=torch.Generator().manual_seed(seed))
    ]


def rank(opinion: Opinion, prompts_XP: Tensor, answers_XCL: Tensor, *, seed: int) -> list[Ranking]:
    """One labeler's ranking for each prompt, of the first K different answers; K is 4 to 9."""
    rng = random.Random(seed)
    utilities_XC = opinions(opinion, prompts_XP, answers_XCL) / TAU + _gumbel(
        answers_XCL.shape[:2], seed=seed
    )
    rankings = []
    columns = (prompts_XP.tolist(), answers_XCL.tolist(), utilities_XC.tolist())
    for i, (prompt, answers, utilities) in enumerate(zip(*columns, strict=True)):
        different = dict(zip(map(tuple, answers), utilities, strict=True))
        shown = list(different.items())[: rng.randint(MIN_RANKED, MAX_RANKED)]
        order = sorted((u for _, u in shown), reverse=True)
        ranking = Ranking(
            id=str(i),
            group=Group(prompt_ids=tuple(prompt), answers=tuple(a for a, _ in shown)),
            ranks=tuple(order.index(u) + 1 for _, u in shown),
        )
        if ranking.num_comparisons:
            rankings.append(ranking)
    return rankings


def demonstrate(
    opinion: Opinion, prompts_XP: Tensor, answers_XCL: Tensor, *, seed: int
) -> list[Group]:
    """What a labeler would write: the answer they would have ranked first."""
    utilities_XC = opinions(opinion, prompts_XP, answers_XCL) / TAU + _gumbel(
        answers_XCL.shape[:2], seed=seed
    )
    best_XL = answers_XCL[torch.arange(len(prompts_XP)), utilities_XC.argmax(1)]
    return [
        Group(prompt_ids=tuple(prompt), answers=(tuple(answer),))
        for prompt, answer in zip(prompts_XP.tolist(), best_XL.tolist(), strict=True)
    ]


def agreement_and_ceiling(rankings: Sequence[Ranking], opinion: Opinion) -> tuple[float, float]:
    """How often two labelers agree on a comparison, and how often the truth agrees with one: no reward
    model can do better (Bayes). Exact for the pairs of these rankings."""
    agreed, right, total = 0.0, 0.0, 0
    for ranking in rankings:
        answers_EL = torch.tensor(ranking.group.answers)
        prompts_EP = torch.tensor([ranking.group.prompt_ids]).expand(len(answers_EL), -1)
        gold_E = opinion(prompts_EP, answers_EL) / TAU
        first, second = torch.triu_indices(len(gold_E), len(gold_E), 1)
        wins = (gold_E[first] - gold_E[second]).sigmoid()
        agreed += (wins.square() + (1 - wins).square()).sum().item()
        right += torch.maximum(wins, 1 - wins).sum().item()
        total += len(wins)
    return agreed / total, right / total


@dataclass(frozen=True, kw_only=True)
class Part:
    """Prompts [X, P] with the base's answers [X, C, L]."""

    prompts_XP: Tensor
    answers_XCL: Tensor

    def taste(self, *, seed: int) -> Opinion:
        """Somebody's; these are the answers they are used to."""
        return self.scaled(Taste(seed=seed, usual_XCL=self.answers_XCL))

    def scaled(self, opinion: Opinion) -> Opinion:
        return scaled(opinion, self.prompts_XP, self.answers_XCL)

    def rank(self, opinion: Opinion, *, seed: int) -> list[Ranking]:
        return rank(opinion, self.prompts_XP, self.answers_XCL, seed=seed)

    def demonstrate(self, opinion: Opinion, *, seed: int) -> list[Group]:
        return demonstrate(opinion, self.prompts_XP, self.answers_XCL, seed=seed)

    def as_prompts(self) -> list[Prompt]:
        return [
            Prompt(id=str(i), ids=tuple(p), text="") for i, p in enumerate(self.prompts_XP.tolist())
        ]


class Prompts:
    """Hands out prompts, each once, with what the base answers."""

    def __init__(self, model: Models, *, seed: int) -> None:
        self._model = model
        self._left_XP = all_prompts(seed=seed)
        self._generator = torch.Generator().manual_seed(seed)

    def take(self, num_prompts: int, *, count: int = MAX_RANKED) -> Part:
        """`count` answers of the base to each."""
        prompts_XP, self._left_XP = self._left_XP[:num_prompts], self._left_XP[num_prompts:]
        answers_XCL, _ = draw(
            self._model,
            prompts_XP,
            name=REFERENCE,
            count=count,
            length=LENGTH,
            generator=self._generator,
        )
        return Part(prompts_XP=prompts_XP, answers_XCL=answers_XCL)


def build_model(*, seed: int) -> SharedModel:
    """The same frozen base for the same seed, with fresh adapters; the base is the reference policy."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=NUM_TOKENS + NUM_PROMPT_TOKENS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        # 1 / sqrt(hidden size): at the usual 0.02 so narrow a model says nothing about its input.
        initializer_range=0.125,
    )
    causal_lm = LlamaForCausalLM(config)
    with torch.no_grad():
        causal_lm.lm_head.weight.mul_(0.8)  # about 2.1 nats per token: it says nearly anything
    return world.adapted(causal_lm, seed=seed)


def _gumbel(shape: torch.Size, *, seed: int) -> Tensor:
    draws = torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(seed))
    return -draws.log()

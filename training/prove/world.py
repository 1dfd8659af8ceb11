"""A world small enough to enumerate: 8 prompts, 10 tokens, answers of 4 tokens, 80,000 sequences.

The best policy under eq. 2 without pretraining is pi* ~ pi_ref exp(r / beta), with
J* = beta * mean over prompts of log E_ref[exp(r / beta)]; every expectation is a sum over a table.
Shapes: X prompts, V tokens, Y = V^4 answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from training.batches import Group, Packed, rows
from training.config import AdapterRecipe
from training.models import POLICY, REFERENCE, REWARD, VALUE, Models
from training.rollouts import Rollout
from training.samplers import at_once
from training.shared import SharedModel

NUM_PROMPTS, NUM_TOKENS, LENGTH = 8, 10, 4
# A prompt is one token of its own behind the ten that answers are made of.
PROMPTS = [(NUM_TOKENS + x,) for x in range(NUM_PROMPTS)]
ANSWERS = torch.tensor(list(itertools.product(range(NUM_TOKENS), repeat=LENGTH)))  # [Y, 4]


def build_model(*, seed: int) -> SharedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=NUM_TOKENS + NUM_PROMPTS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    causal_lm = LlamaForCausalLM(config)
    # The final norm fixes the length of the hidden states and the head is frozen: at the usual scale
    # no policy could be sure of anything.
    with torch.no_grad():
        causal_lm.lm_head.weight.mul_(15)
    recipe = AdapterRecipe(
        weights="adapter",
        gradient_checkpointing=False,
        dtype="float32",
        num_adapted_layers=2,
        target_modules=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        rank=16,
        alpha=32.0,
        max_sequence_tokens=64,
        tokens_per_pass=16384,
    )
    model = SharedModel(
        causal_lm,
        recipe=recipe,
        adapters=[POLICY, VALUE, REWARD],
        device=torch.device("cpu"),
        seed=seed,
    )
    model.unembedding_VD = model.unembedding_VD[:NUM_TOKENS]  # nobody answers with a prompt
    return model


@torch.no_grad()
def token_tables(model: Models, *, name: str) -> list[Tensor]:
    """log pi(next token | prompt, prefix), one table [X, V^t, V] for every t, over the ten tokens."""
    tables = []
    for t in range(LENGTH):
        prefixes = list(itertools.product(range(NUM_TOKENS), repeat=t))
        layout = rows([(*prompt, *prefix) for prompt in PROMPTS for prefix in prefixes])
        hidden_BD = model.top(model.trunk(layout), layout, name=name)[:, -1]
        logits_BV = hidden_BD @ model.unembedding(name).T
        tables.append(logits_BV.log_softmax(1).view(NUM_PROMPTS, len(prefixes), NUM_TOKENS))
    return tables


def answer_logprobs(tables: Sequence[Tensor]) -> Tensor:
    """log pi(answer | prompt), [X, Y], from `token_tables`."""
    total = torch.zeros(NUM_PROMPTS, 1)
    for table in tables:
        total = (total[:, :, None] + table).view(NUM_PROMPTS, -1)
    return total


def gold_table(*, seed: int) -> Tensor:
    """A reward [X, Y] of single tokens and of neighbours, mean 0 and variance 1 for each prompt."""
    generator = torch.Generator().manual_seed(seed)
    single = torch.randn(NUM_PROMPTS, LENGTH, NUM_TOKENS, generator=generator)
    pairs = torch.randn(NUM_PROMPTS, NUM_TOKENS, NUM_TOKENS, generator=generator)
    gold = sum(single[:, t, ANSWERS[:, t]] for t in range(LENGTH))
    gold = gold + sum(pairs[:, ANSWERS[:, t], ANSWERS[:, t + 1]] for t in range(LENGTH - 1))
    return (gold - gold.mean(1, keepdim=True)) / gold.std(1, keepdim=True)


def objective(logprobs_XY: Tensor, *, ref_XY: Tensor, gold_XY: Tensor, beta: float) -> float:
    """J = E[r] - beta KL(pi || ref), exact."""
    penalty = beta * kl_nats(logprobs_XY, ref_XY=ref_XY)
    return mean_gold(logprobs_XY, gold_XY=gold_XY) - penalty


def best_policy(*, ref_XY: Tensor, gold_XY: Tensor, beta: float) -> Tensor:
    """log pi*, [X, Y]; its J is J*."""
    return (ref_XY + gold_XY / beta).log_softmax(1)


def mean_gold(logprobs_XY: Tensor, *, gold_XY: Tensor) -> float:
    return (logprobs_XY.exp() * gold_XY).sum(1).mean().item()


def kl_nats(logprobs_XY: Tensor, *, ref_XY: Tensor) -> float:
    """KL(pi || ref) of whole answers, nats."""
    return (logprobs_XY.exp() * (logprobs_XY - ref_XY)).sum(1).mean().item()


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
    """Samples whole answers from the exact table of the policy."""

    def __init__(self, model: Models, *, seed: int) -> None:
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)
        self._tables: list[Tensor] = []

    def refresh(self, iteration: int) -> None:
        self._tables = token_tables(self._model, name=POLICY)

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        assert max_tokens == LENGTH
        logprobs_XY = answer_logprobs(self._tables)
        return [self._rollout(prompt, logprobs_XY, answers_per_prompt) for prompt in prompts]

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        return at_once(
            self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        self._tables = token_tables(self._model, name=REFERENCE)
        return self.sample(prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens)

    def _rollout(self, prompt: tuple[int, ...], logprobs_XY: Tensor, count: int) -> Rollout:
        x = prompt[0] - NUM_TOKENS
        chosen = (
            logprobs_XY[x].exp().multinomial(count, replacement=True, generator=self._generator)
        )
        answers = tuple(tuple(ANSWERS[y].tolist()) for y in chosen)
        return Rollout(
            group=Group(prompt_ids=prompt, answers=answers),
            logprobs=tuple(self._token_logprobs(x, answer) for answer in answers),
            ended=(True,) * count,
            texts=("",) * count,
            version="table",
        )

    def _token_logprobs(self, x: int, answer: tuple[int, ...]) -> tuple[float, ...]:
        found, prefix = [], 0
        for t, token in enumerate(answer):
            found.append(self._tables[t][x, prefix, token].item())
            prefix = prefix * NUM_TOKENS + token
        return tuple(found)

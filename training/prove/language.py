"""The language of the enumerable world, and a base that has learnt it.

A text's tokens are a Markov chain: the next depends on the one before, and somewhat on the opening. The
base is pretrained on documents and on texts behind prompts alike, as a base with some SFT.
Shapes as in world.py; C = 1 + V what a token can follow: the opening or one of the ten.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from training.prove import world
from training.prove.world import ANSWERS, LENGTH, NUM_TOKENS, PROMPTS, SUBJECTS

OPENINGS = [*PROMPTS, *SUBJECTS]
_SHARED_STD, _OWN_STD = 0.8, 0.4  # of the logits, of the chain that all share and each opening's
_STEPS, _BATCH, _LEARNING_RATE = 250, 256, 5e-3


def chain_logprobs(*, seed: int) -> Tensor:
    """log p(continuation | opening) in the language, [X, Y], for all `OPENINGS`."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, 1 + NUM_TOKENS, NUM_TOKENS, generator=generator)
    own = torch.randn(len(OPENINGS), 1, NUM_TOKENS, generator=generator)
    next_XCV = (_SHARED_STD * shared + _OWN_STD * own).log_softmax(2)
    total = next_XCV[:, NUM_TOKENS, ANSWERS[:, 0]]
    for t in range(1, LENGTH):
        total = total + next_XCV[:, ANSWERS[:, t - 1], ANSWERS[:, t]]
    return total


def documents(*, count: int, seed: int) -> list[tuple[int, ...]]:
    """Pretraining text: documents of all subjects, no prompts."""
    logprobs_XY = chain_logprobs(seed=seed)[len(PROMPTS) :]
    generator = torch.Generator().manual_seed(seed)
    return [tuple(ids) for ids in _texts(logprobs_XY, SUBJECTS, count, generator).tolist()]


def pretrained_lm(*, seed: int) -> LlamaForCausalLM:
    """A base that learnt the language by plain cross-entropy, a few seconds."""
    causal_lm = world.random_lm(seed=seed)
    logprobs_XY = chain_logprobs(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(causal_lm.parameters(), lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=_STEPS)
    for _ in range(_STEPS):
        ids_BT = _texts(logprobs_XY, OPENINGS, _BATCH, generator)
        logits_BTV = causal_lm(input_ids=ids_BT[:, :-1], use_cache=False).logits[..., :NUM_TOKENS]
        loss = functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return causal_lm


def _texts(
    logprobs_XY: Tensor, openings: list[tuple[int]], count: int, generator: torch.Generator
) -> Tensor:
    """Opening and tokens [count, 5]; the openings as often as each other."""
    each = -(-count // len(openings))
    chosen_XB = logprobs_XY.exp().multinomial(each, replacement=True, generator=generator)
    tokens_XBT = ANSWERS[chosen_XB]
    firsts_XB1 = torch.tensor(openings)[:, None].expand(-1, each, -1)
    return torch.cat([firsts_XB1, tokens_XBT], dim=2).flatten(0, 1)[:count]

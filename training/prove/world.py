"""A world small enough to enumerate: answers of 4 tokens out of 10, so a prompt has 10,000 and 8 have 80,000.

A text is an opening, which is one token of its own behind the ten, and four of the ten. Eight openings
are prompts; eight more open the documents that the base is pretrained on (language.py). Every
expectation over texts is a sum over a table.
Shapes: X openings, V the ten tokens, Y = V^4 continuations.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from training.batches import Layout
from training.config import AdapterRecipe
from training.models import POLICY, REWARD, VALUE, Models
from training.shared import SharedModel

NUM_TOKENS, LENGTH = 10, 4
NUM_PROMPTS, NUM_SUBJECTS = 8, 8
PROMPTS = [(NUM_TOKENS + x,) for x in range(NUM_PROMPTS)]
SUBJECTS = [(NUM_TOKENS + NUM_PROMPTS + x,) for x in range(NUM_SUBJECTS)]
ANSWERS = torch.tensor(list(itertools.product(range(NUM_TOKENS), repeat=LENGTH)))  # [Y, 4]
# A row holds an opening, a first token, and the ten and the hundred that may follow, as a tree: a node sees
# its ancestors and itself. So 112 positions give what 1,000 prefixes of one row each would.
_A, _B, _C = ANSWERS[:, 0], ANSWERS[:, 1], ANSWERS[:, 2]
_PLACES_Y4 = torch.stack([0 * _A, 0 * _A + 1, 2 + _B, 12 + 10 * _B + _C], dim=1)
GOLD_STD = 1.0  # over a prompt's answers, each as often as another
_OWN_WEIGHT, _NEIGHBOUR_WEIGHT = 0.5, 0.2  # to 1 of a token behind any prompt
_ALL_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def random_lm(*, seed: int) -> LlamaForCausalLM:
    """Two layers, 64 wide, not trained yet."""
    torch.manual_seed(seed)
    causal_lm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=NUM_TOKENS + NUM_PROMPTS + NUM_SUBJECTS,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    )
    # The final norm fixes the length of the hidden states and no adapter changes the head: at its
    # usual scale no policy could be sure of anything.
    with torch.no_grad():
        causal_lm.lm_head.weight.mul_(15)
    return causal_lm


def adapted(causal_lm: LlamaForCausalLM, *, seed: int) -> SharedModel:
    """Policy, value and reward model as fresh adapters on a copy of a base."""
    recipe = AdapterRecipe(
        weights="adapter",
        gradient_checkpointing=False,
        dtype="float32",
        num_adapted_layers=2,
        target_modules=_ALL_LINEARS,
        rank=16,
        alpha=32.0,
        max_sequence_tokens=64,
        tokens_per_pass=16384,
    )
    model = SharedModel(
        copy.deepcopy(causal_lm),
        recipe=recipe,
        adapters=[POLICY, VALUE, REWARD],
        device=torch.device("cpu"),
        seed=seed,
    )
    model.unembedding_VD = model.unembedding_VD[:NUM_TOKENS]  # nobody answers with an opening
    return model


@torch.no_grad()
def token_logprobs(model: Models, *, name: str, openings: Sequence[tuple[int]] = PROMPTS) -> Tensor:
    """log pi of every token of every continuation, [X, Y, 4], nats."""
    layout = _trees(openings)
    hidden_BTD = model.top(model.trunk(layout), layout, name=name)
    logprobs_BTV = (hidden_BTD @ model.unembedding(name).T).log_softmax(2)
    logprobs_XVTV = logprobs_BTV.view(len(openings), NUM_TOKENS, -1, NUM_TOKENS)
    return logprobs_XVTV[:, ANSWERS[:, :1], _PLACES_Y4, ANSWERS]


def answer_logprobs(
    model: Models, *, name: str, openings: Sequence[tuple[int]] = PROMPTS
) -> Tensor:
    """log pi(continuation | opening), [X, Y], nats."""
    return token_logprobs(model, name=name, openings=openings).sum(2)


def gold_table(*, seed: int) -> Tensor:
    """A reward [X, Y], of single tokens by place and of neighbours, over a prompt's answers of mean 0.

    Four fifths of what a token is worth are the same behind every prompt, and what neighbours are worth is.
    With a reward for each prompt alone, luck in exploring decides where 51,200 episodes end (LOG.md).
    """
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, LENGTH, NUM_TOKENS, generator=generator)
    own = torch.randn(NUM_PROMPTS, LENGTH, NUM_TOKENS, generator=generator)
    single = shared + _OWN_WEIGHT * own
    pairs = torch.randn(NUM_TOKENS, NUM_TOKENS, generator=generator)
    gold = torch.stack([single[:, t, ANSWERS[:, t]] for t in range(LENGTH)]).sum(0)
    for t in range(LENGTH - 1):
        gold = gold + _NEIGHBOUR_WEIGHT * pairs[ANSWERS[:, t], ANSWERS[:, t + 1]]
    return GOLD_STD * (gold - gold.mean(1, keepdim=True)) / gold.std(1, keepdim=True)


def best_policy(*, ref_XY: Tensor, gold_XY: Tensor, beta: float) -> Tensor:
    """log pi*, [X, Y]: pi* ~ pi_ref exp(r / beta) is the best policy under eq. 2 without pretraining.

    Its J is J* = beta * mean over prompts of log E_ref[exp(r / beta)].
    """
    return (ref_XY + gold_XY / beta).log_softmax(1)


def objective(logprobs_XY: Tensor, *, ref_XY: Tensor, gold_XY: Tensor, beta: float) -> float:
    """J = E[r] - beta KL(pi || ref)."""
    penalty = beta * kl_nats(logprobs_XY, ref_XY=ref_XY)
    return mean_gold(logprobs_XY, gold_XY=gold_XY) - penalty


def mean_gold(logprobs_XY: Tensor, *, gold_XY: Tensor) -> float:
    """E[r], the prompts alike."""
    return (logprobs_XY.exp() * gold_XY).sum(1).mean().item()


def kl_nats(logprobs_XY: Tensor, *, ref_XY: Tensor) -> float:
    """KL(pi || ref) of a whole continuation, nats, the openings alike."""
    return (logprobs_XY.exp() * (logprobs_XY - ref_XY)).sum(1).mean().item()


def _trees(openings: Sequence[tuple[int]]) -> Layout:
    """One row for each opening and first token."""
    tokens = torch.arange(NUM_TOKENS)
    tails = torch.cat([tokens, tokens.repeat(NUM_TOKENS)])
    roots = torch.tensor(openings).repeat_interleave(NUM_TOKENS, 0)
    firsts = tokens.repeat(len(openings))[:, None]
    ids_BT = torch.cat([roots, firsts, tails.expand(len(roots), -1)], dim=1)
    positions_T = torch.tensor([0, 1] + [2] * NUM_TOKENS + [3] * NUM_TOKENS**2)
    parents = [0, 0] + [1] * NUM_TOKENS + [2 + b for b in range(NUM_TOKENS) for _ in tokens]
    sees_TT = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):
        sees_TT[node] |= sees_TT[parent]
    return Layout(
        ids_BT=ids_BT,
        positions_BT=positions_T.expand(len(roots), -1),
        mask_B1TT=sees_TT.expand(len(roots), 1, -1, -1),
    )

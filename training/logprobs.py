"""Log-probabilities of given tokens without ever keeping full logits.

Shapes: N tokens, M tokens of one chunk, D hidden size, V vocabulary, W entries of one block of it.
2,560 tokens x 49,152 entries in float32 are 500 MB, so logits live for M x W at a time and stay in the
processor's cache; sums over the vocabulary are kept relative to the largest logit so far. d log p(t) / d hidden =
U[t] - p U, U the unembedding, is known in the forward pass already: N x D numbers are kept for the hidden
states. Only an unembedding that trains itself needs the probabilities again:
d log p(t) / d U[v] = (1[v = t] - p[v]) hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Of a block: measured on one core at V = 49,152, 1.5 times quicker than whole rows of the vocabulary.
CHUNK_TOKENS, CHUNK_ENTRIES = 256, 2048
_GPU_TIMES = 8  # as large in both directions: a GPU is slow at small products


def token_logprobs(
    hidden_ND: Tensor, *, unembedding_VD: Tensor, targets_N: Tensor, temperature: float
) -> Tensor:
    """log p(target), [N], nats, float32, at the rollout temperature. The matmuls run in the
    unembedding's dtype; the gradient reaches hidden states and unembedding, if they want one."""
    wants_gradient = torch.is_grad_enabled() and (
        hidden_ND.requires_grad or unembedding_VD.requires_grad
    )
    return _TokenLogprobs.apply(hidden_ND, unembedding_VD, targets_N, temperature, wants_gradient)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        unembedding_VD: Tensor,
        targets_N: Tensor,
        temperature: float,
        wants_gradient: bool,
    ) -> Tensor:
        ctx.hidden_dtype = hidden_ND.dtype
        ctx.temperature = temperature
        hidden_ND = hidden_ND.to(unembedding_VD.dtype)
        chosen_ND = unembedding_VD[targets_N]
        logits_N = (hidden_ND.float() * chosen_ND.float()).sum(1) / temperature
        normalisers, means = [], []
        for hidden_MD in hidden_ND.split(_sizes(hidden_ND)[0]):
            normaliser_M, mean_MD = _over_vocabulary(
                hidden_MD, unembedding_VD, temperature=temperature, with_mean=wants_gradient
            )
            normalisers.append(normaliser_M)
            means.append(mean_MD)
        normalisers_N = torch.cat(normalisers)
        if wants_gradient:
            slopes_ND = ((chosen_ND - torch.cat(means)) / temperature).to(hidden_ND.dtype)
            again = (hidden_ND, unembedding_VD) if ctx.needs_input_grad[1] else (None, None)
            ctx.save_for_backward(slopes_ND, targets_N, normalisers_N, *again)
        return logits_N - normalisers_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes_ND, targets_N, normalisers_N, hidden_ND, unembedding_VD = ctx.saved_tensors
        gradient_N1 = gradients[0][:, None]
        for_hidden_ND = (gradient_N1 * slopes_ND).to(ctx.hidden_dtype)
        if hidden_ND is None:
            return for_hidden_ND, None, None, None, None
        scaled_ND = gradient_N1.to(hidden_ND.dtype) / ctx.temperature * hidden_ND
        for_unembedding_VD = torch.zeros_like(unembedding_VD, dtype=torch.float32)
        num_tokens, num_entries = _sizes(hidden_ND)
        for start in range(0, len(hidden_ND), num_tokens):
            part = slice(start, start + num_tokens)
            for block_WD, sum_WD in zip(
                unembedding_VD.split(num_entries),
                for_unembedding_VD.split(num_entries),
                strict=True,
            ):
                logits_MW = _logits(hidden_ND[part], block_WD, ctx.temperature)
                probs_MW = logits_MW.sub_(normalisers_N[part, None]).exp_()
                sum_WD -= probs_MW.to(scaled_ND.dtype).T @ scaled_ND[part]
        for_unembedding_VD.index_add_(0, targets_N, scaled_ND.float())
        return for_hidden_ND, for_unembedding_VD.to(unembedding_VD.dtype), None, None, None


def _over_vocabulary(
    hidden_MD: Tensor, unembedding_VD: Tensor, *, temperature: float, with_mean: bool
) -> tuple[Tensor, Tensor]:
    """log sum exp of the logits [M], and the unembedding's mean under the probabilities [M, D]."""
    highest_M = torch.full_like(hidden_MD[:, 0], -torch.inf, dtype=torch.float32)
    sum_M = torch.zeros_like(highest_M)
    mean_MD = torch.zeros_like(hidden_MD, dtype=torch.float32)
    for block_WD in unembedding_VD.split(_sizes(hidden_MD)[1]):
        logits_MW = _logits(hidden_MD, block_WD, temperature)
        before_M, highest_M = highest_M, torch.maximum(highest_M, logits_MW.amax(1))
        weights_MW = logits_MW.sub_(highest_M[:, None]).exp_()
        shrink_M = (before_M - highest_M).exp_()
        sum_M = sum_M * shrink_M + weights_MW.sum(1)
        if with_mean:
            mean_MD.mul_(shrink_M[:, None]).add_(weights_MW.to(block_WD.dtype) @ block_WD)
    return highest_M + sum_M.log(), mean_MD / sum_M[:, None]


def _logits(hidden_MD: Tensor, block_WD: Tensor, temperature: float) -> Tensor:
    logits_MW = (hidden_MD @ block_WD.T).float()
    if temperature != 1.0:
        logits_MW /= temperature
    return logits_MW


def _sizes(hidden_ND: Tensor) -> tuple[int, int]:
    """Tokens and vocabulary entries of a block."""
    times = 1 if hidden_ND.device.type == "cpu" else _GPU_TIMES
    return times * CHUNK_TOKENS, times * CHUNK_ENTRIES

"""Attention for bf16 on a CPU, where torch's own is slow. Registered with transformers as `ATTENTION`.

torch 2.13's fused CPU kernel does not use the processor's bf16 instructions in its small blocks, nor a mask to
leave work out: at 4 rows of 170 tokens, one core, forward and backward take 23 ms; here 5. Elsewhere, and
for rows so long that the weights of every pair of tokens would fill the memory, it hands over to torch's.
Remove when torch's kernel is as fast. Shapes: B rows, H heads, G key-value heads, T positions, D of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "hone"
_VECTOR = 32  # bf16 numbers of a register
_BLOCK = 64  # queries at most
_LONGEST = 2048  # beyond it scores would fill the memory: a block of queries of one such row is 2 MB a head


def attention(
    module: torch.nn.Module,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    mask_B1TT: Tensor | None,
    *,
    scaling: float,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' interface: [B, T, H, D]. The mask is True where a query sees a key; None: causal."""
    if query_BHTD.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # Of float32 weights: the rotation made queries and keys float32.
        dtype = torch.get_autocast_dtype("cpu")
        query_BHTD, key_BGTD, value_BGTD = (
            part.to(dtype) for part in (query_BHTD, key_BGTD, value_BGTD)
        )
    length = query_BHTD.shape[2]
    is_ours = (
        query_BHTD.device.type == "cpu"
        and query_BHTD.dtype == torch.bfloat16
        and key_BGTD.shape[2] == length <= _LONGEST
        and (mask_B1TT is None or mask_B1TT.dtype == torch.bool)
    )
    if not is_ours:
        return sdpa_attention_forward(
            module, query_BHTD, key_BGTD, value_BGTD, mask_B1TT, scaling=scaling, **options
        )
    if mask_B1TT is None:
        mask_B1TT = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    with torch.autocast("cpu", enabled=False):  # it would make the softmax float32, twice as slow
        found_BHTD = _Products.apply(query_BHTD * scaling, key_BGTD, value_BGTD, mask_B1TT)
    return found_BHTD.transpose(1, 2).contiguous(), None


class _Products(torch.autograd.Function):
    """Softmax(query keyT + mask) value by blocks of queries, each with the keys that any of them sees.

    The heads that share a key are one tall matrix, so no key is copied for them. Keys are padded to whole
    registers: a softmax with a remainder is a third slower.
    """

    @staticmethod
    def forward(
        ctx: Any, query_BHTD: Tensor, key_BGTD: Tensor, value_BGTD: Tensor, mask_B1TT: Tensor
    ) -> Tensor:
        rest = -query_BHTD.shape[2] % _VECTOR
        key_BGTD, value_BGTD = (pad(x, (0, 0, 0, rest)) for x in (key_BGTD, value_BGTD))
        bias_B1TT = torch.zeros(*mask_B1TT.shape[:3], key_BGTD.shape[2], dtype=query_BHTD.dtype)
        bias_B1TT.fill_(torch.finfo(query_BHTD.dtype).min)
        bias_B1TT[..., : mask_B1TT.shape[3]].masked_fill_(mask_B1TT, 0)
        found_BHTD = torch.empty_like(query_BHTD)
        ctx.blocks = _blocks(mask_B1TT)
        all_weights = []
        for queries, keys in ctx.blocks:
            tall = _tall(query_BHTD[:, :, queries], num_keys=key_BGTD.shape[1])
            scores = tall @ key_BGTD[:, :, keys].transpose(2, 3)
            per_head = scores.view(*query_BHTD.shape[:2], -1, scores.shape[-1])
            weights = per_head.add_(bias_B1TT[:, :, queries, keys]).softmax(-1).view(scores.shape)
            found_BHTD[:, :, queries] = (weights @ value_BGTD[:, :, keys]).view(
                found_BHTD[:, :, queries].shape
            )
            if any(ctx.needs_input_grad):
                all_weights.append(weights)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(query_BHTD, key_BGTD, value_BGTD, *all_weights)
        return found_BHTD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_BHTD, key_BGTD, value_BGTD, *all_weights = ctx.saved_tensors
        for_query_BHTD = torch.empty_like(query_BHTD)
        for_key_BGTD, for_value_BGTD = torch.zeros_like(key_BGTD), torch.zeros_like(value_BGTD)
        for (queries, keys), weights in zip(ctx.blocks, all_weights, strict=True):
            tall = _tall(gradients[0][:, :, queries], num_keys=key_BGTD.shape[1])
            for_value_BGTD[:, :, keys] += weights.transpose(2, 3) @ tall
            for_weights = tall @ value_BGTD[:, :, keys].transpose(2, 3)
            for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
            for_query_BHTD[:, :, queries] = (for_scores @ key_BGTD[:, :, keys]).view(
                for_query_BHTD[:, :, queries].shape
            )
            tall = _tall(query_BHTD[:, :, queries], num_keys=key_BGTD.shape[1])
            for_key_BGTD[:, :, keys] += for_scores.transpose(2, 3) @ tall
        length = query_BHTD.shape[2]
        return for_query_BHTD, for_key_BGTD[:, :, :length], for_value_BGTD[:, :, :length], None


def _blocks(mask_B1TT: Tensor) -> list[tuple[slice, slice]]:
    """Queries, and the span of the keys that any row's mask lets them see."""
    length = mask_B1TT.shape[2]
    size = -(-length // -(-length // _BLOCK))
    is_seen_TT = mask_B1TT.any(0)[0]
    found = []
    for start in range(0, length, size):
        keys = is_seen_TT[start : start + size].any(0).nonzero()
        first, last = int(keys[0]), int(keys[-1])
        first -= first % _VECTOR
        last += _VECTOR - last % _VECTOR
        found.append((slice(start, min(start + size, length)), slice(first, last)))
    return found


def _tall(heads_BHTD: Tensor, *, num_keys: int) -> Tensor:
    num_rows, num_heads, length, size = heads_BHTD.shape
    return heads_BHTD.reshape(num_rows, num_keys, num_heads // num_keys * length, size)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

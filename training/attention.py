"""Attention for bf16 on a CPU, where torch's own is slow. Registered with transformers as `ATTENTION`.

torch 2.13's fused CPU kernel does not use the processor's bf16 instructions in its small blocks: at 4 rows of
170 tokens, one core, forward and backward take 21 ms, plain batched products and a softmax 6. Elsewhere, and
for rows so long that scores for every pair of tokens would fill the memory, it hands over to torch's.
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
_LONGEST = 1024  # 2048 tokens of a pass as rows this long: 38 MB of scores for a layer of 9 heads


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
        found_BHTD = _products(query_BHTD * scaling, key_BGTD, value_BGTD, mask_B1TT)
    return found_BHTD.transpose(1, 2).contiguous(), None


def _products(
    query_BHTD: Tensor, key_BGTD: Tensor, value_BGTD: Tensor, mask_B1TT: Tensor
) -> Tensor:
    """The heads that share a key are one tall matrix, so no key is copied for them."""
    num_rows, num_heads, length, size = query_BHTD.shape
    num_keys = key_BGTD.shape[1]
    if (
        rest := -length % _VECTOR
    ):  # keys that nobody sees: a softmax with a remainder is a third slower
        key_BGTD, value_BGTD = (pad(x, (0, 0, 0, rest)) for x in (key_BGTD, value_BGTD))
        mask_B1TT = pad(mask_B1TT, (0, rest))
    tall = (num_rows, num_keys, num_heads // num_keys * length)
    scores = query_BHTD.reshape(*tall, size) @ key_BGTD.transpose(2, 3)
    bias_B1TT = torch.zeros_like(mask_B1TT, dtype=scores.dtype).masked_fill_(
        ~mask_B1TT, torch.finfo(scores.dtype).min
    )
    scores_BGHTT = scores.view(num_rows, num_keys, -1, length, length + rest)
    weights = scores_BGHTT.add_(bias_B1TT[:, None]).softmax(-1)
    return (weights.view(*tall, length + rest) @ value_BGTD).view(query_BHTD.shape)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

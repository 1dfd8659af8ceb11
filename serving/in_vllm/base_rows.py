"""On a CPU vLLM 0.32 answers a request for the base as an adapter would, if both are in one batch; not with this.

A batch names each token's adapter by the slot its weights are in, and -1 means none. vLLM's operators in plain torch,
which a CPU uses, take that for the last slot, and whatever was in it once. Remove when vLLM does it itself (its
pull request 48421).
"""

from __future__ import annotations

import torch


def leave_base_rows_alone() -> None:
    """In this process, from now on: tokens without an adapter get nothing of any."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    shrink = lora_ops.bgmv_shrink
    if getattr(shrink, "leaves_base_rows_alone", False):
        return

    def bgmv_shrink(
        inputs: torch.Tensor,
        lora_b_weights: torch.Tensor,
        output_tensor: torch.Tensor,
        lora_indices_tensor: torch.Tensor,
        scaling: float = 1.0,
    ) -> None:
        """What it returns is multiplied by the second matrix and added: zero stays zero."""
        shrink(inputs, lora_b_weights, output_tensor, lora_indices_tensor, scaling)
        output_tensor.masked_fill_((lora_indices_tensor < 0)[:, None], 0.0)

    bgmv_shrink.leaves_base_rows_alone = True  # type: ignore[attr-defined]
    # Where the one for prompts finds it, and where the one for single tokens does.
    lora_ops.bgmv_shrink = bgmv_shrink
    punica_cpu.bgmv_shrink = bgmv_shrink

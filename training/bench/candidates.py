"""The models that are measured: a folder's weights, or random ones in the shape of a known model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from training.bench.shapes import SHAPES

_MAX_POSITIONS = 8192


def causal_lm(
    *,
    folder: Path | None,
    random_model: str | None,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """A transformers model on the device. `attention`: transformers' name of an implementation."""
    if random_model is None:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention
        )
        return model.to(device)
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPES[random_model],
        max_position_embeddings=_MAX_POSITIONS,
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    with device:
        return AutoModelForCausalLM.from_config(config, dtype=dtype)

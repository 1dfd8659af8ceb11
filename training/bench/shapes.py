"""Shapes of models that random weights can take: no download is needed to measure."""

from __future__ import annotations

from typing import Any

from feedback.errors import Unprocessable

# Shapes of SmolLM2-135M, Qwen2.5-0.5B and Qwen2.5-1.5B, as a plain Llama.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "135m": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "1.5b": {
        "vocab_size": 151_936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
}


def check(name: str) -> None:
    """Raises Unprocessable for a shape that is not known."""
    if name not in SHAPES:
        raise Unprocessable(f"no random model {name!r}; known: {', '.join(SHAPES)}")

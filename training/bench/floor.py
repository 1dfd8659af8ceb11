"""The least that one PPO iteration could take: the floating-point operations it needs, at the rate at which
this machine multiplies matrices.

Counted are matrix products only, 2 per multiply-add, on real tokens only: nothing for padding, norms,
softmax or the optimizer. An answer attends to its prompt and itself; unembedding is counted on positions
whose prediction is asked for. Backward: through activations once more what forward took, from the first
trained weight on; weight gradients for adapters only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.batches import Group
from training.config import AdapterRecipe

_RATE_SECONDS = 0.15  # of measuring, for each shape
_ATTENTION_INPUTS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of a decoder: what its matrix products depend on."""

    hidden_size: int
    vocab_size: int
    num_layers: int
    num_trunk_layers: int
    layer_weights: int  # of a layer's linears
    first_layer_weights: int  # those of the first adapted layer that a gradient passes through
    adapts_attention_inputs: bool  # so that a gradient passes through all attention
    adapter_weights: int  # of a layer
    attention_width: int  # heads x their size
    matrices: tuple[tuple[int, int], ...]  # inputs and outputs of a layer's linears

    @property
    def num_top_layers(self) -> int:
        return self.num_layers - self.num_trunk_layers


def shape_of(causal_lm: Any, recipe: AdapterRecipe) -> Shape:
    """Of a transformers model that has no adapters yet, and of those that the recipe will add."""
    config = causal_lm.config
    modules = causal_lm.base_model.layers[-1].named_modules()
    linears = {n.split(".")[-1]: m for n, m in modules if isinstance(m, nn.Linear)}
    weights = {name: linear.weight.numel() for name, linear in linears.items()}
    adapted = [linears[name] for name in recipe.target_modules]
    head_size = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return Shape(
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        num_trunk_layers=max(0, config.num_hidden_layers - recipe.num_adapted_layers),
        layer_weights=sum(weights.values()),
        first_layer_weights=_first_layer_weights(weights, recipe),
        adapts_attention_inputs=_adapts_attention_inputs(recipe),
        adapter_weights=sum(recipe.rank * (m.in_features + m.out_features) for m in adapted),
        attention_width=config.num_attention_heads * head_size,
        matrices=tuple(sorted({(m.in_features, m.out_features) for m in linears.values()})),
    )


@dataclass(frozen=True, kw_only=True)
class Work:
    """Real tokens of a phase."""

    tokens: int
    pairs: int  # of a query and a key that it sees
    predictions: int


def work_of(groups: Sequence[Group]) -> Work:
    """Prompts once, each with its answers behind it."""
    answers = [(len(group.prompt_ids), len(answer)) for group in groups for answer in group.answers]
    return Work(
        tokens=sum(map(len, groups)),
        pairs=sum(_triangle(len(group.prompt_ids)) for group in groups)
        + sum(prompt * answer + _triangle(answer) for prompt, answer in answers),
        predictions=sum(answer for _, answer in answers),
    )


def texts_work(count: int, *, length: int) -> Work:
    """Texts of one length, every token but the first predicted."""
    return Work(
        tokens=count * length, pairs=count * _triangle(length), predictions=count * (length - 1)
    )


def iteration_flops(
    shape: Shape, *, answers: Work, examples: Work, inner_epochs: int = 1
) -> dict[str, float]:
    """By phase, for a whole iteration: all its answers and all its pretraining examples."""
    top = _forward(shape, answers, shape.num_top_layers, with_adapters=True)
    unembedding = 2 * shape.hidden_size * shape.vocab_size * answers.predictions
    backward = _backward(shape, answers)
    ptx_unembedding = 2 * shape.hidden_size * shape.vocab_size * examples.predictions
    return {
        "trunk": _forward(shape, answers, shape.num_trunk_layers),
        "score/policy": top + unembedding,
        "score/reference": _forward(shape, answers, shape.num_top_layers) + unembedding,
        "score/value": top,
        "score/reward": top,
        "train/policy": inner_epochs * (top + backward + 2 * unembedding),
        "train/value": inner_epochs * (top + backward),
        "train/ptx": inner_epochs
        * (
            _forward(shape, examples, shape.num_trunk_layers)
            + _forward(shape, examples, shape.num_top_layers, with_adapters=True)
            + _backward(shape, examples)
            + 2 * ptx_unembedding
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Rate:
    """FLOP/s now."""

    wall: float
    cpu: float  # for each second of processor time, which a busy machine does not stretch


def matmul_rates(shape: Shape, *, tokens: int, device: torch.device) -> dict[str, Rate]:
    """In bf16, of this machine now: the model's own products, the unembedding, a large square."""
    shapes = {f"{tokens}x{i}x{o}": (tokens, i, o) for i, o in shape.matrices}
    shapes[f"128x{shape.hidden_size}x{shape.vocab_size}"] = (
        *(128, shape.hidden_size, shape.vocab_size),
    )
    shapes["2048x2048x2048"] = (2048, 2048, 2048)
    return {name: _rate(*sizes, device=device) for name, sizes in shapes.items()}


def _first_layer_weights(weights: dict[str, int], recipe: AdapterRecipe) -> int:
    """A gradient ends at the first adapter. Nothing below needs one: neither the products that feed it nor
    its own base weight."""
    if _adapts_attention_inputs(recipe):
        below: tuple[str, ...] = _ATTENTION_INPUTS
    elif "o_proj" in recipe.target_modules:
        below = (*_ATTENTION_INPUTS, "o_proj")
    else:
        below = (*_ATTENTION_INPUTS, "o_proj", "gate_proj", "up_proj", "down_proj")
    return sum(count for name, count in weights.items() if name not in below)


def _adapts_attention_inputs(recipe: AdapterRecipe) -> bool:
    return any(target in recipe.target_modules for target in _ATTENTION_INPUTS)


def _forward(shape: Shape, work: Work, num_layers: int, *, with_adapters: bool = False) -> float:
    weights = shape.layer_weights + with_adapters * shape.adapter_weights
    attention = 4 * shape.attention_width * work.pairs
    return num_layers * (2 * weights * work.tokens + attention)


def _backward(shape: Shape, work: Work) -> float:
    full = shape.num_top_layers - 1
    weights = full * shape.layer_weights + shape.first_layer_weights
    adapters = shape.num_top_layers * shape.adapter_weights
    num_attentions = full + shape.adapts_attention_inputs
    attention = num_attentions * 8 * shape.attention_width * work.pairs
    return (2 * weights + 4 * adapters) * work.tokens + attention


def _rate(num_rows: int, num_inputs: int, num_outputs: int, *, device: torch.device) -> Rate:
    left = torch.randn(num_rows, num_inputs, dtype=torch.bfloat16, device=device)
    right = torch.randn(num_outputs, num_inputs, dtype=torch.bfloat16, device=device)
    nn.functional.linear(left, right)
    count, started, cpu_started = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < _RATE_SECONDS:
        for _ in range(4):
            nn.functional.linear(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        count += 4
    flops = 2 * num_rows * num_inputs * num_outputs * count
    return Rate(wall=flops / elapsed, cpu=flops / (time.process_time() - cpu_started))


def _triangle(length: int) -> int:
    return length * (length + 1) // 2

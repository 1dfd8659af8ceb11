"""A small network over a text's vector, and its fit by Adam with masked labels. Numpy, seeded.

Shapes: N texts, F features, H hidden units, C categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

NUM_HIDDEN = 256
NUM_EPOCHS = 6
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.02
DROPOUT = 0.3  # of inputs and of hidden units
_BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Inputs are taken as (x - shift) * scale."""

    shift_F: Floats
    scale_F: Floats
    weights: Mapping[str, Floats]  # into_FH, into_H, out_HC, direct_FC, out_C

    def logits(self, features_NF: Floats) -> Floats:
        """(N, C) log-odds."""
        return _forward((features_NF - self.shift_F) * self.scale_F, self.weights)[0]


def fit(
    features_NF: Floats,
    labels_NC: Floats,
    known_NC: Floats,
    *,
    weights_N: Floats,
    seed: int,
    start: Network | None = None,
    dropout: float = DROPOUT,
) -> Network:
    """Labels are 0 to 1 where `known_NC` is 1; a text counts `weights_N` times. `start`: goes on from it."""
    draw = np.random.default_rng(seed)
    if start is None:
        shift_F = features_NF.mean(axis=0)
        scale_F = 1.0 / (features_NF.std(axis=0) + 1e-3)
        weights = _fresh(draw, num_features=features_NF.shape[1], num_categories=labels_NC.shape[1])
    else:
        shift_F, scale_F = start.shift_F, start.scale_F
        weights = {name: value.copy() for name, value in start.weights.items()}
    inputs_NF = ((features_NF - shift_F) * scale_F).astype(np.float32)
    importance_NC = (known_NC * weights_N[:, None]).astype(np.float32)
    adam = _Adam(weights)
    num_batches = max(1, len(inputs_NF) // BATCH)
    for epoch in range(NUM_EPOCHS):
        for step, batch in enumerate(np.array_split(draw.permutation(len(inputs_NF)), num_batches)):
            rate = LEARNING_RATE * (1.0 - (epoch + step / num_batches) / NUM_EPOCHS)
            slopes = _slopes(
                inputs_NF[batch],
                labels_NC[batch],
                importance_NC[batch],
                weights=weights,
                draw=draw,
                dropout=dropout,
            )
            adam.step(slopes, rate=rate)
    return Network(shift_F=shift_F, scale_F=scale_F, weights=weights)


def _forward(inputs_NF: Floats, weights: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    hidden_NH = np.maximum(inputs_NF @ weights["into_FH"] + weights["into_H"], 0.0)
    logits_NC = hidden_NH @ weights["out_HC"] + inputs_NF @ weights["direct_FC"] + weights["out_C"]
    return logits_NC, hidden_NH


def _fresh(
    draw: np.random.Generator, *, num_features: int, num_categories: int
) -> dict[str, Floats]:
    def normal(rows: int, columns: int, size: float) -> Floats:
        return (draw.standard_normal((rows, columns)) * size).astype(np.float32)

    return {
        "into_FH": normal(num_features, NUM_HIDDEN, (2.0 / num_features) ** 0.5),
        "into_H": np.zeros(NUM_HIDDEN, dtype=np.float32),
        "out_HC": normal(NUM_HIDDEN, num_categories, (1.0 / NUM_HIDDEN) ** 0.5),
        "direct_FC": np.zeros((num_features, num_categories), dtype=np.float32),
        "out_C": np.full(num_categories, -2.0, dtype=np.float32),  # most texts are harmless
    }


def _slopes(
    inputs_NF: Floats,
    labels_NC: Floats,
    importance_NC: Floats,
    *,
    weights: Mapping[str, Floats],
    draw: np.random.Generator,
    dropout: float,
) -> dict[str, Floats]:
    kept = np.float32(1.0 - dropout)
    inputs_NF = inputs_NF * (draw.random(inputs_NF.shape, dtype=np.float32) < kept) / kept
    logits_NC, hidden_NH = _forward(inputs_NF, weights)
    # The direct path sees dropped inputs too; hidden units are dropped behind the activation.
    mask_NH = (draw.random(hidden_NH.shape, dtype=np.float32) < kept) / kept
    dropped_NH = hidden_NH * mask_NH
    logits_NC += (dropped_NH - hidden_NH) @ weights["out_HC"]
    probability_NC = 0.5 * (1.0 + np.tanh(0.5 * logits_NC))
    error_NC = importance_NC * (probability_NC - labels_NC) / np.float32(len(inputs_NF))
    back_NH = (error_NC @ weights["out_HC"].T) * mask_NH * (hidden_NH > 0)
    return {
        "into_FH": inputs_NF.T @ back_NH,
        "into_H": back_NH.sum(axis=0),
        "out_HC": dropped_NH.T @ error_NC,
        "direct_FC": inputs_NF.T @ error_NC,
        "out_C": error_NC.sum(axis=0),
    }


class _Adam:
    """AdamW: matrices decay, biases do not."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        self._weights = weights
        self._mean = {name: np.zeros_like(value) for name, value in weights.items()}
        self._square = {name: np.zeros_like(value) for name, value in weights.items()}
        self._steps = 0

    def step(self, slopes: Mapping[str, Floats], *, rate: float) -> None:
        """Move every weight once, in place."""
        self._steps += 1
        first, second = _BETAS
        for name, slope in slopes.items():
            mean, square = self._mean[name], self._square[name]
            mean += (1 - first) * (slope - mean)
            square += (1 - second) * (slope * slope - square)
            size = np.sqrt(square / (1 - second**self._steps)) + 1e-8
            weight = self._weights[name]
            if weight.ndim == 2:
                weight *= np.float32(1 - rate * WEIGHT_DECAY)
            weight -= (rate / (1 - first**self._steps)) * mean / size

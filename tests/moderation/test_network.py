from __future__ import annotations

import numpy as np

from moderation import network

NUM = 8000


def _sample() -> tuple[network.Floats, network.Floats]:
    draw = np.random.default_rng(1)
    truth = draw.normal(size=(NUM, 3)).astype(np.float32)
    # The first needs a hidden layer (the sign of a product), the second does not.
    labels = np.stack([truth[:, 0] * truth[:, 1] > 0, truth[:, 2] > 0.5], axis=1)
    # Each input twenty times, as dropout wants it.
    return np.tile(truth, 20), labels.astype(np.float32)


def _fit(labels: network.Floats, known: network.Floats, *, seed: int = 0) -> network.Network:
    features, _ = _sample()
    return network.fit(features, labels, known, weights_N=np.ones(NUM, np.float32), seed=seed)


def test_it_learns_what_a_linear_head_cannot() -> None:
    features, labels = _sample()
    right = (_fit(labels, np.ones_like(labels)).logits(features) > 0) == (labels > 0)
    assert right.mean(axis=0).min() > 0.7  # a linear head: 0.5


def test_an_unknown_label_has_no_influence() -> None:
    _, labels = _sample()
    known = np.ones_like(labels)
    known[:4000, 0] = 0
    turned = labels.copy()
    turned[:4000, 0] = 1 - turned[:4000, 0]
    one, other = _fit(labels, known), _fit(turned, known)
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    _, labels = _sample()
    one, again, other = (_fit(labels, np.ones_like(labels), seed=seed) for seed in (0, 0, 1))
    assert one.weights["into_FH"].tobytes() == again.weights["into_FH"].tobytes()
    assert one.weights["into_FH"].tobytes() != other.weights["into_FH"].tobytes()

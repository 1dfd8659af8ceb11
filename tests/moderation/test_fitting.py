from __future__ import annotations

import numpy as np
import pytest

from moderation import fitting
from moderation.fitting import Flags, Floats


def _sample(num: int = 4000) -> tuple[Floats, Flags, Floats]:
    random = np.random.default_rng(7)
    truth = np.array([2.0, -1.0, 0.0])
    features = random.normal(size=(num, 3))
    labels = random.random(num) < fitting.sigmoid(features @ truth - 0.5)
    return features, labels, truth


def test_the_fit_finds_the_weights_that_made_the_labels() -> None:
    features, labels, truth = _sample()
    weights, bias = fitting.logistic(features, labels, weights_N=np.ones(len(labels)), l2=1e-6)
    assert np.allclose(weights, truth, atol=0.2)
    assert bias == pytest.approx(-0.5, abs=0.15)


def test_the_gradient_is_zero_at_the_fit() -> None:
    features, labels, _ = _sample(500)
    weights, bias = fitting.logistic(features, labels, weights_N=np.ones(500), l2=0.01)
    error = fitting.sigmoid(features @ weights + bias) - labels
    assert np.abs(features.T @ error / 500 + 0.01 * weights).max() < 1e-5
    assert abs(error.mean()) < 1e-5


def test_separable_classes_give_finite_weights() -> None:
    features = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    labels = features[:, 0] > 0
    weights, bias = fitting.logistic(features, labels, weights_N=np.ones(4), l2=1e-4)
    assert np.isfinite([*weights, bias]).all()
    assert ((features @ weights + bias > 0) == labels).all()


def test_balanced_weights_give_both_classes_the_same_total() -> None:
    labels = np.array([True, False, False, False])
    weights = fitting.balanced(labels, shares_N=np.array([1.0, 1.0, 0.5, 0.5]))
    assert weights[labels].sum() == pytest.approx(1.0)
    assert weights[~labels].tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("scores", "labels", "auc", "average_precision"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0, 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, (1 / 3 + 2 / 4) / 2),
        ([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], 0.75, (1 + 2 / 3) / 2),
        ([0.5, 0.5], [1, 0], 0.5, 1.0),
    ],
)
def test_figures_are_those_of_their_definitions(
    scores: list[float], labels: list[int], auc: float, average_precision: float
) -> None:
    values, flags = np.array(scores), np.array(labels, dtype=bool)
    assert fitting.auc(values, flags) == pytest.approx(auc)
    assert fitting.average_precision(values, flags) == pytest.approx(average_precision)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
def test_a_threshold_keeps_its_rate_and_is_the_lowest_that_does(rate: float) -> None:
    scores = np.random.default_rng(3).normal(size=1000)
    threshold = fitting.threshold_for(scores, false_positive_rate=rate)
    assert (scores >= threshold).mean() == pytest.approx(rate, abs=1e-9)
    assert (scores >= np.nextafter(threshold, -np.inf)).mean() > rate


def test_equal_scores_cannot_break_the_rate() -> None:
    scores = np.array([1.0] * 50 + [0.0] * 50)
    threshold = fitting.threshold_for(scores, false_positive_rate=0.1)
    assert (scores >= threshold).mean() <= 0.1

from __future__ import annotations

import numpy as np
import pytest

from moderation import figures


@pytest.mark.parametrize(
    ("scores", "labels", "auc", "average_precision"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0, 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, (1 / 3 + 2 / 4) / 2),
        ([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], 0.75, (1 + 2 / 3) / 2),
        ([0.5, 0.5], [1, 0], 0.5, 0.5),
        ([0.5, 0.5], [0, 1], 0.5, 0.5),
    ],
)
def test_figures_are_those_of_their_definitions(
    scores: list[float], labels: list[int], auc: float, average_precision: float
) -> None:
    values, flags = np.array(scores), np.array(labels, dtype=bool)
    assert figures.auc(values, flags) == pytest.approx(auc)
    assert figures.average_precision(values, flags) == pytest.approx(average_precision)


def test_an_interval_holds_the_figure_and_narrows_with_more_texts() -> None:
    draw = np.random.default_rng(0)
    widths = []
    for num in (100, 2500):
        labels = np.arange(num) % 4 == 0
        scores = draw.normal(size=num) + labels
        low, high = figures.interval(figures.auc, scores, labels)
        assert low < figures.auc(scores, labels) < high
        assert (low, high) == figures.interval(figures.auc, scores, labels)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
def test_a_threshold_keeps_its_rate_and_is_the_lowest_that_does(rate: float) -> None:
    scores = np.random.default_rng(3).normal(size=1000)
    threshold = figures.threshold_for(scores, false_positive_rate=rate)
    assert (scores >= threshold).mean() == pytest.approx(rate, abs=1e-9)
    assert (scores >= np.nextafter(threshold, -np.inf)).mean() > rate


def test_equal_scores_cannot_break_the_rate() -> None:
    scores = np.array([1.0] * 50 + [0.0] * 50)
    threshold = figures.threshold_for(scores, false_positive_rate=0.1)
    assert (scores >= threshold).mean() <= 0.1

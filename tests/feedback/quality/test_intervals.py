from __future__ import annotations

import random

import numpy as np
import pytest

from feedback.quality.intervals import mean, resampled_sums, share


def test_ten_out_of_ten_is_no_certainty() -> None:
    assert 0.5 < share([1.0] * 10, [1.0] * 10).low < 1.0


def test_an_interval_is_over_rankings_and_not_over_their_pairs() -> None:
    few_units = share([6.0, 0.0] * 5, [6.0] * 10)
    many_units = share([1.0, 0.0] * 30, [1.0] * 60)
    assert few_units.value == many_units.value == 0.5
    assert few_units.high - few_units.low > 1.5 * (many_units.high - many_units.low)


def test_a_mean_s_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = random.Random(0)
    covered = 0
    for _ in range(100):
        found = mean([rng.gauss(3.0, 1.0) for _ in range(30)])
        covered += found.low <= 3.0 <= found.high
    assert 88 <= covered <= 100


def test_units_that_count_nothing_change_nothing() -> None:
    assert share([3.0, 0.0, 1.0], [4.0, 0.0, 2.0]) == share([3.0, 1.0], [4.0, 2.0])
    assert share([0.0], [0.0]).num_units == 0


def test_resampled_sums_draw_whole_units() -> None:
    sums = resampled_sums(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
    assert sums.shape == (2000, 2)
    np.testing.assert_allclose(sums[:, 1], 10 * sums[:, 0])
    assert sums[:, 0].mean() == pytest.approx(6.0, abs=0.1)

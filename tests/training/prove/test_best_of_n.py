from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from training.prove.best_of_n import curve, expected_best, max_kl_nats, paired_gain


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_the_best_of_n_is_the_mean_over_all_subsets(n: int) -> None:
    rng = np.random.default_rng(n)
    scores, gold = rng.normal(size=(2, 7))
    subsets = list(itertools.combinations(range(7), n))
    brute = np.mean([gold[max(subset, key=lambda i: scores[i])] for subset in subsets])
    assert expected_best(scores.tolist(), gold.tolist(), n=n) == pytest.approx(brute, abs=1e-12)


def test_the_best_of_one_is_the_mean_and_of_all_the_highest() -> None:
    scores, gold = [0.3, 0.9, 0.1], [5.0, 1.0, 3.0]
    assert expected_best(scores, gold, n=1) == pytest.approx(3.0)
    assert expected_best(scores, gold, n=3) == pytest.approx(1.0)  # the highest score, not gold


@pytest.mark.parametrize("n", [0, 4])
def test_more_than_there_are_or_none_cannot_be_chosen(n: int) -> None:
    with pytest.raises(ValueError, match="out of 3"):
        expected_best([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n=n)


def test_it_is_unbiased_for_fresh_answers() -> None:
    """The highest of n standard normals is 1.0294 on average for n = 4."""
    draws = np.random.default_rng(0).normal(size=(4000, 8))
    estimates = [expected_best(row, row, n=4) for row in draws.tolist()]
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - 1.0294) < 4 * error


def test_the_bound_on_kl_is_that_of_continuous_scores() -> None:
    """The best of n has density n u^(n-1) over the score's quantile u; its KL in closed form."""
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (1, 2, 4, 16):
        density = n * u ** (n - 1)
        assert max_kl_nats(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)


def test_no_best_of_n_of_a_finite_policy_is_farther_than_the_bound() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(6))
    cumulative = np.cumsum(probabilities)  # answers in the order of their score
    for n in (2, 4, 8, 16):
        best = np.diff(np.concatenate([[0.0], cumulative**n]))
        assert (best * np.log(best / probabilities)).sum() <= max_kl_nats(n) + 1e-12


def test_a_gain_is_paired_by_prompt() -> None:
    level = np.random.default_rng(0).normal(scale=10, size=100)
    gain, error = paired_gain(level.tolist(), (level + np.tile([0.4, 0.6], 50)).tolist())
    assert gain == pytest.approx(0.5)
    assert error == pytest.approx(0.1 * math.sqrt(100 / 99) / 10)
    with pytest.raises(ValueError, match="two prompts"):
        paired_gain([1.0], [2.0])


def test_a_proxy_that_is_gold_gains_with_n_and_one_that_is_noise_does_not() -> None:
    rng = np.random.default_rng(1)
    gold = rng.normal(size=(60, 32)).tolist()
    noise = rng.normal(size=(60, 32)).tolist()
    gains = [point.gain for point in curve(gold, gold, sizes=(1, 2, 4, 8, 16)).values()]
    assert gains[0] == 0.0
    assert gains == sorted(gains)
    useless = curve(noise, gold, sizes=(16,))[16]
    assert abs(useless.gain) < 4 * useless.standard_error
